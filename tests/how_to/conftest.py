from __future__ import annotations

from collections.abc import Iterator

import pytest

from wonderq.client.sync import Client
from wonderq.testing import Broker, broker


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """A broker that the blocks find by WONDERQ_URL."""
    with broker() as running:
        monkeypatch.setenv("WONDERQ_URL", running.url)
        monkeypatch.delenv("WONDERQ_KEY", raising=False)
        yield running


@pytest.fixture
def client(running: Broker) -> Client:
    return running.client()
