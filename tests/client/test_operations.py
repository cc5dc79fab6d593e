"""Batches: who gets which result, and whom a refusal concerns."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.client.script import LOST, UNSENT, answer, fields_of, operations, play, produced, refusal, result_of
from wonderq.client import calls, claims
from wonderq.client.claims import Claim, Finish, ToDeadLetters
from wonderq.client.errors import (
    Forbidden,
    Invalid,
    NotFound,
    QueueFull,
    Refused,
    StaleReceipt,
    TooMany,
    Unreachable,
    WonderQError,
)
from wonderq.client.messages import ReceivedContents, Sent
from wonderq.client.operations import DELETES, MOST_BYTES, MOST_ENTRIES, SENDS, UPDATES, Batcher, Operation, carry_out
from wonderq.client.requests import Answer, NoAnswer, Request
from wonderq.client.retries import Pause, Retries

RETRIES = Retries(3, random=lambda: 1.0)


def texts(*messages: str) -> list[Operation]:
    return operations(*({"message": text} for text in messages))


def sends(messages: list[Operation], broker: Any, retries: Retries = RETRIES) -> list[Request | Pause]:
    return play(carry_out(Batcher("q", SENDS), messages, retries), broker)


def test_each_send_gets_its_own_result() -> None:
    messages = texts("a", "b", "c")
    sends(messages, lambda _: answer(201, {"ids": ["1", "2", "3"], "duplicates": [1]}))
    assert [each.result for each in messages] == [Sent("1"), Sent("2", duplicate=True), Sent("3")]


@given(st.sets(st.integers(0, 30)), st.integers(1, 31))
def test_an_invalid_message_fails_alone(bad: set[int], count: int) -> None:
    names = [f"bad{index}" if index in bad else f"good{index}" for index in range(count)]
    accepted: list[str] = []

    def broker(request: Request) -> Answer:
        given = [each["message"] for each in fields_of(request)["messages"]]
        wrong = [index for index, text in enumerate(given) if text.startswith("bad")]
        if wrong:
            return refusal(400, "invalid_value", f"messages[{wrong[0]}].delay is bad", f"messages[{wrong[0]}].delay")
        accepted.extend(given)
        return produced(request)

    messages = texts(*names)
    sends(messages, broker)
    for name, each in zip(names, messages, strict=True):
        assert each.done
        if name.startswith("good"):
            assert each.error is None
            assert each.result == Sent(name)
        else:
            assert isinstance(each.error, Invalid)
            assert each.error.field == "delay"
            assert str(each.error) == "delay is bad"
    assert accepted == [name for name in names if name.startswith("good")]  # once each, and in order


def test_a_full_queue_lets_no_message_overtake() -> None:
    room = 5
    requests: list[list[str]] = []

    def broker(request: Request) -> Answer:
        nonlocal room
        given = [each["message"] for each in fields_of(request)["messages"]]
        requests.append(given)
        if len(given) > room:
            return refusal(507, "queue_full")
        room -= len(given)
        return produced(request)

    messages = texts(*map(str, range(100)))
    sends(messages, broker)
    assert [each.error is None for each in messages] == [True] * 5 + [False] * 95
    assert all(isinstance(each.error, QueueFull) for each in messages[5:])
    assert len(requests) < 20


def test_a_refusal_of_the_queue_concerns_all() -> None:
    messages = texts("a", "b", "c")
    steps = sends(messages, lambda _: refusal(403, "forbidden"))
    assert len(steps) == 1
    assert all(isinstance(each.error, Forbidden) for each in messages)


def test_a_send_that_may_have_arrived_is_sent_again_under_its_number() -> None:
    outcomes: list[Answer | NoAnswer] = [LOST, LOST, answer(201, {"ids": ["1"]}), answer(201, {"ids": ["2"]})]
    batcher = Batcher("q", SENDS)
    first, second = texts("a"), texts("b")
    steps = play(carry_out(batcher, first, RETRIES), lambda _: outcomes.pop(0))
    steps += play(carry_out(batcher, second, RETRIES), lambda _: outcomes.pop(0))
    requests = [fields_of(each) for each in steps if isinstance(each, Request)]
    assert [each["request_number"] for each in requests] == [1, 1, 1, 2]
    assert len({each["producer_id"] for each in requests}) == 1
    assert (first[0].result, second[0].result) == (Sent("1"), Sent("2"))


def test_producers_have_names_of_their_own() -> None:
    steps = [play(carry_out(Batcher("q", SENDS), texts("a"), RETRIES), produced)[0] for _ in range(2)]
    assert len({fields_of(each)["producer_id"] for each in steps if isinstance(each, Request)}) == 2


def test_no_answer_to_any_attempt_leaves_the_outcome_unknown() -> None:
    messages = texts("a")
    sends(messages, lambda _: LOST)
    assert isinstance(messages[0].error, Unreachable)
    assert messages[0].error.outcome_unknown


def test_a_send_that_did_not_arrive_is_sent_again() -> None:
    outcomes: list[Answer | NoAnswer] = [UNSENT, UNSENT, answer(201, {"ids": ["1"]})]
    messages = texts("a")
    steps = sends(messages, lambda _: outcomes.pop(0))
    assert messages[0].result == Sent("1")
    assert [each.seconds for each in steps if isinstance(each, Pause)] == [0.1, 0.2]


def test_retries_end() -> None:
    messages = texts("a")
    steps = sends(messages, lambda _: UNSENT)
    assert sum(isinstance(each, Request) for each in steps) == 1 + RETRIES.most
    assert isinstance(messages[0].error, Unreachable)
    assert not messages[0].error.outcome_unknown


def test_a_pause_is_as_long_as_the_broker_asks() -> None:
    outcomes = [refusal(429, "too_many_requests", retry_after_s=7.0), answer(201, {"ids": ["1"]})]
    messages = texts("a")
    steps = sends(messages, lambda _: outcomes.pop(0))
    assert steps[1] == Pause(7.0)
    assert messages[0].result == Sent("1")


def test_a_pause_that_the_call_has_no_time_for_is_not_made() -> None:
    messages = texts("a")
    steps = sends(messages, lambda _: refusal(429, "too_many_requests", retry_after_s=RETRIES.total_s + 1))
    assert len(steps) == 1
    assert isinstance(messages[0].error, TooMany)


def test_the_last_refusal_reaches_the_caller() -> None:
    messages = texts("a")
    sends(messages, lambda _: refusal(429, "too_many_requests", "slow down", retry_after_s=2.0))
    error = messages[0].error
    assert isinstance(error, TooMany)
    assert error.retry_after == 2.0
    assert str(error) == "slow down"


def test_an_answer_of_another_server_is_an_error_of_all() -> None:
    messages = texts("a", "b")
    sends(messages, lambda _: Answer(200, b"<html>"))
    for each in messages:
        assert isinstance(each.error, Unreachable)
        assert "<html>" in str(each.error)


def results(*each: dict[str, Any]) -> Answer:
    return answer(200, {"success": False, "results": list(each)})


STALE = {"success": False, "statusCode": 409, "error": {"code": "stale_receipt", "message": "ended"}}
GONE = {"success": False, "statusCode": 404, "error": {"code": "message_not_found", "message": "gone"}}
DONE = {"success": True}


def test_each_delete_gets_its_own_result() -> None:
    deletes = operations("r1", "r2", "r3", ends_claim=True)
    steps = play(carry_out(Batcher("q", DELETES), deletes, RETRIES), lambda _: results(DONE, STALE, GONE))
    assert isinstance(steps[0], Request)
    assert fields_of(steps[0]) == {"receipts": ["r1", "r2", "r3"]}
    assert deletes[0].error is None
    assert isinstance(deletes[1].error, StaleReceipt)
    assert isinstance(deletes[2].error, NotFound)


@pytest.mark.parametrize("found", [STALE, GONE])
def test_a_repeated_delete_that_finds_the_claim_ended_is_done(found: dict[str, Any]) -> None:
    outcomes: list[Answer | NoAnswer] = [LOST, results(found)]
    deletes = operations("r1", ends_claim=True)
    play(carry_out(Batcher("q", DELETES), deletes, RETRIES), lambda _: outcomes.pop(0))
    assert deletes[0].done
    assert deletes[0].error is None


UNCHANGED = pytest.mark.parametrize("first", [UNSENT, refusal(429, "too_many_requests"), refusal(503, "shutting_down")])


@UNCHANGED
def test_a_delete_that_surely_did_not_happen_at_first_is_no_repetition(first: Answer | NoAnswer) -> None:
    """Its claim had ended before, so the message is still there, and others may have it."""
    outcomes = [first, results(STALE)]
    deletes = operations("r1", ends_claim=True)
    play(carry_out(Batcher("q", DELETES), deletes, RETRIES), lambda _: outcomes.pop(0))
    assert isinstance(deletes[0].error, StaleReceipt)


@UNCHANGED
def test_a_batch_of_deletes_that_surely_did_not_happen_at_first_is_no_repetition(first: Answer | NoAnswer) -> None:
    call = calls.delete("q", "receipts", ["r1"])
    for before, kind in (([first], StaleReceipt), ([LOST, first], type(None))):
        outcomes = [*before, results(STALE)]
        [error] = call.read(result_of(RETRIES.attempt(call.request), lambda _: outcomes.pop(0)))  # noqa: B023
        assert isinstance(error, kind)


@UNCHANGED
def test_a_next_that_surely_did_not_happen_at_first_is_no_repetition(first: Answer | NoAnswer) -> None:
    call = claims.next_("q", ReceivedContents, Claim(), Finish.of(["r1"], ["r2"], [ToDeadLetters("r3", "e")]), None)
    for before, count in (([first], 3), ([LOST, first], 0)):
        outcomes = [
            *before,
            answer(200, {"messages": [], "results": {"delete": [STALE], "release": [STALE], "dead": [STALE]}}),
        ]
        found = call.read(result_of(RETRIES.attempt(call.request), lambda _: outcomes.pop(0)))  # noqa: B023
        assert len(found.results.errors) == count


def test_a_repeated_renewal_that_finds_the_claim_ended_is_an_error() -> None:
    outcomes: list[Answer | NoAnswer] = [LOST, results(STALE)]
    renewals = operations({"receipt": "r1"})
    play(carry_out(Batcher("q", UPDATES), renewals, RETRIES), lambda _: outcomes.pop(0))
    assert isinstance(renewals[0].error, StaleReceipt)


def test_a_batch_stays_within_the_limits_of_a_request() -> None:
    batcher = Batcher("q", SENDS)
    for _ in range(MOST_ENTRIES + 1):
        batcher.add(Operation("x"))
    assert len(batcher.take()) == MOST_ENTRIES
    assert len(batcher.take()) == 1
    for _ in range(3):
        batcher.add(Operation("x" * (MOST_BYTES // 2)))
    batcher.add(Operation("x" * (2 * MOST_BYTES)))
    assert [len(batcher.take()) for _ in range(4)] == [1, 1, 1, 1]
    assert batcher.take() == []


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "invalid_value", Invalid),
        (404, "queue_not_found", NotFound),
        (409, "stale_receipt", StaleReceipt),
        (409, "queue_draining", Refused),
        (413, "message_too_large", Invalid),
        (500, "internal_error", Refused),
        (507, "disk_full", QueueFull),
    ],
)
def test_each_refusal_has_its_error(status: int, code: str, kind: type[Refused]) -> None:
    messages = texts("a")
    sends(messages, lambda _: refusal(status, code, "why"))
    error = messages[0].error
    assert type(error) is kind
    assert isinstance(error, WonderQError)
    assert (error.status, error.code, str(error)) == (status, code, "why")
