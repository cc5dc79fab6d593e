"""Choices for all suites: which tests are slow, and how hypothesis works."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest

pytest.register_assert_rewrite("tests.support")

#: Suites that kill brokers, cut power, trace system calls, fill disks, run other people's programs, or explore for long.
#: A slow test in another suite bears the marker itself.
SLOW_SUITES = {
    "clients",
    "crash",
    "deploy",
    "flips",
    "forgetful",
    "fuzz",
    "log_faults",
    "packaging",
    "powercut",
    "soak",
    "syscalls",
    "ui",
}

# No deadline: on a busy machine any example may take long.
hypothesis.settings.register_profile(
    "steady", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("steady")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of slow suites."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here) and item.path.relative_to(here).parts[0] in SLOW_SUITES:
            item.add_marker(pytest.mark.slow)
