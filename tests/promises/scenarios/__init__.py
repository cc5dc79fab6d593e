"""The scenarios, one promise each."""
