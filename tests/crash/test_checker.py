"""The checker is checked: a history that breaks exactly one promise is reported for that one, and clean ones pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.support.history.calls import (
    ABANDONED,
    DEAD_LETTERS,
    DISK_FULL,
    LOG_LOST,
    NOT_CARRIED_OUT,
    OUTCOME_UNKNOWN,
    Call,
    ClockChange,
    Consume,
    Create,
    Delete,
    Delivery,
    Drop,
    FinalQueue,
    FinalState,
    History,
    Listing,
    Outcome,
    Produce,
    Publish,
    Purge,
    Seen,
    Update,
    brief,
)
from tests.support.history.checker import Rule, check

Q = "default"

#: The clocks of these histories: monotonic 0 is wall clock 1000.
WALL_S = 1000.0

#: Anybody may go unanswered then.
OUTAGE = (5.0, 6.0)


def ms(monotonic_s: float) -> int:
    return round((WALL_S + monotonic_s) * 1000)


def produce(start_s: float, *ids: str, lost: bool = False, delay_s: float = 0) -> Produce:
    """Return a produce whose message bodies are "body of" and the id."""
    return Produce(
        queue=Q,
        start_s=start_s,
        end_s=OUTAGE[0] if lost else start_s + 0.1,
        outcome=Outcome.UNKNOWN if lost else Outcome.OK,
        bodies=tuple(f"body of {each}" for each in ids),
        delay_s=delay_s,
        ids=() if lost else ids,
    )


def claim(
    start_s: float,
    message_id: str,
    count: int = 1,
    *,
    timeout_s: float = 1,
    end_s: float | None = None,
    body: str = "",
    suffix: str = "",
    error: str | None = None,
    source: str | None = None,
) -> Consume:
    """The broker takes the claim to begin half-way through the call. The suffix is that of the receipt."""
    end_s = start_s + 0.1 if end_s is None else end_s
    until_ms = ms((start_s + end_s) / 2 + timeout_s)
    delivery = Delivery(
        message_id,
        body or f"body of {message_id}",
        receipt(message_id, count) + suffix,
        count,
        until_ms,
        error=error,
        source=source,
    )
    return Consume(
        queue=Q, start_s=start_s, end_s=end_s, limit=1, visibility_timeout_s=timeout_s, deliveries=(delivery,)
    )


def again(call: Consume) -> Consume:
    """Return the same consume with a different receipt."""
    return replace(call, deliveries=tuple(replace(each, receipt=each.receipt + "'") for each in call.deliveries))


def receipt(message_id: str, count: int = 1) -> str:
    return f"{message_id}-{count}"


def empty(start_s: float, end_s: float, *, wait_s: float = 0) -> Consume:
    return Consume(queue=Q, start_s=start_s, end_s=end_s, limit=1, visibility_timeout_s=1, wait_s=wait_s)


def lost_claim(start_s: float) -> Consume:
    return Consume(
        queue=Q, start_s=start_s, end_s=OUTAGE[0], outcome=Outcome.UNKNOWN, limit=10, visibility_timeout_s=0.1
    )


def delete(start_s: float, message_id: str, by: str | None = None, *, code: str | None = None) -> Delete:
    outcome = Outcome.REFUSED if code else Outcome.OK
    return Delete(queue=Q, start_s=start_s, end_s=start_s + 0.1, outcome=outcome, code=code, id=message_id, receipt=by)


def lost_delete(start_s: float, message_id: str) -> Delete:
    return Delete(queue=Q, start_s=start_s, end_s=OUTAGE[0], outcome=Outcome.UNKNOWN, id=message_id)


def update(
    start_s: float,
    message_id: str,
    by: str | None = None,
    *,
    code: str | None = None,
    lost: bool = False,
    timeout_s: float | None = None,
    delay_s: float | None = None,
    body: str | None = None,
    error: str | None = None,
    dead: bool = False,
    uncounted: bool = False,
) -> Update:
    outcome = Outcome.UNKNOWN if lost else Outcome.REFUSED if code else Outcome.OK
    return Update(
        queue=Q,
        start_s=start_s,
        end_s=OUTAGE[0] if lost else start_s + 0.1,
        outcome=outcome,
        code=code,
        id=message_id,
        receipt=by,
        visibility_timeout_s=timeout_s,
        delay_s=delay_s,
        body=body,
        error=error,
        dead=dead,
        uncounted=uncounted,
    )


def undone(start_s: float, message_id: str, count: int = 1, *, lost: bool = False) -> Update:
    return update(start_s, message_id, receipt(message_id, count), lost=lost, delay_s=0, uncounted=True)


def declared_dead(start_s: float, message_id: str, *, lost: bool = False, error: str | None = None) -> Update:
    return update(start_s, message_id, receipt(message_id), lost=lost, dead=True, error=error)


def letter(message_id: str, *, body: str = "", error: str | None = None, name: str = "") -> Seen:
    """Return the dead letter of a message, as a listing has it."""
    found = waits(name or f"letter of {message_id}", body=body or f"body of {message_id}")
    return replace(found, error=error, source=message_id)


def letters(start_s: float, *messages: Seen) -> Listing:
    return replace(listing(start_s, *messages), queue=DEAD_LETTERS)


def in_one(number: int, *calls: Call) -> list[Call]:
    """Return calls as those of one request."""
    return [replace(each, request=number) for each in calls]


def named(call: Consume, consumer: str, shown: str | None = None) -> Consume:
    deliveries = tuple(replace(each, consumer=consumer if shown is None else shown) for each in call.deliveries)
    return replace(call, consumer=consumer, deliveries=deliveries)


def purge(start_s: float, deleted: int | None = None) -> Purge:
    return Purge(queue=Q, start_s=start_s, end_s=start_s + 0.1, deleted=deleted)


def drop(start_s: float, *, lost: bool = False) -> Drop:
    outcome = Outcome.UNKNOWN if lost else Outcome.OK
    return Drop(queue=Q, start_s=start_s, end_s=OUTAGE[0] if lost else start_s + 0.1, outcome=outcome)


def create(start_s: float) -> Create:
    return Create(queue=Q, start_s=start_s, end_s=start_s + 0.1)


def refused(start_s: float, code: str) -> Consume:
    return replace(empty(start_s, start_s + 0.1), outcome=Outcome.REFUSED, code=code)


def abandoned(call: Call) -> Call:
    return replace(call, end_s=OUTAGE[0], outcome=Outcome.UNKNOWN, code=ABANDONED)


def batch_claim(start_s: float, *ids: str) -> Consume:
    """All in one answer."""
    claims = [claim(start_s, each) for each in ids]
    return replace(claims[0], limit=len(ids), deliveries=tuple(each.deliveries[0] for each in claims))


def listing(start_s: float, *messages: Seen) -> Listing:
    return Listing(queue=Q, start_s=start_s, end_s=start_s + 0.1, messages=messages)


def waits(message_id: str, count: int = 0, body: str = "") -> Seen:
    return Seen(message_id, body or f"body of {message_id}", "unprocessed", count, None)


def claimed(message_id: str, until_s: float, count: int = 1) -> Seen:
    return Seen(message_id, f"body of {message_id}", "processing", count, ms(until_s))


def delayed(message_id: str, until_s: float, count: int = 0) -> Seen:
    return Seen(message_id, f"body of {message_id}", "delayed", count, ms(until_s))


def publish(start_s: float, *names: str, lost: bool = False, code: str | None = None, key: str = "k") -> list[Call]:
    """Publish messages with the bodies "body of" and the name to two queues."""
    outcome = Outcome.UNKNOWN if lost else Outcome.REFUSED if code else Outcome.OK
    end_s = OUTAGE[0] if lost else start_s + 0.1
    bodies = tuple(f"body of {each}" for each in names)
    return [
        Publish(
            queue=queue, start_s=start_s, end_s=end_s, outcome=outcome, code=code, request=1, bodies=bodies, key=key
        )
        for queue in (Q, "other")
    ]


def elsewhere(start_s: float, *names: str) -> Listing:
    """List the other queue, in which the ids of published messages are others."""
    messages = [replace(waits(each), id=f"{each}'") for each in names]
    return replace(listing(start_s, *messages), queue="other")


#: There may be no room then.
FULL = (10.0, 11.0)


def history(calls: Sequence[Call]) -> History:
    return History(list(calls), [OUTAGE], WALL_S, [FULL])


def final(**other: object) -> FinalState:
    live = (waits("m"), claimed("n", 50))
    state = FinalQueue(
        queue=Q,
        counts={"unprocessed": 1, "processing": 1, "delayed": 0, "buried": 0},
        live=live,
        replayed=live,
        replayed_ms=ms(20),
        drained=("m", "n"),
        left=0,
    )
    return FinalState((replace(state, **other),))  # type: ignore[arg-type] # a test names the fields


CLEAN: dict[str, list[Call]] = {
    "nothing": [],
    "a life": [produce(0, "m"), claim(1, "m"), delete(1.5, "m", receipt("m")), listing(3)],
    "expired and redelivered": [
        produce(0, "m"),
        claim(1, "m"),
        claim(2.2, "m", 2),
        listing(2.4, claimed("m", 3.25, 2)),
    ],
    "two claims overlap as calls, and not as claims": [
        produce(0, "m"),
        claim(1, "m", timeout_s=0.1),
        claim(1.05, "m", 2, end_s=2.5),
    ],
    "renewed, then redelivered": [
        produce(0, "m"),
        claim(1, "m"),
        update(1.5, "m", receipt("m"), timeout_s=2),
        claim(3.7, "m", 2),
    ],
    "a lost renewal may have shortened the claim": [
        produce(0, "m"),
        claim(1, "m", timeout_s=30),
        update(4, "m", receipt("m"), lost=True, timeout_s=0.1),
        claim(6.1, "m", 2),
    ],
    "a lost renewal may not have happened": [
        produce(0, "m"),
        claim(4, "m"),
        update(4.9, "m", receipt("m"), lost=True, timeout_s=30),
        claim(6.1, "m", 2),
    ],
    "released and redelivered": [
        produce(0, "m"),
        claim(1, "m", timeout_s=30),
        update(2, "m", receipt("m"), timeout_s=0),
        claim(2.5, "m", 2),
    ],
    "taken away by id": [produce(0, "m"), claim(1, "m", timeout_s=30), update(2, "m", delay_s=0), claim(2.5, "m", 2)],
    "delayed": [produce(0, "m", delay_s=2), empty(0.2, 0.3), listing(1, delayed("m", 2.05)), claim(2.2, "m")],
    "deleted by a lost call, or not": [
        produce(0, "m", "n"),
        lost_delete(4, "m"),
        lost_delete(4, "n"),
        listing(7, waits("m")),
        delete(8, "n", code="message_not_found"),
    ],
    "a lost produce did not happen": [produce(4, "m", "n", lost=True), listing(7)],
    "a lost produce happened": [produce(4, "m", "n", lost=True), listing(7, waits("m"), waits("n")), claim(8, "m")],
    "a lost consume took it": [produce(0, "m"), lost_claim(4), empty(4.5, 4.6), claim(7, "m", 2)],
    "a new body": [produce(0, "m"), update(1, "m", body="new"), claim(2, "m", body="new")],
    "a lost new body": [produce(0, "m"), update(4, "m", lost=True, body="new"), claim(7, "m")],
    "refused as it should be": [
        produce(0, "m"),
        claim(1, "m"),
        claim(2.2, "m", 2),
        delete(2.5, "m", receipt("m"), code="stale_receipt"),
        update(3.5, "m", timeout_s=1, code="not_claimed"),
        delete(3.7, "m", receipt("m", 2)),
        delete(3.9, "m", receipt("m", 2), code="message_not_found"),
    ],
    "deleted by the receipt of an expired claim": [produce(0, "m"), claim(1, "m"), delete(3, "m", receipt("m"))],
    "a consumer waits and is woken": [produce(0.8, "m"), claim(0.5, "m", end_s=1.2), empty(1.3, 1.9, wait_s=0.5)],
    "nothing is given out while the broker stops": [produce(0, "m"), empty(4.9, 5.2, wait_s=1), listing(7, waits("m"))],
    "purged": [
        produce(0, "m", "n"),
        claim(1, "m"),
        purge(1.5, 2),
        listing(3),
        delete(4, "m", code="message_not_found"),
    ],
    "purged while it is produced": [replace(produce(1, "m"), end_s=1.5), purge(1.2, 0), listing(2, waits("m"))],
    "purged with what a lost call produced": [produce(4, "m", "n", lost=True), purge(7, 2)],
    "half of a batch is seen, and a purge takes the rest": [
        produce(4, "m", "n", lost=True),
        claim(7, "m"),
        purge(7.5, 2),
        listing(8),
    ],
    "half of a batch is seen, and nobody looks for the rest": [produce(4, "m", "n", lost=True), claim(7, "m")],
    "dropped and made again": [
        produce(0, "m"),
        drop(1),
        refused(2, "queue_not_found"),
        create(3),
        listing(3.5),
        produce(4, "n"),
    ],
    "dropped by a lost call, or not": [produce(0, "m"), drop(4, lost=True), listing(7, waits("m"))],
    "a client hung up": [
        produce(0, "m"),
        abandoned(replace(claim(1, "m"), deliveries=())),
        empty(1.5, 1.6),
        abandoned(produce(2, "n")),
        listing(7, waits("m", 1)),
    ],
    "a full disk": [produce(0, "m"), refused(10.5, DISK_FULL), claim(12, "m")],
    "refused by a broker that stops": [refused(4.95, "shutting_down")],
    "a receive count from before another client's first": [
        produce(0, "m"),
        replace(listing(0.5, waits("m")), end_s=2),
        claim(1, "m"),
    ],
    "an uncounted release": [
        produce(0, "m"),
        claim(1, "m", timeout_s=30),
        undone(2, "m"),
        listing(2.2, waits("m", 0)),
        claim(2.5, "m", 1, timeout_s=30, suffix="'"),
        listing(3, claimed("m", 32.55, 1)),
    ],
    "uncounted releases after one that counts": [
        produce(0, "m"),
        claim(1, "m", timeout_s=30),
        update(1.2, "m", receipt("m"), delay_s=0),
        claim(1.5, "m", 2, timeout_s=30),
        undone(1.7, "m", 2),
        claim(2, "m", 2, timeout_s=30, suffix="'"),
        update(2.5, "m", receipt("m", 2) + "'", delay_s=0, uncounted=True),
        listing(3, waits("m", 1)),
        claim(3.5, "m", 2, suffix='"'),
    ],
    "a lost uncounted release happened": [
        produce(0, "m"),
        claim(4, "m", timeout_s=30),
        undone(4.5, "m", lost=True),
        claim(7, "m", 1, suffix="'"),
    ],
    "a lost uncounted release did not happen": [
        produce(0, "m"),
        claim(4, "m", timeout_s=2.5),
        undone(4.5, "m", lost=True),
        claim(7, "m", 2),
    ],
    "an unknown claim after an uncounted release": [
        produce(0, "m"),
        claim(3, "m", timeout_s=30),
        undone(3.5, "m"),
        lost_claim(4),
        empty(4.2, 4.3),
        listing(4.05, claimed("m", 4.4, 1)),
        claim(7, "m", 2),
    ],
    "a refused uncounted release undoes nothing": [
        produce(0, "m"),
        claim(1, "m", timeout_s=0.1),
        claim(1.5, "m", 2, timeout_s=0.1),
        replace(undone(2, "m"), outcome=Outcome.REFUSED, code="stale_receipt"),
        listing(3, waits("m", 2)),
        claim(3.5, "m", 3),
    ],
    "declared dead": [
        produce(0, "m"),
        claim(1, "m"),
        declared_dead(1.5, "m", error="bad"),
        listing(2),
        letters(2, letter("m", error="bad")),
        replace(claim(3, "letter of m", body="body of m", error="bad", source="m"), queue=DEAD_LETTERS),
        replace(delete(3.5, "letter of m", receipt("letter of m")), queue=DEAD_LETTERS),
        letters(4),
    ],
    "declared dead with a new body and an earlier error": [
        produce(0, "m"),
        claim(1, "m"),
        update(1.2, "m", receipt("m"), body="new", error="bad"),
        declared_dead(1.5, "m"),
        letters(2, letter("m", body="new", error="bad")),
    ],
    "declared dead by a lost call, or not": [
        produce(0, "m", "n"),
        batch_claim(3.5, "m", "n"),
        declared_dead(4.2, "m", lost=True),
        declared_dead(4.2, "n", lost=True),
        letters(7, letter("m")),
        listing(7.5, waits("n", 1)),
    ],
    "declared dead, and the dead letters are purged": [
        produce(0, "m"),
        claim(1, "m"),
        declared_dead(1.5, "m"),
        replace(purge(2, 1), queue=DEAD_LETTERS),
        letters(3),
    ],
    "reported errors": [
        produce(0, "m"),
        claim(1, "m"),
        update(1.2, "m", receipt("m"), error="one"),
        listing(1.4, replace(claimed("m", 2.05), error="one")),
        claim(2.5, "m", 2, error="one"),
        update(2.7, "m", receipt("m", 2), delay_s=0, error="two"),
        listing(3, replace(waits("m", 2), error="two")),
    ],
    "a lost report": [
        produce(0, "m"),
        claim(4, "m"),
        update(4.3, "m", receipt("m"), lost=True, error="one"),
        listing(7, waits("m", 1)),
    ],
    "names of consumers": [
        produce(0, "m"),
        named(claim(1, "m"), "one"),
        listing(1.5, replace(claimed("m", 2.05), consumer="one")),
        named(claim(2.5, "m", 2), "two"),
        listing(2.7, replace(claimed("m", 3.55, 2), consumer="two")),
        listing(4, waits("m", 2)),
    ],
    "the name of a lost consume": [
        produce(0, "m"),
        replace(lost_claim(4), consumer="one", visibility_timeout_s=9),
        listing(7, replace(claimed("m", 13), consumer="one")),
    ],
    "a request without an answer ended all": [
        produce(0, "m", "n"),
        batch_claim(4, "m", "n"),
        *in_one(1, lost_delete(4.5, "m"), declared_dead(4.5, "n", lost=True)),
        listing(7),
        letters(7, letter("n")),
    ],
    "a request without an answer ended nothing": [
        produce(0, "m", "n"),
        batch_claim(4, "m", "n"),
        *in_one(1, lost_delete(4.5, "m"), declared_dead(4.5, "n", lost=True)),
        listing(7, waits("m", 1), waits("n", 1)),
        letters(7),
    ],
    "a request without an answer ended what had a current receipt": [
        produce(0, "m", "n"),
        claim(1, "m", timeout_s=0.1),
        claim(1.5, "m", 2, timeout_s=30),
        claim(4, "n"),
        *in_one(1, replace(lost_delete(4.5, "m"), receipt=receipt("m")), lost_delete(4.5, "n")),
        listing(7, claimed("m", 31.55, 2)),
    ],
    "ended and claimed again in one request": [
        produce(0, "m"),
        claim(1, "m", timeout_s=30),
        *in_one(1, update(2, "m", receipt("m"), delay_s=0), claim(2, "m", 2)),
    ],
    "published": [*publish(0, "m", "n"), listing(1, waits("m"), waits("n")), elsewhere(1, "m", "n")],
    "published, then deleted in one queue": [
        *publish(0, "m"),
        claim(1, "m"),
        delete(1.5, "m", receipt("m")),
        listing(3),
        elsewhere(3, "m"),
    ],
    "published, then purged before anybody looked": [*publish(0, "m"), purge(1), listing(3), elsewhere(3, "m")],
    "a publish without an answer that happened": [
        *publish(4, "m", lost=True),
        listing(7, waits("m")),
        elsewhere(7, "m"),
    ],
    "a publish without an answer that did not happen": [*publish(4, "m", lost=True), listing(7), elsewhere(7)],
    "a publish without an answer that is repeated": [
        *publish(4, "m", lost=True),
        *publish(7, "m"),
        *publish(8, "m"),
        listing(9, waits("m")),
        elsewhere(9, "m"),
    ],
    "a refused publish": [*publish(10.2, "m", code=DISK_FULL), listing(12), elsewhere(12)],
    "a listing before a publish that is not over": [
        *publish(4, "m", lost=True),
        listing(4.5),
        elsewhere(7, "m"),
        listing(8, waits("m")),
    ],
    "order": [produce(0, "a"), produce(1, "b"), listing(2, waits("a"), waits("b"))],
}


@pytest.mark.parametrize("calls", CLEAN.values(), ids=CLEAN)
def test_a_clean_history_passes(calls: list[Call]) -> None:
    assert check(history(calls)) == []


BROKEN: dict[str, tuple[Rule, list[Call]]] = {
    "acked and lost": (Rule.ACKED_IS_THERE, [produce(0, "m", "n"), listing(1, waits("n"))]),
    "lost after a refused delete": (
        Rule.ACKED_IS_THERE,
        [
            produce(0, "m"),
            claim(1, "m"),
            claim(2.2, "m", 2),
            delete(3, "m", receipt("m"), code="stale_receipt"),
            listing(7),
        ],
    ),
    "another body": (Rule.ACKED_IS_THERE, [produce(0, "m"), claim(1, "m", body="body of n")]),
    "another body in a listing": (Rule.ACKED_IS_THERE, [produce(0, "m"), listing(1, waits("m", body="?"))]),
    "the old body is back": (Rule.ACKED_IS_THERE, [produce(0, "m"), update(1, "m", body="new"), claim(2, "m")]),
    "a body that was refused": (
        Rule.ACKED_IS_THERE,
        [
            produce(0, "m"),
            claim(1, "m", timeout_s=0.1),
            claim(1.5, "m", 2),
            update(2, "m", receipt("m"), body="new", code="stale_receipt"),
            listing(3, waits("m", 2, body="new")),
        ],
    ),
    "nobody produced it": (Rule.NOTHING_UNEXPECTED, [listing(1, waits("m"))]),
    "nobody produced it, and it is consumed": (Rule.NOTHING_UNEXPECTED, [claim(1, "m")]),
    "a lost produce happened twice": (
        Rule.NOTHING_UNEXPECTED,
        [produce(4, "m", lost=True), listing(7, waits("m"), Seen("m2", "body of m", "unprocessed", 0, None))],
    ),
    "an acked produce happened twice": (
        Rule.NOTHING_UNEXPECTED,
        [produce(4, "m"), listing(7, waits("m"), Seen("m2", "body of m", "unprocessed", 0, None))],
    ),
    "half of a batch": (Rule.NOTHING_UNEXPECTED, [produce(4, "m", "n", lost=True), listing(7, waits("m"))]),
    "consumed before it was produced": (Rule.NOTHING_UNEXPECTED, [claim(1, "m", timeout_s=9), produce(2, "m")]),
    "an id given out twice": (Rule.NOTHING_UNEXPECTED, [produce(0, "m"), produce(1, "m")]),
    "listed twice": (Rule.NOTHING_UNEXPECTED, [produce(0, "m"), listing(1, waits("m"), waits("m"))]),
    "claimed twice at once": (Rule.CLAIM_IS_EXCLUSIVE, [produce(0, "m"), claim(1, "m"), claim(1.5, "m", 2)]),
    "claimed twice at once, across a crash": (
        Rule.CLAIM_IS_EXCLUSIVE,
        [produce(0, "m"), claim(1, "m", timeout_s=20), claim(7, "m", 2)],
    ),
    "claimed twice, by the broker's own deadlines": (
        Rule.CLAIM_IS_EXCLUSIVE,
        [produce(0, "m"), claim(1, "m", end_s=3), claim(2.2, "m", 2, timeout_s=2)],
    ),
    "a renewal did not count": (
        Rule.CLAIM_IS_EXCLUSIVE,
        [produce(0, "m"), claim(1, "m"), update(1.5, "m", receipt("m"), timeout_s=20), claim(7, "m", 2)],
    ),
    "a renewal by id did not count": (
        Rule.CLAIM_IS_EXCLUSIVE,
        [produce(0, "m"), claim(1, "m"), update(1.5, "m", timeout_s=20), claim(7, "m", 2)],
    ),
    "delivered ahead of its delay": (Rule.CLAIM_IS_EXCLUSIVE, [produce(0, "m", delay_s=20), claim(7, "m")]),
    "delivered ahead of a later delay": (
        Rule.CLAIM_IS_EXCLUSIVE,
        [produce(0, "m"), claim(1, "m"), update(1.5, "m", receipt("m"), delay_s=20), claim(7, "m", 2)],
    ),
    "delivered after its delete": (Rule.DELETED_STAYS_DELETED, [produce(0, "m"), delete(1, "m"), claim(7, "m")]),
    "listed after its delete": (Rule.DELETED_STAYS_DELETED, [produce(0, "m"), delete(1, "m"), listing(7, waits("m"))]),
    "deleted twice": (Rule.DELETED_STAYS_DELETED, [produce(0, "m"), delete(1, "m"), delete(7, "m")]),
    "updated after its delete": (
        Rule.DELETED_STAYS_DELETED,
        [produce(0, "m"), delete(1, "m"), update(2, "m", body="new")],
    ),
    "an expired claim is not given out": (
        Rule.REDELIVERED_SOON,
        [produce(0, "m"), claim(1, "m"), empty(2.5, 2.6), claim(3, "m", 2)],
    ),
    "a message is not given out at all": (
        Rule.REDELIVERED_SOON,
        [produce(0, "m"), empty(0.5, 0.6), listing(7, waits("m"))],
    ),
    "a released message is not given out": (
        Rule.REDELIVERED_SOON,
        [
            produce(0, "m"),
            claim(1, "m", timeout_s=30),
            update(2, "m", receipt("m"), timeout_s=0),
            empty(2.5, 2.6),
            listing(3, waits("m", 1)),
        ],
    ),
    "a consumer that waits is not woken": (
        Rule.REDELIVERED_SOON,
        [produce(0, "m"), claim(0.2, "m"), empty(1, 4.9, wait_s=4), listing(7, waits("m", 1))],
    ),
    "a consumer that waits is woken late": (
        Rule.REDELIVERED_SOON,
        [produce(1, "m"), replace(claim(0.5, "m", end_s=7.5), wait_s=5)],
    ),
    "the same receive_count twice": (Rule.RECEIVES_GROW, [produce(0, "m"), claim(1, "m"), again(claim(2.2, "m"))]),
    "receive_count has a gap": (Rule.RECEIVES_GROW, [produce(0, "m"), claim(1, "m"), claim(2.2, "m", 3)]),
    "receive_count begins above one": (Rule.RECEIVES_GROW, [produce(0, "m"), claim(1, "m", 2)]),
    "receive_count has two gaps and one lost consume": (
        Rule.RECEIVES_GROW,
        [produce(0, "m"), lost_claim(4), claim(7, "m", 3)],
    ),
    "receive_count fell": (
        Rule.RECEIVES_GROW,
        [produce(0, "m"), lost_claim(4), claim(6.1, "m", 3, timeout_s=0.1), claim(7, "m", 1)],
    ),
    "receive_count fell in a listing": (
        Rule.RECEIVES_GROW,
        [produce(0, "m"), claim(1, "m"), listing(7, waits("m", 0))],
    ),
    "receive_count grew without a delivery": (Rule.RECEIVES_GROW, [produce(0, "m"), listing(7, waits("m", 1))]),
    "a current receipt is refused": (
        Rule.RECEIPTS_COUNT,
        [produce(0, "m"), claim(4, "m", timeout_s=9), delete(7, "m", receipt("m"), code="stale_receipt")],
    ),
    "a current receipt is refused as not claimed": (
        Rule.RECEIPTS_COUNT,
        [
            produce(0, "m"),
            claim(4, "m", timeout_s=9),
            update(7, "m", receipt("m"), timeout_s=1, code="not_claimed"),
        ],
    ),
    "an expired receipt is refused though nobody took the message": (
        Rule.RECEIPTS_COUNT,
        [produce(0, "m"), claim(1, "m"), delete(3, "m", receipt("m"), code="stale_receipt")],
    ),
    "not found, and nobody deleted it": (
        Rule.RECEIPTS_COUNT,
        [produce(0, "m"), claim(4, "m"), delete(7, "m", receipt("m"), code="message_not_found")],
    ),
    "a stale receipt deletes": (
        Rule.RECEIPTS_COUNT,
        [produce(0, "m"), claim(1, "m"), claim(2.2, "m", 2), delete(2.5, "m", receipt("m"))],
    ),
    "a stale receipt updates": (
        Rule.RECEIPTS_COUNT,
        [produce(0, "m"), claim(1, "m"), claim(2.2, "m", 2), update(2.5, "m", receipt("m"), body="new")],
    ),
    "a released receipt deletes": (
        Rule.RECEIPTS_COUNT,
        [produce(0, "m"), claim(1, "m"), update(1.3, "m", receipt("m"), timeout_s=0), delete(1.5, "m", receipt("m"))],
    ),
    "an expired claim is renewed": (
        Rule.RECEIPTS_COUNT,
        [produce(0, "m"), claim(1, "m"), update(3, "m", receipt("m"), timeout_s=1)],
    ),
    "a claim was forgotten": (
        Rule.DEADLINES_STAY,
        [produce(0, "m"), claim(1, "m", timeout_s=20), listing(7, waits("m", 1))],
    ),
    "a deadline was shortened": (
        Rule.DEADLINES_STAY,
        [produce(0, "m"), claim(1, "m", timeout_s=20), listing(7, claimed("m", 15))],
    ),
    "a renewed deadline was shortened": (
        Rule.DEADLINES_STAY,
        [
            produce(0, "m"),
            claim(1, "m", timeout_s=2),
            update(2, "m", receipt("m"), timeout_s=20),
            listing(7, claimed("m", 9)),
        ],
    ),
    "a delay was forgotten": (Rule.DEADLINES_STAY, [produce(0, "m", delay_s=20), listing(7, waits("m"))]),
    "a claim is listed that is over": (
        Rule.DEADLINES_STAY,
        [produce(0, "m"), claim(1, "m"), listing(3, claimed("m", 2.05))],
    ),
    "a claim was lengthened": (
        Rule.DEADLINES_STAY,
        [produce(0, "m"), claim(1, "m"), update(1.5, "m", receipt("m"), timeout_s=2), listing(2, claimed("m", 4))],
    ),
    "a claim has another deadline than was asked for": (
        Rule.DEADLINES_STAY,
        [
            produce(0, "m"),
            replace(claim(1, "m"), deliveries=(replace(claim(1, "m").deliveries[0], claimed_until_ms=ms(2.5)),)),
        ],
    ),
    "a claim is listed as a delay": (
        Rule.DEADLINES_STAY,
        [produce(0, "m"), claim(1, "m"), listing(1.5, delayed("m", 2.05, 1))],
    ),
    "a deadline moved": (
        Rule.DEADLINES_STAY,
        [produce(0, "m"), lost_claim(4), listing(7, claimed("m", 9)), listing(8, claimed("m", 9.5))],
    ),
    "another order": (Rule.ORDER_STAYS, [produce(0, "a"), produce(1, "b"), listing(2, waits("b"), waits("a"))]),
    "another order in a batch": (Rule.ORDER_STAYS, [produce(0, "a", "b"), listing(2, waits("b"), waits("a"))]),
    "another order in an answer": (Rule.ORDER_STAYS, [produce(0, "a", "b"), batch_claim(1, "b", "a")]),
    "a younger message is given out first": (
        Rule.ORDER_STAYS,
        [produce(0, "a"), produce(0.5, "b"), claim(1, "b"), claim(1.5, "a")],
    ),
    "a younger message of the batch is given out first": (
        Rule.ORDER_STAYS,
        [produce(0, "a", "b"), claim(1, "b"), listing(1.5, waits("a"), claimed("b", 2.05))],
    ),
    "nothing is given out of what is there until its delete": (
        Rule.REDELIVERED_SOON,
        [produce(0, "m"), empty(0.5, 0.6), delete(1, "m")],
    ),
    "nothing is given out of what is there": (Rule.REDELIVERED_SOON, [produce(0, "m"), empty(0.5, 0.6)]),
    "delivered after a purge": (Rule.DELETED_STAYS_DELETED, [produce(0, "m"), purge(1), claim(7, "m")]),
    "listed after its queue was dropped": (
        Rule.DELETED_STAYS_DELETED,
        [produce(0, "m"), drop(1), produce(2, "n"), listing(7, waits("m"), waits("n"))],
    ),
    "deleted after a purge": (Rule.DELETED_STAYS_DELETED, [produce(0, "m"), purge(1), delete(2, "m")]),
    "delivered to who waited, after its delete": (
        Rule.DELETED_STAYS_DELETED,
        [produce(0, "m"), delete(0.5, "m"), claim(0.3, "m", end_s=2.5)],
    ),
    "called stale after its delete": (
        Rule.DELETED_STAYS_DELETED,
        [
            produce(0, "m"),
            claim(1, "m", timeout_s=0.1),
            claim(1.5, "m", 2),
            delete(2, "m"),
            delete(3, "m", receipt("m"), code="stale_receipt"),
        ],
    ),
    "a receipt given out twice": (
        Rule.RECEIPTS_COUNT,
        [
            produce(0, "m"),
            claim(1, "m"),
            replace(claim(2.2, "m", 2), deliveries=(replace(claim(2.2, "m", 2).deliveries[0], receipt=receipt("m")),)),
        ],
    ),
    "a lost consume explains one gap, not two": (
        Rule.RECEIVES_GROW,
        [
            produce(0, "m"),
            lost_claim(4),
            replace(claim(4.8, "m", 2, timeout_s=0.1), end_s=5.0),
            claim(7, "m", 4),
        ],
    ),
    "listed with more deliveries than there were yet": (
        Rule.RECEIVES_GROW,
        [produce(0, "m"), lost_claim(4), listing(6.5, waits("m", 2)), claim(7, "m", 2)],
    ),
    "a purge says too much": (Rule.COUNTS_AGREE, [produce(0, "m"), purge(1, 2)]),
    "a purge says too little": (Rule.COUNTS_AGREE, [produce(0, "m"), purge(1, 0)]),
    "a queue is gone": (Rule.ACKED_IS_THERE, [create(0), refused(1, "queue_not_found")]),
    "a queue that was made again is gone": (
        Rule.ACKED_IS_THERE,
        [create(0), drop(1), create(2), refused(3, "queue_not_found")],
    ),
    "refused for a full disk that is not": (Rule.ANSWERED, [refused(1, DISK_FULL)]),
    "refused by a broker that does not stop": (Rule.ANSWERED, [refused(1, "shutting_down")]),
    "no answer while the broker was up": (Rule.ANSWERED, [replace(produce(1, "m", lost=True), end_s=2)]),
    "an uncounted release counts": (
        Rule.RECEIVES_GROW,
        [produce(0, "m"), claim(1, "m", timeout_s=30), undone(2, "m"), claim(2.5, "m", 2)],
    ),
    "an uncounted release is listed as one that counts": (
        Rule.RECEIVES_GROW,
        [produce(0, "m"), claim(1, "m", timeout_s=30), undone(2, "m"), listing(2.5, waits("m", 1))],
    ),
    "an uncounted release undoes two receives": (
        Rule.RECEIVES_GROW,
        [
            produce(0, "m"),
            claim(1, "m", timeout_s=0.1),
            claim(1.5, "m", 2, timeout_s=30),
            undone(2, "m", 2),
            listing(2.5, waits("m", 0)),
        ],
    ),
    "a release that counts undoes a receive": (
        Rule.RECEIVES_GROW,
        [
            produce(0, "m"),
            claim(1, "m", timeout_s=30),
            update(2, "m", receipt("m"), delay_s=0),
            claim(2.5, "m", 1, suffix="'"),
        ],
    ),
    "a refused uncounted release undoes a receive": (
        Rule.RECEIVES_GROW,
        [
            produce(0, "m"),
            claim(3.5, "m", timeout_s=0.1),
            lost_claim(4),
            replace(undone(4.2, "m"), outcome=Outcome.REFUSED, code="stale_receipt"),
            claim(7, "m", 1, suffix="'"),
        ],
    ),
    "one lost uncounted release undoes two receives": (
        Rule.RECEIVES_GROW,
        [
            produce(0, "m"),
            claim(4, "m", timeout_s=30),
            undone(4.5, "m", lost=True),
            claim(6.5, "m", 1, timeout_s=0.1, suffix="'"),
            claim(7, "m", 1, suffix='"'),
        ],
    ),
    "an uncounted release is not given out": (
        Rule.REDELIVERED_SOON,
        [
            produce(0, "m"),
            claim(1, "m", timeout_s=30),
            undone(2, "m"),
            empty(2.5, 2.6),
            claim(3, "m", 1, suffix="'"),
        ],
    ),
    "the receipt of an uncounted release deletes": (
        Rule.RECEIPTS_COUNT,
        [produce(0, "m"), claim(1, "m"), undone(1.2, "m"), delete(1.5, "m", receipt("m"))],
    ),
    "declared dead, and no dead letter": (
        Rule.DEAD_IS_THERE,
        [produce(0, "m"), claim(1, "m"), declared_dead(1.5, "m"), letters(7)],
    ),
    "declared dead, and two dead letters": (
        Rule.DEAD_IS_THERE,
        [
            produce(0, "m"),
            claim(1, "m"),
            declared_dead(1.5, "m"),
            letters(7, letter("m"), letter("m", name="letter too")),
        ],
    ),
    "a dead letter that nobody declared dead": (
        Rule.DEAD_IS_THERE,
        [produce(0, "m"), claim(1, "m"), letters(7, letter("m"))],
    ),
    "a dead letter whose declaration was refused": (
        Rule.DEAD_IS_THERE,
        [
            produce(0, "m"),
            claim(1, "m", timeout_s=0.1),
            claim(1.5, "m", 2),
            replace(declared_dead(2, "m"), outcome=Outcome.REFUSED, code="stale_receipt"),
            letters(7, letter("m")),
        ],
    ),
    "a dead letter that came and went": (
        Rule.DEAD_IS_THERE,
        [produce(0, "m"), claim(1, "m"), declared_dead(1.5, "m"), letters(2, letter("m")), letters(7)],
    ),
    "a dead letter changes its source": (
        Rule.DEAD_IS_THERE,
        [
            produce(0, "m", "n"),
            batch_claim(1, "m", "n"),
            declared_dead(1.5, "m"),
            letters(2, letter("m", name="x")),
            letters(7, letter("n", name="x", body="body of m")),
        ],
    ),
    "a dead letter in the queue of dead letters and in its own": (
        Rule.DELETED_STAYS_DELETED,
        [produce(0, "m"), claim(1, "m"), declared_dead(1.5, "m"), listing(2, waits("m", 1)), letters(2, letter("m"))],
    ),
    "a lost declaration made no dead letter": (
        Rule.REQUEST_IS_WHOLE,
        [produce(0, "m"), claim(4, "m"), declared_dead(4.5, "m", lost=True), listing(7), letters(7.5)],
    ),
    "a lost declaration left the message in its queue": (
        Rule.DELETED_STAYS_DELETED,
        [
            produce(0, "m"),
            claim(4, "m"),
            declared_dead(4.5, "m", lost=True),
            letters(7, letter("m")),
            listing(7.5, waits("m", 1)),
        ],
    ),
    "a dead letter with another body": (
        Rule.ACKED_IS_THERE,
        [produce(0, "m"), claim(1, "m"), declared_dead(1.5, "m"), letters(2, letter("m", body="?"))],
    ),
    "a dead letter without its error": (
        Rule.ERRORS_STAY,
        [produce(0, "m"), claim(1, "m"), declared_dead(1.5, "m", error="bad"), letters(2, letter("m"))],
    ),
    "a dead letter with an earlier error": (
        Rule.ERRORS_STAY,
        [
            produce(0, "m"),
            claim(1, "m"),
            update(1.2, "m", receipt("m"), error="one"),
            declared_dead(1.5, "m", error="two"),
            letters(2, letter("m", error="one")),
        ],
    ),
    "a dead letter is given out before its declaration": (
        Rule.NOTHING_UNEXPECTED,
        [produce(0, "m"), claim(1, "m"), letters(1.2, letter("m")), declared_dead(1.5, "m")],
    ),
    "deleted after it was declared dead": (
        Rule.DELETED_STAYS_DELETED,
        [produce(0, "m"), claim(1, "m"), declared_dead(1.5, "m"), delete(2, "m", receipt("m"))],
    ),
    "an older receipt declares it dead": (
        Rule.RECEIPTS_COUNT,
        [produce(0, "m"), claim(1, "m"), claim(2.2, "m", 2), declared_dead(2.5, "m")],
    ),
    "an error is forgotten": (
        Rule.ERRORS_STAY,
        [produce(0, "m"), claim(1, "m"), update(1.2, "m", receipt("m"), error="one"), claim(2.5, "m", 2)],
    ),
    "an error that nobody reported": (
        Rule.ERRORS_STAY,
        [produce(0, "m"), claim(1, "m", error="one")],
    ),
    "another consumer is listed": (
        Rule.CONSUMERS_STAY,
        [produce(0, "m"), named(claim(1, "m"), "one"), listing(1.5, replace(claimed("m", 2.05), consumer="two"))],
    ),
    "a consumer is forgotten": (
        Rule.CONSUMERS_STAY,
        [produce(0, "m"), named(claim(1, "m", timeout_s=20), "one"), listing(7, claimed("m", 21.05))],
    ),
    "a consumer without a claim": (
        Rule.CONSUMERS_STAY,
        [produce(0, "m"), named(claim(1, "m"), "one"), listing(3, replace(waits("m", 1), consumer="one"))],
    ),
    "given to another consumer": (Rule.CONSUMERS_STAY, [produce(0, "m"), named(claim(1, "m"), "one", "two")]),
    "a request ended one of two": (
        Rule.REQUEST_IS_WHOLE,
        [
            produce(0, "m", "n"),
            batch_claim(4, "m", "n"),
            *in_one(1, lost_delete(4.5, "m"), replace(lost_delete(4.5, "n"), receipt=receipt("n"))),
            listing(7, waits("n", 1)),
        ],
    ),
    "a request deleted one and left the other to live": (
        Rule.REQUEST_IS_WHOLE,
        [
            produce(0, "m", "n"),
            batch_claim(4, "m", "n"),
            *in_one(1, lost_delete(4.5, "m"), declared_dead(4.5, "n", lost=True)),
            listing(6.5, waits("n", 1)),
            claim(7, "n", 2),
        ],
    ),
    "a request claims what it deleted": (
        Rule.RECEIPTS_COUNT,
        [
            produce(0, "m"),
            claim(1, "m", timeout_s=0.5),
            *in_one(1, delete(2, "m", receipt("m")), claim(2, "m", 2)),
        ],
    ),
    "a request claims before it has released": (
        Rule.REDELIVERED_SOON,
        [
            produce(0, "m"),
            claim(1, "m", timeout_s=30),
            *in_one(1, update(2, "m", receipt("m"), delay_s=0), empty(2, 2.1)),
            claim(2.5, "m", 2),
        ],
    ),
    "in two queues": (
        Rule.NOTHING_UNEXPECTED,
        [produce(0, "m"), listing(1, waits("m")), replace(listing(1, waits("m")), queue="other")],
    ),
    "published to one of the queues": (
        Rule.PUBLISHED_EVERYWHERE,
        [*publish(0, "m"), listing(1, waits("m")), elsewhere(1)],
    ),
    "published to no queue": (Rule.PUBLISHED_EVERYWHERE, [*publish(0, "m"), listing(1), elsewhere(1)]),
    "a publish without an answer is in one of the queues": (
        Rule.PUBLISHED_EVERYWHERE,
        [*publish(4, "m", lost=True), listing(7, waits("m")), elsewhere(8)],
    ),
    "a claimed message is in one of the queues": (
        Rule.PUBLISHED_EVERYWHERE,
        [*publish(4, "m", lost=True), claim(7, "m"), elsewhere(8)],
    ),
    "a publish is in one of the queues later than in the other": (
        Rule.PUBLISHED_EVERYWHERE,
        [*publish(4, "m", lost=True), listing(4.2, waits("m")), elsewhere(4.6), elsewhere(7, "m")],
    ),
    "half of a published batch": (
        Rule.PUBLISHED_EVERYWHERE,
        [*publish(0, "m", "n"), listing(1, waits("m"), waits("n")), elsewhere(1, "m")],
    ),
    "published twice with one key": (
        Rule.NOTHING_UNEXPECTED,
        [
            *publish(4, "m", lost=True),
            *publish(7, "m"),
            listing(8, waits("m"), replace(waits("m2"), body="body of m")),
            elsewhere(8, "m"),
        ],
    ),
    "a refused publish happened": (
        Rule.NOTHING_UNEXPECTED,
        [*publish(10.2, "m", code=DISK_FULL), listing(12, waits("m")), elsewhere(12)],
    ),
    "a published message lost its place": (
        Rule.ORDER_STAYS,
        [*publish(0, "m"), *publish(1, "n", key="l"), listing(2, waits("n"), waits("m")), elsewhere(2, "m", "n")],
    ),
    "an error of the broker": (Rule.ANSWERED, [delete(1, "m", code="internal_error")]),
}


@pytest.mark.parametrize(("rule", "calls"), BROKEN.values(), ids=BROKEN)
def test_a_broken_promise_is_reported_and_no_other(rule: Rule, calls: list[Call]) -> None:
    violations = check(history(calls))

    assert {violation.rule for violation in violations} == {rule}, "\n".join(map(str, violations))


def test_every_rule_has_a_history_that_breaks_it() -> None:
    assert {rule for rule, _ in BROKEN.values()} == set(Rule)


def test_a_clean_end_passes() -> None:
    assert check(history([]), final()) == []
    expired = (waits("m"), Seen("n", "body of n", "unprocessed", 1, None))
    assert check(history([]), final(replayed=expired, replayed_ms=ms(51))) == []


BROKEN_ENDS: dict[str, tuple[Rule, FinalState]] = {
    "a count differs": (
        Rule.COUNTS_AGREE,
        final(counts={"unprocessed": 2, "processing": 0, "delayed": 0, "buried": 0}),
    ),
    "a replay has less": (Rule.COUNTS_AGREE, final(replayed=(waits("m"),))),
    "a replay has another order": (Rule.COUNTS_AGREE, final(replayed=(claimed("n", 50), waits("m")))),
    "a replay has another body": (Rule.COUNTS_AGREE, final(replayed=(waits("m", body="?"), claimed("n", 50)))),
    "a replay has another count": (Rule.COUNTS_AGREE, final(replayed=(waits("m", 1), claimed("n", 50)))),
    "a replay has another deadline": (Rule.COUNTS_AGREE, final(replayed=(waits("m"), claimed("n", 49)))),
    "a replay has another error": (
        Rule.COUNTS_AGREE,
        final(replayed=(replace(waits("m"), error="?"), claimed("n", 50))),
    ),
    "a replay has another consumer": (
        Rule.COUNTS_AGREE,
        final(replayed=(waits("m"), replace(claimed("n", 50), consumer="?"))),
    ),
    "a replay has no claim": (Rule.COUNTS_AGREE, final(replayed=(waits("m"), waits("n", 1)))),
    "listed and not consumed": (Rule.ACKED_IS_THERE, final(drained=("m",))),
    "consumed and not listed": (Rule.NOTHING_UNEXPECTED, final(drained=("m", "n", "o"))),
    "something is left": (Rule.COUNTS_AGREE, final(left=1)),
}


@pytest.mark.parametrize(("rule", "state"), BROKEN_ENDS.values(), ids=BROKEN_ENDS)
def test_a_broken_end_is_reported(rule: Rule, state: FinalState) -> None:
    assert {violation.rule for violation in check(history([]), state)} == {rule}


def test_an_acked_message_that_nobody_deleted_has_to_be_drained() -> None:
    calls = [produce(0, "m", "n", "lost")]

    [violation] = check(history(calls), final())

    assert violation.rule is Rule.ACKED_IS_THERE
    assert "lost" in violation.text
    assert check(history([*calls, delete(1, "lost")]), final()) == []
    assert [each.rule for each in check(history([]), final(drained=("m", "n", "n")))] == [Rule.CLAIM_IS_EXCLUSIVE]


def test_the_report_shows_the_evidence() -> None:
    rule, calls = BROKEN["delivered after its delete"]
    [violation] = check(history(calls))

    assert rule.value in str(violation)
    assert violation.evidence == (calls[1], calls[2])


def test_large_bodies_are_told_apart_in_little_space() -> None:
    one, other = "a" * 10**6, "a" * 10**6 + "b"

    assert brief(one) != brief(other)
    assert len(brief(one)) < 100
    assert brief("short") == "short"


#: Another broker took over, whose clock is ten minutes ahead.
AHEAD = ClockChange(3.0, 3.5, WALL_S + 600)


def claimed_ahead(start_s: float, message_id: str, count: int) -> Consume:
    """Return a claim of the broker whose clock is ahead."""
    call = claim(start_s, message_id, count)
    [delivery] = call.deliveries
    return replace(call, deliveries=(replace(delivery, claimed_until_ms=delivery.claimed_until_ms + 600_000),))


def test_a_claim_may_end_early_when_the_clock_leaps() -> None:
    found = history([produce(1, "m"), claim(2, "m", timeout_s=50), claimed_ahead(4, "m", 2)])
    found.clock_changes.append(AHEAD)
    assert check(found) == []


def test_a_claim_may_not_end_early_by_the_deadlines_of_the_brokers_themselves() -> None:
    found = history([produce(1, "m"), claim(2, "m", timeout_s=1000), claimed_ahead(4, "m", 2)])
    found.clock_changes.append(AHEAD)
    assert {each.rule for each in check(found)} == {Rule.CLAIM_IS_EXCLUSIVE}


def test_after_a_leap_of_the_clock_claims_are_exclusive_again() -> None:
    first = claimed_ahead(4, "m", 1)
    found = history([produce(1, "m"), first, claimed_ahead(4.5, "m", 2)])
    found.clock_changes.append(AHEAD)
    assert {each.rule for each in check(found)} == {Rule.CLAIM_IS_EXCLUSIVE}


def test_after_a_leap_of_the_clock_messages_are_given_out_in_time_again() -> None:
    found = history([produce(1, "m"), claimed_ahead(4, "m", 1), empty(7, 7.1), listing(7.2, waits("m", 1))])
    found.clock_changes.append(AHEAD)
    assert {each.rule for each in check(found)} == {Rule.REDELIVERED_SOON}


def test_a_claim_may_be_held_again_when_the_clock_is_set_back() -> None:
    found = history([produce(1, "m"), claim(1.5, "m", timeout_s=1), empty(4, 4.1), listing(4.2, claimed("m", 2.55))])
    assert Rule.REDELIVERED_SOON in {each.rule for each in check(found)}
    found.clock_changes.append(ClockChange(3.0, 3.5, WALL_S - 2))
    assert check(found) == []


def test_a_consumer_may_be_woken_late_while_the_log_cannot_write() -> None:
    found = history([produce(1, "m"), replace(claim(1.5, "m", end_s=4.9), wait_s=3)])
    assert {each.rule for each in check(found)} == {Rule.REDELIVERED_SOON}
    found.slow.append((2, 3))
    assert check(found) == []


def test_a_call_may_be_refused_for_another_owner_only_while_owners_change() -> None:
    lost = replace(refused(5.5, LOG_LOST), outcome=Outcome.UNKNOWN)
    assert check(history([lost])) == []
    assert [each.rule for each in check(history([replace(lost, start_s=7, end_s=7.1)]))] == [Rule.ANSWERED]


def test_a_call_may_end_with_an_unknown_outcome_only_while_shards_move() -> None:
    for code in (OUTCOME_UNKNOWN, *NOT_CARRIED_OUT):
        call = refused(5.5, code)
        assert check(history([call])) == []
        assert [each.rule for each in check(history([replace(call, start_s=7, end_s=7.1)]))] == [Rule.ANSWERED]


def crossing(*calls: Call, arrived_s: float = 3.0) -> History:
    """Return a history in which each queue has a shard of its own. What was sent by 2 s had arrived at a moment."""
    found = history(calls)
    found.shard_of = [Q, "other", DEAD_LETTERS].index
    found.crossed = [(0.05, 0.06), (2.0, arrived_s)]
    return found


def test_a_publish_may_arrive_later_in_queues_of_other_shards() -> None:
    late = [*publish(0, "m"), listing(1, waits("m")), elsewhere(1), elsewhere(4, "m")]
    assert check(crossing(*late)) == []
    assert {each.rule for each in check(history(late))} == {Rule.PUBLISHED_EVERYWHERE}


def test_a_publish_that_has_not_arrived_in_the_end_is_reported() -> None:
    calls = [*publish(0, "m"), listing(1, waits("m")), elsewhere(4)]
    assert {each.rule for each in check(crossing(*calls))} == {Rule.PUBLISHED_EVERYWHERE}
    assert check(crossing(*calls, arrived_s=5.0)) == []


def test_a_publish_without_an_answer_has_arrived_in_all_queues_if_it_is_in_one() -> None:
    lost = [replace(each, end_s=1.0, code=ABANDONED) for each in publish(0, "m", lost=True)]
    calls = [*lost, listing(1.5, waits("m")), elsewhere(1.5)]
    assert check(crossing(*calls, elsewhere(4, "m"))) == []
    assert Rule.PUBLISHED_EVERYWHERE in {each.rule for each in check(crossing(*calls, elsewhere(4)))}


def test_a_publish_that_arrives_twice_is_reported() -> None:
    twice = replace(elsewhere(4, "m"), messages=tuple(replace(waits("m"), id=each) for each in ("m'", "m''")))
    found = check(crossing(*publish(0, "m"), listing(4, waits("m")), twice))
    assert {each.rule for each in found} == {Rule.NOTHING_UNEXPECTED}


def test_a_dead_letter_may_arrive_later_in_another_shard_and_must_in_the_end() -> None:
    calls = [produce(0, "m"), claim(0.5, "m"), declared_dead(1, "m"), listing(1.5), letters(1.5)]
    assert check(crossing(*calls, letters(4, letter("m")))) == []
    assert {each.rule for each in check(crossing(*calls, letters(4)))} == {Rule.DEAD_IS_THERE}
    assert {each.rule for each in check(history([*calls, letters(4, letter("m"))]))} == {Rule.DEAD_IS_THERE}


def test_what_left_its_queue_by_a_lost_declaration_arrives_in_another_shard() -> None:
    lost = replace(declared_dead(1, "m", lost=True), end_s=1.2, code=ABANDONED)
    calls = [produce(0, "m"), claim(0.5, "m"), lost, listing(1.5), letters(1.6)]
    assert check(crossing(*calls, letters(4, letter("m")))) == []
    assert {each.rule for each in check(crossing(*calls, letters(4)))} == {Rule.REQUEST_IS_WHOLE}


def test_each_family_of_queues_has_dead_letters_of_its_own() -> None:
    calls = [
        replace(each, queue="family--dead" if each.queue == DEAD_LETTERS else "family--jobs")
        for each in [produce(0, "m"), claim(0.5, "m"), declared_dead(1, "m"), letters(2, letter("m"))]
    ]
    assert check(history(calls)) == []
    calls[-1] = replace(letters(2), queue="family--dead")
    assert {each.rule for each in check(history(calls))} == {Rule.DEAD_IS_THERE}
