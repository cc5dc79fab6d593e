"""The sides of the comparison: each runs alone on the machine while it is measured."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from benchmarks.load import MOST_REPETITIONS, PASSING, REPEATED_AFTER_S
from benchmarks.servers import broker, cpu_s, running
from tests.support.cluster_processes import ClusterProcesses, NodeOnNats
from tests.support.nats_servers import NatsCluster
from tests.support.waiting import eventually

SHARDS = 16

_OPTIONS = ("--shards", str(SHARDS))

#: Of each shard. Three servers with 16 shards reserve 3 GiB.
_LOG_BYTES = ("--log-bytes", str(64 << 20))

_CALL_S = 60


def call(url: str, method: str, path: str, body: Any = None, *, repeated: Counter[str] | None = None) -> Any:
    """Send a request, and return the answer.

    With ``repeated``, the request is sent again after an answer with a status of `PASSING`. ``repeated`` counts these
    answers by the code of the error.

    Raises:
        urllib.error.HTTPError: the status is not 2xx.
    """
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"Content-Type": "application/json"}, method=method)
    for left in reversed(range(MOST_REPETITIONS + 1)):
        try:
            with urllib.request.urlopen(request, timeout=_CALL_S) as answer:
                text = answer.read()
            break
        except HTTPError as error:
            if repeated is None or error.code not in PASSING or not left:
                raise
            repeated[json.loads(error.read())["error"]["code"]] += 1
        time.sleep(REPEATED_AFTER_S)
    return json.loads(text) if text.startswith((b"{", b"[")) else text.decode()


@dataclass
class Side:
    """One side of the comparison: processes that serve, and the NATS servers that store."""

    urls: Sequence[str]
    nodes_s: Callable[[], float]
    """Returns the CPU time that the nodes have used."""
    servers_s: Callable[[], float]
    """Returns the CPU time that the NATS servers have used."""
    shards: Sequence[Sequence[int]] | None = None
    """The shards whose queues clients ask at each address; None if they ask for any queue at any address."""
    repeated: Counter[str] = field(default_factory=Counter)
    """Number of answers after which a request was sent again, by code of the error."""

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request to the first node, again if that may help, and return the answer; see `call`."""
        return call(self.urls[0], method, path, body, repeated=self.repeated)

    def metric(self, name: str) -> float:
        """Return the sum of all samples of a metric, of all nodes."""
        pattern = re.compile(rf"^{name}(?:{{[^}}]*}})? (\S+)$", re.MULTILINE)
        return sum(float(each) for url in self.urls for each in pattern.findall(call(url, "GET", "/metrics")))


@contextmanager
def on_a_folder(folder: Path) -> Iterator[Side]:
    """Run `wonderq serve` on a folder."""
    with running(*broker(folder / "data")) as server:
        yield Side([server.url], server.cpu_s, lambda: 0.0)


@contextmanager
def one_node(folder: Path) -> Iterator[Side]:
    """Run a cluster of one node, which stores each message once."""
    with ClusterProcesses(folder, "a", *_OPTIONS) as cluster:
        yield _side(cluster)


@contextmanager
def one_node_on_three_servers(folder: Path) -> Iterator[Side]:
    """Run one node on three NATS servers, which all store each message."""
    with NatsCluster(folder / "nats", 3) as nats:
        node = NodeOnNats(folder, "a", "--nats-url", nats.url, "--replicas", "3", *_OPTIONS, *_LOG_BYTES)
        try:
            eventually(lambda: _owners([node]) == {"a": SHARDS}, "the node to own all shards")
            servers = [each.process.pid for each in nats.servers if each.process is not None]
            yield Side([node.url], lambda: cpu_s(node.process.pid), lambda: sum(map(cpu_s, servers)))
        finally:
            node.kill()


@contextmanager
def three_nodes(folder: Path) -> Iterator[Side]:
    """Run a cluster of three nodes, each with a NATS server. All store each message."""
    with ClusterProcesses(folder, "abc", *_OPTIONS) as cluster:
        yield _side(cluster)


@contextmanager
def three_owners(folder: Path) -> Iterator[Side]:
    """Run the same cluster. Clients ask the owner of each queue, as the Python client does once it knows it."""
    with ClusterProcesses(folder, "abc", *_OPTIONS) as cluster:
        side = _side(cluster)
        owners = eventually(cluster.nodes[0].owners, "a node to tell the owners")
        side.shards = [[at for at, owner in enumerate(owners) if owner == each.name] for each in cluster.nodes]
        yield side


def _side(cluster: ClusterProcesses) -> Side:
    nodes = cluster.nodes

    def are_even() -> bool:
        owned = _owners(nodes)
        least, most = min(owned.values(), default=0), max(owned.values(), default=0)
        return len(owned) == len(nodes) and most - least <= 1

    eventually(are_even, "the shards to be spread over the nodes")
    servers = [each.nats_pid for each in nodes]
    return Side(
        [each.url for each in nodes],
        lambda: sum(cpu_s(each.process.pid) for each in nodes),
        lambda: sum(map(cpu_s, servers)),
    )


def _owners(nodes: Sequence[NodeOnNats]) -> dict[str, int]:
    """Return how many shards each node owns; nothing if the nodes do not agree, or a shard has no owner."""
    first, *others = [each.owners() for each in nodes]
    if any(each != first for each in others):
        return {}
    owners = [each for each in first if each is not None]
    return {name: owners.count(name) for name in owners} if len(owners) == SHARDS else {}


FOLDER, ONE, ONE_ON_THREE, THREE = "serve", "1 node, 1 copy", "1 node, 3 copies", "3 nodes, 3 copies"
THREE_OWNERS = "3 nodes, owners asked"

SIDES: dict[str, Callable[[Path], AbstractContextManager[Side]]] = {
    FOLDER: on_a_folder,
    ONE: one_node,
    ONE_ON_THREE: one_node_on_three_servers,
    THREE: three_nodes,
    THREE_OWNERS: three_owners,
}

#: Processes of each side that own shards. Each can use a core.
NODES = {FOLDER: 1, ONE: 1, ONE_ON_THREE: 1, THREE: 3, THREE_OWNERS: 3}

SERVERS = {FOLDER: 0, ONE: 1, ONE_ON_THREE: 3, THREE: 3, THREE_OWNERS: 3}
