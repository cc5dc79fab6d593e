"""The work of a benchmark's task: it adds a byte to a file, whose size is the number of tasks that have run.

So tasks are counted in the same way in threads, coroutines and processes.
"""

from __future__ import annotations

import os
import sys

COUNT_VARIABLE = "BENCHMARK_COUNT"
REDIS_VARIABLE = "BENCHMARK_REDIS"

_file = os.open(os.environ.get(COUNT_VARIABLE, os.devnull), os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def count() -> None:
    os.write(_file, b".")


def note(value: int) -> None:
    """Add a number of 8 bytes instead."""
    os.write(_file, value.to_bytes(8, sys.byteorder))
