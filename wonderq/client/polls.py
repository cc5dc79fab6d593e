"""Ending a call that waits, from another thread or task."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class PollCancelled(Exception):  # noqa: N818 - never leaves the client
    """The poll of this request was cancelled."""


class Poll:
    """Handle of a call that waits for messages: give it to ``receive`` or ``next``, and any thread or task can end it.

    A cancelled call returns soon, with the messages that the broker had already claimed for it: mostly none, but treat
    them as any others. A poll is for one call at a time. A call with a poll that was cancelled before does not wait.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal handler may cancel while its own thread is in here
        self._is_cancelled = False
        self._interrupt: Callable[[], None] | None = None

    @property
    def is_cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._is_cancelled

    def cancel(self) -> None:
        """End the call. Any thread may do this, at any time and repeatedly."""
        with self._lock:
            self._is_cancelled = True
            if self._interrupt is not None:
                self._interrupt()

    @contextmanager
    def interrupted_by(self, interrupt: Callable[[], None]) -> Iterator[None]:
        """Have `cancel` call a function, from its own thread, while the block runs.

        Raises:
            PollCancelled: the poll is cancelled already.
        """
        with self._lock:
            if self._is_cancelled:
                raise PollCancelled
            self._interrupt = interrupt
        try:
            yield
        finally:
            with self._lock:
                self._interrupt = None
