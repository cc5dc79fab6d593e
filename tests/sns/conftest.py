from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.clock import FakeClock
from tests.support.memory_log import MemoryLog
from tests.support.sns_clients import Sns, serving_sns
from wonderq.broker.broker import Broker


@pytest.fixture
def sns() -> Iterator[Sns]:
    """A broker whose clock stands still, with the limits of SNS, without signatures."""
    with serving_sns(Broker(MemoryLog(), clock=FakeClock())) as served:
        yield served
