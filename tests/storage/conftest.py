import pytest

# The suite is a base class in a module without tests of its own, so its asserts would be plain ones otherwise.
pytest.register_assert_rewrite("tests.storage.log_contract", "tests.storage.jetstream_lives")
