"""Clients at all nodes while shards move in every way: nothing acknowledged is lost, stored twice, or comes back."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator

import pytest

from tests.support.edge_cluster import EdgeCluster, edge_cluster
from tests.support.nats_servers import NatsCluster, needs_nats
from tests.support.waiting import PATIENCE_S, eventually
from wonderq import Client, NotFound, WonderQError

pytestmark = [pytest.mark.slow, needs_nats]

MOVES = 40
LEASE_S = 5
NAMES = ("a", "b", "c")


@pytest.fixture
def cluster(nats: NatsCluster) -> Iterator[EdgeCluster]:
    with edge_cluster(nats.url, NAMES) as found:
        yield found


class Traffic:
    """Clients, each of which knows the addresses of all nodes, and what they were told."""

    def __init__(self, cluster: EdgeCluster) -> None:
        self.cluster = cluster
        self.queues = [cluster.queue_of(shard, stem) for shard in range(cluster.count) for stem in ("x", "y")]
        self.stopping = threading.Event()
        self.drained = threading.Event()
        self.acknowledged: set[str] = set()
        self.received: defaultdict[str, set[str]] = defaultdict(set)
        """Ids by body."""
        self.deleted: set[str] = set()
        self.errors: list[WonderQError] = []
        acts = [(self.send, number) for number in range(3)] + [(self.receive, number) for number in range(3)]
        self._threads = [threading.Thread(target=self._run, args=each) for each in acts]
        for thread in self._threads:
            thread.start()

    def _run(self, act: Callable[[Client, str, str], None], number: int) -> None:
        urls = [node.url for node in self.cluster.nodes.values()]
        with Client(urls, retries=50, timeout=PATIENCE_S) as client:
            count = 0
            while not (self.stopping.is_set() and (act == self.send or self.drained.is_set())):
                try:
                    act(client, self.queues[count % len(self.queues)], f"{number}-{count}")
                except NotFound:
                    pass  # nothing was sent to this queue yet
                except WonderQError as error:
                    self.errors.append(error)
                count += 1

    def send(self, client: Client, queue: str, body: str) -> None:
        client.queue(queue).send(body)
        self.acknowledged.add(body)

    def receive(self, client: Client, queue: str, _: str) -> None:
        # A claim whose response was lost comes again after its lease.
        for message in client.queue(queue).receive(5, wait=0.2, lease=LEASE_S):
            body = str(message.body)
            self.received[body].add(message.id)
            message.delete()
            self.deleted.add(body)

    def finish(self) -> None:
        self.stopping.set()
        for thread in self._threads[:3]:
            thread.join(PATIENCE_S)
        eventually(lambda: self.acknowledged <= self.received.keys(), "all acknowledged messages to be received")
        self.drained.set()
        for thread in self._threads[3:]:
            thread.join(PATIENCE_S)


def hand_over(cluster: EdgeCluster, shard: int, to: str) -> None:
    cluster.give(shard, to)


def take_over(cluster: EdgeCluster, shard: int, to: str) -> None:
    """Another node takes the shard from a living owner, which learns of it only when it stores something next."""
    former = next(each for each in cluster.nodes.values() if shard in each.shards.brokers)
    broker = former.shards.brokers[shard]
    cluster.open(shard, to)
    if former.name == to:
        cluster.hear(shard, to)
        return
    cluster.hear(shard, to)
    broker.core.log.confirm()
    eventually(lambda: _has_noticed(broker.core.log), "the former owner to notice")
    del former.shards.brokers[shard]
    cluster.hear(shard, to)


def _has_noticed(log: object) -> bool:
    try:
        log.sync()  # type: ignore[attr-defined]
    except Exception:
        return True
    return False


def leave_a_gap(cluster: EdgeCluster, shard: int, to: str) -> None:
    """Nobody owns the shard for some time."""
    for each in cluster.nodes.values():
        each.shards.brokers.pop(shard, None)
    cluster.hear(shard, None)
    time.sleep(0.3)
    cluster.open(shard, to)
    cluster.hear(shard, to)


def hear_of_a_ghost(cluster: EdgeCluster, shard: int, to: str) -> None:
    """The nodes believe for some time that a node owns the shard which has died, or which does not."""
    for each in cluster.nodes.values():
        each.shards.hear(shard, random.choice(["ghost", *NAMES]))
    time.sleep(0.1)
    cluster.give(shard, to)


def test_shards_that_move_under_load(cluster: EdgeCluster) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    dice = random.Random(seed)
    traffic = Traffic(cluster)
    try:
        for _ in range(MOVES):
            move = dice.choice([hand_over, take_over, leave_a_gap, hear_of_a_ghost])
            move(cluster, dice.randrange(cluster.count), dice.choice(NAMES))
            before = len(traffic.acknowledged)
            eventually(lambda before=before: len(traffic.acknowledged) > before + 5, "traffic")  # type: ignore[misc]
    finally:
        traffic.finish()
    assert traffic.errors == []
    assert traffic.acknowledged - traffic.received.keys() == set(), "acknowledged, and lost"
    assert [body for body, ids in traffic.received.items() if len(ids) > 1] == [], "stored twice"
    for queue in traffic.queues:
        left = cluster.nodes["a"]("GET", f"/queues/{queue}/dev/messages").json
        bodies = [each["message"] for each in left]
        assert traffic.deleted.isdisjoint(bodies), "deleted, and there again"
