"""Making a release: build it, list its parts, and check that everything is ready. `make dist` installs the tools."""
