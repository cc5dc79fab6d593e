"""An attempt to claim that is made again, since its answer was lost, is given the same again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.broker.conftest import Lasting
from wonderq.model.limits import Limits
from wonderq.model.messages import Change, Message, RequestNumber, Target
from wonderq.model.settings import DEDUPLICATION_WINDOW_MS
from wonderq.state.state import State

CHANGES: dict[str, Callable[[Lasting, Message], object]] = {
    "deleted": lambda it, one: it.broker.delete("q", Target(receipt=one.receipt)),
    "released": lambda it, one: it.broker.update("q", Target(receipt=one.receipt), Change(visibility_timeout_ms=0)),
    "renewed": lambda it, one: it.broker.update("q", Target(receipt=one.receipt), Change(visibility_timeout_ms=50_000)),
    "delayed": lambda it, one: it.broker.update("q", Target(receipt=one.receipt), Change(delay_ms=1)),
    "buried": lambda it, one: it.broker.update("q", Target(id=one.id), Change(bury=True)),
    "purged": lambda it, one: it.broker.purge("q"),
}


@pytest.mark.parametrize("queue", ["q", "q.fifo"])
def test_the_same_messages_and_receipts_with_the_timeout_anew(lasting: Lasting, queue: str) -> None:
    lasting.add(queue, "1", "2", "3")
    first = lasting.take(queue, 2, attempt_id="one")
    lasting.clock.ms += 4_000
    lasting.again()
    again = lasting.take(queue, 2, attempt_id="one")
    assert [message.body for message in again] == ["1", "2"]
    assert again == [message._replace(due_ms=lasting.clock.ms + 10_000) for message in first]
    lasting.clock.ms += 9_000
    lasting.again()
    assert lasting.broker.count(queue, "processing") == 2, "the first deadline does not count any more"
    assert lasting.take(queue, 2, attempt_id="one") == [
        message._replace(due_ms=lasting.clock.ms + 10_000) for message in first
    ]


def test_urgent_messages_come_again_in_the_order_in_which_they_came(lasting: Lasting) -> None:
    lasting.add("q", "slow", "slower")
    lasting.add("q", "urgent", priority=9)
    first = lasting.take("q", attempt_id="one")
    assert [message.body for message in first] == ["urgent", "slow", "slower"]
    lasting.again()
    assert lasting.take("q", attempt_id="one") == first


def test_another_attempt_is_given_others(lasting: Lasting) -> None:
    lasting.add("q", "1", "2")
    lasting.take("q", 1, attempt_id="one")
    lasting.again()
    assert [message.body for message in lasting.take("q", attempt_id="two")] == ["2"]


@pytest.mark.parametrize("change", CHANGES)
def test_not_when_something_was_done_to_one_of_them(lasting: Lasting, change: str) -> None:
    lasting.add("q", "1", "2")
    one, two = lasting.take("q", attempt_id="one")
    lasting.again()
    CHANGES[change](lasting, one)
    lasting.add("q", "3")
    lasting.again()
    got = lasting.take("q", attempt_id="one")
    assert not {message.receipt for message in got} & {one.receipt, two.receipt}
    assert [message.body for message in got] == (["1", "3"] if change == "released" else ["3"])
    assert lasting.again() is lasting.broker
    assert lasting.take("q", attempt_id="one") == got, "from then on, that is what the attempt was given"


def test_not_when_its_time_is_over(lasting: Lasting) -> None:
    lasting.add("q", "1", "2")
    first = lasting.take("q", 1, attempt_id="one")
    lasting.clock.ms += 10_000
    lasting.again()
    (again,) = lasting.take("q", 1, attempt_id="one")
    assert (again.body, again.receives) == ("1", 2)
    assert again.receipt != first[0].receipt


def test_an_attempt_is_forgotten_after_five_minutes(lasting: Lasting) -> None:
    lasting.add("q", "1", "2")
    lasting.take("q", 1, timeout_ms=10_000_000, attempt_id="one")
    lasting.clock.ms += DEDUPLICATION_WINDOW_MS - 1
    lasting.again()
    assert [each.body for each in lasting.take("q", 1, timeout_ms=10_000_000, attempt_id="one")] == ["1"]
    lasting.clock.ms += DEDUPLICATION_WINDOW_MS
    lasting.again()
    assert [each.body for each in lasting.take("q", 1, attempt_id="one")] == ["2"]


def test_an_attempt_that_is_made_again_is_remembered_anew(lasting: Lasting) -> None:
    lasting.add("q", "1", "2")
    first = lasting.take("q", 1, timeout_ms=2 * DEDUPLICATION_WINDOW_MS, attempt_id="one")
    for _ in range(3):
        lasting.clock.ms += DEDUPLICATION_WINDOW_MS - 1
        lasting.broker.upkeep()  # which forgets what has ended
        lasting.again()
        [again] = lasting.take("q", 1, timeout_ms=2 * DEDUPLICATION_WINDOW_MS, attempt_id="one")
        assert again.receipt == first[0].receipt


def test_an_attempt_that_was_given_nothing_is_as_if_it_had_not_been_made(lasting: Lasting) -> None:
    lasting.broker.put_queue("q")
    assert lasting.take("q", attempt_id="one") == []
    lasting.add("q", "1")
    lasting.again()
    assert [message.body for message in lasting.take("q", attempt_id="one")] == ["1"]


def test_an_attempt_made_again_counts_neither_as_received_nor_for_limits(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", max_in_flight=1, max_receives=1)
    lasting.add("q", "1")
    first = lasting.take("q", attempt_id="one")
    for _ in range(3):
        lasting.again()
        assert lasting.take("q", attempt_id="one") == first


def test_attempts_made_again_and_again_take_one_place(lasting: Lasting) -> None:
    lasting.limit(Limits(total_keys=2))
    lasting.add("q", "1")
    for _ in range(5):
        lasting.clock.ms += 100
        lasting.take("q", attempt_id="one")
        lasting.again()
    assert lasting.broker.core.state.dedup_entries == 1


def test_attempts_are_remembered_in_half_of_the_room_and_carried_out_beyond_it(lasting: Lasting) -> None:
    lasting.limit(Limits(total_keys=6))
    lasting.add("q", *"12345678")
    for number in range(5):
        assert len(lasting.take("q", 1, attempt_id=str(number))) == 1
    assert lasting.broker.core.state.dedup_entries == 3
    for number in range(3):
        lasting.broker.send("q", ["x"], RequestNumber(f"p{number}", 1))
    assert [message.body for message in lasting.again().claim("q", limit=1, attempt_id="2")] == ["3"]
    assert [message.body for message in lasting.again().claim("q", limit=1, attempt_id="4")] == ["6"], "not remembered"
    lasting.clock.ms += 3_600_001
    lasting.again()
    [first] = lasting.take("q", 1, attempt_id="5")
    assert lasting.take("q", 1, attempt_id="5") == [first], "there is room again"


def test_claims_beyond_the_room_do_not_look_at_all_queues_each_time(
    lasting: Lasting, monkeypatch: pytest.MonkeyPatch
) -> None:
    lasting.limit(Limits(total_keys=4))
    lasting.add("q", *"123456789")
    for number in range(2):
        lasting.take("q", 1, attempt_id=str(number))
    looks: list[int] = []
    forget = State.forget

    def count(state: State, now_ms: int, *arguments: Any) -> int:
        looks.append(now_ms)
        return forget(state, now_ms, *arguments)

    monkeypatch.setattr(State, "forget", count)
    for number in range(2, 7):
        assert len(lasting.take("q", 1, attempt_id=str(number))) == 1
    assert len(looks) == 1
    lasting.clock.ms += 1000
    lasting.take("q", 1, attempt_id="7")
    assert len(looks) == 2


@pytest.mark.parametrize("attempt_id", ["", "x" * 129])
def test_an_attempt_has_a_name_of_sensible_length(lasting: Lasting, attempt_id: str) -> None:
    with pytest.raises(Exception, match="attempt_id"):
        lasting.take("default", attempt_id=attempt_id)
    assert lasting.again().queue("default").counts["processing"] == 0
