"""Where a thread waits for another one."""

from __future__ import annotations

import threading


class Gate:
    """Where one thread waits until another one, or a signal handler, lets it go on.

    It is a bare lock. An Event, which is made of several Python objects, took a fifth of the time of a send. It also
    has a lock of its own, which a thread that is about to wait may hold just when a signal handler in it sets the
    Event.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def wait(self, timeout_s: float) -> bool:
        """Wait until `open` is called; return whether it was in time."""
        return self._lock.acquire(timeout=timeout_s)

    def open(self) -> None:
        """End the wait, or the next one. Any thread or signal handler may do this repeatedly."""
        try:
            self._lock.release()
        except RuntimeError:
            return  # it is open already
