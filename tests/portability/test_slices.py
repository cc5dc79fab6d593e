"""Slices of the suites, run by processes that lack the names of Linux: the log, the server, workers, kills, the command line.

Brokers and workers that these tests start lack them too.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.portability.other_system import SYSTEMS, environment
from tests.support.waiting import PATIENCE_S

ROOT = Path(__file__).parents[2]

SLICES = {
    "log": (
        *("tests/storage/test_file_log_contract.py", "tests/storage/test_disk.py", "tests/storage/test_disk_full.py"),
        *(
            "tests/storage/test_failed_sync.py",
            "tests/storage/test_recovery_table.py",
            "tests/storage/test_torn_tail.py",
        ),
    ),
    "server": (
        *("tests/http/test_half_closed.py", "tests/http/test_limits.py", "tests/http/test_room.py"),
        *("tests/http/test_slow_clients.py", "tests/http/test_long_poll.py"),
    ),
    "workers": ("tests/worker/test_shutdown.py", "tests/worker/test_supervisor.py", "tests/worker/test_tasks.py"),
    "brokers of tests": ("tests/testing/test_broker.py", "tests/testing/test_plugin.py"),
    "kills": ("tests/crash/test_kill_cycles.py::test_random_kills_break_no_promise",),
    "command line": ("tests/cli/test_serve.py", "tests/cli/test_send.py", "tests/cli/test_signals.py"),
}


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("files", SLICES.values(), ids=SLICES)
def test_a_slice_passes_without_the_names_of_linux(system: str, files: tuple[str, ...], tmp_path: Path) -> None:
    options = ("-p", "no:cacheprovider", "-n", "0", "-m", "slow or not slow", "--basetemp", str(tmp_path / "inner"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *files],
        cwd=ROOT,
        env={**os.environ, **environment(system)},
        capture_output=True,
        text=True,
        timeout=10 * PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-2000:]
