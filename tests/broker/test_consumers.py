"""Waiting consumers whose queue is deleted and created again under the same name."""

from __future__ import annotations

import pytest

from tests.support.memory_log import MemoryLog
from wonderq.broker.broker import Broker
from wonderq.broker.consumers import ConsumerQueues, Waiter
from wonderq.model.errors import InvalidValueError
from wonderq.state.state import Queue


def queue(number: int, messages: int = 0) -> Queue:
    made = Queue(number, "x", 0)
    if messages:
        made.messages.produce(0, 0, 100, [1] * messages, [])
    return made


def waiting(lines: ConsumerQueues, *queues: Queue) -> Waiter:
    waiter = lines.register()
    for each in queues:
        lines.join(each, waiter)
    return waiter


def test_a_waiter_of_two_queues_wakes_for_either_and_passes_on_what_it_leaves() -> None:
    lines = ConsumerQueues(10)
    one, two = queue(1), queue(2)
    both, only_two = waiting(lines, one, two), waiting(lines, two)
    assert len(lines) == 2
    two.messages.produce(0, 0, 100, [1], [])
    lines.notify(two)
    assert (both.wake.is_set(), only_two.wake.is_set()) == (True, False)
    lines.leave(both, [one, two])
    assert only_two.wake.is_set(), "the message is still there"
    lines.leave(only_two, [two])
    assert not lines._waiters


def test_a_waiter_wakes_for_the_first_deadline_of_its_queues() -> None:
    lines = ConsumerQueues(10)
    one, two = queue(1), queue(2)
    one.messages.produce(0, 1_000, 100, [1], [9_000])
    two.messages.produce(0, 1_000, 100, [1], [5_000])
    waiter = waiting(lines, one, two)
    assert waiter.due_ms == 5_000
    waiter.rearm()
    lines.join(one, waiter)
    assert waiter.due_ms == 9_000


def test_whoever_waited_for_a_dropped_queue_waits_for_the_new_one_of_its_name() -> None:
    lines = ConsumerQueues(10)
    old, new = queue(1), queue(2)
    first, second = waiting(lines, old), waiting(lines, old)
    lines.dissolve(old)
    assert first.wake.is_set()
    assert second.wake.is_set()
    for waiter in (first, second):
        waiter.rearm()
        lines.join(new, waiter)
        assert not waiter.wake.is_set()
    new.messages.produce(0, 0, 100, [1], [])
    lines.notify(new)
    assert (first.wake.is_set(), second.wake.is_set()) == (True, False), "the line is as it was"
    lines.leave(first, [new])
    assert second.wake.is_set(), "the message is still there"
    lines.leave(second, [new])
    assert not lines._waiters, "and nothing is left of it"


def test_whoever_has_not_looked_yet_leaves_a_dropped_queue_s_successor_alone() -> None:
    """A consumer leaves, for example because of a disconnect, between the drop of the queue and its own next check."""
    lines = ConsumerQueues(2)
    old, new = queue(1), queue(2, messages=1)
    leaving = waiting(lines, old)
    lines.dissolve(old)
    lines.leave(leaving, [None, new])  # no line for it yet
    staying, leaving = waiting(lines, new), waiting(lines, old)
    lines.dissolve(old)
    lines.leave(leaving, [None, new])  # a line, and it is not in it
    assert staying.wake.is_set()
    lines.leave(staying, [new])
    waiting(lines, new), waiting(lines, new)  # there is room for two again


@pytest.mark.parametrize("wait_s", [-0.001, 20.001, float("nan"), float("inf"), float("-inf")])
def test_a_wait_that_is_out_of_range_is_refused(wait_s: float) -> None:
    broker = Broker(MemoryLog())
    broker.produce("default", ["a"])
    with pytest.raises(InvalidValueError, match="wait must be from 0 to 20 seconds"):
        broker.claim("default", wait_s=wait_s)
    assert broker.count("default", "unprocessed") == 1
