"""The rules on requests that change several messages or queues: they do it in one write."""

from __future__ import annotations

from collections.abc import Iterable

from tests.support.history.calls import Call, Delete, Outcome, Update, dead_letters_of
from tests.support.history.changes import Message, releases, removes
from tests.support.history.evidence import Evidence
from tests.support.history.rules import Rule


def whole(evidence: Evidence) -> None:
    """A request without an answer took all its messages out of their queues, or none of them."""
    for calls in evidence.requests.values():
        lost = [each for each in calls if each.outcome is Outcome.UNKNOWN and removes(each)]
        if len(lost) < 2:
            continue
        messages = [evidence.messages[each.id] for each in lost]
        gone = _first(_proof_of_end(evidence, each) for each in messages)
        left = _first(_proof_of_none(evidence, *each) for each in zip(messages, lost, strict=True))
        if gone is not None and left is not None:
            evidence.report(
                Rule.REQUEST_IS_WHOLE,
                f"a request ended {gone[0].id}, and not {left[0].id}",
                *lost,
                gone[1],
                left[1],
            )


def moved(evidence: Evidence) -> None:
    """A message that only a declaration without an answer can have removed has become a dead letter."""
    letters = {each.source for each in evidence.messages.values()}
    for message in evidence.messages.values():
        if len(message.removals) != 1 or message.id in letters:
            continue
        removal = message.removals[0][0]
        if not isinstance(removal, Update) or removal.happened:
            continue
        gone = _proof_of_end(evidence, message)
        since_s = float("inf") if gone is None else gone[1].end_s
        letters_queue = dead_letters_of(message.queue)
        if evidence.history.shard_of(letters_queue) != evidence.history.shard_of(message.queue):
            since_s = evidence.history.arrival_s(since_s)
        later = next((each for each in evidence.listings[letters_queue] if each.start_s > since_s), None)
        cleared = any(later is not None and each.start_s <= later.end_s for each in evidence.clearings[letters_queue])
        if later is not None and not cleared:
            evidence.report(
                Rule.REQUEST_IS_WHOLE, f"{message.id} left its queue and became no dead letter", removal, later
            )


def _first(proofs: Iterable[tuple[Message, Call] | None]) -> tuple[Message, Call] | None:
    return next((each for each in proofs if each is not None), None)


def _proof_of_end(evidence: Evidence, message: Message) -> tuple[Message, Call] | None:
    """Return a listing without a message that nothing but this request can have removed."""
    if len(message.removals) != 1:
        return None
    listed = {id(listing) for listing, _ in message.seen}
    for listing in evidence.listings[message.queue]:
        if listing.start_s > message.known_s and id(listing) not in listed:
            return message, listing
    return None


def _proof_of_none(evidence: Evidence, message: Message, call: Delete | Update) -> tuple[Message, Call] | None:
    """Return a later sight of a message that the request would have removed, had it been carried out."""
    sights: list[Call] = [sight for sight, _, change in message.claims if change.start_s > call.end_s]
    sights += [listing for listing, _ in message.seen if listing.start_s > call.end_s]
    if not sights or message.known_s > call.start_s:
        return None
    if call.receipt is not None:
        rank = evidence.ranks.get(call.receipt, 0)
        claimed = message.claim(rank)
        if claimed is None or evidence.lost_claims(message.queue, claimed.start_s, call.end_s):
            return None
        taken = any((at.rank or 0) > rank and at.start_s <= call.end_s for _, _, at in message.claims)
        released = any(
            each.possible and releases(each) and each.start_s <= call.end_s and each.end_s >= claimed.start_s
            for each in message.updates
        )
        if taken or released:
            return None
    return message, sights[0]
