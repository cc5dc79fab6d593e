"""Marks for tests of something that not every system has. The reason of a skipped test names it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import ModuleType

import pytest


def needs(module: ModuleType, *names: str) -> pytest.MarkDecorator:
    """Skip a test where a module lacks one of these names."""
    missing = [f"{module.__name__}.{name}" for name in names if not hasattr(module, name)]
    return pytest.mark.skipif(bool(missing), reason=f"this system has no {' and no '.join(missing)}")


def needs_path(path: str) -> pytest.MarkDecorator:
    """Skip a test where a file of the system is missing, such as one of /proc."""
    return pytest.mark.skipif(not Path(path).exists(), reason=f"this system has no {path}")


def path_of(fd: int) -> Path:
    """Return the path of an open file or folder."""
    if hasattr(fcntl, "F_GETPATH"):  # macOS
        return Path(os.fsdecode(fcntl.fcntl(fd, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0")))
    return Path(os.readlink(f"/proc/self/fd/{fd}"))
