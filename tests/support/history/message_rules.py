"""The rules on one message: its body, its receive count, its deletion, and its receipts."""

from __future__ import annotations

from tests.support.history.calls import Delete, Listing, Outcome, Seen, Update
from tests.support.history.changes import Change, Message, last_before, needs_claim, releases, removes
from tests.support.history.evidence import Evidence
from tests.support.history.rules import CLOCK_SLACK_S, Rule


def bodies(evidence: Evidence, message: Message) -> None:
    """A message always has the body of its produce, or of its last update."""
    sights: list[tuple[str, Change]] = [(each.body, change) for _, each, change in message.claims]
    sights += [(each.body, Change.of(call)) for call, each in message.seen]
    if message.produce is None:
        return
    for body, moment in sights:
        may_be = last_before(message.bodies, moment)
        if moment.end_s < message.produce.start_s:
            evidence.report(
                Rule.NOTHING_UNEXPECTED, f"{message.id} was seen before it was produced", message.produce, moment.call
            )
        elif body not in {each.value for each in may_be}:
            evidence.report(
                Rule.ACKED_IS_THERE,
                f"{message.id} has the body {body!r}, expected {[each.value for each in may_be]}",
                *(each.call for each in may_be),
                moment.call,
            )


def errors(evidence: Evidence, message: Message) -> None:
    """A message always has the last error that was reported, also as a dead letter."""
    sights: list[tuple[str | None, Change]] = [(each.error, change) for _, each, change in message.claims]
    sights += [(each.error, Change.of(call)) for call, each in message.seen]
    for error, moment in sights:
        may_be = last_before(message.errors, moment)
        if may_be and error not in {each.value for each in may_be}:
            evidence.report(
                Rule.ERRORS_STAY,
                f"{message.id} has the error {error!r}, expected {[each.value for each in may_be]}",
                *(each.call for each in may_be),
                moment.call,
            )


def consumers(evidence: Evidence, message: Message) -> None:
    """A message shows the name of the consumer that holds it, and of nobody else."""
    for call, delivery, _ in message.claims:
        if delivery.consumer != call.consumer:
            evidence.report(
                Rule.CONSUMERS_STAY, f"{message.id} was given to {call.consumer!r} with another name", call, delivery
            )
    claims = [change for _, _, change in message.claims]
    names = {change.rank: call.consumer for call, _, change in message.claims}
    for listing, found in message.seen:
        if found.status != "processing":
            if found.consumer:
                evidence.report(Rule.CONSUMERS_STAY, f"{message.id} has a consumer, and nobody holds it", found)
            continue
        moment = Change.of(listing)
        last = last_before(claims, moment)
        may_be = {names[each.rank] for each in last}
        # A claim that was made beside the listing may be later than that of a lost consume before.
        since_s = max((each.start_s for each in claims if each.before(moment)), default=0.0)
        may_be |= {each.consumer for each in evidence.lost_between(message.queue, since_s, listing.end_s)}
        if may_be and found.consumer not in may_be:
            evidence.report(
                Rule.CONSUMERS_STAY,
                f"{message.id} is held by {found.consumer!r}, expected {sorted(may_be)}",
                *(each.call for each in last),
                found,
            )


