"""Compute what a load takes, from rates that were measured: `python -m benchmarks.capacity`.

It puts queues on shards and shards on nodes as a cluster does, and takes the least number of nodes of which the
busiest one is not too busy. It measures nothing: it prints its inputs with their sources, and its output is as good as
they are. docs/SCALING.md has the output.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import ceil
from typing import NamedTuple

from wonderq.cluster.placement import Placement, wish
from wonderq.cluster.shard_map import shard_of

_MEASURED = "[measured](PERFORMANCE.md)"
_CLUSTER = "[measured](#a-cluster-on-two-cores)"
_EXPERIMENT = "experiment"
_ASSUMED = "assumed"

#: Numbers of shards that are tried. A cluster cannot have more than the last one.
_SHARDS = (16, 64, 256)

#: Rates of the table, in messages a second.
_RATES = (10_000, 100_000, 1_000_000)

#: Requests, and operations in the log, for a message or a batch: produce, claim, delete.
_STEPS = 3


class Input(NamedTuple):
    """A value, and where it is from."""

    value: float
    unit: str
    what: str
    source: str


class Profile(NamedTuple):
    """How clients send: one message a request, or a batch."""

    name: str
    batch: int
    produced: Input
    consumed: Input
    forwarded: Input
    grouped: Input
    record_bytes: Input


SINGLES = Profile(
    "one",
    1,
    Input(291, "µs of a core", "a message to produce takes at its owner: single messages", _CLUSTER),
    Input(640, "µs of a core", "a message to claim and delete takes at its owner: single messages", _CLUSTER),
    Input(540, "µs of a core", "a request that is passed on takes besides: single messages", _CLUSTER),
    Input(3.4, "operations", "share one append: single messages of 64 callers on 16 shards", _CLUSTER),
    Input(212, "bytes", "a message has in the log besides its body: single messages", "counted"),
)
BATCHES = Profile(
    "100",
    100,
    Input(5.25, "µs of a core", "a message to produce takes at its owner: batches of 100", _CLUSTER),
    Input(10.9, "µs of a core", "a message to claim and delete takes at its owner: batches of 100", _CLUSTER),
    Input(660, "µs of a core", "a request that is passed on takes besides: batches of 100", _CLUSTER),
    Input(2.4, "operations", "share one append: batches of 64 callers on 16 shards", _CLUSTER),
    Input(10, "bytes", "a message has in the log besides its body: batches of 100", "counted"),
)
APPEND = Input(390, "µs of a core", "an append takes on each NATS server", _CLUSTER)
APPENDS = Input(795, "appends/s", "one shard makes, one at a time, of 10 KB", _EXPERIMENT)
HEADS = Input(600, "bytes", "the heads of a request and its response have", _ASSUMED)
STORED = Input(2, "times", "a NATS server writes a message: to its Raft log, and to the stream", _ASSUMED)
DISK = Input(251, "MB/s", "one disk writes and syncs", _MEASURED)


@dataclass(frozen=True)
class Choices:
    """The choices of the operator, and what clients do."""

    message_bytes: int = 200
    replicas: int = 3
    headroom: float = 0.7
    machine_cores: int = 8
    queues: int = 1024
    owners_asked: bool = False
    """Whether clients ask the owner of each queue. Otherwise they ask any node, which passes most requests on."""


class Plan(NamedTuple):
    """The machines, processes and rates that a load takes."""

    clusters: int
    nodes: int
    """Processes of all clusters; each has a core of its own."""
    shards: int
    """Shards of each cluster."""
    servers: int
    """NATS servers of all clusters."""
    cores: int
    machines: int
    appends: float
    """Appends per second of all clusters."""
    disk_bytes_s: float
    """Bytes per second that each NATS server writes."""
    network_bytes_s: float
    """Bytes per second that each machine sends and receives."""


class Placed(NamedTuple):
    """Parts of all queues."""

    busiest_node: float
    busiest_shard: float


@cache
def placed(queues: int, shards: int, nodes: int) -> Placed:
    """Put queues on shards and shards on nodes; return the largest part of the queues that a node and a shard has."""
    of_shard = [0] * shards
    for number in range(queues):
        of_shard[shard_of(f"orders-{number}", shards)] += 1
    of_node = dict.fromkeys([f"node-{number}" for number in range(nodes)], 0)
    for shard, node in enumerate(wish(shards, list(of_node), Placement())):
        assert node is not None
        of_node[node] += of_shard[shard]
    return Placed(max(of_node.values()) / queues, max(of_shard) / queues)


def owner_s(profile: Profile) -> float:
    """Return the processor time of its owner for a message, in s: produce, claim and delete."""
    return (profile.produced.value + profile.consumed.value) / 1e6


def forwarding_s(profile: Profile, nodes: int, choices: Choices) -> float:
    """Return the processor time that passing requests on takes on all nodes together for a message, in s."""
    forwarded = 0 if choices.owners_asked else _STEPS / profile.batch * (1 - 1 / nodes)
    return forwarded * profile.forwarded.value / 1e6


def appends_of(profile: Profile) -> float:
    """Return the appends for a message."""
    return _STEPS / (profile.batch * profile.grouped.value)


def fits(rate: float, profile: Profile, shards: int, nodes: int, choices: Choices) -> bool:
    """Return whether the busiest node and the busiest shard of one cluster carry their part of a rate."""
    busiest = placed(choices.queues, shards, nodes)
    processor = rate * (busiest.busiest_node * owner_s(profile) + forwarding_s(profile, nodes, choices) / nodes)
    appends = rate * busiest.busiest_shard * appends_of(profile)
    return processor <= choices.headroom and appends <= choices.headroom * APPENDS.value


def most(profile: Profile, shards: int, nodes: int, choices: Choices) -> int:
    """Return the highest rate that one cluster carries, in messages a second, to the lower hundred."""
    busiest = placed(choices.queues, shards, nodes)
    by_processor = choices.headroom / (
        busiest.busiest_node * owner_s(profile) + forwarding_s(profile, nodes, choices) / nodes
    )
    by_log = choices.headroom * APPENDS.value / (busiest.busiest_shard * appends_of(profile))
    return int(min(by_processor, by_log) // 100 * 100)


def least_cluster(rate: float, profile: Profile, choices: Choices) -> tuple[int, int] | None:
    """Return the fewest nodes of one cluster that carry a rate, and its shards; None if there are too few shards."""
    found = []
    for shards in _SHARDS:
        least = max(3, ceil(rate * owner_s(profile) / choices.headroom))
        for nodes in range(least, shards + 1):
            if fits(rate, profile, shards, nodes, choices):
                found.append((nodes, shards))
                break
    return min(found) if found else None


def plan(rate: float, profile: Profile, choices: Choices) -> Plan:
    """Return what a rate takes, in messages a second."""
    clusters = 1
    while (cluster := least_cluster(rate / clusters, profile, choices)) is None:
        clusters += 1
    nodes, shards = cluster
    appends = rate * appends_of(profile)
    log_bytes_s = rate * (choices.message_bytes + profile.record_bytes.value)
    stored_bytes_s = log_bytes_s * choices.replicas * STORED.value
    server_cores = appends * choices.replicas * APPEND.value / 1e6 / choices.headroom
    servers = max(3, ceil(stored_bytes_s / clusters / (choices.headroom * DISK.value * 1e6)))
    cores = (nodes + max(servers, ceil(server_cores / clusters))) * clusters
    machines = max(servers * clusters, ceil(cores / choices.machine_cores))
    of_clients = rate * (2 * choices.message_bytes + _STEPS / profile.batch * HEADS.value)
    forwarded = 0 if choices.owners_asked else 1 - 1 / nodes
    between = of_clients * forwarded + log_bytes_s * choices.replicas
    return Plan(
        clusters,
        nodes * clusters,
        shards,
        servers * clusters,
        cores,
        machines,
        appends,
        stored_bytes_s / (servers * clusters),
        (of_clients + 2 * between) / machines,  # what machines send each other is received, too
    )


def inputs() -> list[Input]:
    """Return all inputs, in the order of the table."""
    pairs = zip(SINGLES[2:], BATCHES[2:], strict=True)
    return [*(each for pair in pairs for each in pair), APPEND, APPENDS, HEADS, STORED, DISK]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Return the lines of a table in Markdown."""
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    yield from (f"| {' | '.join(row)} |" for row in rows)


