from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.clock import FakeClock
from tests.support.memory_log import MemoryLog
from tests.support.sns_clients import Sns, serving_sns
from wonderq.broker.broker import Broker
from wonderq.model.queue_names import DEFAULT_QUEUE


@pytest.fixture(scope="module")
def shared_sns() -> Iterator[Sns]:
    """A broker whose clock stands still, with the limits of SNS, without signatures."""
    with serving_sns(Broker(MemoryLog(), clock=FakeClock())) as served:
        yield served


@pytest.fixture
def sns(shared_sns: Sns) -> Iterator[Sns]:
    """The shared broker, without the topics and queues of earlier tests."""
    yield shared_sns
    broker = shared_sns.broker
    for topic in broker.topics.list():
        broker.topics.delete(topic.name)
    for name in broker.queue_names(limit=10_000):
        if name != DEFAULT_QUEUE:
            broker.drop_queue(name)
