"""Process 1 of a container: the system drops each signal that it has no handler for."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

_UNSHARE = ["unshare", "--pid", "--fork", "--kill-child"]


def as_process_1(command: list[str]) -> list[str]:
    """Return the command that runs another one as process 1, or skip the test. It ends with the same exit code."""
    if (
        shutil.which("unshare") is None
        or subprocess.run([*_UNSHARE, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no namespace of processes can be made here")
    return [*_UNSHARE, *command]


def pid_of_process_1(pid: int) -> int:
    """Return the number, outside of the container, of the process 1 that the process ``pid`` runs."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii"))
