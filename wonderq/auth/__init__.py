"""API keys, roles and request signatures. This package knows no protocol."""
