"""API keys, roles and request signatures."""