def receive_counts(evidence: Evidence, message: Message) -> None:
    """Each delivery counts one more, and what is missing between two went into lost consumes.

    A release may have undone a delivery, so there can be two counts from which the next one went on.
    """
    produced_s = message.produce.start_s if message.produce else 0.0
    before, since_s, all_missing = {0}, produced_s, 0
    newest: Change | None = None
    for call, delivery, change in message.claims:
        if newest is not None and change.end_s < newest.start_s:
            evidence.report(Rule.RECEIVES_GROW, f"receive_count of {message.id} fell", newest.call, call)
        if newest is None or change.start_s > newest.start_s:
            newest = change
        missing = min((more for each in before if (more := delivery.receive_count - each - 1) >= 0), default=-1)
        all_missing += max(missing, 0)
        if missing < 0:
            evidence.report(
                Rule.RECEIVES_GROW,
                f"{message.id} was delivered twice with receive_count {delivery.receive_count}",
                *(other for other, each, _ in message.claims if each.receive_count == delivery.receive_count),
            )
        elif missing and (
            missing > evidence.lost_claims(message.queue, since_s, change.end_s)
            # Each of them happened once at most, so it fills one gap only.
            or all_missing > evidence.lost_claims(message.queue, produced_s, change.end_s)
        ):
            evidence.report(
                Rule.RECEIVES_GROW,
                f"receive_count of {message.id} went from {sorted(before)} to {delivery.receive_count}, "
                "and lost consumes do not explain it",
                call,
            )
        assert change.rank is not None
        before, since_s = message.counts_after(change.rank)[0], change.start_s
    last: tuple[Listing, Seen] | None = None
    for listing, found in message.seen:
        _listed_count(evidence, message, listing, found, last)
        last = listing, found


def _listed_count(
    evidence: Evidence, message: Message, listing: Listing, found: Seen, last: tuple[Listing, Seen] | None
) -> None:
    moment = Change.of(listing)
    left = [(message.counts_after(rank, moment)[0], at) for rank, (_, _, at) in enumerate(message.claims, 1)]
    past = [(counts, at) for counts, at in left if at.start_s <= listing.end_s]
    least = max([min(counts) for counts, at in past if at.end_s < listing.start_s], default=0)
    most = max([max(counts) for counts, _ in past], default=0)
    if found.receive_count > most:
        since_s = max([at.start_s for _, at in past], default=0.0)
        most += evidence.lost_claims(message.queue, since_s, listing.end_s)
    later = [(each.receive_count, at.end_s) for _, each, at in message.claims if at.start_s > listing.end_s]
    if later:
        count, until_s = min(later)
        most = min(most, count - 1 + message.may_be_undone(listing.start_s, until_s))
    if last is not None and last[0].end_s < listing.start_s:
        least = max(least, last[1].receive_count - message.may_be_undone(last[0].start_s, listing.end_s))
    if not least <= found.receive_count <= most:
        evidence.report(
            Rule.RECEIVES_GROW,
            f"{message.id} is listed with receive_count {found.receive_count}, expected {least} to {most}",
            *(at.call for _, at in past[-1:]),
            listing,
            found,
        )


def deleted(evidence: Evidence, message: Message) -> None:
    """A message is not visible, and no call on it succeeds, after its end."""
    deletes = [each for each in message.deletes if each.happened]
    ends = [*deletes, *(each for each in message.updates if each.happened and removes(each))]
    if len(ends) > 1:
        evidence.report(Rule.DELETED_STAYS_DELETED, f"{message.id} was deleted twice", *ends[:2])
    for removal, certain in message.removals:
        if not certain:
            continue
        sights = [change for _, _, change in message.claims] + [Change.of(call) for call, _ in message.seen]
        sights += [Change.of(each) for each in message.updates if each.happened]
        if not isinstance(removal, Delete):
            sights += [Change.of(each) for each in deletes]
        sights += [
            Change.of(each)
            for each in [*message.deletes, *message.updates]
            if each.outcome is Outcome.REFUSED and each.code in ("stale_receipt", "not_claimed")
        ]
        for sight in sights:
            if sight.start_s > removal.end_s:
                evidence.report(
                    Rule.DELETED_STAYS_DELETED, f"{message.id} was there after its delete", removal, sight.call
                )


def receipts(evidence: Evidence, message: Message) -> None:
    """Judge each answer to a delete or update by what had become of the message."""
    calls: list[Delete | Update] = [*message.deletes, *message.updates]
    for call in calls:
        if call.outcome is Outcome.UNKNOWN:
            continue
        rank = None if call.receipt is None else evidence.ranks.get(call.receipt)
        if call.outcome is Outcome.OK:
            _acted(evidence, message, call, rank)
        else:
            _was_refused(evidence, message, call, rank)


