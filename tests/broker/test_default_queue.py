"""The queue `default` is there unless the broker is told to do without it."""

from __future__ import annotations

import pytest

from tests.support.clock import FakeClock
from tests.support.memory_log import MemoryLog
from wonderq.broker.broker import Broker
from wonderq.model.errors import QueueNotFoundError


def names(broker: Broker) -> list[str]:
    return [each.name for each in broker.queues()]


def test_a_new_broker_has_it() -> None:
    assert names(Broker(MemoryLog(), clock=FakeClock())) == ["default"]


def test_a_broker_without_it_has_no_queue_at_first() -> None:
    log = MemoryLog()
    broker = Broker(log, clock=FakeClock(), default_queue=False)
    assert names(broker) == []
    with pytest.raises(QueueNotFoundError):
        broker.claim("default")
    [message_id] = broker.produce("orders", ["x"])
    again = Broker(log.after_crash(), clock=FakeClock(), default_queue=False)
    assert names(again) == ["orders"]
    assert again.get("orders", message_id).body == "x"


def test_one_that_is_there_stays() -> None:
    log = MemoryLog()
    Broker(log, clock=FakeClock()).produce("default", ["x"])
    assert names(Broker(log.after_crash(), clock=FakeClock(), default_queue=False)) == ["default"]


def test_a_producer_may_create_it() -> None:
    broker = Broker(MemoryLog(), clock=FakeClock(), default_queue=False)
    broker.produce("default", ["x"])
    assert names(broker) == ["default"]
