"""An id names a message of one queue; with another queue's name it finds nothing, though that has a message of the same
number."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.memory_log import MemoryLog
from wonderq.broker.broker import Broker
from wonderq.model.errors import BrokerError, InvalidValueError, MessageNotFoundError, OtherQueueError
from wonderq.model.messages import Change, Target

ACTS: dict[str, Callable[[Broker, str], object]] = {
    "get": lambda broker, message_id: broker.get("other", message_id),
    "delete": lambda broker, message_id: broker.delete("other", Target(id=message_id)),
    "change": lambda broker, message_id: broker.update("other", Target(id=message_id), Change(body="changed")),
    "delay": lambda broker, message_id: broker.update("other", Target(id=message_id), Change(delay_ms=1000)),
}


@pytest.fixture
def broker() -> Broker:
    return Broker(MemoryLog())


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS.keys())
def test_an_id_does_not_act_on_another_queue(broker: Broker, act: Callable[[Broker, str], object]) -> None:
    [mine] = broker.produce("default", ["mine"])
    broker.produce("other", ["another's"])
    before = list(broker.messages("other"))
    with pytest.raises(MessageNotFoundError):
        act(broker, mine)
    assert list(broker.messages("other")) == before
    assert broker.get("default", mine).body == "mine"


def test_a_batch_leaves_out_the_ids_of_another_queue(broker: Broker) -> None:
    [mine] = broker.produce("default", ["mine"])
    [other] = broker.produce("other", ["another's"])
    results: list[BrokerError | None] = broker.delete_batch("other", [Target(id=mine), Target(id=other)])
    assert [type(result) for result in results] == [OtherQueueError, type(None)]
    assert [message.body for message in broker.messages("default")] == ["mine"]


def test_a_listing_does_not_begin_behind_a_message_of_another_queue(broker: Broker) -> None:
    [mine] = broker.produce("default", ["mine"])
    broker.produce("other", ["another's", "and one more"])
    with pytest.raises(InvalidValueError):
        broker.messages("other", after=mine)
