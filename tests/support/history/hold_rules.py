"""The rules on claims and delays, which keep a message from being delivered.

All that does is one thing here, a *hold*: a claim, a renewal, a delay, and with no length a release and the produce
itself. A hold that was set at a moment from ``start`` to ``end``, for ``t`` seconds, lasts at least until ``start + t``
and at most until ``end + t``.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, replace

from tests.support.history.calls import Call, Consume, Listing, Seen
from tests.support.history.changes import Change, Message, last_before
from tests.support.history.evidence import Evidence
from tests.support.history.rules import CLOCK_SLACK_S, WAKE_S, Rule


def holds(evidence: Evidence, message: Message) -> None:
    """A held message is not delivered."""
    for call, _, moment in message.claims:
        may_be = last_before((each for each in message.holds if each.call is not call), moment)
        if not may_be or not evidence.same_clock((each.start_s for each in may_be), moment.end_s):
            continue
        if min(each.earliest_s for each in may_be) - CLOCK_SLACK_S > moment.end_s:
            evidence.report(
                Rule.CLAIM_IS_EXCLUSIVE,
                f"{message.id} was delivered while it was held for at least "
                f"{min(each.earliest_s for each in may_be) - moment.end_s:.3f} s more",
                *(each.call for each in may_be),
                call,
            )
    for (first, earlier, _), (second, later, _) in itertools.pairwise(message.claims):
        if later.receive_count != earlier.receive_count + 1 or message.held_anew(first.start_s, second.end_s):
            continue
        began_ms = later.claimed_until_ms - round(second.visibility_timeout_s * 1000)
        if began_ms < earlier.claimed_until_ms:
            evidence.report(
                Rule.CLAIM_IS_EXCLUSIVE,
                f"by the broker's own deadlines {message.id} was claimed "
                f"{earlier.claimed_until_ms - began_ms} ms before the claim ahead of it had ended",
                first,
                second,
            )


def deadlines(evidence: Evidence, message: Message) -> None:
    """A listing shows the deadline that was set, and none that is over."""
    last: tuple[Listing, Seen] | None = None
    for listing, found in message.seen:
        _listed_hold(evidence, message, listing, found)
        for call, each, at in message.claims:
            if (
                each.receive_count == found.receive_count
                and found.status == "processing"
                and at.end_s < listing.start_s
                and each.claimed_until_ms != found.due_ms
                and not message.held_anew(call.start_s, listing.end_s)
            ):
                evidence.report(
                    Rule.DEADLINES_STAY, f"the deadline of {message.id} is another one now", call, listing, found
                )
        if (
            last is not None
            and last[1].status == found.status
            and last[1].receive_count == found.receive_count
            and last[1].due_ms != found.due_ms
            and not message.held_anew(last[0].start_s, max(last[0].end_s, listing.end_s))
        ):
            evidence.report(Rule.DEADLINES_STAY, f"the deadline of {message.id} moved", last[1], found)
        last = listing, found


def _listed_hold(evidence: Evidence, message: Message, listing: Listing, found: Seen) -> None:
    may_be = last_before(message.holds, Change.of(listing))
    if not may_be:
        return
    offset_s, *others = evidence.offsets_s(listing.start_s, listing.end_s)
    if others:
        return
    due_s = None if found.due_ms is None else found.due_ms / 1000 - offset_s
    waits = found.status == "unprocessed" or due_s is None
    earliest_s = min(each.earliest_s for each in may_be)
    same_clock = evidence.same_clock((each.start_s for each in may_be), listing.end_s)
    if (
        same_clock
        and earliest_s - CLOCK_SLACK_S > listing.end_s
        and (waits or (due_s is not None and due_s < earliest_s - CLOCK_SLACK_S))
    ):
        evidence.report(
            Rule.DEADLINES_STAY,
            f"{message.id} must be held for {earliest_s - listing.end_s:.3f} s more, and is listed otherwise",
            *(each.call for each in may_be),
            found,
        )
    if waits or due_s is None:
        return
    known = evidence.ranks_of(message, found.receive_count, Change.of(listing))
    kinds = [each for each in may_be if each.held_as == found.status]
    if due_s < listing.start_s - CLOCK_SLACK_S:
        evidence.report(Rule.DEADLINES_STAY, f"{message.id} is listed as held, and that is over", listing, found)
    elif same_clock and known and not (kinds and due_s <= max(each.latest_s for each in kinds) + CLOCK_SLACK_S):
        # Else a lost consume may hold it.
        evidence.report(
            Rule.DEADLINES_STAY,
            f"{message.id} is listed as {found.status} for longer than anybody asked for",
            *(each.call for each in may_be),
            listing,
            found,
        )


@dataclass(frozen=True, slots=True)
class _Given:
    """Messages of one consume, and the interval in which they were chosen."""

    call: Consume
    start_s: float
    end_s: float
    youngest_s: float
    """Start of the produce of the youngest message of the consume."""


class _Timeline:
    """Consumes by start, to find those of a time."""

    def __init__(self) -> None:
        self._all: list[_Given] = []
        self._starts: list[float] = []
        self._longest_s = 0.0

    def add(self, given: _Given) -> None:
        self._all.append(given)
        self._starts.append(given.call.start_s)
        self._longest_s = max(self._longest_s, given.call.end_s - given.call.start_s)

    def between(self, since_s: float, until_s: float) -> list[_Given]:
        earliest_s = since_s - self._longest_s - 2 * CLOCK_SLACK_S
        first, last = bisect_left(self._starts, earliest_s), bisect_left(self._starts, until_s)
        return self._all[first:last]


class PassedOver:
    """The consumes of a queue, and which of them should have had a message and did not."""

    def __init__(self, evidence: Evidence, queue: str) -> None:
        self._short = _Timeline()
        self._full = _Timeline()
        self._by_batch: dict[int, list[tuple[_Given, int]]] = defaultdict(list)
        """Consumes that returned messages of a produce, with the last index of each, by produce."""
        for call in sorted(evidence.consumes[queue], key=lambda call: call.start_s):
            messages = [evidence.messages[each.id] for each in call.deliveries]
            start_s, end_s = call.start_s, call.end_s
            if call.deliveries:
                start_s, end_s = evidence.claimed_within(call, call.deliveries[0]) or (start_s, end_s)
            youngest_s = max((each.produce.start_s for each in messages if each.produce is not None), default=0.0)
            given = _Given(call, start_s, end_s, youngest_s)
            # A broker that is being stopped, or cannot write the record, gives out nothing more.
            short = len(call.deliveries) < call.limit and not evidence.hindered(call)
            (self._short if short else self._full).add(given)
            for each in messages:
                if each.produce is not None and not short:
                    self._by_batch[id(each.produce)].append((given, each.index))

    def of(self, message: Message, since_s: float, until_s: float, request: int | None) -> list[Consume]:
        """Return the consumes to which a message was available all the time.

        The result has consumes that got less than they asked for, and consumes that got younger messages. ``request`` made
        the message available, and claims once it has finished.
        """
        assert message.produce is not None
        produced_s = message.produce.end_s
        found = self._short.between(since_s, until_s)
        found += [each for each in self._full.between(since_s, until_s) if each.youngest_s > produced_s]
        found += [each for each, index in self._by_batch[id(message.produce)] if index > message.index]
        calls: dict[int, Consume] = {}
        for each in found:
            call = each.call
            woken = call.wait_s > 0 and not call.deliveries and call.end_s - max(since_s, call.start_s) > WAKE_S
            same = request is not None and call.request == request
            if each.end_s < until_s and (each.start_s > since_s or woken or same):
                calls[id(call)] = call
        return list(calls.values())


def redelivery(evidence: Evidence, message: Message, passed_over: PassedOver) -> None:
    """An available message is given to who asks: before younger ones, and soon to one that waits."""
    if message.produce is None:
        return
    # A moment at which it was there, and had been delivered so often.
    moments: list[tuple[int, Change]] = [(each.receive_count - 1, at) for _, each, at in message.claims]
    moments += [(found.receive_count, Change.of(listing)) for listing, found in message.seen[-1:]]
    for received, moment in moments:
        ranks = evidence.ranks_of(message, received, moment)
        if ranks:  # else a lost consume may have held it
            _given_before(evidence, message, passed_over, max(ranks), moment)
    if message.produce.happened or message.witnesses:
        # It was there until the first call that may have deleted it.
        until_s = min((call.start_s for call, _ in message.removals), default=float("inf"))
        end = Change.of(Call(queue=message.queue, start_s=until_s, end_s=until_s))
        _given_before(evidence, message, passed_over, len(message.claims), end)


def _given_before(evidence: Evidence, message: Message, passed_over: PassedOver, newest: int, moment: Change) -> None:
    """Report consumes that should have had the message; ``newest`` is the rank of the last claim before the moment."""
    assert message.produce is not None
    may_be = last_before((each for each in message.holds if each.call is not moment.call), moment)
    if not may_be or any((each.rank or 0) > newest for each in may_be):
        return
    # The broker's clock decides when a hold is over, and one that is set back has it begin once more.
    timed = [each.start_s for each in may_be if each.hold_s]
    since_s = max(message.known_s, *(each.latest_s for each in may_be)) + CLOCK_SLACK_S
    if isinstance(moment.call, Consume) and moment.call.wait_s and evidence.same_clock(timed, moment.end_s):
        late_s = moment.start_s + CLOCK_SLACK_S - max(since_s, moment.call.start_s)
        if late_s > WAKE_S and not evidence.hindered(replace(moment.call, end_s=moment.end_s)):
            evidence.report(
                Rule.REDELIVERED_SOON,
                f"{message.id} was available, and a consumer that waited was woken {late_s:.3f} s later",
                *(each.call for each in may_be),
                moment.call,
            )
    counted = isinstance(moment.call, Consume | Listing)
    request = may_be[0].call.request if len(may_be) == 1 and not may_be[0].hold_s else None
    for consume in passed_over.of(message, since_s, moment.start_s, request):
        if not evidence.same_clock(timed, consume.end_s):
            continue
        if not counted and evidence.lost_claims(message.queue, message.produce.start_s, consume.end_s):
            continue
        rule = Rule.REDELIVERED_SOON if len(consume.deliveries) < consume.limit else Rule.ORDER_STAYS
        evidence.report(
            rule,
            f"{message.id} was available for {consume.end_s - since_s:.3f} s when a consume that got "
            f"{len(consume.deliveries)} of {consume.limit} ended without it",
            *(each.call for each in may_be),
            consume,
            *((moment.call,) if counted else ()),
        )
