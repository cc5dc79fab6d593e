"""Measures how much Python a call runs at a time: in one hold of the broker's lock, and in one turn of a fiber."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

import pytest

from tests.support.turns import Turns
from wonderq.broker.broker import Broker

T = TypeVar("T")


class _CountingLock:
    """A lock that notes how many lines ran in the hold with most of them."""

    def __init__(self, effort: Effort) -> None:
        self._lock = threading.Lock()
        self._effort = effort
        self._from = 0

    def acquire(self) -> bool:
        taken = self._lock.acquire()
        self._from = self._effort.lines
        return taken

    def release(self) -> None:
        self._effort.in_a_hold = max(self._effort.in_a_hold, self._effort.lines - self._from)
        self._lock.release()

    def locked(self) -> bool:
        return self._lock.locked()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class Effort:
    """Counts the lines of Python that calls run. Each pass of a loop counts, also of a comprehension."""

    def __init__(self, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lines = 0
        self.in_a_hold = 0
        """Most lines in one hold of the broker's lock."""
        self._turns = Turns(monkeypatch)
        lock = _CountingLock(self)
        monkeypatch.setattr(broker.core, "lock", lock)
        monkeypatch.setattr(broker.core.transaction, "_lock", lock)

    @property
    def in_a_turn(self) -> int:
        """Most lines in one turn of a fiber."""
        return max(self._turns.counts)

    def of(self, call: Callable[[], T]) -> T:
        """Make a call on a fiber, and count its lines; return its result."""

        def count(_frame: FrameType, event: str, _argument: Any) -> Any:
            if event == "line":
                self.lines += 1
                self._turns.counts[-1] += 1
            return count

        def traced() -> T:
            before = sys.gettrace()
            sys.settrace(count)
            try:
                return call()
            finally:
                sys.settrace(before)

        return self._turns.run(traced)
