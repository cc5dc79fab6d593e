"""The Python client: typed messages, retries that never duplicate, and calls that batch by themselves."""
