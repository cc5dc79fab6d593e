from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clock import FakeClock
from tests.support.http_client import Client
from wonderq.broker.broker import Broker
from wonderq_storage import FileLog


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def broker(tmp_path: Path, clock: FakeClock) -> Iterator[Broker]:
    broker = Broker(FileLog(tmp_path / "log"), clock=clock)
    yield broker
    broker.close()


@pytest.fixture
def client(broker: Broker) -> Client:
    return Client(broker)
