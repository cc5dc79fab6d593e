"""`wonderq.testing` and the fixtures for pytest, with which users test their programs."""
