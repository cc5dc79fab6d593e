"""Nodes of a cluster in this process: real servers and a real NATS server, and brokers that tests move between them."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, NamedTuple

from tests.support.memory_log import MemoryLog
from tests.support.waiting import PATIENCE_S, eventually
from wonderq.app import create_app
from wonderq.auth.access import Access
from wonderq.broker.background import Rounds
from wonderq.broker.broker import Broker
from wonderq.cluster.crosser import Crosser
from wonderq.cluster.dead_letter_links import DeadLetterLinks
from wonderq.cluster.other_shards import RemoteShards
from wonderq.cluster.shard_map import shard_of
from wonderq.cluster.shards import Process
from wonderq.edge_app import EdgeAssembly, EdgeSettings, create_edge
from wonderq.httpd.errors import RequestError
from wonderq.httpd.server import Server
from wonderq_storage import StorageError
from wonderq_storage.nats import Connection

SHARDS = 4


class FakeShards:
    """The shards as one node sees them: it hears what a test says."""

    def __init__(self, node: str, count: int) -> None:
        self.count = count
        self.node = node
        self.token = f"token of {node}"
        self.brokers: dict[int, Broker] = {}
        self.heard: dict[int, str | None] = {}
        self.ahead_ms = 0
        """By how much the clock of this node is said to be ahead of all others."""
        self.silent: set[str] = set()
        """Nodes that are not heard any more."""
        self.urls: dict[str, str] = {}
        """Addresses that the nodes have announced, by name."""
        self._callbacks: list[Callable[[int], None]] = []

    def local(self, shard: int) -> Broker | None:
        return self.brokers.get(shard)

    def owner(self, shard: int) -> str | None:
        return self.heard.get(shard)

    def process(self, shard: int) -> Process | None:
        node = self.owner(shard)
        return None if node is None else Process(node, f"token of {node}")

    def hears(self, process: Process) -> bool:
        return process.node not in self.silent

    def time_ms(self, _node: str) -> int:
        return time.time_ns() // 1_000_000 - self.ahead_ms

    def url_of(self, node: str) -> str:
        return self.urls.get(node, "")

    def changed(self, callback: Callable[[int], None]) -> Callable[[], None]:
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    def hear(self, shard: int, owner: str | None) -> None:
        """Hear who owns a shard."""
        self.heard[shard] = owner
        for each in list(self._callbacks):
            each(shard)


class Reply(NamedTuple):
    """An answer of a node."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def code(self) -> str:
        """The code of the error."""
        code: str = self.json["error"]["code"]
        return code


class EdgeNode:
    """A node with its server."""

    def __init__(self, name: str, servers: str, access: Access | None, settings: EdgeSettings, count: int) -> None:
        self.name = name
        self.shards = FakeShards(name, count)
        self.obstacles: dict[int, RequestError] = {}
        self.connection = Connection(servers, name=name)
        self.access = access

        def app_of(broker: Broker) -> Any:
            own_access = None if access is None else access.with_own_router()
            return create_app(broker, own_access, mask=settings.mask, ui=settings.ui)

        self.assembly: EdgeAssembly = create_edge(
            self.shards,
            self.connection,
            "wonderq-test",
            app_of,
            access,
            obstacle=lambda shard: self.obstacles.get(shard),
            settings=settings,
        )
        self.server = Server(self.assembly.edge, "127.0.0.1", 0)
        self.assembly.receiver.start(self.server)
        self.connection.read_on(self.server)
        self._thread = threading.Thread(target=self.server.run, name=f"node-{name}")
        self._thread.start()

    @property
    def url(self) -> str:
        return self.server.url

    def stop(self) -> None:
        self.server.stop()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        self.connection.close()

    def __call__(
        self,
        method: str,
        target: str,
        *,
        json: Any = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", int(self.server.effective_port), timeout=PATIENCE_S)
        sent = dict(headers or {})
        if json is not None:
            body = _encode(json)
            sent.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, target, body, sent)
            response = connection.getresponse()
            return Reply(
                response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
            )
        finally:
            connection.close()


def _encode(value: Any) -> bytes:
    return json.dumps(value).encode()


