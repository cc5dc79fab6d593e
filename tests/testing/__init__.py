"""Tools for the tests of users: `wonderq.testing` and the fixtures for pytest."""
