"""The REST API: translates requests to broker calls, and results to responses. It decides nothing."""
