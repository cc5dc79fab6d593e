from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.cluster_on_nats import ClusterOnNats
from tests.support.nats_servers import NatsCluster
from wonderq.cluster_tools import logs


@pytest.fixture(scope="package")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsCluster]:
    with NatsCluster(tmp_path_factory.mktemp("nats"), 1) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def short_listening(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests have no nodes, or one that speaks all the time."""
    monkeypatch.setattr(logs, "LISTEN_S", 0.1)


@pytest.fixture
def cluster(nats: NatsCluster) -> Iterator[ClusterOnNats]:
    with ClusterOnNats(nats.url) as cluster:
        yield cluster
