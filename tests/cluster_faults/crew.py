"""The clients of a cluster: those of the crash suite, ones that repeat keys, and one that reads beside the writers.

All of them send each request to any node.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count

from tests.support.any_node import AnyNodeClient
from tests.support.history.calls import Call
from tests.support.history.recording import RecordingClient
from tests.support.keyed_producer import KeyedProducer
from tests.support.kill_cycles import Traffic
from tests.support.worker import Load, Names, Worker, work
from wonderq.client.errors import NotFound, Refused, Unreachable

#: With six shards, `default`, `orders` with its dead letters, `jobs`, and the topic are in four shards, so dead letters and
#: publishes cross. Each family is in another one.
SHARDS = 6
CROSSING = Names(together=False)
LOADS = (CROSSING, Names.of_family("f0"), Names.of_family("f4"))

#: A queue in the shard of the topic. Nobody consumes from it, so it has all that was acknowledged.
KEPT = "f2--kept"

QUEUES = (*(queue for names in LOADS for queue in names.all), KEPT)

#: One queue of each shard, in which every produce shows for how long the shard was away.
PROBED = ("f0--orders", "default", "orders", "jobs", KEPT, "f4--orders")

PRODUCERS, CONSUMERS = 1, 2

#: Clients that publish together so often that messages cross at any moment.
_PUBLISHERS = 3

#: A call outlives an election, and the freeze of a node.
_TIMEOUT_S = 60.0

#: A produce with a key is repeated at another node after this time.
_KEYED_TIMEOUT_S = 2.0
_KEYED_PAUSE_S = 0.1

_BODY_BYTES = 8000


def keyed_client(url: str, queue: str) -> AnyNodeClient:
    """Return a client for produces with keys."""
    return AnyNodeClient(url, queue=queue, timeout=_KEYED_TIMEOUT_S)


class Crew:
    """Clients that keep their receipts and keys from one fault to the next."""

    def __init__(self, name: str, chance: random.Random) -> None:
        self.problems: list[str] = []
        """Violations that the reader has seen."""
        self.reads = 0
        self._name = name
        self._publishes = count()
        self._chance = random.Random(chance.random())
        self._workers = [
            Worker(f"{name}.{at}.{number}", random.Random(chance.random()), _BODY_BYTES, names=names)
            for at, names in enumerate(LOADS)
            for number in range(PRODUCERS + CONSUMERS)
        ]
        self.keyed = [
            KeyedProducer(
                f"{name}.keyed{at}",
                random.Random(chance.random()),
                keyed_client,
                queues=[queue],
                pause_s=_KEYED_PAUSE_S,
            )
            for at, queue in enumerate(PROBED)
        ]

    def begin(self, url: str) -> Traffic:
        """Let all clients work; ``url`` has the addresses of all nodes."""
        traffic = Traffic()
        for number, worker in enumerate(self._workers):
            mine = {queue: _recording(url, queue) for queue in worker.names.all}
            produces = number % (PRODUCERS + CONSUMERS) < PRODUCERS
            traffic.add(mine.values(), work, worker, mine, traffic.done, traffic.failures, produces, Load.BUSY)
        for keyed in self.keyed:
            traffic.add([], keyed.work, url, traffic.done, traffic.failures)
        readers = [_recording(url, queue) for queue in QUEUES]
        traffic.add(readers, self._read, readers, traffic.done, traffic.failures)
        return traffic

    @contextmanager
    def publishing(self, traffic: Traffic, url: str) -> Iterator[None]:
        """Publish one message after the other to queues of other shards until the end of the block."""
        done = threading.Event()
        for _ in range(_PUBLISHERS):
            client = _recording(url, CROSSING.queues[0])
            traffic.add([client], self._publish, client, done, traffic.failures)
        try:
            yield
        finally:
            done.set()

    def _publish(self, client: RecordingClient, done: threading.Event, failures: list[BaseException]) -> None:
        try:
            while not done.is_set():
                key = f"{self._name}.crossing-{next(self._publishes)}"
                client.publish(CROSSING.topic, [f"{key}."], key, CROSSING.queues)
        except Exception as error:
            failures.append(error)

    @property
    def keyed_calls(self) -> list[Call]:
        """All produces with keys, also those that are to be sent again."""
        return [call for keyed in self.keyed for call in (*keyed.calls, *keyed.left())]

    def longest_s(self, since_s: float, until_s: float) -> float:
        """Return the longest time that a produce with a key took, with its repetitions, of those in an interval."""
        calls = [each for each in self.keyed_calls if each.end_s > since_s and each.start_s < until_s]
        return max((each.end_s - max(each.start_s, since_s) for each in calls), default=0.0)

    def _read(self, clients: Sequence[RecordingClient], done: threading.Event, failures: list[BaseException]) -> None:
        """List a queue, list all queues, count, and look at a message."""
        try:
            while not done.is_set() and not any(each.lost for each in clients):
                self._chance.choice(clients).list_all()
                self._look(clients[-1])
                self.reads += 1
                done.wait(self._chance.uniform(0.05, 0.3))
        except Exception as error:
            failures.append(error)

    def _look(self, kept: RecordingClient) -> None:
        """Read what only grows, so that an answer from the past or in part is found."""
        ids = [each for call in list(self.keyed[PROBED.index(KEPT)].calls) for each in getattr(call, "ids", ())]
        try:
            kind = self._chance.random()
            if kind < 0.3:
                names = {each["queue"] for each in kept.client.queues()}
                if missing := set(QUEUES) - names:
                    self.problems.append(f"the list of all queues is without {sorted(missing)}")
            elif kind < 0.6:
                count = kept.client.count("unprocessed")
                if count < len(ids):
                    self.problems.append(f"{KEPT} was said to have {count} messages, and {len(ids)} were acknowledged")
            elif ids:
                chosen = ids[-1] if self._chance.random() < 0.5 else self._chance.choice(ids)
                if kept.client.get(chosen)["status"] != "unprocessed":
                    self.problems.append(f"{chosen} is not waiting, and nobody has claimed it")
        except NotFound as error:
            self.problems.append(f"what was acknowledged was not found: {error}")
        except (Refused, Unreachable):
            pass  # no answer is none from the past


def _recording(url: str, queue: str) -> RecordingClient:
    return RecordingClient(url, queue, timeout_s=_TIMEOUT_S, make=AnyNodeClient)
