"""Consumers that wait for a message: one line a queue, first come first served.

A line wakes the first waiter that sleeps, and no more of them than there are messages. Whoever leaves the line nudges it
again. So a message wakes one consumer, however many wait, and a waiter keeps its place until it leaves.
"""

from __future__ import annotations

from collections import deque

from wonderq.model.errors import TooManyWaitingError
from wonderq.model.limits import UNLIMITED
from wonderq.model.status import CLAIMED, WAITING
from wonderq.runtime.fibers import Event
from wonderq.state.state import Queue

NEVER_MS = 1 << 62


class Waiter:
    """A consumer in a line."""

    __slots__ = ("due_ms", "wake")

    def __init__(self) -> None:
        self.wake = Event()
        self.due_ms = NEVER_MS
        """The deadline of a claim or delay for which it will wake up by itself."""


class ConsumerQueues:
    """The lines of all queues. Every method is called under the broker's lock."""

    def __init__(self, limit: int, in_flight: int = UNLIMITED) -> None:
        """At most ``limit`` wait at once; ``in_flight`` messages of a queue may be claimed, so nobody is woken for more."""
        self._limit = limit
        self._in_flight = in_flight
        self._count = 0
        self._lines: dict[int, deque[Waiter]] = {}

    def __len__(self) -> int:
        """How many wait, in all lines together."""
        return self._count

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
        """Go on waiting after a wake-up that brought nothing."""
        waiter.wake.clear()
        line = self._lines.setdefault(queue.number, deque())
        if waiter not in line:  # its queue was dropped, and one of the same name made
            line.append(waiter)
        self._look_ahead(queue, waiter)

    def _look_ahead(self, queue: Queue, waiter: Waiter) -> None:
        """Only the first in line wakes up by itself when a claim or delay ends."""
        due_ms = queue.messages.next_due_ms()
        first = self._lines[queue.number][0] is waiter
        waiter.due_ms = due_ms if first and due_ms is not None else NEVER_MS

    def notify(self, queue: Queue) -> None:
        """Wake whom a waiting message is for, and the first in line for a deadline it does not know of."""
        line = self._lines.get(queue.number)
        if not line:
            return
        due_ms = queue.messages.next_due_ms()
        if due_ms is not None and due_ms < line[0].due_ms:
            line[0].wake.set()
        counts = queue.messages.counts
        waiting = min(counts[WAITING], self._in_flight - counts[CLAIMED])
        for waiter in line:
            if waiting <= 0:
                return
            if not waiter.wake.is_set():
                waiter.wake.set()
                return
            waiting -= 1  # this one is awake, and will take it

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
        self.notify(queue)

    def dissolve(self, queue: Queue) -> None:
        """Wake everyone in the line of a queue that is gone."""
        for waiter in self._lines.pop(queue.number, ()):
            waiter.wake.set()

    def wake_all(self) -> None:
        for line in self._lines.values():
            for waiter in line:
                waiter.wake.set()
