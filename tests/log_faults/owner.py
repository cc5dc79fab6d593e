"""A broker whose log is in a stream, in a process of its own: it takes the log over when it starts.

It has the checkpoints and the two connections of `wonderq serve --log`. Parts are small, with checkpoints and compaction all
the time, so that faults meet them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, cast

from prometheus_client import CollectorRegistry, Counter

from tests.log_faults.settings import MAX_BYTES, MAX_RECORD_BYTES, PART_BYTES, REPLICAS
from tests.support.filesystem import sync_all
from tests.support.mechanisms import POSTED_METRIC
from tests.support.waiting import PATIENCE_S
from wonderq import serve
from wonderq.broker import maintenance
from wonderq.broker.broker import Broker
from wonderq.broker.maintenance import LogMaintenance
from wonderq.config import Settings
from wonderq.logs import set_up_logging
from wonderq.metrics import make_registry
from wonderq.runtime.clock import Clock
from wonderq.runtime.signals import Signals
from wonderq_storage import Mark, Observer, Position
from wonderq_storage.jetstream_checkpoints import JetStreamCheckpoints
from wonderq_storage.jetstream_log import JetStreamLog
from wonderq_storage.nats import Connection, JetStream

CHECKPOINT_EVERY_BYTES = 128 << 10
TICK_S = 0.01


class WrongClock(Clock):
    """A clock that is wrong by some time."""

    def __init__(self, ahead_ms: int) -> None:
        super().__init__()
        self._offset_ns += ahead_ms * 1_000_000


class SettledLog(JetStreamLog):
    """A log that holds no part back, because it has the servers sync their files before it drops one."""

    disks: Sequence[Path] = ()
    """A folder on the disk of each server, if they have disks of their own."""

    def trim(self, end: Position) -> None:
        for each in self.disks:
            sync_all(each)
        super().trim(end)


class NotedCheckpoints(JetStreamCheckpoints):
    """Checkpoints that tell whether the start used one. They stay as they are at a start, as in `wonderq serve --log`."""

    is_used = False

    def prove(self, mark: Mark) -> None:
        self.is_used = True
        super().prove(mark)

    def remove_unfinished(self) -> None:
        """Leave them to the next `write`: a former owner may still be at one."""


class CountedPosts(JetStream):
    """The connection that the server reads. It counts the messages that are posted over it."""

    def __init__(self, connection: Connection, counter: Counter) -> None:
        super().__init__(connection)
        self._counter = counter

    def post(self, *arguments: Any, **options: Any) -> None:
        self._counter.inc()
        super().post(*arguments, **options)


def open_log(
    jetstream: JetStream,
    stream: str,
    node: str,
    *,
    posting: JetStream | None = None,
    observer: Observer | None = None,
) -> SettledLog:
    """Open the log as all processes of a run open it."""
    return SettledLog(
        jetstream,
        stream,
        node=node,
        replicas=REPLICAS,
        max_bytes=MAX_BYTES,
        part_bytes=PART_BYTES,
        max_record_bytes=MAX_RECORD_BYTES,
        patience_s=PATIENCE_S,
        settle_s=0,
        posting=posting,
        observer=observer,
    )


def main() -> None:
    """Run the broker until SIGTERM.

    The line that it prints has its address, its clock beside the monotonic one, and whether it began with a checkpoint.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--servers", required=True)
    parser.add_argument("--stream", required=True)
    parser.add_argument("--node", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--disk", type=Path, action="append", default=[])
    parser.add_argument("--listen", required=True)
    parser.add_argument("--clock-ms", type=int, default=0)
    options = parser.parse_args()
    options.data.mkdir(parents=True, exist_ok=True)
    logs = set_up_logging("info")  # before the first connection, whose server the run reads from the log
    connection = Connection(options.servers, name=options.node)
    posting = Connection(options.servers, name=f"{options.node} posts")
    jetstream = JetStream(connection)
    posted = Counter(POSTED_METRIC, "messages that were posted", registry=None)
    checkpoints = NotedCheckpoints(jetstream, options.stream, replicas=REPLICAS)

    def open_this_log(_settings: Settings, observer: Observer | None = None) -> serve.OpenedLog:
        posts = CountedPosts(posting, posted)
        log = open_log(jetstream, options.stream, options.node, posting=posts, observer=observer)
        log.disks = options.disk
        return serve.OpenedLog(log, checkpoints, PART_BYTES)

    def make_this_registry(broker: Broker) -> CollectorRegistry:
        registry = make_registry(broker)
        registry.register(posted)
        return registry

    serve.open_log = cast("Any", open_this_log)
    serve.make_registry = make_this_registry  # type: ignore[attr-defined]
    maintenance._CHECKPOINT_EVERY_TIMES = 1  # the size of the last one
    hurried = partial(LogMaintenance, checkpoint_every_bytes=CHECKPOINT_EVERY_BYTES, tick_s=TICK_S)
    serve.LogMaintenance = hurried  # type: ignore[assignment, attr-defined]
    host, _, port = options.listen.rpartition(":")
    settings = Settings(
        data=options.data,
        listen=(host, int(port)),
        insecure=True,
        message_bytes=MAX_RECORD_BYTES // 8,
        batch_bytes=MAX_RECORD_BYTES // 2,
    )
    clock = WrongClock(options.clock_ms)
    with (
        closing(logs),
        closing(connection),
        closing(posting),
        Signals() as signals,
        serve.assembled(settings, clock=clock) as (broker, server, _),
    ):
        posting.read_on(server)
        offset_s = clock.now_ms() / 1000 - time.monotonic()
        signals.ready(server.stop, lambda: None)
        begins = "with" if checkpoints.is_used else "without"
        print(f"owner at {server.url}, clock {offset_s:.4f}, {begins} a checkpoint", flush=True)
        server.run(on_stop=broker.stop_claiming)


if __name__ == "__main__":
    main()
