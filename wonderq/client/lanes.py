"""The lanes of a client: who waits for which request."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

from wonderq.client.operations import Batcher, Kind

#: Most lanes of a kind whose operations go alone. The broker remembers a number for each for an hour.
MOST_LANES = 8

#: Queues and kinds of operation that have lanes. Beyond it, lanes without an operation go: a program may have a queue
#: for each reply.
MOST_IN_USE = 4000


class Lane(Protocol):
    """Carries out the operations of one batcher, one request at a time."""

    @property
    def load(self) -> int:
        """Number of operations that wait or are under way."""


L = TypeVar("L", bound=Lane)


class Lanes(Generic[L]):
    """Lanes by queue and kind of operation.

    Operations that share requests have one lane, in which they gather. Those that go alone would wait there for each
    other, so they have several, and take the one with the least load.
    """

    def __init__(self, make: Callable[[Batcher], L], most: int) -> None:
        """``most`` is the number of requests that the client can have under way."""
        self._make = make
        self._most = min(most, MOST_LANES)
        self._lanes: dict[tuple[str, Kind], list[L]] = {}
        self._limit = MOST_IN_USE
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[L]:
        return (lane for lanes in list(self._lanes.values()) for lane in lanes)

    def of(self, queue: str, kind: Kind) -> L:
        """Return the lane for an operation."""
        lanes = self._lanes.get((queue, kind))
        if lanes is not None:
            if not kind.goes_alone:
                return lanes[0]
            lane = min(lanes, key=lambda each: each.load)
            if not lane.load or len(lanes) == self._most:
                return lane
        with self._lock:
            lanes = self._lanes.get((queue, kind), [])
            if not lanes or (kind.goes_alone and len(lanes) < self._most):
                # A new list, since other threads read the old one without the lock.
                if len(self._lanes) >= self._limit:
                    self._drop_idle()
                lanes = self._lanes[queue, kind] = [*lanes, self._make(Batcher(queue, kind))]
            return lanes[-1]

    def _drop_idle(self) -> None:
        """Forget the lanes without an operation. One that gets an operation just now carries it out nevertheless."""
        self._lanes = {key: lanes for key, lanes in self._lanes.items() if any(each.load for each in lanes)}
        self._limit = max(MOST_IN_USE, 2 * len(self._lanes))
