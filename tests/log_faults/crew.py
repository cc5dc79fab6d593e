"""The clients of one owner: those of the crash suite, one that repeats keys, and one that reads beside the writers."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.support.history.calls import ABANDONED, DISK_FULL, LOG_LOST, Call, Consume, Listing, Outcome, Produce
from tests.support.history.recording import RecordingClient
from tests.support.kill_cycles import Traffic
from tests.support.queue_client import QueueClient
from tests.support.worker import QUEUES, Load, Worker, work
from wonderq.client.errors import Refused, Unreachable

#: A call outlives an election, and the freeze of an owner.
TIMEOUT_S = 100.0

PRODUCERS, CONSUMERS = 2, 3
_BODY_BYTES = 8000


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

    All attempts are recorded as one produce, so the checker reports messages that are there twice.
    """

    def __init__(self, name: str, chance: random.Random) -> None:
        self.calls: list[Call] = []
        self.problems: list[str] = []
        self._repeated = 0
        self._name = name
        self._chance = chance
        self._pending: _Keyed | None = None
        self._sent: list[_Keyed] = []

    def work(self, url: str, done: threading.Event, failures: list[BaseException]) -> None:
        """Send until ``done`` is set or the connection is lost."""
        try:
            clients = {queue: QueueClient(url, queue=queue, timeout=TIMEOUT_S) for queue in QUEUES}
            while not done.is_set() and self.send(clients):
                done.wait(0.01)
            for each in clients.values():
                each.close()
        except Exception as error:
            failures.append(error)

    def settle(self, url: str) -> None:
        """Send the batch that is not acknowledged yet."""
        clients = {queue: QueueClient(url, queue=queue, timeout=TIMEOUT_S) for queue in QUEUES}
        while self._pending is not None and self.send(clients):
            pass
        for each in clients.values():
            each.close()

    def send(self, clients: dict[str, QueueClient]) -> bool:
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
        return _Keyed(self._chance.choice(QUEUES), f"{self._name}-{number}", bodies, time.monotonic())

    def _repeat(self, clients: dict[str, QueueClient], batch: _Keyed) -> bool:
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


def _send(clients: dict[str, QueueClient], batch: _Keyed) -> tuple[str, ...]:
    return tuple(clients[batch.queue].produce_batch(batch.bodies, idempotency_key=batch.key))


class Crew:
    """Clients that work on one owner after another, and keep their receipts and keys."""

    def __init__(self, name: str, chance: random.Random) -> None:
        self.workers = [
            Worker(f"{name}.{number}", random.Random(chance.random()), _BODY_BYTES)
            for number in range(PRODUCERS + CONSUMERS)
        ]
        self.keyed = KeyedProducer(f"{name}.keyed", random.Random(chance.random()))
        self._chance = random.Random(chance.random())
        self.is_idle = True

    def begin(self, url: str, queues: Sequence[str]) -> Traffic:
        """Let all clients work on an owner."""
        self.is_idle = False
        traffic = Traffic()
        for number, worker in enumerate(self.workers):
            mine = {queue: RecordingClient(url, queue, timeout_s=TIMEOUT_S) for queue in queues}
            traffic.add(
                mine.values(), work, worker, mine, traffic.done, traffic.failures, number < PRODUCERS, Load.BUSY
            )
        traffic.add([], self.keyed.work, url, traffic.done, traffic.failures)
        readers = [RecordingClient(url, queue, timeout_s=TIMEOUT_S) for queue in queues]
        traffic.add(readers, self._read, readers, traffic.done, traffic.failures)
        return traffic

    def _read(self, clients: Sequence[RecordingClient], done: threading.Event, failures: list[BaseException]) -> None:
        try:
            while not done.is_set() and not any(each.lost for each in clients):
                self._chance.choice(clients).list_all()
                done.wait(self._chance.uniform(0.05, 0.3))
        except Exception as error:
            failures.append(error)


def acknowledged(traffic: Traffic) -> int:
    """Return how many calls that changed something were answered with success so far."""
    return sum(_changed(call) for client in traffic.clients for call in list(client.calls))


def _changed(call: Call) -> bool:
    if isinstance(call, Consume):
        return bool(call.deliveries)
    return call.happened and not isinstance(call, Listing)


def knows_that_it_is_lost(traffic: Traffic) -> bool:
    """Return whether the owner has refused one of the last calls because another one has the log."""
    return _was_refused(traffic, LOG_LOST)


def knows_that_it_is_full(traffic: Traffic) -> bool:
    """Return whether the owner has refused one of the last calls because the stream is full."""
    return _was_refused(traffic, DISK_FULL)


def _was_refused(traffic: Traffic, code: str) -> bool:
    return any(call.code == code for client in traffic.clients for call in client.calls[-20:])
