"""FIFO queues: the messages of a group come in order, one claim of it at a time, and groups do not wait for each other."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.broker.conftest import Lasting
from tests.support.threads import Call
from tests.support.waiting import eventually
from wonderq.model.limits import Limits
from wonderq.model.messages import Change, Message, NewMessage, Target

Q = "q.fifo"


def send(lasting: Lasting, *bodies: str, delay_ms: int | None = None) -> None:
    """Send each to the group that its first letter names."""
    lasting.broker.send(Q, [NewMessage(body, group=body[0], delay_ms=delay_ms) for body in bodies])


def delete(lasting: Lasting, *messages: Message) -> None:
    lasting.broker.delete_batch(Q, [Target(receipt=message.receipt) for message in messages])


def test_a_group_waits_for_its_message_in_flight(lasting: Lasting) -> None:
    send(lasting, "a1", "a2", "b1", "b2")
    (first,) = lasting.take(Q, 1)
    lasting.again()
    assert first.body == "a1"
    assert lasting.bodies(Q) == "b1 b2"
    assert lasting.bodies(Q) == ""
    delete(lasting, first)
    lasting.again()
    assert lasting.bodies(Q) == "a2"


def test_a_claim_gives_a_group_s_messages_together_and_in_order(lasting: Lasting) -> None:
    send(lasting, "a1", "b1", "a2", "b2", "a3")
    lasting.again()
    assert lasting.bodies(Q, 4) == "a1 a2 a3 b1"
    assert lasting.bodies(Q) == "", "b waits for its first"


def test_all_of_a_claim_must_be_done_before_the_next_of_the_group(lasting: Lasting) -> None:
    send(lasting, "a1", "a2", "a3")
    one, two = lasting.take(Q, 2)
    delete(lasting, two)
    lasting.again()
    assert lasting.bodies(Q) == ""
    delete(lasting, one)
    assert lasting.bodies(Q) == "a3"


def test_what_comes_back_comes_first(lasting: Lasting) -> None:
    send(lasting, "a1", "a2", "a3")
    one, two = lasting.take(Q, 2)
    lasting.broker.update(Q, Target(receipt=two.receipt), Change(visibility_timeout_ms=0))
    lasting.again()
    assert lasting.bodies(Q) == "", "a1 is still in flight"
    lasting.broker.update(Q, Target(receipt=one.receipt), Change(visibility_timeout_ms=0))
    lasting.again()
    assert lasting.bodies(Q) == "a1 a2 a3"
    lasting.clock.ms += 10_000
    assert lasting.bodies(Q, 2) == "a1 a2"


ENDS: dict[str, Callable[[Lasting, Message], object]] = {
    "released": lambda lasting, one: lasting.broker.update(Q, by(one), Change(visibility_timeout_ms=0)),
    "expired": lambda lasting, one: lasting.broker.update(Q, by(one), Change(expire=True)),
    "out of time": lambda lasting, _one: lasting.clock.advance(5),
}


def by(message: Message) -> Target:
    return Target(receipt=message.receipt)


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("follower", ["held", "extended", "deleted"])
def test_what_comes_before_the_message_in_flight_is_given_at_once(
    lasting: Lasting, end: Callable[[Lasting, Message], object], follower: str
) -> None:
    send(lasting, "a1", "a2", "a3", "a4", "a5")
    one, two, three = lasting.take(Q, 3, 5_000)
    for each in (two, three):
        lasting.broker.update(Q, by(each), Change(visibility_timeout_ms=20_000))
    if follower == "extended":
        lasting.broker.update(Q, by(two), Change(visibility_timeout_ms=30_000))
    elif follower == "deleted":
        delete(lasting, two)
    end(lasting, one)
    lasting.again()
    assert lasting.bodies(Q) == "a1", "the others come after a message in flight"
    lasting.again()
    assert lasting.bodies(Q) == ""


def test_in_the_middle_of_messages_in_flight(lasting: Lasting) -> None:
    """A released message goes only if no older one of its group is in flight."""
    send(lasting, "a1", "a2", "a3", "a4")
    one, two, three = lasting.take(Q, 3)
    for each in (two, one):
        lasting.broker.update(Q, by(each), Change(visibility_timeout_ms=0))
    lasting.again()
    assert lasting.bodies(Q, 1) == "a1"
    assert lasting.bodies(Q) == "", "a2 comes after a1"
    delete(lasting, three)
    lasting.again()
    assert lasting.bodies(Q) == ""
    lasting.clock.ms += 10_000
    assert lasting.bodies(Q) == "a1 a2 a4"


def test_a_delayed_message_keeps_its_group_waiting_and_no_other(lasting: Lasting) -> None:
    send(lasting, "a1", delay_ms=5_000)
    send(lasting, "a2", "b1")
    lasting.again()
    assert lasting.bodies(Q) == "b1"
    lasting.clock.ms += 5_000
    assert lasting.bodies(Q) == "a1 a2"


def test_a_delayed_message_in_the_middle_lets_those_before_it_go(lasting: Lasting) -> None:
    send(lasting, "a1")
    send(lasting, "a2", delay_ms=5_000)
    send(lasting, "a3")
    lasting.again()
    (one,) = lasting.take(Q)
    assert one.body == "a1"
    delete(lasting, one)
    assert lasting.bodies(Q) == ""
    lasting.clock.ms += 5_000
    assert lasting.bodies(Q) == "a2 a3"


def test_a_delayed_message_that_is_deleted_keeps_nobody_waiting(lasting: Lasting) -> None:
    send(lasting, "a1", delay_ms=5_000)
    send(lasting, "a2")
    lasting.again()
    (delayed,) = lasting.broker.messages(Q, status="delayed")
    lasting.broker.delete(Q, Target(id=delayed.id))
    assert lasting.bodies(Q) == "a2"


def test_a_message_that_is_tried_again_later_keeps_its_group_waiting(lasting: Lasting) -> None:
    send(lasting, "a1", "a2", "b1")
    (one,) = lasting.take(Q, 1)
    lasting.broker.update(Q, Target(receipt=one.receipt), Change(backoff_ms=3_000))
    lasting.again()
    assert lasting.bodies(Q) == "b1"
    lasting.clock.ms += 3_000
    assert lasting.bodies(Q) == "a1 a2"


def test_a_buried_message_keeps_nobody_waiting(lasting: Lasting) -> None:
    send(lasting, "a1", "a2")
    (one,) = lasting.take(Q, 1)
    lasting.broker.update(Q, Target(receipt=one.receipt), Change(bury=True))
    lasting.again()
    assert lasting.bodies(Q) == "a2"
    lasting.broker.kick(Q, 1)
    lasting.again()
    assert lasting.bodies(Q) == "a1", "a2 is in flight, and comes after it"
    lasting.clock.ms += 10_000
    assert lasting.bodies(Q) == "a1 a2"


def test_messages_without_a_group_are_one(lasting: Lasting) -> None:
    lasting.broker.produce(Q, ["1", "2", "3"])
    lasting.again()
    assert lasting.bodies(Q, 1) == "1"
    assert lasting.bodies(Q) == ""
    envelope = [message.envelope for message in lasting.broker.messages(Q)]
    assert envelope == [None] * 3, "they have no group that anybody gave them"


def test_an_updated_message_keeps_its_place(lasting: Lasting) -> None:
    send(lasting, "a1", "a2", "a3")
    first, *_ = lasting.broker.messages(Q)
    lasting.broker.update(Q, Target(id=first.id), Change(body="A1"))
    lasting.again()
    (claimed,) = lasting.take(Q, 1)
    assert claimed.body == "A1"
    lasting.broker.update(Q, Target(receipt=claimed.receipt), Change(body="AA1"))
    lasting.again()
    assert lasting.bodies(Q) == "", "the message that was updated is still in flight"


def test_a_purge_frees_all_groups(lasting: Lasting) -> None:
    send(lasting, "a1", "a2", "b1")
    lasting.take(Q, 1)
    lasting.broker.purge(Q)
    send(lasting, "a3", "b2")
    lasting.again()
    assert lasting.bodies(Q) == "a3 b2"


@pytest.mark.usefixtures("woken_only")
def test_whoever_waits_is_woken_when_the_group_is_free(lasting: Lasting) -> None:
    send(lasting, "a1", "a2")
    (one,) = lasting.take(Q, 1)
    broker = lasting.again()
    waiting = Call(broker.claim, Q, wait_s=20)
    eventually(lambda: broker.waiting_consumers == 1)
    delete(lasting, one)
    assert [message.body for message in waiting.result()] == ["a2"]


def test_an_answer_that_is_full_of_bytes_leaves_the_rest_of_the_group_for_later(lasting: Lasting) -> None:
    send(lasting, "a1".ljust(100), "a2".ljust(100), "a3".ljust(100), "b1")
    lasting.limit(Limits(message_bytes=100, batch_bytes=250))
    lasting.again()
    assert lasting.bodies(Q).split() == ["a1", "a2"]
    assert lasting.bodies(Q) == "b1"
    lasting.clock.ms += 10_000
    assert lasting.bodies(Q).split() == ["a1", "a2"]


def test_a_thousand_groups_each_in_order(lasting: Lasting) -> None:
    chance = random.Random(1)
    order = [group for group in range(1_000) for _ in range(4)]
    chance.shuffle(order)
    for start in range(0, len(order), 500):
        lasting.broker.send(Q, [NewMessage(str(n), group=str(order[n])) for n in range(start, start + 500)])
    got: dict[str, list[int]] = {}
    lasting.again()
    while claimed := lasting.take(Q, 300):
        for message in claimed:
            assert message.envelope is not None
            got.setdefault(message.envelope.group, []).append(int(message.body))
        delete(lasting, *claimed)
    assert sum(map(len, got.values())) == 4_000
    assert all(numbers == sorted(numbers) for numbers in got.values())
    assert not lasting.broker.core.state.queues[Q].messages.lanes.by_number
