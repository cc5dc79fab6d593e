"""Time as the worker sees it. Tests put a clock here that they move."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol


class Time(Protocol):
    """A clock, and waits that end by it."""

    def now_s(self) -> float:
        """Return seconds since any fixed moment."""

    def wait(self, condition: threading.Condition, until: Callable[[], bool], timeout_s: float | None) -> bool:
        """Wait under a condition until ``until`` returns True or the time has passed; return its last value."""


class MonotonicTime:
    """The system's monotonic clock."""

    def now_s(self) -> float:
        return time.monotonic()

    def wait(self, condition: threading.Condition, until: Callable[[], bool], timeout_s: float | None) -> bool:
        return condition.wait_for(until, timeout_s)
