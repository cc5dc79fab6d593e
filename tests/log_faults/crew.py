"""The clients of one owner: those of the crash suite, one that repeats keys, and one that reads beside the writers."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence

from tests.support.history.calls import DISK_FULL, LOG_LOST, Call, Consume, Listing
from tests.support.history.recording import RecordingClient
from tests.support.keyed_producer import KeyedProducer
from tests.support.kill_cycles import Traffic
from tests.support.queue_client import QueueClient
from tests.support.worker import Load, Worker, work

#: A call outlives an election, and the freeze of an owner.
TIMEOUT_S = 100.0

PRODUCERS, CONSUMERS = 2, 3
_BODY_BYTES = 8000


def client_of(url: str, queue: str) -> QueueClient:
    """Return a client of one owner that is patient enough."""
    return QueueClient(url, queue=queue, timeout=TIMEOUT_S)


class Crew:
    """Clients that work on one owner after another, and keep their receipts and keys."""

    def __init__(self, name: str, chance: random.Random) -> None:
        self.workers = [
            Worker(f"{name}.{number}", random.Random(chance.random()), _BODY_BYTES)
            for number in range(PRODUCERS + CONSUMERS)
        ]
        self.keyed = KeyedProducer(f"{name}.keyed", random.Random(chance.random()), client_of)
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
