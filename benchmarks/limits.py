"""Upper limits of the machine, to compare with the results of WonderQ."""

from __future__ import annotations

import os
import time
from pathlib import Path


def write_and_sync_s(path: Path, sizes: list[int]) -> float:
    """Write and fdatasync blocks of the given sizes, in a preallocated file; return the elapsed seconds."""
    data = os.urandom(max(sizes))
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        os.posix_fallocate(fd, 0, sum(sizes))
        os.fsync(fd)
        at = 0
        began = time.perf_counter()
        for size in sizes:
            at += os.pwrite(fd, memoryview(data)[:size], at)
            os.fdatasync(fd)
        return time.perf_counter() - began
    finally:
        os.close(fd)
        path.unlink()
