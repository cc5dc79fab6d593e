"""JetStreamLog keeps the contract of a log, on one server and on three."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.storage.log_contract import LogContract, OpenLog
from tests.support.nats_servers import NatsCluster, needs_nats
from wonderq_storage.jetstream_log import JetStreamLog
from wonderq_storage.nats import Connection, JetStream

#: Small, so that tests reach the borders of parts and groups soon.
PART_BYTES, MAX_RECORD_BYTES = 4500, 4000


def opener(jetstream: JetStream, replicas: int) -> OpenLog:
    """Return a function that opens one log, in a stream of its own."""
    name = f"T{secrets.token_hex(6)}"

    def open_log() -> JetStreamLog:
        return JetStreamLog(
            jetstream,
            name,
            node="test",
            replicas=replicas,
            max_bytes=1 << 26,
            part_bytes=PART_BYTES,
            max_record_bytes=MAX_RECORD_BYTES,
        )

    return open_log


def serve(folder: Path, servers: int) -> Iterator[JetStream]:
    with NatsCluster(folder, servers) as cluster, closing(Connection(cluster.url)) as connection:
        yield JetStream(connection)


@pytest.fixture(scope="module")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JetStream]:
    yield from serve(tmp_path_factory.mktemp("nats"), 1)


@pytest.fixture(scope="module")
def three_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JetStream]:
    yield from serve(tmp_path_factory.mktemp("nats"), 3)


@needs_nats
class TestOneServer(LogContract):
    @pytest.fixture
    def open_log(self, one_server: JetStream) -> OpenLog:
        return opener(one_server, 1)

    @pytest.fixture
    def open_other_log(self, one_server: JetStream) -> OpenLog:
        return opener(one_server, 1)


@needs_nats
@pytest.mark.slow
class TestThreeServers(LogContract):
    @pytest.fixture
    def open_log(self, three_servers: JetStream) -> OpenLog:
        return opener(three_servers, 3)

    @pytest.fixture
    def open_other_log(self, three_servers: JetStream) -> OpenLog:
        return opener(three_servers, 3)
