"""Priorities: 0 to 9, the most urgent first, and in the order of sending among those of one."""

from __future__ import annotations

import pytest

from tests.broker.conftest import Lasting
from wonderq.model.errors import InvalidValueError
from wonderq.model.messages import Change, NewMessage, Target


def send_mixed(lasting: Lasting) -> None:
    for body, priority in (("a0", 0), ("b5", 5), ("c9", 9), ("d5", 5), ("e0", 0), ("f1", 1)):
        lasting.add("q", body, priority=priority)


def test_the_most_urgent_comes_first_and_then_the_oldest(lasting: Lasting) -> None:
    send_mixed(lasting)
    lasting.again()
    assert lasting.bodies("q") == "c9 b5 d5 f1 a0 e0"


def test_one_at_a_time_is_the_same_order(lasting: Lasting) -> None:
    send_mixed(lasting)
    got = []
    for _ in range(6):
        lasting.again()
        got.append(lasting.bodies("q", 1))
    assert got == ["c9", "b5", "d5", "f1", "a0", "e0"]


def test_what_comes_back_keeps_its_place(lasting: Lasting) -> None:
    send_mixed(lasting)
    urgent, *_ = lasting.take("q", 3)
    lasting.add("q", "g9", priority=9)
    lasting.broker.update("q", Target(receipt=urgent.receipt), Change(visibility_timeout_ms=0))
    lasting.again()
    assert lasting.bodies("q", 2) == "c9 g9"
    lasting.clock.ms += 10_000
    assert lasting.bodies("q") == "c9 g9 b5 d5 f1 a0 e0"


def test_a_delayed_urgent_message_keeps_nobody_waiting(lasting: Lasting) -> None:
    lasting.broker.send("q", [NewMessage("later", priority=9, delay_ms=1_000), NewMessage("now")])
    lasting.again()
    assert lasting.bodies("q") == "now"
    lasting.clock.ms += 1_000
    assert lasting.bodies("q") == "later"


def test_messages_tell_their_priority(lasting: Lasting) -> None:
    (message_id,) = lasting.add("q", "x", priority=7)
    envelope = lasting.again().get("q", message_id).envelope
    assert envelope is not None
    assert (envelope.priority, envelope.group, envelope.version) == (7, "", 1)


@pytest.mark.parametrize(("queue", "priority"), [("q", -1), ("q", 10), ("q.fifo", 1)])
def test_a_priority_out_of_range_or_in_a_fifo_queue_is_refused(lasting: Lasting, queue: str, priority: int) -> None:
    with pytest.raises(InvalidValueError):
        lasting.add(queue, "x", priority=priority)
    assert [info.name for info in lasting.again().queues()] == ["default"]


def test_the_sum_of_waiting_times_counts_younger_messages_that_went_first(lasting: Lasting) -> None:
    """Ages are counted by stretches that are in the order of sending, which a claim by priority is not."""
    lasting.add("q", "old")
    lasting.clock.ms += 3_000
    lasting.add("q", "young", priority=9)
    lasting.clock.ms += 50
    assert lasting.bodies("q") == "young old"
    time_to_claim_ms = lasting.broker.counters.of("q").time_to_claim_ms
    assert time_to_claim_ms.total == 3_050 + 50
    assert {
        bound: count for bound, count in zip(time_to_claim_ms.bounds, time_to_claim_ms.counts, strict=False) if count
    } == {
        100: 1,
        5_000: 1,
    }
