"""A slice of `tests.syscalls.kill_everywhere`: a kill, and an error, at every system call of one short life."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import PATIENCE_S
from tests.syscalls.tracing import why_not


def test_no_call_can_be_killed_or_fail_with_a_loss() -> None:
    if reason := why_not():
        pytest.skip(f"no system calls can be traced here: {reason}")
    seed = random.SystemRandom().randrange(1 << 32)
    # In a process of its own: it forks, which a process with threads must not.
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.syscalls.kill_everywhere",
            "--workloads=1",
            "--steps=6",
            "--slice",
            f"--seed={seed}",
        ],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "problems 0" in done.stdout
