from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.cluster_processes import SHARDS, ClusterProcesses


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterProcesses]:
    with ClusterProcesses(tmp_path_factory.mktemp("cluster"), "abc", "--shards", str(SHARDS)) as processes:
        yield processes


@pytest.fixture
def cluster(processes: ClusterProcesses) -> Iterator[ClusterProcesses]:
    """Three nodes, each of which owns a part of the shards."""
    for each in processes.nodes:
        if each.process.poll() is not None:
            each.start()
    processes.await_owners("a", "b", "c")
    yield processes
    for each in processes.nodes:
        assert "Traceback" not in each.log()
