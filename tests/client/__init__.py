"""The Python client: what each call does, and how calls share requests."""
