"""Time for which other programs kept this process from running (Linux: ``schedstat``)."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

_THREADS = Path("/proc/self/task")


def delay_s() -> float:
    """Return the time in seconds for which threads of this process have been ready to run without a processor."""
    delay_ns = 0
    for thread in _THREADS.iterdir():
        with suppress(FileNotFoundError):  # the thread has ended
            delay_ns += int((thread / "schedstat").read_bytes().split()[1])
    return delay_ns / 1e9