def _acted(evidence: Evidence, message: Message, call: Delete | Update, rank: int | None) -> None:
    moment = Change.of(call, rank=rank)
    if message.produce is not None and call.end_s < message.produce.start_s:
        evidence.report(
            Rule.NOTHING_UNEXPECTED, f"{message.id} was there before it was produced", call, message.produce
        )
    if rank is not None:
        claimed = message.claim(rank)
        for claim, _, change in message.claims:
            if (change.rank or 0) > rank and (change.end_s < call.start_s or removes(call)):
                evidence.report(
                    Rule.RECEIPTS_COUNT, f"a receipt acted on {message.id} beside a later claim", claim, call
                )
        for update in message.updates:
            if (
                update.happened
                and releases(update)
                and update.end_s < call.start_s
                and (claimed is None or claimed.end_s < update.start_s)
            ):
                evidence.report(Rule.RECEIPTS_COUNT, f"a receipt acted on {message.id} after its release", update, call)
    if isinstance(call, Update) and needs_claim(call):
        may_be = last_before((each for each in message.holds if each.call is not call), moment)
        lost = evidence.lost_claims(message.queue, 0, call.end_s) if rank is None else 0
        same_clock = evidence.same_clock((each.start_s for each in may_be), call.end_s)
        if (
            may_be
            and same_clock
            and not lost
            and max(_claimed_until_s(each) for each in may_be) + CLOCK_SLACK_S < call.start_s
        ):
            evidence.report(
                Rule.RECEIPTS_COUNT,
                f"a claim on {message.id} was renewed or released that had ended",
                *(each.call for each in may_be),
                call,
            )


def _claimed_until_s(hold: Change) -> float:
    """Return until when there may have been a claim: a delay ends it, and a message that nobody claimed has none."""
    return float("-inf") if hold.held_as == "delayed" else hold.latest_s


def _was_refused(evidence: Evidence, message: Message, call: Delete | Update, rank: int | None) -> None:
    if call.code == "message_not_found":
        # A client has an id only from an answer, so that it is not there yet explains nothing.
        if message.produce is not None and not message.may_be_gone(call.end_s):
            evidence.report(Rule.RECEIPTS_COUNT, f"{message.id} was not found, and nobody deleted it", call)
        return
    moment = Change.of(call, rank=rank)
    kept = last_before(message.holds, moment)
    held_s = min((each.earliest_s for each in kept), default=0.0)
    same_clock = evidence.same_clock((each.start_s for each in kept), call.end_s)
    held = same_clock and held_s - CLOCK_SLACK_S > call.end_s
    if call.code == "stale_receipt" and rank is not None:
        claimed = message.claim(rank)
        since_s = claimed.start_s if claimed else 0.0
        released = any(
            each.possible and releases(each) and each.start_s <= call.end_s and each.end_s >= since_s
            for each in message.updates
        )
        taken = any((at.rank or 0) > rank and at.start_s <= call.end_s for _, _, at in message.claims)
        # A renewal by id may have been of a claim that nobody knows of.
        by_it = held and all(each.rank == rank for each in kept)
        if not released and not taken and (by_it or not evidence.lost_claims(message.queue, since_s, call.end_s)):
            evidence.report(
                Rule.RECEIPTS_COUNT,
                f"a receipt on {message.id} was refused as stale, and its claim was current",
                claimed,
                call,
            )
    elif call.code == "stale_receipt" and call.receipt is None:
        evidence.report(Rule.RECEIPTS_COUNT, f"a call on {message.id} without a receipt was refused as stale", call)
    elif call.code == "not_claimed":
        if isinstance(call, Delete) or not needs_claim(call):
            evidence.report(Rule.RECEIPTS_COUNT, f"a call on {message.id} needed no claim", call)
        elif held and kept and not any(each.held_as == "delayed" for each in kept):
            evidence.report(
                Rule.RECEIPTS_COUNT, f"{message.id} was called not claimed, and was", *(x.call for x in kept), call
            )
