"""Consumers that wait for a message, in one queue of waiters per message queue, first come first served.

A consumer may wait in several queues at once.
A message wakes the first waiter that sleeps, and no more waiters than there are messages. A waiter that leaves wakes
the next. So a message wakes one consumer, however many wait, and a waiter keeps its place until it leaves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeAlias

from wonderq.model.errors import TooManyWaitingError
from wonderq.model.limits import UNLIMITED
from wonderq.model.status import CLAIMED
from wonderq.runtime.fibers import Event
from wonderq.state.state import Queue

NEVER_MS = 1 << 62


Attempt: TypeAlias = tuple[tuple[str, ...], str]
"""Queues and id of an attempt to claim, which its repetition has too."""


class Waiter:
    """A waiting consumer."""

    __slots__ = ("attempt", "due_ms", "is_replaced", "wake")

    def __init__(self, attempt: Attempt | None = None) -> None:
        self.wake = Event()
        self.attempt = attempt
        """The attempt that it makes; None for one that cannot be repeated."""
        self.is_replaced = False
        """Whether the attempt was repeated meanwhile, so that nobody reads the answer of this one."""
        self.due_ms = NEVER_MS
        """Deadline of a claim or delay at which the waiter wakes up by itself."""

    def rearm(self) -> None:
        """Prepare to sleep again."""
        self.wake.clear()
        self.due_ms = NEVER_MS


class Wake:
    """Takes the place of the event by which a `Waiter` is woken: it calls a function, from any thread."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._is_set = False

    def is_set(self) -> bool:
        """Return whether it was woken since `clear`."""
        return self._is_set

    def set(self) -> None:
        """Wake."""
        if not self._is_set:
            self._is_set = True
            self._call()

    def clear(self) -> None:
        """Prepare to be woken again."""
        self._is_set = False


class CallingWaiter(Waiter):
    """The place of work in the background among the consumers of a queue: ``call`` is called when it is woken."""

    __slots__ = ()

    def __init__(self, call: Callable[[], None]) -> None:
        super().__init__()
        self.wake = Wake(call)  # type: ignore[assignment] # it has the methods that others use
        self.due_ms = NEVER_MS


class ConsumerQueues:
    """Waiters of all queues. Call every method under the broker's lock."""

    def __init__(self, limit: int, in_flight: int = UNLIMITED) -> None:
        """Create empty queues of waiters.

        ``limit`` is the most waiters of all queues. ``in_flight`` is the most claimed messages of a queue, at which
        no message wakes a waiter.
        """
        self._limit = limit
        self._in_flight = in_flight
        self._count = 0
        self._waiters: dict[int, deque[Waiter]] = {}
        self._attempts: dict[Attempt, Waiter] = {}

    def __len__(self) -> int:
        """Return the number of waiters of all queues."""
        return self._count

    def waiting_for(self, queue: Queue) -> int:
        """Return the number of waiters of one queue."""
        return len(self._waiters.get(queue.number, ()))

    def replace(self, attempt: Attempt) -> None:
        """Wake the waiter that makes this attempt, if there is one: it was repeated."""
        waiter = self._attempts.pop(attempt, None)
        if waiter is not None:
            waiter.is_replaced = True
            waiter.wake.set()

    def register(self, attempt: Attempt | None = None) -> Waiter:
        """Return a new waiter, which waits nowhere yet. Pair every `register` with a `leave`.

        Raises:
            TooManyWaitingError: as many consumers wait as may wait.
        """
        if self._count >= self._limit:
            raise TooManyWaitingError(self._limit)
        self._count += 1
        waiter = Waiter(attempt)
        if attempt is not None:
            self._attempts[attempt] = waiter
        return waiter

    def join(self, queue: Queue, waiter: Waiter) -> None:
        """Wait at the back of a queue, or keep the place in it.

        The first waiter wakes up by itself at the next deadline of the queue.
        """
        waiters = self._waiters.setdefault(queue.number, deque())
        if waiter not in waiters:
            waiters.append(waiter)
        due_ms = queue.messages.next_due_ms()
        if waiters[0] is waiter and due_ms is not None:
            waiter.due_ms = min(waiter.due_ms, due_ms)

    def notify(self, queue: Queue) -> None:
        """Wake a waiter for an available message, and the first waiter for an earlier deadline than it knows."""
        waiters = self._waiters.get(queue.number)
        if not waiters:
            return
        due_ms = queue.messages.next_due_ms()
        if due_ms is not None and due_ms < waiters[0].due_ms:
            waiters[0].wake.set()
        messages = queue.messages
        waiting = min(messages.available, self._in_flight - messages.counts[CLAIMED])
        for waiter in waiters:
            if waiting <= 0:
                return
            if not waiter.wake.is_set():
                waiter.wake.set()
                return
            waiting -= 1  # this waiter is awake, and will claim it

    def leave(self, waiter: Waiter, queues: Iterable[Queue | None]) -> None:
        """Remove a waiter from its queues. A queue is None if it was deleted meanwhile."""
        self._count -= 1
        if waiter.attempt is not None and self._attempts.get(waiter.attempt) is waiter:
            del self._attempts[waiter.attempt]
        for queue in queues:
            if queue is not None:
                self.withdraw(waiter, queue)

    def withdraw(self, waiter: Waiter, queue: Queue) -> None:
        """Remove a waiter from one queue."""
        waiters = self._waiters.get(queue.number)
        if waiters is not None:
            if waiter in waiters:
                waiters.remove(waiter)
            if not waiters:
                del self._waiters[queue.number]
        self.notify(queue)

    def dissolve(self, queue: Queue) -> None:
        """Wake all waiters of a deleted queue."""
        for waiter in self._waiters.pop(queue.number, ()):
            waiter.wake.set()

    def wake_all(self) -> None:
        """Wake all waiters of all queues."""
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.wake.set()