class EdgeCluster:
    """Nodes that share shards. Each shard has a log that any node can take over."""

    def __init__(self, servers: str, names: Sequence[str] = ("a", "b"), count: int = SHARDS, **options: Any) -> None:
        """``options``: ``access`` of all nodes, ``settings`` of their applications."""
        self.count = count
        self.servers = servers
        self.logs = [MemoryLog(shared=True) for _ in range(count)]
        self.nodes: dict[str, EdgeNode] = {}
        self._brokers: list[Broker] = []
        self._rounds = Rounds(4 * count)
        self._crossers: dict[Broker, Crosser] = {}
        self._links: dict[Broker, DeadLetterLinks] = {}
        settings = options.get("settings") or EdgeSettings()
        for name in names:
            access = options["access"]() if "access" in options else None
            self.nodes[name] = EdgeNode(name, servers, access, settings, count)
        for each in self.nodes.values():
            each.connection.server_info(timeout_s=PATIENCE_S)
            each.shards.urls = {name: node.url for name, node in self.nodes.items()}
        for shard in range(count):
            self.give(shard, names[shard % len(names)])

    def broker(self, shard: int, log: MemoryLog) -> Broker:
        """Return a broker for a shard."""
        count = self.count
        broker = Broker(
            log,
            default_queue=shard_of("default", count) == shard,
            has_name=lambda name: shard_of(name, count) == shard,
        )
        self._brokers.append(broker)
        return broker

    def open(self, shard: int, node: str) -> Broker:
        """Let a node take a shard over, without any node hearing of it. A former owner does not notice yet."""
        self.logs[shard] = self.logs[shard].opened_again() if self._was_opened(shard) else self.logs[shard]
        broker = self.broker(shard, self.logs[shard])
        carrier = self.nodes[node].assembly.carrier
        broker.reach(RemoteShards(carrier, self.count, shard))
        crosser = self._crossers[broker] = Crosser(broker, carrier.try_once, self.count, tick_s=0.05)
        crosser.start(self._rounds)
        links = DeadLetterLinks(broker, carrier.try_once, self.count, shard, tick_s=0.05, rest_s=0.1)
        self._links[broker] = links
        links.start(self._rounds)
        self.nodes[node].shards.brokers[shard] = broker
        return broker

    def _was_opened(self, shard: int) -> bool:
        return any(each.core.log is self.logs[shard] for each in self._brokers)

    def give(self, shard: int, node: str) -> Broker:
        """Hand a shard over in order: the former owner ends its broker, the next opens it, and all nodes hear of it."""
        for each in self.nodes.values():
            former = each.shards.brokers.get(shard)
            if former is not None:
                self._crossers[former].stop()
                self._links[former].stop()
                former.stop_claiming()
                former.core.log.close()
                del each.shards.brokers[shard]
        broker = self.open(shard, node)
        self.hear(shard, node)
        return broker

    def depose(self, shard: int, node: str) -> MemoryLog:
        """Let another node take a shard. Return the former log; whoever waits for it does not know of the loss yet."""
        former = self.logs[shard]
        former_owner = next(each for each in self.nodes.values() if shard in each.shards.brokers)
        self.open(shard, node)
        del former_owner.shards.brokers[shard]
        self.hear(shard, node)
        return former

    def hear(self, shard: int, owner: str | None) -> None:
        """Let all nodes hear who owns a shard."""
        for each in self.nodes.values():
            each.shards.hear(shard, owner)

    def owner(self, queue: str) -> EdgeNode:
        """Return the node that owns the shard of a queue."""
        shard = self.shard(queue)
        return next(each for each in self.nodes.values() if shard in each.shards.brokers)

    def other(self, queue: str) -> EdgeNode:
        """Return a node that does not own the shard of a queue."""
        shard = self.shard(queue)
        return next(each for each in self.nodes.values() if shard not in each.shards.brokers)

    def shard(self, queue: str) -> int:
        return shard_of(queue, self.count)

    def queue_of(self, shard: int, stem: str = "q") -> str:
        """Return a name of a queue that has its place in a shard."""
        return next(name for at in range(1000) if shard_of(name := f"{stem}{at}", self.count) == shard)

    def wait_for_waiting(self, queue: str, count: int = 1) -> None:
        """Wait until consumers wait at the owner of a queue."""
        broker = self.owner(queue).shards.brokers[self.shard(queue)]
        eventually(lambda: broker.waiting_consumers == count, f"{count} consumers to wait")

    def stop(self) -> None:
        for loop in (*self._crossers.values(), *self._links.values()):
            loop.stop()
        for broker in self._brokers:
            assert isinstance(broker.core.log, MemoryLog)
            broker.core.log.release()
        for node in self.nodes.values():
            node.stop()
        for broker in self._brokers:
            with suppress(StorageError):
                broker.close()
        self._rounds.close()


@contextmanager
def edge_cluster(
    servers: str, names: Sequence[str] = ("a", "b"), count: int = SHARDS, **options: Any
) -> Iterator[EdgeCluster]:
    """Run nodes in this process."""
    with ExitStack() as stack:
        cluster = EdgeCluster(servers, names, count, **options)
        stack.callback(cluster.stop)
        yield cluster
