from __future__ import annotations

from collections.abc import Iterator

import dramatiq
import pytest

from wonderq.client.sync_queue import Queue
from wonderq.dramatiq import WonderQBroker
from wonderq.testing import Broker

#: Longer than a test takes on a busy machine: a claim ends only when a test moves the clock, or the worker ends it.
LEASE_S = 3600


@pytest.fixture
def running(wonderq_broker: Broker) -> Broker:
    return wonderq_broker


@pytest.fixture
def tasks(running: Broker) -> Iterator[WonderQBroker]:
    """The broker of dramatiq, which its decorators use."""
    tasks = WonderQBroker(running.url, lease=LEASE_S)
    dramatiq.set_broker(tasks)
    yield tasks
    tasks.close()


@pytest.fixture
def queue(running: Broker) -> Queue:
    """The queue of the tasks, as the broker has it."""
    return running.client().queue("default")
