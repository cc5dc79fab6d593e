"""A lock for fibers and threads, first come first served. Others run while a fiber waits for it."""

from __future__ import annotations

import threading
from collections import deque

from wonderq.runtime.fibers import Event

#: Interval at which a waiter checks its turn itself, in addition to being woken.
_CHECK_S = 1.0


class FairLock:
    """Context manager that one fiber or thread is in at a time, in the order in which they came."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._line: deque[Event] = deque()  # the first one is in

    def __enter__(self) -> None:
        turn = Event()
        with self._lock:
            self._line.append(turn)
            if self._line[0] is turn:
                turn.set()
        while not turn.is_set():
            turn.wait(_CHECK_S)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._line.popleft()
            if self._line:
                self._line[0].set()
