"""The REST API: requests to broker calls, and results to responses."""
