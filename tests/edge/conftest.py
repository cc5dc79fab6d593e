from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.edge_cluster import EdgeCluster, edge_cluster
from tests.support.nats_servers import NatsCluster
from wonderq.edge_app import EdgeSettings


@pytest.fixture(scope="session")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsCluster]:
    with NatsCluster(tmp_path_factory.mktemp("nats"), 1) as cluster:
        yield cluster


@pytest.fixture
def retry_s() -> float:
    """Time for which a node tries again. Tests that only wait for a refusal set a shorter one."""
    return 0.4


@pytest.fixture
def cluster(nats: NatsCluster, retry_s: float) -> Iterator[EdgeCluster]:
    with edge_cluster(nats.url, settings=EdgeSettings(retry_s=retry_s)) as found:
        yield found
