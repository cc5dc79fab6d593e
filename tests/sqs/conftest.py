from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.clock import FakeClock
from tests.support.memory_log import MemoryLog
from tests.support.sqs_clients import Caller, Sqs, serving_sqs
from wonderq.broker.broker import Broker
from wonderq.sqs.limits import relaxed


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def sqs(clock: FakeClock) -> Iterator[Sqs]:
    """A broker whose clock stands still, with the limits of SQS."""
    with serving_sqs(Broker(MemoryLog(), clock=clock)) as served:
        yield served


@pytest.fixture
def relaxed_sqs(clock: FakeClock) -> Iterator[Sqs]:
    broker = Broker(MemoryLog(), clock=clock)
    with serving_sqs(broker, relaxed(broker.limits)) as served:
        yield served


@pytest.fixture(params=["json", "query"])
def call(request: Any, sqs: Sqs) -> Caller:
    """Calls that broker, in each of the two protocols."""
    return sqs.caller(request.param)


@pytest.fixture
def queue(sqs: Sqs) -> str:
    url: str = sqs.boto("CreateQueue", QueueName="jobs")["QueueUrl"]
    return url


@pytest.fixture
def fifo(sqs: Sqs) -> str:
    url: str = sqs.boto("CreateQueue", QueueName="jobs.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    return url
