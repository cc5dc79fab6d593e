"""Groups share an ordinary queue: the group with the fewest messages in flight is next, then the longest waiting one."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.broker.conftest import Lasting
from wonderq.model.messages import Change, Message, NewMessage, Target
from wonderq.state import lanes


def groups(messages: list[Message]) -> str:
    """The first letter of each body, which names its group."""
    return "".join(message.body[0] for message in messages)


def flood(lasting: Lasting, **counts: int) -> None:
    for group, count in counts.items():
        name = "" if group == "plain" else group
        for start in range(0, count, 500):
            bodies = [f"{group} {n}" for n in range(start, min(start + 500, count))]
            lasting.add("q", *bodies, group=name)


def finish(lasting: Lasting, messages: list[Message]) -> None:
    for message in messages:
        lasting.broker.delete("q", Target(receipt=message.receipt))


def test_a_noisy_group_does_not_keep_the_others_waiting(lasting: Lasting) -> None:
    flood(lasting, noisy=600, quiet=2, plain=2)
    lasting.again()
    assert sorted(groups(lasting.take("q", 6))) == list("nnppqq")


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_shares_are_equal_as_long_as_everybody_has_messages(lasting: Lasting, limit: int) -> None:
    flood(lasting, a=200, b=200, plain=200)
    lasting.again()
    given: Counter[str] = Counter()
    for _ in range(42 // limit):
        claimed = lasting.take("q", limit)
        given.update(groups(claimed))
        finish(lasting, claimed)
    assert set(given.values()) == {14}, "each has a third, also if what was given is done at once"


def test_a_group_that_works_slowly_gets_less(lasting: Lasting) -> None:
    flood(lasting, slow=20, fast=20)
    lasting.again()
    for _ in range(12):
        finish(lasting, [message for message in lasting.take("q", 1) if message.body.startswith("fast")])
    assert Counter(message.body[0] for message in lasting.broker.messages("q", status="processing")) == {"s": 1}


def test_new_groups_do_not_go_before_those_that_wait(lasting: Lasting) -> None:
    """A group for each message must not keep an older one waiting for ever."""
    flood(lasting, old=10)
    finish(lasting, lasting.take("q", 1))
    lasting.again()
    given = ""
    for n in range(12):
        lasting.broker.send("q", [NewMessage("new", group=f"n{n}")])
        claimed = lasting.take("q", 1)
        given += groups(claimed)
        finish(lasting, claimed)
    assert given.count("o") >= 3
    assert given.startswith("o"), "it has waited longer than the one that has just come"


def test_messages_without_a_group_do_not_go_before_groups_for_ever(lasting: Lasting) -> None:
    flood(lasting, plain=30, a=30)
    lasting.again()
    given = ""
    for _ in range(10):
        claimed = lasting.take("q", 1)
        given += groups(claimed)
        finish(lasting, claimed)
    assert given in ("pa" * 5, "ap" * 5)


def test_a_message_that_comes_back_comes_before_the_younger_ones_of_its_group(lasting: Lasting) -> None:
    flood(lasting, a=3, b=3)
    first = lasting.take("q", 1)[0]
    lasting.broker.update("q", Target(receipt=first.receipt), Change(visibility_timeout_ms=0))
    lasting.again()
    bodies = [message.body for message in lasting.take("q")]
    assert [body for body in bodies if body[0] == "a"] == ["a 0", "a 1", "a 2"]
    assert [body for body in bodies if body[0] == "b"] == ["b 0", "b 1", "b 2"]


def test_a_group_has_at_most_so_many_in_flight(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", max_in_flight_per_group=2)
    flood(lasting, a=5, b=1, plain=3)
    lasting.again()
    claimed = lasting.take("q")
    assert Counter(groups(claimed)) == {"a": 2, "b": 1, "p": 3}, "messages without a group have no such limit"
    assert lasting.take("q") == []
    finish(lasting, [message for message in claimed if message.body == "a 0"])
    lasting.again()
    assert lasting.bodies("q") == "a 2"
    lasting.broker.put_queue("q", max_in_flight_per_group=0)
    assert lasting.bodies("q") == "a 3 a 4"


def test_numbers_of_lanes_are_used_again_and_never_twice_at_once(
    lasting: Lasting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lane numbers run out some day if each message has a group of its own."""
    monkeypatch.setattr(lanes, "_MAX_NUMBER", 7)
    lasting.broker.put_queue("q", max_in_flight_per_group=1)
    lasting.add("q", "stays", group="stays")
    lasting.add("q", "stays, too", group="stays")
    for n in range(20):
        lasting.add("q", f"{n}", group=f"{n}")
        lasting.add("q", f"{n}, urgent", group=f"{n}", priority=9)
        lasting.again()
        numbers = [lane.number for lane in lasting.broker.core.state.queues["q"].messages.lanes.by_number.values()]
        assert len(numbers) == len(set(numbers)) == 3
        assert max(numbers) <= 7
        claimed = lasting.take("q")
        assert {message.body for message in claimed} <= {"stays", f"{n}, urgent"}
        finish(lasting, [message for message in claimed if message.body != "stays"])
        finish(lasting, lasting.take("q"))
    assert sorted(message.body for message in lasting.broker.messages("q")) == ["stays", "stays, too"]


def test_urgent_messages_of_a_group_count_as_its_own(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", max_in_flight_per_group=1)
    lasting.broker.send("q", [NewMessage("a", group="a"), NewMessage("A", group="a", priority=9)])
    lasting.again()
    assert lasting.bodies("q") == "A"
    lasting.clock.ms += 10_000
    assert lasting.bodies("q") == "A"
