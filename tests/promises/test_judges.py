"""Each judge reports a journal that breaks its promise, and none that keeps it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.promises.catalogue import SCENARIOS
from tests.promises.notes import Notes
from tests.promises.scenarios import (
    acknowledged,
    atomic_batches,
    attempts,
    counts,
    dead_letters,
    deduplication,
    delays,
    exclusive_claims,
    fairness,
    fifo_order,
    full_answers,
    group_blocking,
    hand_over,
    in_flight,
    next_request,
    oldest_first,
    priorities,
    rates,
    redrive,
    retention,
    schedules,
    sqs_fifo,
)
from tests.promises.verdict import Verdict

Write = Callable[[Notes], None]

#: Journals by the name of the scenario, and whether the promise is broken in them.
KEPT: list[tuple[str, Write]] = []
BROKEN: list[tuple[str, Write]] = []


def kept(scenario: str) -> Callable[[Write], Write]:
    return lambda write: KEPT.append((scenario, write)) or write


def broken(scenario: str) -> Callable[[Write], Write]:
    return lambda write: BROKEN.append((scenario, write)) or write


def in_group(text: str, group: str = "g", **fields: object) -> dict[str, object]:
    return {"message": text, "group": group, **fields}


def _fifo(queue: str, name: str) -> None:
    """The same cases for all FIFO queues."""

    @kept(name)
    def in_order(n: Notes) -> None:
        n.produce(queue, 1, in_group("a"), in_group("b"))
        n.consume(queue, 2, "a", shown={"group": "g"})
        n.delete(queue, 3, "a")
        n.consume(queue, 4, "b", shown={"group": "g"})

    @kept(name)
    def together_in_order(n: Notes) -> None:
        n.produce(queue, 1, in_group("a"), in_group("b"))
        n.consume(queue, 2, "a", "b")

    @kept(name)
    def a_lost_message_does_not_block(n: Notes) -> None:
        n.produce(queue, 1, in_group("a"), status=None)
        n.produce(queue, 2, in_group("b"))
        n.consume(queue, 3, "b")

    @kept(name)
    def a_deletion_without_an_answer_may_have_happened(n: Notes) -> None:
        n.produce(queue, 1, in_group("a"), in_group("b"))
        n.consume(queue, 2, "a", most=1)
        n.delete(queue, 3, "a", status=None)
        n.consume(queue, 4, "b")

    @broken(name)
    def the_second_first(n: Notes) -> None:
        n.produce(queue, 1, in_group("a"))
        n.produce(queue, 2, in_group("b"))
        n.consume(queue, 3, "b", most=1)

    @broken(name)
    def the_second_beside_the_first(n: Notes) -> None:
        n.produce(queue, 1, in_group("a"), in_group("b"))
        n.consume(queue, 2, "a", most=1)
        n.consume(queue, 3, "b", most=1)
        n.delete(queue, 4, "a")

    @broken(name)
    def together_in_the_wrong_order(n: Notes) -> None:
        n.produce(queue, 1, in_group("a"), in_group("b"))
        n.consume(queue, 2, "b", "a")

    @broken(name)
    def a_lost_message_that_was_there(n: Notes) -> None:
        n.produce(queue, 1, in_group("a"), status=None)
        n.produce(queue, 2, in_group("b"))
        n.consume(queue, 3, "b", most=1)
        n.consume(queue, 4, "a", most=1)


for _module in (fifo_order, group_blocking, sqs_fifo):
    _fifo(_module.QUEUE, _module.SCENARIO.name)


@kept("group_blocking")
def delivered_again_before_later_ones(n: Notes) -> None:
    q = group_blocking.QUEUE
    n.produce(q, 1, in_group("a", delay=1), in_group("b"))
    n.consume(q, 3, "a", "b")
    n.update(q, 4, "a", fields={"delay": 1})
    n.consume(q, 4.5)
    n.consume(q, 6, "a", claim=2)


@broken("group_blocking")
def overtaken_while_its_consumer_delays_it(n: Notes) -> None:
    q = group_blocking.QUEUE
    n.produce(q, 1, in_group("a"), in_group("b"))
    n.consume(q, 2, "a", most=1)
    n.update(q, 3, "a", fields={"delay": 5})
    n.consume(q, 4, "b", most=1)


@broken("group_blocking")
def a_released_message_waits_for_a_later_one(n: Notes) -> None:
    q = group_blocking.QUEUE
    n.produce(q, 1, in_group("a"), in_group("b"))
    n.consume(q, 2, "a", "b")
    n.update(q, 3, "a", fields={"visibility_timeout": 0})
    n.consume(q, 4)


@broken("sqs_fifo")
def a_repeated_send_adds_another_message(n: Notes) -> None:
    n.produce(sqs_fifo.QUEUE, 1, in_group("a"), ids=["1"])
    n.produce(sqs_fifo.QUEUE, 2, in_group("a"), ids=["2"])


@kept("oldest_first")
def a_message_that_came_back_is_first(n: Notes) -> None:
    q = oldest_first.QUEUE
    n.produce(q, 1, "a", "b", "c")
    n.consume(q, 2, "a", timeout=1, most=1)
    n.consume(q, 2.5, "b", most=1)
    n.consume(q, 4, "a", claim=2, most=1)


@kept("oldest_first")
def younger_ones_may_come_while_an_answer_is_lost(n: Notes) -> None:
    q = oldest_first.QUEUE
    n.produce(q, 1, "a", "b")
    n.consume(q, 2, timeout=3, status=None)
    n.consume(q, 3, "b", most=1)


@broken("oldest_first")
def younger_before_what_came_back(n: Notes) -> None:
    q = oldest_first.QUEUE
    n.produce(q, 1, "a", "b", "c")
    n.consume(q, 2, "a", timeout=1, most=1)
    n.consume(q, 4, "b", most=1)


@broken("oldest_first")
def a_lost_answer_explains_nothing_after_its_timeout(n: Notes) -> None:
    q = oldest_first.QUEUE
    n.produce(q, 1, "a", "b")
    n.consume(q, 2, timeout=3, status=None)
    n.consume(q, 6, "b", most=1)


@broken("oldest_first")
def an_answer_out_of_order(n: Notes) -> None:
    n.produce(oldest_first.QUEUE, 1, "a", "b")
    n.consume(oldest_first.QUEUE, 2, "b", "a")


@kept("priorities")
def urgent_first(n: Notes) -> None:
    q = priorities.QUEUE
    n.produce(q, 1, "a", {"message": "b", "priority": 9}, {"message": "c", "priority": 9})
    n.consume(q, 2, "b", most=1)
    n.consume(q, 3, "c", "a", most=2)


@broken("priorities")
def an_urgent_one_waits(n: Notes) -> None:
    q = priorities.QUEUE
    n.produce(q, 1, "a", {"message": "b", "priority": 1})
    n.consume(q, 2, "a", most=1)


@broken("priorities")
def a_younger_one_of_the_same_priority(n: Notes) -> None:
    q = priorities.QUEUE
    n.produce(q, 1, {"message": "a", "priority": 1}, {"message": "b", "priority": 1})
    n.consume(q, 2, "b", most=1)


@kept("full_answers")
def delayed_and_claimed_ones_are_left_out(n: Notes) -> None:
    q = full_answers.QUEUE
    n.produce(q, 1, "a", {"message": "b", "delay": 5})
    n.consume(q, 2, "a", timeout=5)
    n.consume(q, 3)
    n.consume(q, 3.5, most=1)


@broken("full_answers")
def nothing_although_a_message_is_there(n: Notes) -> None:
    n.produce(full_answers.QUEUE, 1, "a")
    n.consume(full_answers.QUEUE, 2)


@broken("full_answers")
def a_claim_that_timed_out_is_left_out(n: Notes) -> None:
    n.produce(full_answers.QUEUE, 1, "a")
    n.consume(full_answers.QUEUE, 2, "a", timeout=1)
    n.consume(full_answers.QUEUE, 4)


@broken("full_answers")
def a_delay_that_ended_is_left_out(n: Notes) -> None:
    n.produce(full_answers.QUEUE, 1, {"message": "a", "delay": 1})
    n.consume(full_answers.QUEUE, 4)


@kept("exclusive_claims")
def claims_one_after_another(n: Notes) -> None:
    q = exclusive_claims.QUEUE
    n.produce(q, 1, "a")
    n.consume(q, 2, "a", timeout=1)
    n.update(q, 2.5, "a", fields={"visibility_timeout": 2})
    n.update(q, 6, "a", fields={"visibility_timeout": 2}, status=409)
    n.consume(q, 7, "a", claim=2)
    n.delete(q, 8, "a", claim=1, status=409)
    n.delete(q, 9, "a", claim=2)
    n.delete(q, 10, "a", claim=2, status=404)


@kept("exclusive_claims")
def a_lost_answer_counts_as_a_receive(n: Notes) -> None:
    q = exclusive_claims.QUEUE
    n.produce(q, 1, "a")
    n.consume(q, 2, timeout=1, status=None)
    n.consume(q, 4, "a", claim=2)


@broken("exclusive_claims")
def claimed_before_its_deadline(n: Notes) -> None:
    n.produce(exclusive_claims.QUEUE, 1, "a")
    n.consume(exclusive_claims.QUEUE, 2, "a", timeout=2)
    n.consume(exclusive_claims.QUEUE, 3, "a", claim=2)


@broken("exclusive_claims")
def claimed_before_its_renewed_deadline(n: Notes) -> None:
    q = exclusive_claims.QUEUE
    n.produce(q, 1, "a")
    n.consume(q, 2, "a", timeout=1)
    n.update(q, 2.5, "a", fields={"visibility_timeout": 4})
    n.consume(q, 4, "a", claim=2)


@broken("exclusive_claims")
def renewed_after_its_deadline(n: Notes) -> None:
    n.produce(exclusive_claims.QUEUE, 1, "a")
    n.consume(exclusive_claims.QUEUE, 2, "a", timeout=1)
    n.update(exclusive_claims.QUEUE, 4, "a", fields={"visibility_timeout": 1})


@broken("exclusive_claims")
def a_stale_receipt_deletes(n: Notes) -> None:
    q = exclusive_claims.QUEUE
    n.produce(q, 1, "a")
    n.consume(q, 2, "a", timeout=1)
    n.consume(q, 4, "a", claim=2)
    n.delete(q, 5, "a", claim=1)


@broken("exclusive_claims")
def a_receipt_of_a_released_claim_deletes(n: Notes) -> None:
    q = exclusive_claims.QUEUE
    n.produce(q, 1, "a")
    n.consume(q, 2, "a")
    n.update(q, 3, "a", fields={"visibility_timeout": 0})
    n.delete(q, 5, "a")


@broken("exclusive_claims")
def a_valid_receipt_is_refused(n: Notes) -> None:
    n.produce(exclusive_claims.QUEUE, 1, "a")
    n.consume(exclusive_claims.QUEUE, 2, "a", timeout=10)
    n.delete(exclusive_claims.QUEUE, 5, "a", status=409)


@broken("exclusive_claims")
def deleted_and_delivered_again(n: Notes) -> None:
    q = exclusive_claims.QUEUE
    n.produce(q, 1, "a")
    n.consume(q, 2, "a", timeout=1)
    n.delete(q, 2.5, "a")
    n.consume(q, 4, "a", claim=2)


@broken("exclusive_claims")
def a_receive_that_nobody_made(n: Notes) -> None:
    n.produce(exclusive_claims.QUEUE, 1, "a")
    n.consume(exclusive_claims.QUEUE, 2, "a", claim=2)


@broken("exclusive_claims")
def a_message_of_nobody(n: Notes) -> None:
    n.consume(exclusive_claims.QUEUE, 2, "a")


@kept("acknowledged")
def each_acknowledged_message_is_there(n: Notes) -> None:
    q = acknowledged.QUEUE
    n.produce(q, 1, "a", "b")
    n.produce(q, 2, "c", status=None)
    n.produce(q, 3, "d", status=507)
    n.consume(q, 4, "a")
    n.delete(q, 5, "a")
    n.listing(q, 6, "b")


@broken("acknowledged")
def a_message_is_lost(n: Notes) -> None:
    n.produce(acknowledged.QUEUE, 1, "a", "b")
    n.listing(acknowledged.QUEUE, 6, "b")


@broken("acknowledged")
def a_deleted_message_is_back(n: Notes) -> None:
    n.produce(acknowledged.QUEUE, 1, "a")
    n.consume(acknowledged.QUEUE, 4, "a")
    n.delete(acknowledged.QUEUE, 5, "a")
    n.listing(acknowledged.QUEUE, 6, "a")


@broken("acknowledged")
def a_message_is_there_twice(n: Notes) -> None:
    n.produce(acknowledged.QUEUE, 1, "a")
    n.listing(acknowledged.QUEUE, 6, "a", "a")


@broken("acknowledged")
def a_refused_message_is_there(n: Notes) -> None:
    n.produce(acknowledged.QUEUE, 1, "a", status=507)
    n.listing(acknowledged.QUEUE, 6, "a")


@kept("atomic_batches")
def lost_batches_are_whole_or_not_there(n: Notes) -> None:
    q = atomic_batches.QUEUE
    n.produce(q, 1, "a", "b")
    n.produce(q, 2, "c", "d", status=None)
    n.produce(q, 3, "e", "f", status=None)
    n.listing(q, 6, "a", "b", "c", "d")


@broken("atomic_batches")
def half_of_a_lost_batch(n: Notes) -> None:
    n.produce(atomic_batches.QUEUE, 2, "c", "d", status=None)
    n.listing(atomic_batches.QUEUE, 6, "c")


@broken("atomic_batches")
def an_acknowledged_batch_is_lost(n: Notes) -> None:
    n.produce(atomic_batches.QUEUE, 2, "c", "d")
    n.listing(atomic_batches.QUEUE, 6)


def keyed(text: str, key: str = "k") -> dict[str, object]:
    return {"message": text, "idempotency_key": key}


LONG, SHORT = deduplication.QUEUES


@kept("deduplication")
def a_key_adds_once_in_its_window(n: Notes) -> None:
    n.produce(LONG, 1, keyed("a"))
    n.produce(LONG, 2, keyed("b"), ids=["id-a"], duplicates=[0], life=2)
    n.produce(LONG, 3, keyed("c", "other"), keyed("d", "other"), ids=["id-c", "id-c"], duplicates=[1])
    n.note("purge", LONG, 3.5, {}, {"deleted": 1})
    n.produce(SHORT, 4, keyed("e"))
    n.produce(SHORT, 8, keyed("f"))
    n.produce(SHORT, 12, keyed("g", "lost"), status=None)
    n.produce(SHORT, 13, keyed("h", "lost"), ids=["id-g"], duplicates=[0])


@broken("deduplication")
def a_key_adds_twice(n: Notes) -> None:
    n.produce(LONG, 1, keyed("a"))
    n.produce(LONG, 2, keyed("b"), life=2)


@broken("deduplication")
def a_key_adds_twice_in_a_batch(n: Notes) -> None:
    n.produce(LONG, 1, keyed("a"), keyed("b"))


@broken("deduplication")
def a_key_returns_another_message(n: Notes) -> None:
    n.produce(LONG, 1, keyed("a"))
    n.produce(LONG, 2, keyed("b"), ids=["id-x"], duplicates=[0])


@broken("deduplication")
def a_key_is_in_force_too_long(n: Notes) -> None:
    n.produce(SHORT, 1, keyed("a"))
    n.produce(SHORT, 9, keyed("b"), ids=["id-a"], duplicates=[0])


@broken("deduplication")
def a_new_key_is_a_duplicate(n: Notes) -> None:
    n.produce(LONG, 1, keyed("a"), ids=["id-x"], duplicates=[0])


@broken("deduplication")
def a_duplicate_was_added(n: Notes) -> None:
    n.produce(LONG, 1, keyed("a"))
    n.produce(LONG, 2, keyed("b"), ids=["id-a"], duplicates=[0])
    n.consume(LONG, 3, "b")


def attempt(number: int) -> dict[str, object]:
    return {"attempt_id": str(number)}


@kept("attempts")
def a_repeated_attempt_gets_the_same_answer(n: Notes) -> None:
    q = attempts.QUEUE
    n.produce(q, 1, "a", "b", "c")
    n.consume(q, 2, most=2, fields=attempt(1), timeout=600, status=None)
    n.consume(q, 3, "a", "b", most=2, fields=attempt(1), timeout=600)
    n.consume(q, 4, "a", "b", most=2, fields=attempt(1), timeout=600)
    n.delete(q, 5, "a")
    n.consume(q, 6, "c", most=2, fields=attempt(1), timeout=600)
    n.listing(q, 7, *({"message": text, "status": "processing"} for text in "bc"))


@broken("attempts")
def a_repeated_attempt_gets_another_answer(n: Notes) -> None:
    q = attempts.QUEUE
    n.produce(q, 1, "a", "b")
    n.consume(q, 2, "a", most=1, fields=attempt(1), timeout=600)
    n.consume(q, 3, "b", most=1, fields=attempt(1), timeout=600)
    n.listing(q, 7)


@broken("attempts")
def an_attempt_is_repeated_after_a_deletion(n: Notes) -> None:
    q = attempts.QUEUE
    n.produce(q, 1, "a", "b")
    n.consume(q, 2, "a", "b", fields=attempt(1), timeout=600)
    n.delete(q, 3, "a")
    n.consume(q, 4, "b", fields=attempt(1), timeout=600)
    n.listing(q, 7)


@broken("attempts")
def a_lost_answer_keeps_its_messages(n: Notes) -> None:
    q = attempts.QUEUE
    n.produce(q, 1, "a", "b")
    n.consume(q, 2, fields=attempt(1), timeout=600, status=None)
    n.consume(q, 3, "b", fields=attempt(1), timeout=600)
    n.listing(q, 7, *({"message": text, "status": "processing"} for text in "ab"))


@broken("attempts")
def a_message_was_claimed_by_a_lost_answer(n: Notes) -> None:
    n.produce(attempts.QUEUE, 1, "a")
    n.consume(attempts.QUEUE, 3, "a", claim=2, fields=attempt(1), timeout=600)
    n.listing(attempts.QUEUE, 7)


PARTS: dict[str, object] = {"priority": 3, "group": "g", "attributes": {"colour": "r"}}


def dead(text: str, **changes: object) -> dict[str, object]:
    origin = {"queue": dead_letters.QUEUE, "id": f"id-{text}", "reason": "received too often", "receive_count": 3}
    return {"id": f"dead-{text}", "message": text, "receive_count": 0, **PARTS,
            "dead_letter": {**origin, **changes}}  # fmt: skip


def three_receives(n: Notes, text: str = "a") -> None:
    n.produce(dead_letters.QUEUE, 1, {"message": text, **PARTS})
    for claim in (1, 2, 3):
        n.consume(dead_letters.QUEUE, 2 * claim, text, timeout=1, claim=claim)


def the_end(n: Notes, *letters: dict[str, object]) -> None:
    n.listing(dead_letters.DEAD, 50, *letters)
    n.listing(dead_letters.QUEUE, 51)


@kept("dead_letters")
def three_receives_make_a_dead_letter(n: Notes) -> None:
    three_receives(n)
    the_end(n, dead("a"))


@kept("dead_letters")
def a_message_that_is_declared_dead(n: Notes) -> None:
    n.produce(dead_letters.QUEUE, 1, {"message": "a", **PARTS})
    n.consume(dead_letters.QUEUE, 2, "a")
    n.update(dead_letters.QUEUE, 3, "a", fields={"dead": True, "error": {"message": "hopeless"}})
    the_end(n, {**dead("a", reason="hopeless", receive_count=1), "last_error": {"message": "hopeless"}})


@broken("dead_letters")
def a_dead_letter_is_there_twice(n: Notes) -> None:
    three_receives(n)
    the_end(n, dead("a"), dead("a"))


@broken("dead_letters")
def a_dead_letter_is_lost(n: Notes) -> None:
    three_receives(n)
    the_end(n)


@broken("dead_letters")
def one_receive_too_many(n: Notes) -> None:
    three_receives(n)
    n.consume(dead_letters.QUEUE, 8, "a", claim=4)
    n.delete(dead_letters.QUEUE, 9, "a", claim=4)
    the_end(n)


@broken("dead_letters")
def dead_after_two_receives(n: Notes) -> None:
    n.produce(dead_letters.QUEUE, 1, {"message": "a", **PARTS})
    n.consume(dead_letters.QUEUE, 2, "a", timeout=1)
    n.consume(dead_letters.QUEUE, 4, "a", timeout=1, claim=2)
    the_end(n, dead("a", receive_count=2))


@broken("dead_letters")
def deleted_and_dead(n: Notes) -> None:
    three_receives(n)
    n.delete(dead_letters.QUEUE, 6.5, "a", claim=3)
    the_end(n, dead("a"))


@broken("dead_letters")
def a_dead_letter_without_its_group(n: Notes) -> None:
    three_receives(n)
    the_end(n, {**dead("a"), "group": "other"})


@broken("dead_letters")
def a_dead_letter_of_another_origin(n: Notes) -> None:
    three_receives(n)
    the_end(n, dead("a", id="id-b"))


@broken("dead_letters")
def declared_dead_with_another_reason(n: Notes) -> None:
    n.produce(dead_letters.QUEUE, 1, {"message": "a", **PARTS})
    n.consume(dead_letters.QUEUE, 2, "a")
    n.update(dead_letters.QUEUE, 3, "a", fields={"dead": True, "error": {"message": "hopeless"}})
    the_end(n, dead("a", receive_count=1))


def _redriven(n: Notes, *, moved: int = 1, left: tuple[str, ...] = ()) -> None:
    """A dead letter returns to its queue."""
    q, d = redrive.QUEUE, redrive.DEAD
    n.produce(q, 1, "a")
    n.consume(q, 2, "a", timeout=1)
    n.listing(d, 5, {"id": "dead-a", "message": "a"})
    n.note("redrive", d, 6, {}, {"id": "r"}, status=202)
    n.note("redrives", d, 7, {}, [{"id": "r", "status": "completed", "moved": moved, "skipped": 0, "total": 1}], life=2)
    n.listing(d, 8, *({"id": "dead-a", "message": text} for text in left))


@kept("redrive")
def a_redriven_message_starts_afresh(n: Notes) -> None:
    _redriven(n)
    again = {"id": "id-again", "message": "a", "receipt": "again/1", "receive_count": 1}
    n.note("consume", redrive.QUEUE, 8.5, {"max": 1, "visibility_timeout": 1}, [again])
    n.listing(redrive.QUEUE, 9, "a")


@broken("redrive")
def a_redriven_message_is_in_both_queues(n: Notes) -> None:
    _redriven(n, left=("a",))
    n.listing(redrive.QUEUE, 9, "a")


@broken("redrive")
def a_redriven_message_is_lost(n: Notes) -> None:
    _redriven(n)
    n.listing(redrive.QUEUE, 9)


@broken("redrive")
def a_redrive_skips_a_message(n: Notes) -> None:
    _redriven(n, moved=0)
    n.listing(redrive.QUEUE, 9, "a")


@broken("redrive")
def a_redriven_message_keeps_its_receives(n: Notes) -> None:
    _redriven(n)
    n.consume(redrive.QUEUE, 8.5, "a", claim=2)
    n.listing(redrive.QUEUE, 9, "a")


def fired(second: int, name: str = "each-second", *, number: int = 1, produced: int | None = None) -> dict[str, object]:
    def at(value: int) -> str:
        return f"2026-01-01T00:00:{value:02}.000+00:00"

    attributes = {"schedule": name, "scheduled_at": at(second)}
    produced_at = at(second if produced is None else produced)
    return {"id": f"{name}-{second}-{number}", "attributes": attributes, "produced_at": produced_at}


@kept("schedules")
def each_time_once(n: Notes) -> None:
    n.listing(schedules.QUEUE, 1, fired(1), fired(2), fired(2, "every-other-second"))
    n.listing(
        schedules.QUEUE,
        5,
        fired(2),
        fired(3),
        fired(4, "every-other-second"),
        fired(4),
        fired(2, "each-second-or-never"),
    )
    n.note("listing", schedules.QUEUE, 9, {}, [fired(5, "each-second-or-never")], life=2)
    last_at = "2026-01-01T00:00:04.000+00:00"
    n.note("read schedule", schedules.QUEUE, 8, {"name": "each-second"}, {"last_at": last_at})


@broken("schedules")
def a_time_twice(n: Notes) -> None:
    n.listing(schedules.QUEUE, 1, fired(1), fired(1, number=2))


@broken("schedules")
def a_time_is_left_out(n: Notes) -> None:
    n.listing(schedules.QUEUE, 1, fired(1), fired(3))


@broken("schedules")
def a_schedule_is_lost(n: Notes) -> None:
    n.note("read schedule", schedules.QUEUE, 8, {"name": "each-second"}, {"error": {}}, status=404)


@broken("schedules")
def the_last_message_is_lost(n: Notes) -> None:
    n.listing(schedules.QUEUE, 9, fired(1))
    last_at = "2026-01-01T00:00:02.000+00:00"
    n.note("read schedule", schedules.QUEUE, 8, {"name": "each-second"}, {"last_at": last_at})


@broken("schedules")
def a_time_is_early(n: Notes) -> None:
    n.listing(schedules.QUEUE, 1, fired(2, produced=1))


def times(produced: float, claimed: float, timeout: float = 1) -> dict[str, object]:
    def at(value: float) -> str:
        return f"2026-01-01T00:00:{value:06.3f}+00:00"

    return {"produced_at": at(produced), "claimed_until": at(claimed + timeout)}


@kept("delays")
def delivered_after_the_delay(n: Notes) -> None:
    q = delays.QUEUE
    n.produce(q, 1, {"message": "a", "delay": 2}, {"message": "b", "deliver_at": "2026-01-01T00:00:03+00:00"})
    n.consume(q, 3.5, "a", "b", timeout=1, shown=times(1, 3.5))
    n.update(q, 4, "a", fields={"delay": 2})
    n.consume(q, 6.5, "a", timeout=1, claim=2, shown=times(1, 6.5), life=2)


@broken("delays")
def delivered_before_the_delay(n: Notes) -> None:
    n.produce(delays.QUEUE, 1, {"message": "a", "delay": 2})
    n.consume(delays.QUEUE, 2, "a", timeout=1, shown=times(1, 3.5))


@broken("delays")
def delivered_before_the_delay_by_the_clock_of_the_broker(n: Notes) -> None:
    n.produce(delays.QUEUE, 1, {"message": "a", "delay": 2})
    n.consume(delays.QUEUE, 3.5, "a", timeout=1, shown=times(1, 2.9))


@broken("delays")
def delivered_before_its_time(n: Notes) -> None:
    n.produce(delays.QUEUE, 1, {"message": "a", "deliver_at": "2026-01-01T00:00:03+00:00"})
    n.consume(delays.QUEUE, 3.5, "a", timeout=1, shown=times(1, 2.999))


@broken("delays")
def delivered_before_the_delay_of_a_release(n: Notes) -> None:
    q = delays.QUEUE
    n.produce(q, 1, {"message": "a", "delay": 1})
    n.consume(q, 3, "a", timeout=1, shown=times(1, 3))
    n.update(q, 4, "a", fields={"delay": 3})
    n.consume(q, 5, "a", timeout=1, claim=2, shown=times(1, 5))


@kept("retention")
def young_messages_are_there_and_old_ones_are_not(n: Notes) -> None:
    q = retention.QUEUE
    n.produce(q, 1, "a", "b")
    n.consume(q, 3, "a", timeout=1, shown=times(1, 3))
    n.note("get", q, 3, {"id": "id-b"})
    n.note("get", q, 9, {"id": "id-b"}, status=404)


@broken("retention")
def an_old_message_is_delivered(n: Notes) -> None:
    n.produce(retention.QUEUE, 1, "a")
    n.consume(retention.QUEUE, 5, "a", timeout=1, shown=times(1, 3))


@broken("retention")
def an_old_message_is_delivered_by_the_clock_of_the_broker(n: Notes) -> None:
    n.produce(retention.QUEUE, 1, "a")
    n.consume(retention.QUEUE, 4, "a", timeout=1, shown=times(1, 4.001))


@broken("retention")
def a_young_message_is_lost(n: Notes) -> None:
    n.produce(retention.QUEUE, 1, "a")
    n.note("get", retention.QUEUE, 2, {"id": "id-a"}, status=404)


def _many(count: int, name: str = "m") -> list[str]:
    return [f"{name}{number}" for number in range(count)]


@kept("rates")
def bursts_of_a_second(n: Notes) -> None:
    n.consume(rates.QUEUE, 1, *_many(rates.PER_SECOND))
    n.consume(rates.QUEUE, 2.1, *_many(rates.PER_SECOND))
    n.consume(rates.QUEUE, 2.2, *_many(rates.PER_SECOND), life=2)
    n.consume(rates.GROUPS, 1, *_many(rates.PER_SECOND_OF_GROUP), shown={"group": "red"})
    n.consume(rates.GROUPS, 1.1, *_many(rates.PER_SECOND_OF_GROUP), shown={"group": "green"})


@broken("rates")
def a_burst_that_is_too_large(n: Notes) -> None:
    n.consume(rates.QUEUE, 1, *_many(rates.PER_SECOND + 1), took=0.001)


@broken("rates")
def too_many_in_a_while(n: Notes) -> None:
    for second in range(1, 10):
        n.consume(rates.QUEUE, second, *_many(rates.PER_SECOND + 2))


@broken("rates")
def too_many_of_a_group(n: Notes) -> None:
    n.consume(rates.GROUPS, 1, *_many(rates.PER_SECOND_OF_GROUP), shown={"group": "red"})
    n.consume(rates.GROUPS, 1.1, "a", "b", shown={"group": "red"})


@kept("in_flight")
def as_many_as_may_be(n: Notes) -> None:
    q = in_flight.QUEUE
    for number in range(4):
        n.produce(q, 1, *(in_group(text, str(number)) for text in _many(2, f"{number}-")))
    n.consume(q, 2, *_many(2, "0-"), *_many(2, "1-"), *_many(2, "2-"), timeout=3)
    n.update(q, 3, "0-0", fields={"visibility_timeout": 0})
    n.consume(q, 4, *_many(2, "3-"), timeout=3)


@broken("in_flight")
def too_many_are_processed(n: Notes) -> None:
    q = in_flight.QUEUE
    for number in range(4):
        n.produce(q, 1, *(in_group(text, str(number)) for text in _many(2, f"{number}-")))
    n.consume(q, 2, *_many(2, "0-"), *_many(2, "1-"), *_many(2, "2-"), timeout=3)
    n.consume(q, 3, *_many(2, "3-"), timeout=3)


@broken("in_flight")
def too_many_of_a_group_are_processed(n: Notes) -> None:
    n.produce(in_flight.QUEUE, 1, *(in_group(text) for text in _many(4)))
    n.consume(in_flight.QUEUE, 2, *_many(4), timeout=3)


def _handed_over(n: Notes, status: int | None = 201) -> None:
    q = hand_over.QUEUE
    n.produce(q, 1, "a")
    n.consume(q, 2, "a", timeout=1)
    outputs = [{"queue": queue, "message": "1/1 a"} for queue in hand_over.OUTPUTS]
    n.note("hand-over", "", 2.5, {"receipts": ["a/1"], "produce": outputs}, {}, status=status)


def _outputs(n: Notes, there: tuple[int, int], inputs: int) -> None:
    for queue, number in zip(hand_over.OUTPUTS, there, strict=True):
        n.listing(queue, 9, *["1/1 a"] * number)
    n.listing(hand_over.QUEUE, 9, *["a"] * inputs)


@kept("hand_over")
def handed_over(n: Notes) -> None:
    _handed_over(n)
    _outputs(n, (1, 1), 0)


@kept("hand_over")
def refused(n: Notes) -> None:
    _handed_over(n, 409)
    _outputs(n, (0, 0), 1)


@kept("hand_over")
def lost_and_carried_out(n: Notes) -> None:
    _handed_over(n, None)
    _outputs(n, (1, 1), 0)


@kept("hand_over")
def lost_and_not_carried_out(n: Notes) -> None:
    _handed_over(n, None)
    _outputs(n, (0, 0), 1)


@broken("hand_over")
def half_of_the_outputs(n: Notes) -> None:
    _handed_over(n, None)
    _outputs(n, (1, 0), 0)


@broken("hand_over")
def outputs_and_input(n: Notes) -> None:
    _handed_over(n)
    _outputs(n, (1, 1), 1)


@broken("hand_over")
def neither_outputs_nor_input(n: Notes) -> None:
    _handed_over(n, None)
    _outputs(n, (0, 0), 0)


@broken("hand_over")
def outputs_of_a_refused_one(n: Notes) -> None:
    _handed_over(n, 409)
    _outputs(n, (1, 1), 0)


@broken("hand_over")
def outputs_twice(n: Notes) -> None:
    _handed_over(n)
    _outputs(n, (2, 2), 0)


@broken("hand_over")
def delivered_after_its_hand_over(n: Notes) -> None:
    _handed_over(n)
    n.consume(hand_over.QUEUE, 4, "a", claim=2)
    _outputs(n, (1, 1), 0)


def _next(n: Notes, *there: str, status: int | None = 200) -> None:
    def claimed(text: str, queue: str) -> dict[str, object]:
        return {"id": text, "message": text, "receipt": f"{text}/1", "receive_count": 1, "queue": queue}

    sent = {"max": 2, "visibility_timeout": 3}
    mails, invoices = next_request.QUEUES
    n.note("next", "", 2, {"delete": [], **sent}, {"messages": [claimed("a", mails), claimed("b", invoices)]})
    n.note("next", "", 3, {"delete": ["a/1", "b/1"], **sent}, {"messages": [], "success": True}, status=status)
    n.listing(mails, 9, *there)
    n.listing(invoices, 9)


@kept("next_request")
def finished(n: Notes) -> None:
    _next(n)


@kept("next_request")
def lost_and_not_finished(n: Notes) -> None:
    _next(n, "a", "b", status=None)


@broken("next_request")
def half_of_it_finished(n: Notes) -> None:
    _next(n, "b", status=None)


@broken("next_request")
def finished_and_there_again(n: Notes) -> None:
    _next(n, "b")


def _groups(n: Notes) -> None:
    n.produce(fairness.QUEUE, 1, *(in_group(f"{group}{number}", group) for group in "ab" for number in range(4)))


def _claim(n: Notes, at: float, *texts: str, number: int) -> None:
    n.consume(fairness.QUEUE, at, *texts, most=3, fields=attempt(number), timeout=600)


@kept("fairness")
def groups_take_turns(n: Notes) -> None:
    _groups(n)
    _claim(n, 2, "a0", "b0", number=1)
    n.produce(fairness.QUEUE, 3, in_group("x", "single"))
    n.delete(fairness.QUEUE, 4, "a0")
    _claim(n, 5, "a1", "x", number=2)


@broken("fairness")
def a_group_with_more_in_process_comes_first(n: Notes) -> None:
    _groups(n)
    _claim(n, 2, "a0", number=1)
    _claim(n, 3, "a1", number=2)


@broken("fairness")
def a_group_has_two_turns(n: Notes) -> None:
    _groups(n)
    _claim(n, 2, "a0", "b0", number=1)
    n.delete(fairness.QUEUE, 3, "a0")
    n.delete(fairness.QUEUE, 4, "b0")
    _claim(n, 5, "b1", number=2)


@broken("fairness")
def a_single_message_waits_for_two_of_a_group(n: Notes) -> None:
    _groups(n)
    n.produce(fairness.QUEUE, 1.5, in_group("x", "single"))
    for number in range(2):
        _claim(n, 2 + number, f"a{number}", number=number)
        n.delete(fairness.QUEUE, 2.5 + number, f"a{number}")


@kept("counts")
def exact_counts(n: Notes) -> None:
    q = counts.QUEUE
    n.produce(q, 1, "a", "b", {"message": "c", "delay": 5})
    n.note("queue", q, 2, {}, {"counts": {"unprocessed": 2, "processing": 0, "delayed": 1, "buried": 0}})
    n.consume(q, 3, "a", timeout=10)
    n.note("queue", q, 4, {}, {"counts": {"unprocessed": 1, "processing": 1, "delayed": 1, "buried": 0}})
    n.delete(q, 4.5, "a")
    n.note("queue", q, 9, {}, {"counts": {"unprocessed": 2, "processing": 0, "delayed": 0, "buried": 0}})
    n.listing(q, 10, "b", "c")


@broken("counts")
def a_message_counts_twice(n: Notes) -> None:
    n.produce(counts.QUEUE, 1, "a")
    n.consume(counts.QUEUE, 2, "a", timeout=10)
    n.note("queue", counts.QUEUE, 3, {}, {"counts": {"unprocessed": 1, "processing": 1, "delayed": 0, "buried": 0}})


@broken("counts")
def a_claim_that_ended_counts_as_processing(n: Notes) -> None:
    n.produce(counts.QUEUE, 1, "a")
    n.consume(counts.QUEUE, 2, "a", timeout=1)
    n.note("queue", counts.QUEUE, 4, {}, {"counts": {"unprocessed": 0, "processing": 1, "delayed": 0, "buried": 0}})


@broken("counts")
def a_deleted_message_is_listed(n: Notes) -> None:
    n.produce(counts.QUEUE, 1, "a")
    n.consume(counts.QUEUE, 2, "a", timeout=1)
    n.delete(counts.QUEUE, 2.5, "a")
    n.listing(counts.QUEUE, 4, "a")


def _name(value: object) -> str:
    return value if isinstance(value, str) else str(getattr(value, "__name__", value))


@pytest.mark.parametrize(("scenario", "write"), BROKEN, ids=_name)
def test_a_broken_promise_is_reported(scenario: str, write: Write) -> None:
    notes = Notes()
    write(notes)
    verdict = SCENARIOS[scenario].judge(notes.journal())
    assert verdict.violations
    assert all(violation.evidence for violation in verdict.violations)


@pytest.mark.parametrize(("scenario", "write"), KEPT, ids=_name)
def test_a_kept_promise_is_not_reported(scenario: str, write: Write) -> None:
    notes = Notes()
    write(notes)
    verdict = SCENARIOS[scenario].judge(notes.journal())
    assert [str(violation) for violation in verdict.violations] == []


def test_each_judge_has_journals_of_both_kinds() -> None:
    assert {name for name, _ in KEPT} == {name for name, _ in BROKEN} == SCENARIOS.keys()


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_judge_counts_all_that_its_scenario_is_for(scenario: str) -> None:
    total = Verdict()
    for name, write in (*KEPT, *BROKEN):
        if name == scenario:
            notes = Notes()
            write(notes)
            total += SCENARIOS[name].judge(notes.journal())
    assert [what for what in SCENARIOS[scenario].required if not total.counts[what]] == []
