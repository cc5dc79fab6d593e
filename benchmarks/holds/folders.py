"""Folders with much in them, made without a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from wonderq.broker.broker import Broker
from wonderq.broker.maintenance import LogMaintenance
from wonderq.model.messages import NewMessage
from wonderq.runtime.clock import Clock
from wonderq_storage import FileCheckpoints, FileLog, SyncPolicy

#: How long ago a folder is filled. Delays and claims of half this time have ended when a broker starts on it.
AGO_MS = 1_800_000
DUE_MS = AGO_MS // 2

_SEGMENT_BYTES = 64 << 20

Fill = Callable[[Broker], None]


class PastClock(Clock):
    """A clock that is behind by `AGO_MS`."""

    def now_ms(self) -> int:
        return super().now_ms() - AGO_MS


def make(folder: Path, fill: Fill, *, segment_bytes: int = _SEGMENT_BYTES) -> None:
    """Make a folder, with a checkpoint if a clean stop would write one."""
    log, checkpoints = FileLog(folder, sync=SyncPolicy("os"), segment_bytes=segment_bytes), FileCheckpoints(folder)
    broker = Broker(log, checkpoints=checkpoints, clock=PastClock())
    maintenance = LogMaintenance(broker, log, checkpoints, slack_bytes=segment_bytes)
    fill(broker)
    maintenance.stop()
    broker.close()


def send(broker: Broker, queue: str, messages: Iterator[NewMessage]) -> None:
    """Produce messages in batches."""
    while batch := list(islice(messages, 1000)):
        broker.send(queue, batch)


def waiting(queue: str, count: int, body: str = "x" * 100) -> Fill:
    """Return a fill with ``count`` waiting messages."""

    def fill(broker: Broker) -> None:
        for _ in range(0, count, 1000):
            broker.produce(queue, [body] * min(count, 1000))

    return fill


def subscriptions(topic: str, count: int) -> Fill:
    """Return a fill with a topic and ``count`` queues. All match the kind `all`, and a tenth `some`."""

    def fill(broker: Broker) -> None:
        broker.topics.put(topic)
        for number in range(count):
            broker.put_queue(f"q{number}")
            kinds = ["all", "some"] if number % 10 == 0 else ["all"]
            broker.topics.subscribe(topic, f"s{number}", queue=f"q{number}", filter={"kind": kinds})

    return fill


def groups(queue: str, count: int) -> Fill:
    """Return a fill with ``count`` messages, each of a group of its own."""
    return lambda broker: send(broker, queue, (NewMessage("x", group=f"g{number}") for number in range(count)))


def due(queue: str, count: int, apart_ms: float) -> Fill:
    """Return a fill with ``count`` delayed messages whose deadlines are ``apart_ms`` apart, and have passed."""

    def fill(broker: Broker) -> None:
        first_ms = broker.core.clock.now_ms() + DUE_MS - int(apart_ms * count)
        messages = (NewMessage("x", deliver_at_ms=first_ms + int(apart_ms * at)) for at in range(count))
        send(broker, queue, messages)

    return fill


def poisoned(queue: str, dead: str, fill_queue: Fill) -> Fill:
    """Return a fill whose messages have had their last claim, before one healthy message."""

    def fill(broker: Broker) -> None:
        broker.put_queue(dead)
        broker.put_queue(queue, max_receives=1, dead_letter_queue=dead)
        fill_queue(broker)
        while broker.claim(queue, limit=1000, visibility_timeout_ms=DUE_MS):
            pass
        broker.produce(queue, ["healthy"])

    return fill


def queues(count: int, tags: int, characters: int) -> Fill:
    """Return a fill with ``count`` queues, each with that many tags of that many characters, and one message."""
    given = {f"tag{number}": "x" * characters for number in range(tags)}

    def fill(broker: Broker) -> None:
        for number in range(count):
            broker.put_queue(f"queue-{number}", tags=given, dead_letter_queue="dead", max_receives=5)
            broker.produce(f"queue-{number}", ["x"])

    return fill


def rich(queue: str, count: int, attributes: int) -> Fill:
    """Return a fill with ``count`` messages that have many attributes."""
    given = {f"attribute{number}": ("String", "x") for number in range(attributes)}
    return lambda broker: send(broker, queue, (NewMessage("x" * 100, attributes=given) for _ in range(count)))


def mixed(live: str, garbage: str, count: int) -> Fill:
    """Return a fill whose log has messages of 1 KB of two queues: a sixth of one, the rest of the other."""

    def fill(broker: Broker) -> None:
        for number in range(0, count, 100):
            broker.produce(live if number % 600 == 0 else garbage, ["x" * 1000] * 100)

    return fill
