"""The broker for dramatiq, with dramatiq's own workers."""
