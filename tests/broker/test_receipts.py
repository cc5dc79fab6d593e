"""A receipt acts for one claim, and for no other: not a later one, not one that a crash undid."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.support.clock import FakeClock
from tests.support.memory_log import MemoryLog
from tests.support.states import contents_of
from tests.support.threads import Call
from tests.support.waiting import eventually
from wonderq.broker.broker import Broker
from wonderq.model.errors import InvalidValueError, MessageNotFoundError, NotClaimedError, StaleReceiptError
from wonderq.model.messages import Change, Message, Target
from wonderq.state.page import NO_TOKEN

TIMEOUT_MS = 10_000


def claim(broker: Broker, timeout_ms: int = TIMEOUT_MS) -> Message:
    [message] = broker.claim("default", limit=1, visibility_timeout_ms=timeout_ms)
    return message


def by(message: Message) -> Target:
    assert message.receipt is not None
    return Target(receipt=message.receipt)


ACTIONS: dict[str, Callable[[Broker, Target], None]] = {
    "delete": lambda broker, target: broker.delete("default", target),
    "renew": lambda broker, target: broker.update("default", target, Change()),
    "extend": lambda broker, target: broker.update("default", target, Change(visibility_timeout_ms=1)),
    "release": lambda broker, target: broker.update("default", target, Change(visibility_timeout_ms=0)),
    "delay": lambda broker, target: broker.update("default", target, Change(delay_ms=5)),
    "replace": lambda broker, target: broker.update("default", target, Change(body="mine")),
}
actions = pytest.mark.parametrize("act", ACTIONS.values(), ids=ACTIONS)


def stale(broker: Broker, clock: FakeClock, act: Callable[[Broker, Target], None], message: Message) -> None:
    before = contents_of(broker.core.state, clock.ms)
    with pytest.raises(StaleReceiptError):
        act(broker, by(message))
    with pytest.raises(StaleReceiptError):
        act(broker, Target(id=message.id, receipt=message.receipt))
    assert contents_of(broker.core.state, clock.ms) == before, "a stale receipt changes nothing"


@actions
def test_the_current_receipt_acts(broker: Broker, act: Callable[[Broker, Target], None]) -> None:
    broker.produce("default", ["a"])
    act(broker, by(claim(broker)))


@actions
def test_a_later_claim_fences_an_earlier_one(
    broker: Broker, clock: FakeClock, act: Callable[[Broker, Target], None]
) -> None:
    broker.produce("default", ["a"])
    first = claim(broker)
    clock.ms += TIMEOUT_MS
    second = claim(broker)
    assert second.id == first.id
    assert second.receives == 2
    stale(broker, clock, act, first)
    act(broker, by(second))


@actions
@pytest.mark.parametrize("change", [Change(visibility_timeout_ms=0), Change(delay_ms=0), Change(delay_ms=TIMEOUT_MS)])
def test_giving_a_message_back_voids_its_receipt(
    broker: Broker, clock: FakeClock, act: Callable[[Broker, Target], None], change: Change
) -> None:
    broker.produce("default", ["a"])
    message = claim(broker)
    broker.update("default", by(message), change)
    stale(broker, clock, act, message)
    clock.ms += TIMEOUT_MS
    stale(broker, clock, act, message)


def test_a_renewal_is_by_the_timeout_of_the_one_before(broker: Broker, clock: FakeClock) -> None:
    broker.produce("default", ["x"])
    (message,) = broker.claim("default", visibility_timeout_ms=30_000)
    target = Target(receipt=message.receipt)
    broker.update("default", target, Change(visibility_timeout_ms=600_000))
    clock.ms += 1000
    broker.update("default", target, Change())
    (renewed,) = broker.messages("default")
    assert renewed.due_ms == clock.ms + 600_000


def test_the_receipt_of_a_claim_that_was_made_to_expire(broker: Broker, clock: FakeClock) -> None:
    """It deletes the message until the next claim, as after the deadline. The end counts as no time-out."""
    broker.produce("default", ["a"])
    message = claim(broker)
    broker.update("default", by(message), Change(expire=True))
    assert broker.get("default", message.id).status == "unprocessed"
    assert broker.counters.of("default").claims_timed_out == 0
    with pytest.raises(NotClaimedError):
        broker.update("default", by(message), Change(expire=True))
    again = claim(broker)
    stale(broker, clock, ACTIONS["delete"], message)
    broker.update("default", by(again), Change(expire=True))
    broker.delete("default", by(again))
    assert broker.count("default", "unprocessed") == 0


def test_a_claim_that_was_made_to_expire_wakes_a_consumer(broker: Broker) -> None:
    broker.produce("default", ["a"])
    message = claim(broker)
    waiting = Call(broker.claim, "default", wait_s=20)
    eventually(lambda: broker.waiting_consumers == 1)
    broker.update("default", by(message), Change(expire=True))
    assert [each.id for each in waiting.result()] == [message.id]


@pytest.mark.parametrize("name", ["delete", "delay", "replace"])
def test_after_the_deadline_a_receipt_counts_until_the_next_claim(broker: Broker, clock: FakeClock, name: str) -> None:
    broker.produce("default", ["a"])
    message = claim(broker)
    clock.ms += TIMEOUT_MS + 1
    assert broker.get("default", message.id).status == "unprocessed"
    ACTIONS[name](broker, by(message))


def test_replacing_the_body_leaves_an_expired_receipt_as_it_is(broker: Broker, clock: FakeClock) -> None:
    broker.produce("default", ["a"])
    message = claim(broker)
    clock.ms += TIMEOUT_MS
    broker.update("default", by(message), Change(body="b"))
    broker.update("default", Target(id=message.id), Change(body="c"))
    broker.delete("default", by(message))


@actions
def test_a_receipt_of_a_deleted_message_finds_nothing(broker: Broker, act: Callable[[Broker, Target], None]) -> None:
    broker.produce("default", ["a"])
    message = claim(broker)
    broker.delete("default", by(message))
    with pytest.raises(MessageNotFoundError):
        act(broker, by(message))


@actions
def test_a_receipt_with_another_messages_id_is_refused(broker: Broker, act: Callable[[Broker, Target], None]) -> None:
    other, _ = broker.produce("default", ["a", "b"])
    claim(broker)
    message = claim(broker)
    with pytest.raises(InvalidValueError):
        act(broker, Target(id=other, receipt=message.receipt))
    with pytest.raises(InvalidValueError):
        act(broker, Target(id="made up", receipt=message.receipt))


@actions
def test_a_receipt_does_not_act_on_another_queue(broker: Broker, act: Callable[[Broker, Target], None]) -> None:
    broker.produce("other", ["a"])
    [message] = broker.claim("other")
    with pytest.raises(MessageNotFoundError):
        act(broker, by(message))


@actions
def test_no_receipt_with_a_wrong_digit_acts(
    broker: Broker, clock: FakeClock, act: Callable[[Broker, Target], None]
) -> None:
    broker.produce("default", ["a"] * 50)
    message = claim(broker)
    assert message.receipt is not None
    before = contents_of(broker.core.state, clock.ms)
    for at, digit in enumerate(message.receipt):
        for other in "0123456789abcdef".replace(digit, ""):
            with pytest.raises((InvalidValueError, StaleReceiptError)):
                act(broker, Target(receipt=message.receipt[:at] + other + message.receipt[at + 1 :]))
    assert contents_of(broker.core.state, clock.ms) == before


def test_ten_thousand_made_up_tokens_do_not_act(broker: Broker, clock: FakeClock) -> None:
    broker.produce("default", ["a"] * 2)
    message = claim(broker)
    assert message.receipt is not None
    chance = random.Random(5)
    made_up = [f"{message.receipt[:32]}{chance.getrandbits(32):08x}" for _ in range(10_000)]
    for start in range(0, len(made_up), 1000):
        targets = [Target(receipt=receipt) for receipt in made_up[start : start + 1000] if receipt != message.receipt]
        assert {type(error) for error in broker.delete_batch("default", targets)} == {StaleReceiptError}
    assert broker.count("default", "processing") == 1


def test_the_token_that_means_no_claim_does_not_act(broker: Broker) -> None:
    """`NO_TOKEN` stands in the columns of a message that nobody claimed, so a receipt must never carry it."""
    [message_id] = broker.produce("default", ["a"])
    queue, sequence = broker.core.ids.decode_id(message_id) or (0, 0)
    forged = Target(receipt=broker.core.ids.receipt(queue, sequence, 0))
    for act in (ACTIONS["delete"], ACTIONS["delay"], ACTIONS["replace"]):
        with pytest.raises(InvalidValueError):
            act(broker, forged)
    assert broker.get("default", message_id).body == "a"


def test_no_claim_has_the_token_that_means_none(broker: Broker, clock: FakeClock) -> None:
    broker.produce("default", ["x"])
    broker.claims._tokens = iter([NO_TOKEN, NO_TOKEN, 5])
    (message,) = broker.claim("default")
    broker.delete("default", Target(receipt=message.receipt))
    assert list(broker.messages("default")) == []


def test_every_claim_has_its_own_receipt(broker: Broker, clock: FakeClock) -> None:
    broker.produce("default", ["a", "b", "c"])
    receipts = []
    for _ in range(300):
        receipts += [message.receipt for message in broker.claim("default", visibility_timeout_ms=0)]
    assert len(receipts) == len(set(receipts)) == 900


def test_a_claim_lost_in_a_crash_fences_nobody(clock: FakeClock) -> None:
    """It was never answered, yet a holder of its receipt must not act on the claim that came after it."""
    log = MemoryLog()
    broker = Broker(log, clock=clock)
    [message_id] = broker.produce("default", ["a"])
    lost = set()
    for _ in range(200):
        log.hold()
        call = Call(broker.claim, "default")
        eventually(lambda: log.blocked)  # noqa: B023
        queue, sequence = broker.core.ids.decode_id(message_id) or (0, 0)
        view = broker.core.state.queues["default"].messages.find(sequence)
        assert view is not None
        lost.add(broker.core.ids.receipt(queue, sequence, view.token))
        survivor = log.after_crash()
        log.release()
        call.result()
        log, broker = survivor, Broker(survivor, clock=clock)
    [message] = broker.claim("default")
    assert message.id == message_id
    assert message.receives == 1
    assert len(lost) == 200
    assert message.receipt not in lost
    for receipt in lost:
        with pytest.raises(StaleReceiptError):
            broker.delete("default", Target(receipt=receipt))
    broker.delete("default", by(message))
