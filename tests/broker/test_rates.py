"""Delivery rates of a queue, and of each of its groups."""

from __future__ import annotations

import pytest

from tests.broker.conftest import Lasting
from tests.support.threads import Call
from tests.support.waiting import eventually
from wonderq.broker.claims import ClaimOptions, NoClaim
from wonderq.model.messages import Message, NewMessage, Target
from wonderq.runtime.token_bucket import TokenBuckets


class Seconds:
    """A clock for the buckets, which do not go by the broker's."""

    def __init__(self, lasting: Lasting) -> None:
        self.now_s = 1_000.0
        self.put_into(lasting)

    def put_into(self, lasting: Lasting) -> None:
        lasting.broker.claims._new_buckets = lambda: TokenBuckets(lambda: self.now_s)


def groups(messages: list[Message]) -> str:
    return "".join(sorted(message.body[0] for message in messages))


def test_so_many_a_second(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", max_claims_per_second=3)
    lasting.add("q", *"abcdefgh")
    lasting.again()
    seconds = Seconds(lasting)
    assert lasting.bodies("q") == "a b c"
    assert lasting.bodies("q") == ""
    seconds.now_s += 0.34
    assert lasting.bodies("q") == "d"
    seconds.now_s += 10
    assert lasting.bodies("q") == "e f g", "what was not used does not gather"


def test_deleting_gives_nothing_back(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", max_claims_per_second=1)
    lasting.add("q", *"ab")
    lasting.again()
    Seconds(lasting)
    (one,) = lasting.take("q")
    lasting.broker.delete("q", Target(receipt=one.receipt))
    assert lasting.bodies("q") == ""


def test_each_queue_has_its_own(lasting: Lasting) -> None:
    for queue in ("q", "r"):
        lasting.broker.put_queue(queue, max_claims_per_second=1)
        lasting.add(queue, *"ab")
    lasting.again()
    Seconds(lasting)
    assert (lasting.bodies("q"), lasting.bodies("r")) == ("a", "a")


@pytest.mark.parametrize("queue", ["q", "q.fifo"])
def test_each_group_has_its_own(lasting: Lasting, queue: str) -> None:
    lasting.broker.put_queue(queue, max_claims_per_second_per_group=2)
    lasting.broker.send(queue, [NewMessage(f"{group}{n}", group=group) for group in "ab" for n in range(5)])
    lasting.again()
    seconds = Seconds(lasting)
    first = lasting.take(queue)
    assert groups(first) == "aabb"
    for message in first:
        lasting.broker.delete(queue, Target(receipt=message.receipt))
    assert lasting.take(queue) == []
    seconds.now_s += 0.5
    assert groups(lasting.take(queue)) == "ab"


def test_messages_without_a_group_have_no_limit_for_groups(lasting: Lasting) -> None:
    """However many of them there were before, and however urgent they are."""
    lasting.broker.put_queue("q", max_claims_per_second_per_group=1)
    lasting.add("q", *(f"p{n}" for n in range(8)))
    lasting.add("q", "g1", "g2", group="g")
    lasting.again()
    seconds = Seconds(lasting)
    assert groups(lasting.take("q", 20)) == "g" + "p" * 8
    lasting.add("q", "u1", "u2", "u3", priority=9)
    assert groups(lasting.take("q", 20)) == "uuu"
    seconds.now_s += 1
    assert lasting.bodies("q") == "g2"


def test_both_limits_count(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", max_claims_per_second=3, max_claims_per_second_per_group=2)
    for group in "abc":
        lasting.add("q", *[group] * 4, group=group)
    lasting.again()
    seconds = Seconds(lasting)
    assert groups(lasting.take("q")) == "abc"
    seconds.now_s += 1
    lasting.broker.put_queue("q", max_claims_per_second=100)
    assert groups(lasting.take("q")) == "aabbcc"


def test_an_urgent_message_of_a_group_that_had_its_share_waits_and_nobody_else(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", max_claims_per_second_per_group=1)
    lasting.add("q", "a1", group="a", priority=9)
    lasting.add("q", "a2", group="a", priority=9)
    lasting.add("q", "b", group="b")
    lasting.add("q", "plain")
    lasting.again()
    Seconds(lasting)
    assert sorted(lasting.bodies("q").split()) == ["a1", "b", "plain"]


def test_whoever_waits_gets_the_next_as_soon_as_there_may_be_one(lasting: Lasting) -> None:
    """No event would wake the consumer, so it wakes up by itself."""
    lasting.broker.put_queue("q", max_claims_per_second=20)
    lasting.add("q", *[str(n) for n in range(25)])
    broker = lasting.again()
    assert len(broker.claim("q", limit=25)) == 20
    got = broker.claim("q", limit=25, wait_s=20)
    assert 1 <= len(got) <= 5


@pytest.mark.parametrize("setting", ["max_claims_per_second", "max_claims_per_second_per_group"])
def test_whoever_waits_sleeps_until_the_rate_allows_more(lasting: Lasting, setting: str) -> None:
    lasting.broker.put_queue("q", **{setting: 4})
    lasting.add("q", *"abcdef", group="g")
    broker = lasting.again()
    Seconds(lasting)
    assert len(lasting.take("q")) == 4
    with broker.core.transaction as now_ms:
        outcome = broker.claims.try_claim(broker.core.find_queue("q"), now_ms, ClaimOptions())
    assert isinstance(outcome, NoClaim)
    assert outcome.wait_s == pytest.approx(1 / 4)


@pytest.mark.usefixtures("woken_only")
def test_a_higher_rate_counts_at_once_for_those_who_wait(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", max_claims_per_second=1)
    lasting.add("q", *"ab")
    broker = lasting.again()
    Seconds(lasting)
    assert lasting.bodies("q") == "a"
    waiting = Call(broker.claim, "q", wait_s=20)
    eventually(lambda: broker.waiting_consumers == 1)
    broker.put_queue("q", max_claims_per_second=0)
    assert [message.body for message in waiting.result()] == ["b"]
