"""A node of a cluster whose other nodes and logs a test plays."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import NamedTuple, cast

from prometheus_client import CollectorRegistry, generate_latest

from tests.support.memory_log import MemoryLog
from tests.support.memory_values import MemoryValues
from tests.support.scripted_peers import LOG_ID
from tests.support.shared_memory_log import SharedMemoryLog
from tests.support.waiting import eventually
from wonderq.broker.broker import Broker
from wonderq.cluster.announcements import Announcement, OfShard, Role, State, decode
from wonderq.cluster.charter import Charter
from wonderq.cluster.forwarding import Forwarder
from wonderq.cluster.forwarding_metrics import ForwardingCollector
from wonderq.cluster.metrics import NodeCollector
from wonderq.cluster.node import Node
from wonderq.cluster.shard import OwnedShard, Shard
from wonderq.metrics import BrokerCollector
from wonderq_storage import Reached

COUNT = 4


class Seen(NamedTuple):
    replicas: int = 3
    replicas_current: int = 2


class PlayedPeers:
    """The other nodes of the cluster."""

    def __init__(self) -> None:
        self.connected_s = 100.0
        self.seen: Seen | None = Seen()
        self.urls: dict[str, str] = {}
        self.announced: list[Announcement] = []
        self._callback: Callable[[bytes], None] = lambda _: None

    def listen(self, callback: Callable[[bytes], None]) -> None:
        self._callback = callback

    def announce(self, data: bytes) -> None:
        found = decode(data)
        assert found is not None
        self.announced.append(found)

    def look(self, _shard: int) -> Seen | None:
        return self.seen

    def say(
        self,
        node: str,
        *roles: tuple[int, Role, int],
        state: State = "able",
        ahead_ms: int = 0,
        warm: tuple[int, ...] = (),
        heard: tuple[str, ...] = ("a",),
        sequence: int = 5,
        figures: tuple[int, ...] = (),
    ) -> None:
        """Let another node announce (shard, role, epoch) and which nodes it hears.

        ``sequence`` and ``figures`` are those of each shard.
        """
        shards = {shard: OfShard(role, epoch, LOG_ID.hex(), sequence, *figures) for shard, role, epoch in roles}
        time_ms = time.time_ns() // 1_000_000 + ahead_ms
        said = Announcement(
            node,
            f"token of {node}",
            state,
            "1",
            self.urls.get(node, f"http://{node}:1"),
            time_ms,
            None,
            list(warm),
            shards,
            dict.fromkeys(heard, 0),
            {},
        )
        self._callback(said.encode())


class PlayedNode:
    """The node ``a``, and what it runs on."""

    def __init__(self, count: int = COUNT, url: str = "http://a:1") -> None:
        self.peers = PlayedPeers()
        self.values = MemoryValues()
        self.logs = [MemoryLog(shared=True) for _ in range(count)]
        self.epochs = [0] * count
        self.errors: dict[int, list[Exception]] = {}
        """Errors of the next attempts to read a shard."""
        self.node = Node("a", Charter("0" * 16, count, 3), self.peers, self.values, self.own, url=url, version="1")
        self.peers.listen(self.node._hear)  # what the others say before the start counts, however slow the machine is

    @contextmanager
    def own(self, shard: Shard) -> Iterator[OwnedShard]:
        number = shard.number
        if self.errors.get(number):
            raise self.errors[number].pop(0)
        sequence: int | None = 0
        while sequence is not None:
            sequence = shard.wait(Reached(LOG_ID, self.epochs[number], sequence))
        self.epochs[number] = max(self.epochs[number], self.node._roster.newest_epoch[number]) + 1
        shard.claimed(self.epochs[number])
        self.logs[number] = self.logs[number].opened_again() if shard.takeovers else self.logs[number]
        log = SharedMemoryLog(self.logs[number], self.epochs[number])
        broker = Broker(log)
        try:
            yield OwnedShard(broker, log, [BrokerCollector(broker)])
        finally:
            broker.close()

    @property
    def phases(self) -> list[str]:
        """The phases of all shards; ``changing`` until the node has noticed that it owns one, or owns it no more."""
        found = [(each.own.phase, self.node.owner(each.number) == self.node.node) for each in self.node.shards]
        return [phase if (phase == "owned") is noticed else "changing" for phase, noticed in found]

    def metrics(self) -> str:
        forwarder = SimpleNamespace(outcomes={(1, "done"): 3}, waiting=2)
        registry = CollectorRegistry()
        registry.register(ForwardingCollector(cast("Forwarder", forwarder)))
        registry.register(NodeCollector(self.node))
        return generate_latest(registry).decode()


def metrics_of_a_cluster_node() -> str:
    """Return the metrics of a node of a cluster, with a sample of each."""
    play = PlayedNode()
    play.node.start()
    try:
        eventually(lambda: play.phases == ["owned"] * COUNT and play.node.seen, "a node to own all shards")
        play.peers.say("b")
        return play.metrics()
    finally:
        play.node.stop()
