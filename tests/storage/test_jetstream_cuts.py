"""The connection to NATS is cut at every byte of an append: each record is in the log once, and in its place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.support.log_streams import LogStream, replayed
from tests.support.nats_servers import NatsCluster, needs_nats
from tests.support.one_cut_proxy import OneCutProxy
from wonderq_storage import Position
from wonderq_storage.nats import Connection, JetStream

pytestmark = needs_nats


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsCluster]:
    with NatsCluster(tmp_path_factory.mktemp("nats"), 1) as cluster:
        yield cluster


def cut(cluster: NatsCluster, step: int) -> None:
    """Append two records in two messages again and again, each time with a cut ``step`` bytes later."""
    with (
        closing(Connection(cluster.url)) as direct,
        OneCutProxy(cluster.servers[0].port) as proxy,
        closing(Connection(proxy.url)) as cut_off,
    ):
        stream = LogStream(direct)
        log = stream.start(jetstream=JetStream(cut_off), part_bytes=1 << 30)
        placed: list[tuple[Position, bytes]] = []

        def append_two() -> None:
            for _ in range(2):
                record = b"record %04d" % len(placed)
                placed.append((log.append(record), record))
                log.wait(placed[-1][0])

        before = dict(proxy.passed)
        append_two()
        sizes = {direction: proxy.passed[direction] - before[direction] for direction in before}
        assert min(sizes.values()) > 150
        for direction, size in sizes.items():
            for after_bytes in range(1, size + 1, step):
                log._stream.info()  # so there is a connection again, and the cut hits the append
                cuts = proxy.cuts
                proxy.arm(direction, after_bytes)
                append_two()
                assert proxy.cuts == cuts + 1, (direction, after_bytes)
        assert log.append_retries > 0
        log.close()
        assert replayed(stream.open()) == placed


def test_some_cuts(cluster: NatsCluster) -> None:
    cut(cluster, 23)


@pytest.mark.slow
def test_a_cut_at_every_byte(cluster: NatsCluster) -> None:
    cut(cluster, 1)
