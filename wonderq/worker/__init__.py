"""The worker: receives messages, runs their handlers, renews their claims, and settles each with its outcome."""
