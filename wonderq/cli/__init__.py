"""The `wonderq` command. Only this package prints."""
