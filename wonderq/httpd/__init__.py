"""The HTTP server: bytes to WSGI and back. It knows no queue and no API key."""
