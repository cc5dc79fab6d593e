"""What users test their programs with: `wonderq.testing` and the fixtures for pytest."""