def report(choices: Choices) -> Iterator[str]:
    """Return the lines of the output: inputs, choices, what clusters carry, what rates take."""
    yield "Inputs:"
    yield ""
    yield from table(
        ("value", "what", "source"), [(f"{i.value:,g} {i.unit}".strip(), i.what, i.source) for i in inputs()]
    )
    yield ""
    yield (
        f"Choices: bodies of {choices.message_bytes} bytes, {choices.replicas} copies, {choices.headroom:.0%} of a "
        f"core or a disk in use, machines of {choices.machine_cores} cores, {choices.queues:,} queues with equal "
        "parts of the load. "
        + ("Clients ask the owner of each queue." if choices.owners_asked else "Clients ask any node.")
    )
    yield ""
    kinds = [
        (profile, replace(choices, owners_asked=owners_asked))
        for profile in (SINGLES, BATCHES)
        for owners_asked in (False, True)
    ]
    yield from table(
        ("nodes", "shards", "messages/s, one a request", "owners asked", "messages/s, batches of 100", "owners asked"),
        [
            (f"{nodes}", f"{shards}", *(f"{most(profile, shards, nodes, chosen):,}" for profile, chosen in kinds))
            for nodes, shards in ((3, 16), (5, 64), (8, 64), (16, 64), (32, 256), (64, 256))
        ],
    )
    yield ""
    rows = []
    for rate in _RATES:
        for profile in (SINGLES, BATCHES):
            need = plan(rate, profile, choices)
            rows.append(
                (
                    f"{rate:,}",
                    profile.name,
                    *(f"{each:,}" for each in need[:6]),
                    f"{need.appends:,.0f}",
                    f"{need.disk_bytes_s / 1e6:,.0f}",
                    f"{need.network_bytes_s / 1e6:,.0f}",
                )
            )
    head = ("messages/s", "a request", "clusters", "nodes", "shards of each", "NATS servers", "cores", "machines")
    yield from table((*head, "appends/s", "disk MB/s of a server", "network MB/s of a machine"), rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity")
    default = Choices()
    parser.add_argument("--message-bytes", type=int, default=default.message_bytes)
    parser.add_argument("--replicas", type=int, default=default.replicas)
    parser.add_argument("--headroom", type=float, default=default.headroom)
    parser.add_argument("--machine-cores", type=int, default=default.machine_cores)
    parser.add_argument("--queues", type=int, default=default.queues)
    parser.add_argument("--owners-asked", action="store_true", help="clients ask the owner of each queue")
    for line in report(Choices(**vars(parser.parse_args(arguments)))):
        print(line)


if __name__ == "__main__":
    main()
