"""Finishing and claiming in one request."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.broker.conftest import Lasting
from tests.support.clock import FakeClock
from tests.support.memory_log import MemoryLog
from tests.support.threads import Call
from tests.support.waiting import eventually
from wonderq.broker.broker import Broker
from wonderq.broker.claims import ClaimOptions
from wonderq.broker.finishing import Finish, Next
from wonderq.broker.polls import Sources
from wonderq.model.errors import (
    BatchTooLargeError,
    BrokerError,
    InvalidValueError,
    MessageNotFoundError,
    NotPermittedError,
    QueueNotFoundError,
    ShuttingDownError,
    StaleReceiptError,
    TooManyInFlightError,
)
from wonderq.model.failures import ReportedError
from wonderq.model.limits import Limits
from wonderq.model.messages import Change, Message, Target

Q = Sources(("q",))
ERROR = ReportedError("broken")
RELEASE, DEAD = Change(visibility_timeout_ms=0, error=ERROR), Change(dead=True, error=ERROR)


def finish(held: Sequence[Message], *changes: Change | None) -> list[Finish]:
    """Finish messages, all in one way or each in its own."""
    all_changes = list(changes) * len(held) if len(changes) == 1 else list(changes)
    return [Finish(message.receipt or "", change) for message, change in zip(held, all_changes, strict=True)]


def bodies(done: Next) -> list[str]:
    return [message.body for message in done.messages]


def contents(broker: Broker, queue: str) -> list[tuple[str, str]]:
    return [(message.body, message.status) for message in broker.messages(queue)]


def kinds(results: Sequence[BrokerError | None]) -> list[type[BrokerError] | None]:
    return [None if error is None else type(error) for error in results]


def test_all_kinds_of_ends_and_the_next_claim(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", max_receives=5, dead_letter_queue="dead")
    lasting.add("q", *"12345678")
    held = lasting.take("q", 4)
    ends = finish(held, None, RELEASE, Change(delay_ms=1_000, uncounted=True), DEAD)
    done = lasting.again().next(Q, ends, ClaimOptions(limit=3))
    assert done.results == [None] * 4
    assert done.refusal is None
    assert bodies(done) == ["2", "5", "6"], "what was released comes first"
    broker = lasting.again()
    processing, waits = "processing", "unprocessed"
    assert contents(broker, "q") == [
        ("2", processing), ("3", "delayed"), ("5", processing), ("6", processing), ("7", waits), ("8", waits),
    ]  # fmt: skip
    assert contents(broker, "dead") == [("4", waits)]
    three = next(message for message in broker.messages("q") if message.body == "3")
    assert three.receives == 0
    again = broker.next(Q, finish(done.messages, None), ClaimOptions(limit=10))
    assert bodies(again) == ["7", "8"]


def test_nothing_to_finish_is_a_claim(lasting: Lasting) -> None:
    lasting.add("q", "1")
    assert bodies(lasting.broker.next(Q, [])) == ["1"]
    assert lasting.again().next(Q, []) == Next([], [], None)
    lasting.broker.put_queue("q", max_in_flight=1)
    lasting.add("q", "2")
    with pytest.raises(TooManyInFlightError):
        lasting.broker.next(Q, [])


def test_messages_of_several_queues(lasting: Lasting) -> None:
    for queue in "abc":
        lasting.broker.put_queue(queue, max_receives=9, dead_letter_queue="dead")
        lasting.add(queue, f"{queue}1", f"{queue}2")
    lasting.add("q", "next")
    held = [message for queue in "abc" for message in lasting.take(queue)]
    done = lasting.again().next(Q, finish(held, None, DEAD, DEAD, RELEASE, DEAD, None))
    assert done.results == [None] * 6
    assert bodies(done) == ["next"]
    broker = lasting.again()
    assert [contents(broker, queue) for queue in "abc"] == [[], [("b2", "unprocessed")], []]
    assert [body for body, _ in contents(broker, "dead")] == ["a2", "b1", "c1"]
    assert len({info.name for info in broker.queues()}) == 6


def test_each_entry_has_its_own_result(lasting: Lasting) -> None:
    lasting.add("q", *"1234")
    lasting.add("gone", "x")
    (of_gone,) = lasting.take("gone")
    lasting.broker.drop_queue("gone")
    first, second, third = lasting.take("q", 3)
    lasting.broker.update("q", Target(receipt=second.receipt), RELEASE)
    lasting.broker.delete("q", Target(receipt=third.receipt))
    ends = finish([first, first, first, second, third, of_gone], None, None, RELEASE, None, None, DEAD)
    done = lasting.again().next(Q, [*ends, Finish("0" * 40, None), Finish("rubbish", RELEASE)], ClaimOptions(limit=1))
    assert kinds(done.results) == [
        None, MessageNotFoundError, InvalidValueError, StaleReceiptError, MessageNotFoundError, MessageNotFoundError,
        InvalidValueError, InvalidValueError,
    ]  # fmt: skip
    assert bodies(done) == ["2"], "the errors of some keep nobody from the next message"
    assert contents(lasting.again(), "q") == [("2", "processing"), ("4", "unprocessed")]


REFUSED: dict[str, tuple[Sources, ClaimOptions, list[Finish], type[BrokerError]]] = {
    "no such queue": (Sources(("nowhere",)), ClaimOptions(), [], QueueNotFoundError),
    "no such second queue": (Sources(("q", "nowhere")), ClaimOptions(), [], QueueNotFoundError),
    "a maximum out of range": (Q, ClaimOptions(limit=0), [], InvalidValueError),
    "a timeout out of range": (Q, ClaimOptions(visibility_timeout_ms=-1), [], InvalidValueError),
    "a wait out of range": (Q, ClaimOptions(wait_s=-1), [], InvalidValueError),
    "an empty attempt": (Q, ClaimOptions(attempt_id=""), [], InvalidValueError),
    "no queues": (Sources(()), ClaimOptions(), [], InvalidValueError),
    "a queue twice": (Sources(("q", "q")), ClaimOptions(), [], InvalidValueError),
    "too many queues": (Sources([f"q{n}" for n in range(33)]), ClaimOptions(), [], InvalidValueError),
    "a weight of nothing": (Sources(("q",), (0,)), ClaimOptions(), [], InvalidValueError),
    "an error that is too long": (
        Q, ClaimOptions(), [Finish("", Change(dead=True, error=ReportedError("x" * 9_000)))], InvalidValueError,
    ),
    "uncounted without a release": (Q, ClaimOptions(), [Finish("", Change(dead=True, uncounted=True))], InvalidValueError),
    "too many entries": (Q, ClaimOptions(), [Finish("", None)] * 1_000, BatchTooLargeError),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_a_request_that_is_refused_finishes_nothing(lasting: Lasting, kind: str) -> None:
    lasting.add("q", "1", "2")
    held = lasting.take("q", 1)
    sources, options, more, error = REFUSED[kind]
    with pytest.raises(error):
        lasting.broker.next(sources, [*finish(held, None), *more], options)
    assert contents(lasting.again(), "q") == [("1", "processing"), ("2", "unprocessed")]


def test_a_message_of_a_queue_that_is_not_the_client_s_finishes_nothing(lasting: Lasting) -> None:
    lasting.add("q", "1")
    lasting.add("theirs", "2")
    held = [*lasting.take("q"), *lasting.take("theirs")]
    for last in (None, DEAD):
        with pytest.raises(NotPermittedError, match="role consume"):
            lasting.broker.next(Q, finish(held, None, last), permits=lambda queue: queue == "q")
    broker = lasting.again()
    assert contents(broker, "q") == [("1", "processing")]
    assert contents(broker, "theirs") == [("2", "processing")]
    assert "dead" not in [info.name for info in broker.queues()]


def test_the_claim_finds_what_the_finish_made_possible(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", max_in_flight=1)
    lasting.add("q", "1", "2")
    done = lasting.again().next(Q, finish(lasting.take("q"), None))
    assert bodies(done) == ["2"]
    lasting.add("f.fifo", "a", "b", group="g")
    done = lasting.again().next(Sources(("f.fifo",)), finish(lasting.take("f.fifo", 1), None))
    assert bodies(done) == ["b"]


@pytest.mark.parametrize("reason", ["in flight", "stopping"])
def test_a_refused_claim_leaves_what_was_finished(lasting: Lasting, reason: str) -> None:
    lasting.add("q", "1", "2", "3")
    held = lasting.take("q", 2)
    if reason == "in flight":
        lasting.broker.put_queue("q", max_in_flight=1)
    if reason == "stopping":
        lasting.broker.stop_claiming()
    done = lasting.broker.next(Q, finish(held[:1], None), ClaimOptions())
    kind = {"in flight": TooManyInFlightError, "stopping": ShuttingDownError}[reason]
    assert isinstance(done.refusal, kind)
    assert (done.messages, done.results) == ([], [None])
    assert [body for body, _ in contents(lasting.again(), "q")] == ["2", "3"]


def test_without_room_for_the_attempt_all_is_done_and_nothing_remembered(lasting: Lasting) -> None:
    lasting.add("q", "1", "2", "3")
    held = lasting.take("q", 1)
    lasting.limit(Limits(total_keys=1))
    done = lasting.broker.next(Q, finish(held, None), ClaimOptions(1, attempt_id="a"))
    assert (bodies(done), done.results) == (["2"], [None])
    again = lasting.again().next(Q, finish(held, None), ClaimOptions(1, attempt_id="a"))
    assert bodies(again) == ["3"]
    assert [type(error) for error in again.results] == [MessageNotFoundError]


def test_a_repeated_attempt_gets_the_same_results_and_messages(lasting: Lasting) -> None:
    lasting.add("q", *"1234")
    first, stale = lasting.take("q", 2)
    lasting.broker.update("q", Target(receipt=stale.receipt), Change(delay_ms=60_000))
    ends = [*finish([first, stale], None, RELEASE), Finish("rubbish", None)]
    options = ClaimOptions(limit=1, attempt_id="a")
    done = lasting.broker.next(Q, ends, options)
    assert kinds(done.results) == [None, StaleReceiptError, InvalidValueError]
    again = lasting.again().next(Q, ends, options)
    assert [message.receipt for message in again.messages] == [message.receipt for message in done.messages]
    described = [
        [(error.code, str(error), getattr(error, "field", None)) if error else None for error in each.results]
        for each in (done, again)
    ]
    assert described[0] == described[1]
    lasting.clock.ms += 300_001
    later = lasting.again().next(Q, ends, options)
    assert kinds(later.results) == [MessageNotFoundError, StaleReceiptError, InvalidValueError]


def test_an_attempt_that_finishes_others_is_another_one(lasting: Lasting) -> None:
    lasting.add("q", *"123")
    one, two, three = lasting.take("q")
    options = ClaimOptions(attempt_id="a")
    assert lasting.broker.next(Q, finish([one], None), options).results == [None]
    assert lasting.again().next(Q, finish([two], None), options).results == [None]
    assert lasting.again().next(Q, finish([two], RELEASE), options).results != [None]
    assert [body for body, _ in contents(lasting.broker, "q")] == ["3"]
    assert lasting.again().next(Q, finish([three], None), options).results == [None]


class CountingLog(MemoryLog):
    """Knows how many records were appended at each call."""

    together: list[int]

    def append_together(self, records: Sequence[bytes], *, leave_bytes: int = 0) -> list[int]:
        self.together.append(len(records))
        return super().append_together(records, leave_bytes=leave_bytes)


def test_a_crash_leaves_all_that_was_finished_or_nothing() -> None:
    log, clock = CountingLog(), FakeClock()
    log.together = []
    broker = Broker(log, clock=clock)
    for queue in "ab":
        broker.put_queue(queue, max_receives=9, dead_letter_queue="dead")
        broker.produce(queue, ["1", "2", "3"])
    held = [message for queue in "ab" for message in broker.claim(queue)]
    log.together.clear()
    log.hold()
    call = Call(broker.next, Sources(("a",)), finish(held, None, RELEASE, DEAD, DEAD, None, RELEASE))
    eventually(lambda: log.together)
    again = Broker(log.after_crash(), clock=clock)
    assert [contents(again, queue) for queue in "ab"] == [[(body, "processing") for body in "123"]] * 2
    log.release()
    assert bodies(call.result()) == ["2"]
    assert log.together == [6, 1], "the dead-letter queue and its messages, two deletions, two updates; and the claim"
    broker.close()


def test_what_was_finished_is_durable_before_the_poll_sleeps() -> None:
    log = MemoryLog()
    broker = Broker(log, clock=FakeClock())
    broker.produce("q", ["1"])
    held = broker.claim("q")
    call = Call(broker.next, Q, finish(held, None), ClaimOptions(wait_s=20))
    eventually(lambda: contents(Broker(log.after_crash(), clock=FakeClock()), "q") == [])
    eventually(lambda: broker.waiting_consumers == 1)
    broker.produce("q", ["2"])
    assert bodies(call.result()) == ["2"]
    broker.close()


@pytest.mark.usefixtures("woken_only")
def test_it_wakes_who_waits_for_what_it_frees(lasting: Lasting) -> None:
    lasting.add("q", "1")
    held = lasting.take("q")
    lasting.broker.put_queue("other")
    broker = lasting.again()
    waiting: Call[list[Message]] = Call(broker.claim, "q", wait_s=20)
    eventually(lambda: broker.waiting_consumers == 1)
    broker.next(Sources(("other",)), finish(held, RELEASE))
    assert [message.body for message in waiting.result()] == ["1"]


def test_a_client_that_is_gone_claims_nothing_but_has_finished(lasting: Lasting) -> None:
    lasting.add("q", "1", "2")
    held = lasting.take("q", 1)
    done = lasting.broker.next(Q, finish(held, None), ClaimOptions(client_gone=lambda: True))
    assert (done.messages, done.results) == ([], [None])
    assert contents(lasting.again(), "q") == [("2", "unprocessed")]


def test_it_is_counted(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", max_receives=9, dead_letter_queue="dead")
    lasting.add("q", *"1234")
    lasting.broker.next(Q, finish(lasting.take("q"), None, RELEASE, DEAD, DEAD))
    counters = lasting.broker.counters.of("q")
    assert sum(counters.lifetime_ms.counts) == 1
    assert (counters.dead_letters_moved, counters.moved, counters.buried) == (2, 2, 0)
