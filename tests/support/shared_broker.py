"""A broker that the tests of a suite share, each with a queue of its own. The conftest of the suite imports the fixtures."""

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


def name_of(text: str, most_characters: int) -> str:
    """Return the end of a text as a name that a queue may have."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", text)[-most_characters:]
