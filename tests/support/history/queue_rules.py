"""The rules on a queue: the contents and order of a listing, the agreement of all views at the end, and the answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tests.support.history.calls import (
    ABANDONED,
    DISK_FULL,
    LOG_LOST,
    NOT_CARRIED_OUT,
    OUTCOME_UNKNOWN,
    Call,
    Consume,
    Drop,
    FinalQueue,
    Listing,
    Outcome,
    Publish,
    Purge,
    Seen,
)
from tests.support.history.changes import Message
from tests.support.history.evidence import Evidence
from tests.support.history.rules import Rule

_REFUSALS = {"message_not_found", "stale_receipt", "not_claimed"}


def answers(evidence: Evidence) -> None:
    """Every call is answered while the broker is up, and refused only for what there can be."""
    for call in evidence.history.calls:
        if call.outcome is Outcome.OK or call.code in _REFUSALS:
            continue
        if call.outcome is Outcome.UNKNOWN and call.code is None:
            if not evidence.stopping(call):
                evidence.report(Rule.ANSWERED, "a call was not answered though the broker was up", call)
        elif call.outcome is Outcome.UNKNOWN and call.code == ABANDONED:
            pass
        elif call.code == LOG_LOST:
            if not evidence.stopping(call):
                evidence.report(Rule.ANSWERED, "a call was refused for another owner, and there was none", call)
        elif call.code == OUTCOME_UNKNOWN or call.code in NOT_CARRIED_OUT:
            if not evidence.stopping(call):
                evidence.report(Rule.ANSWERED, f"a call ended with {call.code} though no shard moved", call)
        elif call.code == "shutting_down":
            if not evidence.stopping(call):
                evidence.report(Rule.ANSWERED, "a broker that was up refused a call as one that is being stopped", call)
        elif call.code == DISK_FULL:
            if not evidence.without_room(call):
                evidence.report(Rule.ANSWERED, "a call was refused for a full disk, and there was room", call)
        elif call.code == "queue_not_found":
            _no_queue(evidence, call)
        else:
            evidence.report(Rule.ANSWERED, f"a call was refused with {call.code}", call)


def _no_queue(evidence: Evidence, call: Call) -> None:
    """A queue is there once it certainly was, until it may have been dropped."""
    made = [each for each in evidence.proofs[call.queue] if each.end_s < call.start_s]
    drops = [each for each in evidence.clearings[call.queue] if isinstance(each, Drop) and each.start_s <= call.end_s]
    if made and all(any(drop.end_s < each.start_s for each in made) for drop in drops):
        evidence.report(Rule.ACKED_IS_THERE, f"there was no queue {call.queue}, and nobody dropped it", made[-1], call)


def there(message: Message) -> Rule:
    """Return the rule by which a message that nobody deleted is there."""
    if isinstance(message.produce, Publish):
        return Rule.PUBLISHED_EVERYWHERE
    return Rule.ACKED_IS_THERE if message.source is None else Rule.DEAD_IS_THERE


def presence(evidence: Evidence, listings: Sequence[Listing], messages: Sequence[Message]) -> None:
    """A listing has every message that is certain to be there, once."""
    for listing in listings:
        ids = Counter(found.id for found in listing.messages)
        twice = [message_id for message_id, count in ids.items() if count > 1]
        if twice:
            evidence.report(Rule.NOTHING_UNEXPECTED, f"{twice[0]} is listed twice", listing)
        for message in messages:
            if message.known_s < listing.start_s and message.id not in ids and not message.may_be_gone(listing.end_s):
                evidence.report(there(message), f"{message.id} is not listed any more", message.produce, listing)


def order(evidence: Evidence, calls: Sequence[Listing | Consume]) -> None:
    """An answer has messages in the order of their produce, and of the batch."""
    for call in calls:
        newest: Message | None = None
        for found in call.messages if isinstance(call, Listing) else call.deliveries:
            message = evidence.messages[found.id]
            if message.produce is None:
                continue
            if newest is not None and newest.produce is not None:
                same = message.produce is newest.produce and message.index < newest.index
                if same or message.produce.end_s < newest.produce.start_s:
                    evidence.report(
                        Rule.ORDER_STAYS, f"{found.id} comes behind a younger message", newest.produce, message, call
                    )
            if newest is None or newest.produce is None or message.produce.start_s >= newest.produce.start_s:
                newest = message


def cleared(evidence: Evidence, queue: str, messages: Sequence[Message]) -> None:
    """A purge says how many messages it deleted."""
    for purge in evidence.clearings[queue]:
        if not isinstance(purge, Purge) or purge.deleted is None:
            continue
        there = [each for each in messages if each.produce is not None and each.produce.start_s <= purge.end_s]
        gone = sum(
            1 for each in there if any(certain and call.end_s < purge.start_s for call, certain in each.removals)
        )
        certain = sum(
            1
            for each in there
            if each.known_s < purge.start_s
            and not any(call is not purge and call.start_s <= purge.end_s for call, _ in each.removals)
        )
        most = len(there) - gone + _unseen(evidence, queue, purge)
        if not certain <= purge.deleted <= most:
            evidence.report(
                Rule.COUNTS_AGREE, f"a purge deleted {purge.deleted} messages, expected {certain} to {most}", purge
            )


def _unseen(evidence: Evidence, queue: str, purge: Purge) -> int:
    """Return how many messages of lost produces may have been there of which nobody ever saw anything."""
    lost = [each for each in evidence.lost_produces if each.queue == queue and each.start_s <= purge.end_s]
    if not lost:
        return 0
    calls = {id(each) for each in lost}
    seen = sum(1 for each in evidence.messages.values() if id(each.produce) in calls)
    return sum(len(each.bodies) for each in lost) - seen


def agreement(evidence: Evidence, final: FinalQueue, messages: Sequence[Message]) -> None:
    """Counts, listing, replay and drain agree at the end, and no acknowledged message is missing."""
    name = f"queue {final.queue}:"
    listed = Counter(found.status for found in final.live)
    counted = {status: count for status, count in final.counts.items() if count}
    if dict(listed) != counted:
        evidence.report(Rule.COUNTS_AGREE, f"{name} counts say {counted} and the listing has {dict(listed)}")
    if [found.id for found in final.live] != [found.id for found in final.replayed]:
        evidence.report(
            Rule.COUNTS_AGREE,
            f"{name} {len(final.live)} messages were listed and {len(final.replayed)} replayed, or in another order",
        )
    replayed = {found.id: found for found in final.replayed}
    for found in final.live:
        again = replayed.get(found.id)
        if again is not None and not _same(found, again, final.replayed_ms):
            evidence.report(Rule.COUNTS_AGREE, f"{name} {found.id} differs after a replay", found, again)
    ids, drained = {found.id for found in final.live}, set(final.drained)
    missing, more = ids - drained, drained - ids
    if missing:
        evidence.report(
            Rule.ACKED_IS_THERE, f"{name} {len(missing)} messages were listed and cannot be consumed", *missing
        )
    if more:
        evidence.report(Rule.NOTHING_UNEXPECTED, f"{name} {len(more)} messages were consumed and not listed", *more)
    if len(final.drained) != len(drained):
        evidence.report(Rule.CLAIM_IS_EXCLUSIVE, f"{name} a message was consumed twice")
    for message in messages:
        if message.produce is not None and not message.removals and message.id not in drained:
            evidence.report(
                there(message),
                f"{name} {message.id} was acked, nobody deleted it, and it cannot be consumed",
                message.produce,
            )
    if final.left:
        evidence.report(Rule.COUNTS_AGREE, f"{name} {final.left} messages are left after all were deleted")


def _same(live: Seen, replayed: Seen, replayed_ms: int) -> bool:
    if any(getattr(live, name) != getattr(replayed, name) for name in ("body", "receive_count", "error", "source")):
        return False
    if live.status == replayed.status:
        return (live.due_ms, live.consumer) == (replayed.due_ms, replayed.consumer)
    return replayed.status == "unprocessed" and live.due_ms is not None and live.due_ms <= replayed_ms
