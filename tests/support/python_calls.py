"""The work of code, counted in its calls of Python functions. It depends on no machine."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


def calls_of(work: Callable[[], object]) -> int:
    """Do some work; return the number of calls of Python functions that it takes."""
    count = 0

    def see(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(see)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def calls_in_holds(lock: threading.Lock, work: Callable[[], object]) -> list[int]:
    """Do some work; return the number of calls of functions, also of built-in ones, in each hold of a lock by it."""
    counts = [0]

    def see(_frame: FrameType, event: str, _argument: Any) -> None:
        if not lock.locked():
            if counts[-1]:
                counts.append(0)
        elif event in ("call", "c_call"):
            counts[-1] += 1

    sys.setprofile(see)
    try:
        work()
    finally:
        sys.setprofile(None)
    return counts
