"""Choices for all suites: which tests are slow, how hypothesis works, and what the garbage collector examines."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path

import hypothesis
import pytest

pytest.register_assert_rewrite("tests.support")

#: Suites that kill brokers, cut power, trace system calls, fill disks, run other people's programs, or explore for long.
#: A slow test in another suite bears the marker itself.
SLOW_SUITES = {
    "clients",
    "cluster_faults",
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
    "upgrade",
}

#: Suites that need strace, loop devices, namespaces, systemd or /proc.
LINUX_SUITES = {"cluster_faults", "deploy", "log_faults", "powercut", "soak", "syscalls"}

# No deadline: on a busy machine any example may take long.
hypothesis.settings.register_profile(
    "steady", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("steady")


HERE = Path(__file__).parent


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no slow suite that the command line does not name if only quick tests are to run."""
    if (
        collection_path.parent != HERE
        or collection_path.name not in SLOW_SUITES
        or config.option.markexpr != "not slow"
    ):
        return None
    named = [config.invocation_params.dir / arg.partition("::")[0] for arg in config.args]
    return None if any(path.is_relative_to(collection_path) for path in named) else True


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> Generator[None, int, int]:
    """Run three quick tests for two processors: half of their time is waiting, for the disk, for processes and for timeouts."""
    processors = yield
    is_quick = config.option.markexpr == "not slow" and "PYTEST_XDIST_AUTO_NUM_WORKERS" not in os.environ
    return processors + processors // 2 if is_quick else processors


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Keep the collector from examining the modules and tests, which stay: that took a tenth of the time of all tests."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@cache
def _suite_of(path: Path) -> str:
    return path.relative_to(HERE).parts[0] if path.is_relative_to(HERE) else ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of slow suites, and skip those that need Linux on other systems."""
    for item in items:
        suite = _suite_of(item.path)
        if suite in SLOW_SUITES:
            item.add_marker(pytest.mark.slow)
        if suite in LINUX_SUITES and sys.platform != "linux":
            item.add_marker(pytest.mark.skip(reason="this suite uses tools that only Linux has"))
