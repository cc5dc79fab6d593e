"""A batch of receipts is resolved all at once if all of them count, and one by one if not: with the same outcome."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.clock import FakeClock
from tests.support.memory_log import MemoryLog
from wonderq.broker.broker import Broker
from wonderq.model.errors import (
    BrokerError,
    InvalidValueError,
    MessageNotFoundError,
    OtherQueueError,
    StaleReceiptError,
)
from wonderq.model.ids import Ids
from wonderq.model.messages import Change, Message, Target
from wonderq.state.columns import Columns
from wonderq.state.page import PAGE_MESSAGES

MESSAGES = 8


def receipts_of(messages: Sequence[Message]) -> list[str]:
    return [message.receipt for message in messages if message.receipt is not None]


class Claimed:
    """A broker with claimed messages in its queue, and one in another."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.broker = Broker(MemoryLog(), clock=self.clock)
        self.broker.produce("default", [f"message {number}" for number in range(MESSAGES)])
        self.broker.produce("other", ["elsewhere"])
        self.receipts = receipts_of(self.broker.claim("default", limit=MESSAGES))

    def delete(self, receipts: Sequence[str]) -> list[type[BrokerError] | None]:
        results = self.broker.delete_batch("default", Target.each((None, receipt) for receipt in receipts))
        return [None if error is None else type(error) for error in results]

    def left(self) -> int:
        return len(list(self.broker.messages("default")))


def _deleted(claimed: Claimed, at: int) -> str:
    claimed.broker.delete("default", Target(receipt=claimed.receipts[at]))
    return claimed.receipts[at]


def _released(claimed: Claimed, at: int) -> str:
    claimed.broker.update("default", Target(receipt=claimed.receipts[at]), Change(visibility_timeout_ms=0))
    return claimed.receipts[at]


def _claimed_again(claimed: Claimed, at: int) -> str:
    receipt = _released(claimed, at)
    assert len(claimed.broker.claim("default", limit=1)) == 1
    return receipt


def _of_another_queue(claimed: Claimed, _at: int) -> str:
    return receipts_of(claimed.broker.claim("other"))[0]


#: Kinds of invalid receipts: how to make one, its error, and the number of messages that the rest of the batch leaves.
BAD: dict[str, tuple[Callable[[Claimed, int], str], type[BrokerError], int]] = {
    "deleted": (_deleted, MessageNotFoundError, 0),
    "released": (_released, StaleReceiptError, 1),
    "claimed again": (_claimed_again, StaleReceiptError, 1),
    "of another queue": (_of_another_queue, OtherQueueError, 1),
    "twice": (lambda claimed, at: claimed.receipts[at - 1], MessageNotFoundError, 1),
    "not one": (lambda claimed, _: "f" * 40, InvalidValueError, 1),
    "too long": (lambda claimed, at: claimed.receipts[at] + "00", InvalidValueError, 1),
    "with spaces": (lambda claimed, at: f" {claimed.receipts[at][1:-1]} ", InvalidValueError, 1),
    "no hexadecimal": (lambda claimed, at: "x" + claimed.receipts[at][1:], InvalidValueError, 1),
}


@pytest.mark.parametrize("at", [1, 4, MESSAGES - 1])
@pytest.mark.parametrize("bad", BAD)
def test_one_that_does_not_count_stops_no_other(bad: str, at: int) -> None:
    claimed = Claimed()
    make, refusal, left = BAD[bad]
    receipts = [*claimed.receipts[:at], make(claimed, at), *claimed.receipts[at + 1 :]]
    assert claimed.delete(receipts) == [refusal if index == at else None for index in range(MESSAGES)]
    assert claimed.left() == left


def test_all_that_count() -> None:
    claimed = Claimed()
    assert claimed.delete(claimed.receipts) == [None] * MESSAGES
    assert claimed.left() == 0
    assert claimed.delete(claimed.receipts) == [MessageNotFoundError] * MESSAGES


def test_after_the_deadline_too() -> None:
    claimed = Claimed()
    claimed.clock.ms += 3_600_000
    assert claimed.delete(claimed.receipts) == [None] * MESSAGES
    assert claimed.left() == 0


def test_in_any_order() -> None:
    claimed = Claimed()
    receipts = random.Random(5).sample(claimed.receipts, MESSAGES)
    assert claimed.delete(receipts) == [None] * MESSAGES
    assert claimed.left() == 0


def test_of_several_claims_and_pages() -> None:
    """Later claims have other tokens, and messages on two pages lie in two columns."""
    claimed = Claimed()
    claimed.broker.produce("default", ["more"] * 1000)
    receipts = claimed.receipts
    while found := claimed.broker.claim("default", limit=300):
        receipts = receipts + receipts_of(found)
        if len(receipts) < PAGE_MESSAGES + MESSAGES:
            claimed.broker.produce("default", ["more"] * 1000)
    for start in range(0, len(receipts), 900):
        assert set(claimed.delete(receipts[start : start + 900])) == {None}
    assert claimed.left() == 0


def test_a_message_that_was_never_claimed_has_no_token() -> None:
    messages = Columns()
    messages.produce(0, 1, 0, [10, 10, 10], [])
    assert not messages.are_claimed([0, 2], [7, 7])
    messages.claim([0, 2], 100, 99, 7)
    assert messages.are_claimed([0, 2], [7, 7])
    assert not messages.are_claimed([0, 2], [7, 8])
    assert not messages.are_claimed([0, 3], [7, 7, 7])
    messages.claim([2, 1], 100, 99, 7)
    assert messages.are_claimed([0, 3], [7, 7, 7])
    assert not messages.are_claimed([0, 4], [7, 7, 7, 7]), "the last is one that there is not"
    messages.delete([1, 1])
    assert not messages.are_claimed([0, 3], [7, 7, 7])


@given(
    st.binary(min_size=16, max_size=16),
    st.integers(0, (1 << 32) - 1),
    st.lists(st.tuples(st.integers(0, (1 << 48) - 1), st.integers(0, (1 << 32) - 1)), max_size=5),
    st.integers(0, 3),
)
def test_many_are_read_as_each_is(key: bytes, queue: int, claims: list[tuple[int, int]], neighbours: int) -> None:
    """The first claim has some neighbours, whose receipts the broker reads all at once if there are no others."""
    ids = Ids(key)
    if claims:
        first, token = claims[0]
        claims[:1] = [(min(first + number, (1 << 48) - 1), token) for number in range(1 + neighbours)]
    receipts = [ids.receipt(queue, *claim) for claim in claims]
    each = [ids.decode_receipt(receipt) for receipt in receipts]
    found = ids.decode_receipts(queue, receipts)
    assert (found is None) == (None in each)
    if found is not None:
        assert list(zip(*found, strict=True)) == claims
    if claims:
        assert ids.decode_receipts(queue + 1, receipts) is None
