"""The logs of a cluster on a NATS server, without nodes: the brokers of its shards run in this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Self

from tests.support.clock import FakeClock
from wonderq.broker.broker import Broker
from wonderq.cluster.announcements import Announcement, OfShard
from wonderq.cluster.charter import BUCKET, CHARTER, Charter
from wonderq_storage.jetstream_log import JetStreamLog
from wonderq_storage.jetstream_replicas import names_of_streams
from wonderq_storage.jetstream_values import JetStreamValues
from wonderq_storage.nats import Connection, JetStream

_CALL_S = 30.0


class ClusterOnNats:
    """A cluster with one broker a shard, which make all streams anew. Use it as a context."""

    def __init__(self, url: str, *, shards: int = 2, cluster_id: str = "0123456789abcdef") -> None:
        self.url = url
        self._connection = Connection(url)
        self.jetstream = JetStream(self._connection)
        self.values = JetStreamValues(self.jetstream, BUCKET)
        self.charter = Charter(cluster_id, shards, 1)
        self.clock = FakeClock()
        self.logs: list[JetStreamLog] = []
        self.brokers: list[Broker] = []

    def __enter__(self) -> Self:
        remove_everything(self.jetstream)
        self.values.make(1)
        self.values.put(CHARTER, self.charter.encode(), revision=0)
        self.open_brokers(self.charter)
        return self

    def open_brokers(self, charter: Charter) -> None:
        """Take the shards over."""
        self.charter = charter
        for shard in range(charter.shards):
            # Small parts that can be dropped at once, so that a test reaches the next one soon.
            log = JetStreamLog(
                self.jetstream,
                charter.stream(shard),
                node="test",
                max_bytes=64 << 20,
                part_bytes=4500,
                settle_s=0,
            )
            self.logs.append(log)
            self.brokers.append(Broker(log, clock=self.clock))

    def close_brokers(self) -> None:
        for broker in self.brokers:
            broker.close()
        for log in self.logs:
            log.close()
        self.brokers, self.logs = [], []

    def __exit__(self, *_error: object) -> None:
        self.close_brokers()
        remove_everything(self.jetstream)
        self._connection.close()

    @contextmanager
    def announcing(self, shards: dict[int, OfShard], node: str = "a") -> Iterator[None]:
        """Play a node that says something of the shards, again and again."""
        said = Announcement(node, "token", "able", "1", "http://127.0.0.1:1", 0, None, [], shards, {}, {}).encode()
        ending = threading.Event()

        def run() -> None:
            with closing(Connection(self.url)) as connection:  # nobody hears what the same connection says
                while not ending.is_set():
                    connection.publish(f"wonderq.{self.charter.cluster_id}.nodes", said, timeout_s=_CALL_S)
                    ending.wait(0.01)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            ending.set()
            thread.join()


def remove_everything(jetstream: JetStream) -> None:
    """Remove all streams."""
    for name in names_of_streams(jetstream):
        jetstream.call(f"STREAM.DELETE.{name}", timeout_s=_CALL_S)
