"""Waiting consumers whose queue is deleted and created again under the same name."""

from __future__ import annotations

import pytest

from tests.support.memory_log import MemoryLog
from wonderq.broker.broker import Broker
from wonderq.broker.consumers import ConsumerQueues
from wonderq.model.errors import InvalidValueError
from wonderq.state.state import Queue


def queue(number: int, messages: int = 0) -> Queue:
    made = Queue(number, "x", 0)
    if messages:
        made.messages.produce(0, 0, 100, [1] * messages, [])
    return made


def test_whoever_waited_for_a_dropped_queue_waits_for_the_new_one_of_its_name() -> None:
    lines = ConsumerQueues(10)
    old, new = queue(1), queue(2)
    first, second = lines.join(old), lines.join(old)
    lines.dissolve(old)
    assert first.wake.is_set()
    assert second.wake.is_set()
    for waiter in (first, second):
        lines.rejoin(new, waiter)
        assert not waiter.wake.is_set()
    new.messages.produce(0, 0, 100, [1], [])
    lines.notify(new)
    assert (first.wake.is_set(), second.wake.is_set()) == (True, False), "the line is as it was"
    lines.leave(first, new)
    assert second.wake.is_set(), "the message is still there"
    lines.leave(second, new)
    assert not lines._waiters, "and nothing is left of it"


def test_whoever_has_not_looked_yet_leaves_a_dropped_queue_s_successor_alone() -> None:
    """A consumer leaves, for example because of a disconnect, between the drop of the queue and its own next check."""
    lines = ConsumerQueues(2)
    old, new = queue(1), queue(2, messages=1)
    leaving = lines.join(old)
    lines.dissolve(old)
    lines.leave(leaving, new)  # no line for it yet
    staying, leaving = lines.join(new), lines.join(old)
    lines.dissolve(old)
    lines.leave(leaving, new)  # a line, and it is not in it
    assert staying.wake.is_set()
    lines.leave(staying, new)
    lines.join(new), lines.join(new)  # there is room for two again


@pytest.mark.parametrize("wait_s", [-0.001, 20.001, float("nan"), float("inf"), float("-inf")])
def test_a_wait_that_is_out_of_range_is_refused(wait_s: float) -> None:
    broker = Broker(MemoryLog())
    broker.produce("default", ["a"])
    with pytest.raises(InvalidValueError, match="wait must be from 0 to 20 seconds"):
        broker.claim("default", wait_s=wait_s)
    assert broker.count("default", "unprocessed") == 1
