from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.clock import FakeClock
from tests.support.http_client import Client
from tests.support.memory_log import MemoryLog
from wonderq.broker.broker import Broker


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def broker(clock: FakeClock) -> Iterator[Broker]:
    broker = Broker(MemoryLog(), clock=clock)
    yield broker
    broker.close()


@pytest.fixture
def client(broker: Broker) -> Client:
    return Client(broker)
