from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.support.broker_process import RunningBroker
from wonderq.client.sync import Client


@pytest.fixture(scope="package")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    with RunningBroker(tmp_path_factory.mktemp("broker") / "data") as running:
        yield running


@pytest.fixture
def client(broker: RunningBroker) -> Iterator[Client]:
    with Client(broker.url) as client:
        yield client


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Name of a queue that no other test uses."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", request.node.name)[-60:]
