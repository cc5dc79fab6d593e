"""Consumers that wait for a message: one line a queue, first come first served.

A line wakes one waiter at a time, the first. Whoever takes something and leaves more behind, or leaves the line, nudges
it again. So a message wakes one consumer, however many wait.
"""

from __future__ import annotations

import threading
from collections import deque

from storage.record import WAITING
from wonderq.errors import TooManyWaitingError
from wonderq.state import Queue

NEVER_MS = 1 << 62


class Waiter:
    """A consumer in a line."""

    __slots__ = ("due_ms", "wake")

    def __init__(self) -> None:
        self.wake = threading.Event()
        self.due_ms = NEVER_MS
        """The deadline of a claim or delay for which it will wake up by itself."""


class WaitingLines:
    """The lines of all queues. Every method is called under the broker's lock."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0
        self._lines: dict[int, deque[Waiter]] = {}

    def join(self, queue: Queue) -> Waiter:
        """Stand at the end of a queue's line; `leave` must follow.

        Raises:
            TooManyWaitingError: as many wait already as may, in all lines together.
        """
        if self._count >= self._limit:
            raise TooManyWaitingError(self._limit)
        self._count += 1
        waiter = Waiter()
        self._lines.setdefault(queue.number, deque()).append(waiter)
        self._look_ahead(queue, waiter)
        return waiter

    def rejoin(self, queue: Queue, waiter: Waiter) -> None:
        """Go on waiting after a wake-up that brought nothing: at the front for one who was taken out of the line."""
        waiter.wake.clear()
        line = self._lines.setdefault(queue.number, deque())
        if waiter not in line:
            line.appendleft(waiter)
        self._look_ahead(queue, waiter)

    def _look_ahead(self, queue: Queue, waiter: Waiter) -> None:
        """Only the first in line wakes up by itself when a claim or delay ends."""
        due_ms = queue.messages.next_due_ms()
        first = self._lines[queue.number][0] is waiter
        waiter.due_ms = due_ms if first and due_ms is not None else NEVER_MS

    def nudge(self, queue: Queue) -> None:
        """Wake the first in line if there is a message for it, or a deadline it does not know of."""
        line = self._lines.get(queue.number)
        if line:
            due_ms = queue.messages.next_due_ms()
            if queue.messages.counts[WAITING] or (due_ms is not None and due_ms < line[0].due_ms):
                line.popleft().wake.set()

    def leave(self, waiter: Waiter, queue: Queue | None) -> None:
        """Stop waiting. ``queue`` is None if it was deleted meanwhile."""
        self._count -= 1
        if queue is None:
            return
        line = self._lines.get(queue.number)
        if line is not None:
            if waiter in line:
                line.remove(waiter)
            if not line:
                del self._lines[queue.number]
        self.nudge(queue)

    def dissolve(self, queue: Queue) -> None:
        """Wake everyone in the line of a queue that is gone."""
        for waiter in self._lines.pop(queue.number, ()):
            waiter.wake.set()

    def wake_all(self) -> None:
        for line in self._lines.values():
            while line:
                line.popleft().wake.set()
