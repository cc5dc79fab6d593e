"""JetStreamLog keeps the contract of a log, on one server and on three."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.storage.log_contract import LogContract, OpenLog
from tests.support.log_streams import LogStream
from tests.support.nats_servers import NatsCluster, needs_nats
from wonderq_storage.nats import Connection


def serve(folder: Path, servers: int) -> Iterator[Connection]:
    with NatsCluster(folder, servers) as cluster, closing(Connection(cluster.url)) as connection:
        yield connection


@pytest.fixture(scope="module")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    yield from serve(tmp_path_factory.mktemp("nats"), 1)


@pytest.fixture(scope="module")
def three_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    yield from serve(tmp_path_factory.mktemp("nats"), 3)


class OnStreams(LogContract):
    @pytest.fixture
    def open_log(self, surroundings: LogStream) -> OpenLog:
        return surroundings.open


@needs_nats
class TestOneServer(OnStreams):
    @pytest.fixture
    def surroundings(self, one_server: Connection) -> LogStream:
        return LogStream(one_server)

    @pytest.fixture
    def open_other_log(self, one_server: Connection) -> OpenLog:
        return LogStream(one_server).open


@needs_nats
class TestPosting(OnStreams):
    @pytest.fixture
    def surroundings(self, one_server: Connection) -> LogStream:
        return LogStream(one_server, posts=True)

    @pytest.fixture
    def open_other_log(self, one_server: Connection) -> OpenLog:
        return LogStream(one_server, posts=True).open


@needs_nats
@pytest.mark.slow
class TestThreeServers(OnStreams):
    @pytest.fixture
    def surroundings(self, three_servers: Connection) -> LogStream:
        return LogStream(three_servers, replicas=3)

    @pytest.fixture
    def open_other_log(self, three_servers: Connection) -> OpenLog:
        return LogStream(three_servers, replicas=3).open
