"""The HTTP server: turns bytes into WSGI calls and responses into bytes. It knows neither queues nor API keys."""
