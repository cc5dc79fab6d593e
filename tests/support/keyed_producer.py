"""A client that sends batches with idempotency keys until they are acknowledged, and repeats some of them later."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.support.history.calls import ABANDONED, Call, Outcome, Produce
from tests.support.queue_client import QueueClient
from tests.support.worker import QUEUES
from wonderq.client.errors import Refused, Unreachable

_PAUSE_S = 0.01


@dataclass(slots=True)
class _Keyed:
    """A batch with an idempotency key, which is sent until it is acknowledged."""

    queue: str
    key: str
    bodies: tuple[str, ...]
    start_s: float
    ids: tuple[str, ...] = ()


class KeyedProducer:
    """Sends batches with keys. It repeats what was not acknowledged, and now and then what was.

    All attempts are recorded as one produce, so the checker reports messages that are there twice. ``make`` gives a client
    of a queue at an address.
    """

    def __init__(
        self,
        name: str,
        chance: random.Random,
        make: Callable[[str, str], QueueClient],
        *,
        queues: Sequence[str] = QUEUES,
        pause_s: float = _PAUSE_S,
    ) -> None:
        self.calls: list[Call] = []
        self.problems: list[str] = []
        self._make = make
        self._queues = queues
        self._pause_s = pause_s
        self._repeated = 0
        self._name = name
        self._chance = chance
        self._pending: _Keyed | None = None
        self._sent: list[_Keyed] = []

    def work(self, url: str, done: threading.Event, failures: list[BaseException]) -> None:
        """Send until ``done`` is set or the connection is lost."""
        try:
            clients = self._clients(url)
            while not done.is_set() and self.send(clients):
                done.wait(self._pause_s)
            for each in clients.values():
                each.close()
        except Exception as error:
            failures.append(error)

    def settle(self, url: str) -> None:
        """Send the batch that is not acknowledged yet."""
        clients = self._clients(url)
        while self._pending is not None and self.send(clients):
            pass
        for each in clients.values():
            each.close()

    def _clients(self, url: str) -> dict[str, QueueClient]:
        return {queue: self._make(url, queue) for queue in self._queues}

    def send(self, clients: Mapping[str, QueueClient]) -> bool:
        """Make one attempt; return False if there was no answer."""
        if self._pending is None and self._sent and self._chance.random() < 0.2:
            return self._repeat(clients, self._chance.choice(self._sent))
        if self._pending is None:
            self._pending = self._new()
        batch = self._pending
        try:
            batch.ids = _send(clients, batch)
        except Refused:
            return True  # to be repeated: an attempt before this one may have happened
        except Unreachable:
            return False
        self._pending = None
        self._sent = [*self._sent[-50:], batch]
        self.calls.append(_produce(batch))
        return True

    def _new(self) -> _Keyed:
        number = len(self.calls)
        count = self._chance.choice((1, 2, 5))
        bodies = tuple(f"{self._name}-{number}.{each}" for each in range(count))
        return _Keyed(self._chance.choice(self._queues), f"{self._name}-{number}", bodies, time.monotonic())

    def _repeat(self, clients: Mapping[str, QueueClient], batch: _Keyed) -> bool:
        try:
            ids = _send(clients, batch)
        except Refused:
            return True
        except Unreachable:
            return False
        self._repeated += 1
        if ids != batch.ids:
            self.problems.append(f"the key {batch.key} made {ids}, and before {batch.ids}")
        return True

    def left(self) -> list[Call]:
        """Return the batch of which nobody knows whether it was appended; it will be sent again."""
        if self._pending is None:
            return []
        return [_produce(self._pending, outcome=Outcome.UNKNOWN, code=ABANDONED)]

    def take_repeated(self) -> int:
        """Return how many keys were sent again after their acknowledgement, since the last call."""
        repeated, self._repeated = self._repeated, 0
        return repeated


def _produce(batch: _Keyed, outcome: Outcome = Outcome.OK, code: str | None = None) -> Produce:
    return Produce(
        queue=batch.queue,
        start_s=batch.start_s,
        end_s=time.monotonic(),
        outcome=outcome,
        code=code,
        bodies=batch.bodies,
        ids=batch.ids,
    )


def _send(clients: Mapping[str, QueueClient], batch: _Keyed) -> tuple[str, ...]:
    return tuple(clients[batch.queue].produce_batch(batch.bodies, idempotency_key=batch.key))
