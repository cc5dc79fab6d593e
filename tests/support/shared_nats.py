"""A NATS server that the tests of a module share, each with a stream of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.support.log_streams import LogStream
from tests.support.nats_servers import NatsCluster
from wonderq_storage.nats import Connection


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    with NatsCluster(tmp_path_factory.mktemp("nats"), 1) as cluster, closing(Connection(cluster.url)) as connection:
        yield connection


@pytest.fixture
def stream(connection: Connection) -> LogStream:
    return LogStream(connection)
