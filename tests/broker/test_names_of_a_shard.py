"""A broker that has only some of the queues refuses the names of the others, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.memory_log import MemoryLog
from wonderq.broker.broker import Broker
from wonderq.model.errors import DifferentShardsError, QueueNotFoundError


@pytest.fixture
def broker() -> Iterator[Broker]:
    """A broker of the names that begin with a."""
    broker = Broker(MemoryLog(), default_queue=False, has_name=lambda name: name.startswith("a"))
    broker.put_queue("a")
    broker.produce("a", ["x"])
    yield broker
    broker.close()


CALLS: list[Callable[[Broker], Any]] = [
    lambda broker: broker.put_queue("b"),
    lambda broker: broker.create_queue("b"),
    lambda broker: broker.produce("b", ["x"]),
    lambda broker: broker.put_queue("a", dead_letter_queue="b"),
    lambda broker: broker.create_queue("a2", dead_letter_queue="b"),
    lambda broker: broker.redrives.start("a", destination="b"),
    lambda broker: broker.schedules.put("a", cron="* * * * *", queue="b", body="x"),
    lambda broker: broker.queue("b"),
    lambda broker: broker.drop_queue("b"),
]


@pytest.mark.parametrize("call", CALLS)
def test_a_queue_of_another_shard_is_refused(broker: Broker, call: Callable[[Broker], Any]) -> None:
    before = broker.log_bytes
    with pytest.raises(DifferentShardsError, match=r"'b' is in another shard.*--"):
        call(broker)
    assert broker.log_bytes == before, "nothing was changed"


def test_a_queue_of_this_shard_that_does_not_exist_is_not_found(broker: Broker) -> None:
    with pytest.raises(QueueNotFoundError):
        broker.queue("a2")
