"""The work of a side while it is measured: requests over connections to all nodes, for queues of all shards."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import count, cycle
from typing import NamedTuple

from benchmarks import load
from benchmarks.cluster.sides import SHARDS, Side
from benchmarks.load import Script
from benchmarks.scripts import JSON, consumer, producer
from wonderq.cluster.shard_map import shard_of

BODY_BYTES = 100

#: Batches that each queue has at the start, because connections do not take equally many messages from each.
_MARGIN = 10

_CROSSING_BATCH = 500

_PAUSE_S = 0.005


class Work(NamedTuple):
    """Requests of one kind, over a number of connections."""

    operation: str
    """``produce``, or ``consume``, which is a claim and a delete."""
    batch: int
    connections: int
    requests: int

    @property
    def name(self) -> str:
        return f"{self.operation} {self.batch}, {self.connections} connections"

    @property
    def messages(self) -> int:
        return self.requests * self.batch // (2 if self.operation == "consume" else 1)


WORKS = tuple(
    Work(operation, batch, connections, requests)
    for batch, requests in ((1, 4000), (100, 400))
    for connections in (16, 64)
    for operation in ("produce", "consume")
)


class Measured(NamedTuple):
    """One work of one side. Times are of processors, in µs for a message."""

    messages_per_s: float
    nodes_us: float
    servers_us: float
    client_us: float
    forwarded: float
    """Share of the requests that a node passed on."""
    appends: float
    """Groups that were appended to the logs, for each request."""
    cores: float
    """Cores that all processes together used."""
    p50_ms: float
    """Latency in an open loop at half of the rate."""
    p99_ms: float


def names(stem: str) -> list[str]:
    """Return the name of a queue of each shard."""
    return [
        next(name for at in count() if shard_of(name := f"{stem}-{at}", SHARDS) == shard) for shard in range(SHARDS)
    ]


QUEUES = names("orders")


def prepare(side: Side, batch: int) -> None:
    """Make the queues, with some messages in each."""
    for queue in QUEUES:
        side.ask("PUT", f"/queues/{queue}", {})
        for _ in range(_MARGIN):
            body = {"messages": ["x" * BODY_BYTES] * batch}
            side.ask("POST", f"/queues/{queue}/messages/produce", body)


def scripts(work: Work, shards: Sequence[Sequence[int]] | None = None) -> list[Script]:
    """Return a script for each connection. Each goes through all queues in turn, and begins with another one.

    With ``shards``, the connections go to as many addresses in turn, and each uses only the queues of its shards.
    """
    found: list[Script] = []
    for number in range(work.connections):
        usable, begin = QUEUES, number
        if shards is not None:
            usable, begin = [QUEUES[at] for at in shards[number % len(shards)]], number // len(shards)
        begin %= len(usable)
        queues = usable[begin:] + usable[:begin]
        if work.operation == "consume":
            found.append(consumer(work.batch, JSON, queues))
        else:
            found.append(_in_turn([producer(BODY_BYTES, work.batch, JSON, queue) for queue in queues]))
    return found


def _in_turn(each_queue: Sequence[Script]) -> Script:
    turns = cycle(each_queue)

    def ask(answer: bytes) -> bytes:
        return next(turns)(answer)

    return ask


def measure(side: Side, work: Work) -> Measured:
    """Let a side do some work: as fast as it can, and half as much at half of that rate."""
    counts = _counts(side)  # outside the times, because nodes work for it
    times = _times_s(side)
    done = load.run(side.urls, scripts(work, side.shards), requests=work.requests, passing=load.PASSING)
    side.repeated.update(done.repeated)
    nodes_us, servers_us, client_us = (
        (after - before) * 1e6 / work.messages for after, before in zip(_times_s(side), times, strict=True)
    )
    forwarded, appends = ((after - before) / work.requests for after, before in zip(_counts(side), counts, strict=True))
    rate = done.rate * work.messages / work.requests
    cores = (nodes_us + servers_us + client_us) * rate / 1e6
    late = load.run(
        side.urls,
        scripts(work, side.shards),
        requests=max(work.requests // 2, work.connections),
        rate=done.rate / 2,
        passing=load.PASSING,
    )
    side.repeated.update(late.repeated)
    return Measured(
        rate,
        nodes_us,
        servers_us,
        client_us,
        forwarded,
        appends,
        cores,
        late.percentile_ms(50),
        late.percentile_ms(99),
    )


def _times_s(side: Side) -> tuple[float, ...]:
    return side.nodes_s(), side.servers_s(), time.process_time()


def _counts(side: Side) -> list[float]:
    return [side.metric(name) for name in ("wonderq_forwarded_requests_total", "wonderq_log_group_records_count")]


class Crossed(NamedTuple):
    """Messages that went through an outbox. Times are of processors, in µs for a message."""

    messages_per_s: float
    nodes_us: float
    servers_us: float


def cross(side: Side, messages: int, round_number: int) -> Crossed:
    """Publish messages to a topic of one shard, whose queue is in another one, and wait until the queue has them."""
    topic, queue = names(f"topic-{round_number}")[0], names(f"crossed-{round_number}")[SHARDS // 2]
    side.ask("PUT", f"/queues/{queue}", {})
    side.ask("PUT", f"/topics/{topic}", {})
    side.ask("PUT", f"/topics/{topic}/subscriptions/s", {"queue": queue})
    body = {"messages": [{"message": "x" * BODY_BYTES}] * _CROSSING_BATCH}
    began_s, nodes_s, servers_s = time.perf_counter(), side.nodes_s(), side.servers_s()
    for _ in range(0, messages, _CROSSING_BATCH):
        side.ask("POST", f"/topics/{topic}/publish", body)
    while side.ask("GET", f"/queues/{queue}")["counts"]["unprocessed"] < messages:
        time.sleep(_PAUSE_S)
    elapsed_s, used_s = time.perf_counter() - began_s, (side.nodes_s() - nodes_s, side.servers_s() - servers_s)
    return Crossed(messages / elapsed_s, *(1e6 * each / messages for each in used_s))


def idle(side: Side, seconds: float) -> tuple[float, float]:
    """Return the shares of a core that all nodes and all NATS servers of a side use without requests."""
    began_s, nodes_s, servers_s = time.perf_counter(), side.nodes_s(), side.servers_s()
    time.sleep(seconds)
    elapsed_s = time.perf_counter() - began_s
    return (side.nodes_s() - nodes_s) / elapsed_s, (side.servers_s() - servers_s) / elapsed_s
