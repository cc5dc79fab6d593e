"""Decides whether a history of calls, and what was there at the end, can be the work of a broker that keeps its promises.

Everything is judged by what is certain. A call took effect at one moment between its start and its end, and one whose
answer was lost perhaps not at all, so of each change the checker knows the earliest and latest moment, and speaks of a
violation only where no choice of moments, and of lost calls that happened, explains what was seen.

All that keeps a message from being delivered is one thing here, a *hold*: a claim, a renewal, a delay, and with no
length a release and the produce itself. A hold that was set by a call ``[start, end]`` for ``t`` seconds lasts at least
until ``start + t`` and at most until ``end + t``.

What the rules assume of the clients: bodies are unique; limit times body size stays below what one claim may carry.
"""

from __future__ import annotations

import enum
import itertools
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.crash.history import (
    Call,
    Consume,
    Delete,
    Delivery,
    FinalQueue,
    FinalState,
    History,
    Listing,
    Outcome,
    Produce,
    Seen,
    Update,
)

#: How far two readings of the clock may differ: deadlines are whole milliseconds, and a restart reads the wall clock anew.
CLOCK_SLACK_S = 0.02

#: A consumer that waits must have been woken this long after a message became available.
WAKE_S = 1.5

_REFUSALS = {"message_not_found", "stale_receipt", "not_claimed", "shutting_down"}


class Rule(enum.Enum):
    ACKED_IS_THERE = "a: an acked message that nobody deleted is there, with its body"
    NOTHING_UNEXPECTED = "b: what is there was produced, once, and batches are whole"
    CLAIM_IS_EXCLUSIVE = "c: nobody gets a message that is held"
    DELETED_STAYS_DELETED = "d: a deleted message is never seen again"
    REDELIVERED_SOON = "e: an available message is given to who asks"
    RECEIVES_GROW = "f: receive_count grows by one with each delivery"
    RECEIPTS_COUNT = "g: a receipt works while its claim is current and never after"
    DEADLINES_STAY = "h: a deadline stays as it was set"
    COUNTS_AGREE = "i: counts, listing, replay and drain agree"
    ORDER_STAYS = "j: messages are listed in the order of their produce"
    ANSWERED = "k: a running broker answers, and with an answer that fits"


@dataclass(frozen=True, slots=True)
class Violation:
    rule: Rule
    text: str
    evidence: tuple[object, ...] = ()

    def __str__(self) -> str:
        return "\n".join([f"[{self.rule.value}] {self.text}", *(f"    {_short(each)}" for each in self.evidence)])


def _short(evidence: object) -> str:
    """Show a call, without the hundreds of messages that are not the matter."""
    text = repr(evidence)
    return text if len(text) <= 600 else text[:400] + " ... " + text[-180:]


def check(history: History, final: FinalState | None = None) -> list[Violation]:
    """Return every violation, most with the calls that prove it."""
    return _Check(history, final).run()


@dataclass(frozen=True, slots=True)
class _Change:
    """One thing that a call did, or may have done, to one message."""

    call: Call
    certain: bool
    rank: int | None = None
    """The receive_count of the claim that it is, or whose receipt it used."""
    claims: bool = False
    hold_s: float = 0
    body: str | None = None

    @property
    def start_s(self) -> float:
        return self.call.start_s

    @property
    def end_s(self) -> float:
        return self.call.end_s

    @property
    def earliest_s(self) -> float:
        return self.start_s + self.hold_s

    @property
    def latest_s(self) -> float:
        return self.end_s + self.hold_s

    def before(self, other: _Change) -> bool:
        """Tell whether this is certain to have come first, if both happened."""
        if self.end_s < other.start_s:
            return True
        if self.rank is None or other.rank is None:
            return False
        return self.rank < other.rank or (self.rank == other.rank and self.claims and not other.claims)


def _last_before(changes: Iterable[_Change], moment: _Change) -> list[_Change]:
    """Return each change that may have been the last one at that moment."""
    earlier = [each for each in changes if each.start_s < moment.end_s and not moment.before(each)]
    settled = [each for each in earlier if each.certain and each.before(moment)]
    return [each for each in earlier if not any(each.before(later) for later in settled)]


@dataclass(slots=True)
class _Message:
    id: str
    queue: str
    produce: Produce | None = None
    known_s: float = 0
    """When it was certain to be there."""
    claims: list[tuple[Consume, Delivery]] = field(default_factory=list)
    """By receive_count."""
    seen: list[tuple[Listing, Seen]] = field(default_factory=list)
    deletes: list[Delete] = field(default_factory=list)
    updates: list[Update] = field(default_factory=list)
    holds: list[_Change] = field(default_factory=list)
    bodies: list[_Change] = field(default_factory=list)

    @property
    def witnesses(self) -> list[tuple[Call, str]]:
        """Every sight of the message, with the body it had."""
        return [(call, each.body) for call, each in self.claims] + [(call, each.body) for call, each in self.seen]

    def may_be_gone(self, by_s: float) -> bool:
        return any(each.possible and each.start_s < by_s for each in self.deletes)


class _Check:
    def __init__(self, history: History, final: FinalState | None) -> None:
        self.history = history
        self.final = final or FinalState(())
        self.violations: list[Violation] = []
        self.messages: dict[str, _Message] = {}
        self.ranks: dict[str, int] = {}  # of each receipt
        self.consumes: dict[str, list[Consume]] = defaultdict(list)
        self.lost_consumes: dict[str, list[Consume]] = defaultdict(list)
        self.listings: dict[str, list[Listing]] = defaultdict(list)

    def report(self, rule: Rule, text: str, *evidence: object) -> None:
        self.violations.append(Violation(rule, text, evidence))

    def run(self) -> list[Violation]:
        self._answers()
        self._gather()
        self._identify()
        short = {queue: _ShortConsumes(consumes, self.history) for queue, consumes in self.consumes.items()}
        for message in self.messages.values():
            self._prepare(message)
            self._bodies(message)
            self._receive_counts(message)
            self._holds(message)
            self._deadlines(message)
            self._deleted(message)
            self._receipts(message)
            if message.queue in short:
                self._redelivery(message, short[message.queue])
        for listings in self.listings.values():
            self._presence(listings)
            self._order(listings)
        for queue in self.final.queues:
            self._agreement(queue)
        return self.violations

    # Taking the history apart

    def _answers(self) -> None:
        for call in self.history.calls:
            if call.outcome is Outcome.UNKNOWN and call.code is None:
                if not any(call.start_s <= until and down <= call.end_s for down, until in self.history.outages):
                    self.report(Rule.ANSWERED, "a call was not answered though the broker was up", call)
            elif call.outcome is not Outcome.OK and call.code not in _REFUSALS:
                self.report(Rule.ANSWERED, f"a call was refused with {call.code}", call)

    def _message(self, message_id: str, queue: str) -> _Message:
        message = self.messages.get(message_id)
        if message is None:
            message = self.messages[message_id] = _Message(message_id, queue)
        return message

    def _gather(self) -> None:
        changes: list[Delete | Update] = []
        for call in sorted(self.history.calls, key=lambda call: call.start_s):
            match call:
                case Produce(outcome=Outcome.OK):
                    self._acked(call)
                case Consume(outcome=Outcome.OK):
                    self.consumes[call.queue].append(call)
                    for delivery in call.deliveries:
                        self._message(delivery.id, call.queue).claims.append((call, delivery))
                        self.ranks[delivery.receipt] = delivery.receive_count
                case Consume(outcome=Outcome.UNKNOWN):
                    self.lost_consumes[call.queue].append(call)
                case Listing(outcome=Outcome.OK):
                    self.listings[call.queue].append(call)
                    for found in call.messages:
                        self._message(found.id, call.queue).seen.append((call, found))
                case Delete() | Update():
                    changes.append(call)
        for change in changes:
            message = self._message(change.id, change.queue)
            if isinstance(change, Delete):
                message.deletes.append(change)
            else:
                message.updates.append(change)

    def _acked(self, call: Produce) -> None:
        if len(call.ids) != len(call.bodies):
            self.report(Rule.NOTHING_UNEXPECTED, f"{len(call.ids)} ids for {len(call.bodies)} messages", call)
        for message_id in call.ids:
            message = self._message(message_id, call.queue)
            if message.produce is not None:
                self.report(Rule.NOTHING_UNEXPECTED, "an id was given out twice", message.produce, call)
            message.produce = call
            message.known_s = call.end_s

    def _identify(self) -> None:
        """Find the produce of each message that came from a lost call; each of its bodies happened once or not at all."""
        lost = {
            (call.queue, body): call
            for call in self.history.calls
            if isinstance(call, Produce) and call.outcome is Outcome.UNKNOWN
            for body in call.bodies
        }
        found: dict[tuple[str, str], _Message] = {}
        for message in self.messages.values():
            if message.produce is not None or not message.witnesses:
                continue
            keys = {(message.queue, body) for _, body in message.witnesses} & lost.keys()
            if not keys:
                self.report(
                    Rule.NOTHING_UNEXPECTED,
                    f"nobody produced {message.id}",
                    *(call for call, _ in message.witnesses[:2]),
                )
                continue
            key = min(keys)
            if key in found:
                self.report(
                    Rule.NOTHING_UNEXPECTED,
                    f"one produce made two messages, {found[key].id} and {message.id}",
                    lost[key],
                    found[key].witnesses[0][0],
                    message.witnesses[0][0],
                )
            found[key] = message
            message.produce = lost[key]
            message.known_s = min(call.end_s for call, _ in message.witnesses)
        for call in {id(lost[key]): lost[key] for key in found}.values():
            missing = [body for body in call.bodies if (call.queue, body) not in found]
            if missing:
                self.report(Rule.NOTHING_UNEXPECTED, f"a batch is there in part, without {missing[:3]}", call)

    def _prepare(self, message: _Message) -> None:
        message.claims.sort(key=lambda claim: claim[1].receive_count)
        produce = message.produce
        if produce is not None:
            body = None
            if produce.ids:
                body = produce.bodies[produce.ids.index(message.id)] if message.id in produce.ids else None
            else:
                body = next((body for _, body in message.witnesses if body in produce.bodies), None)
            born = _Change(produce, certain=True, rank=0, claims=True, hold_s=produce.delay_s, body=body)
            message.holds.append(born)
            message.bodies.append(born)
        for claim in message.claims:
            message.holds.append(_as_change(*claim))
        for update in message.updates:
            if update.possible:
                rank = None if update.receipt is None else self.ranks.get(update.receipt)
                if update.hold_s is not None:
                    message.holds.append(_Change(update, update.happened, rank, hold_s=update.hold_s))
                if update.body is not None:
                    message.bodies.append(_Change(update, update.happened, rank, body=update.body))

    # The rules on one message

    def _bodies(self, message: _Message) -> None:
        sights: list[tuple[Call, str, _Change]] = [
            (call, each.body, _as_change(call, each)) for call, each in message.claims
        ]
        sights += [(call, each.body, _Change(call, certain=True)) for call, each in message.seen]
        if message.produce is None:
            return
        for call, body, moment in sights:
            may_be = _last_before(message.bodies, moment)
            if call.end_s < message.produce.start_s:
                self.report(
                    Rule.NOTHING_UNEXPECTED, f"{message.id} was seen before it was produced", message.produce, call
                )
            elif body not in {each.body for each in may_be}:
                self.report(
                    Rule.ACKED_IS_THERE,
                    f"{message.id} has the body {body!r}, expected {[each.body for each in may_be]}",
                    *(each.call for each in may_be),
                    call,
                )

    def _lost_claims(self, queue: str, since_s: float, until_s: float) -> int:
        return sum(1 for call in self.lost_consumes[queue] if call.start_s < until_s and call.end_s > since_s)

    def _receive_counts(self, message: _Message) -> None:
        before, since_s = 0, message.produce.start_s if message.produce else 0.0
        newest_start: Consume | None = None
        for call, delivery in message.claims:
            if newest_start is not None and call.end_s < newest_start.start_s:
                self.report(Rule.RECEIVES_GROW, f"receive_count of {message.id} fell", newest_start, call)
            if newest_start is None or call.start_s > newest_start.start_s:
                newest_start = call
            missing = delivery.receive_count - before - 1
            if missing < 0:
                self.report(
                    Rule.RECEIVES_GROW,
                    f"{message.id} was delivered twice with receive_count {delivery.receive_count}",
                    *(other for other, each in message.claims if each.receive_count == delivery.receive_count),
                )
            elif missing and missing > self._lost_claims(message.queue, since_s, call.end_s):
                self.report(
                    Rule.RECEIVES_GROW,
                    f"receive_count of {message.id} went from {before} to {delivery.receive_count}, "
                    "and lost consumes do not explain it",
                    call,
                )
            before, since_s = delivery.receive_count, call.start_s
        last: tuple[Listing, Seen] | None = None
        for listing, found in message.seen:
            least = max(
                [each.receive_count for call, each in message.claims if call.end_s < listing.start_s], default=0
            )
            past = [(call, each) for call, each in message.claims if call.start_s < listing.end_s]
            most = max([each.receive_count for _, each in past], default=0)
            if found.receive_count > most:
                since_s = max([call.start_s for call, _ in past], default=0.0)
                most += self._lost_claims(message.queue, since_s, listing.end_s)
            if last is not None and last[0].end_s < listing.start_s:
                least = max(least, last[1].receive_count)
            if not least <= found.receive_count <= most:
                self.report(
                    Rule.RECEIVES_GROW,
                    f"{message.id} is listed with receive_count {found.receive_count}, expected {least} to {most}",
                    *(call for call, _ in past[-1:]),
                    listing,
                    found,
                )
            last = listing, found

    def _holds(self, message: _Message) -> None:
        for claim in message.claims:
            moment = _as_change(*claim)
            may_be = _last_before((each for each in message.holds if each.call is not claim[0]), moment)
            if may_be and min(each.earliest_s for each in may_be) - CLOCK_SLACK_S > moment.end_s:
                self.report(
                    Rule.CLAIM_IS_EXCLUSIVE,
                    f"{message.id} was delivered while it was held for at least "
                    f"{min(each.earliest_s for each in may_be) - moment.end_s:.3f} s more",
                    *(each.call for each in may_be),
                    claim[0],
                )
        for (first, earlier), (second, later) in itertools.pairwise(message.claims):
            if later.receive_count != earlier.receive_count + 1 or self._changed(message, first.start_s, second.end_s):
                continue
            began_ms = later.claimed_until_ms - round(second.visibility_timeout_s * 1000)
            if began_ms < earlier.claimed_until_ms:
                self.report(
                    Rule.CLAIM_IS_EXCLUSIVE,
                    f"by the broker's own deadlines {message.id} was claimed "
                    f"{earlier.claimed_until_ms - began_ms} ms before the claim ahead of it had ended",
                    first,
                    second,
                )

    @staticmethod
    def _changed(message: _Message, since_s: float, until_s: float) -> bool:
        return any(
            each.possible and each.hold_s is not None and each.start_s < until_s and each.end_s > since_s
            for each in message.updates
        )

    def _deadlines(self, message: _Message) -> None:
        last: tuple[Listing, Seen] | None = None
        for listing, found in message.seen:
            moment = _Change(listing, certain=True)
            may_be = _last_before(message.holds, moment)
            earliest_s = min((each.earliest_s for each in may_be), default=0.0)
            if earliest_s - CLOCK_SLACK_S > listing.end_s:
                due_s = None if found.due_ms is None else found.due_ms / 1000 - self.history.wall_offset_s
                if found.status == "unprocessed" or due_s is None or due_s < earliest_s - CLOCK_SLACK_S:
                    self.report(
                        Rule.DEADLINES_STAY,
                        f"{message.id} must be held for {earliest_s - listing.end_s:.3f} s more, and is listed otherwise",
                        *(each.call for each in may_be),
                        found,
                    )
            for call, each in message.claims:
                if (
                    each.receive_count == found.receive_count
                    and found.status == "processing"
                    and call.end_s < listing.start_s
                    and each.claimed_until_ms != found.due_ms
                    and not self._changed(message, call.start_s, listing.end_s)
                ):
                    self.report(Rule.DEADLINES_STAY, f"the deadline of {message.id} is another one now", call, found)
            if (
                last is not None
                and last[1].status == found.status
                and last[1].receive_count == found.receive_count
                and last[1].due_ms != found.due_ms
                and not self._changed(message, last[0].start_s, listing.end_s)
            ):
                self.report(Rule.DEADLINES_STAY, f"the deadline of {message.id} moved", last[1], found)
            last = listing, found

    def _deleted(self, message: _Message) -> None:
        done = [each for each in message.deletes if each.happened]
        if len(done) > 1:
            self.report(Rule.DELETED_STAYS_DELETED, f"{message.id} was deleted twice", *done[:2])
        for delete in done:
            sights: list[Call] = [call for call, _ in message.witnesses]
            sights += [each for each in message.updates if each.happened]
            for call in sights:
                if call.start_s > delete.end_s:
                    self.report(Rule.DELETED_STAYS_DELETED, f"{message.id} was there after its delete", delete, call)

    def _receipts(self, message: _Message) -> None:
        """Judge each answer to a delete or update by what had become of the message."""
        calls: list[Delete | Update] = [*message.deletes, *message.updates]
        for call in calls:
            if call.outcome is Outcome.UNKNOWN:
                continue
            rank = None if call.receipt is None else self.ranks.get(call.receipt)
            if call.outcome is Outcome.OK:
                self._acted(message, call, rank)
            else:
                self._was_refused(message, call, rank)

    def _acted(self, message: _Message, call: Delete | Update, rank: int | None) -> None:
        moment = _Change(call, certain=True, rank=rank)
        if rank is not None:
            for claim, delivery in message.claims:
                if delivery.receive_count > rank and (claim.end_s < call.start_s or isinstance(call, Delete)):
                    self.report(
                        Rule.RECEIPTS_COUNT, f"a receipt acted on {message.id} beside a later claim", claim, call
                    )
            for update in message.updates:
                if update.happened and _releases(update) and update.end_s < call.start_s:
                    claimed = self._claim_of(message, rank)
                    if claimed is None or claimed.end_s < update.start_s:
                        self.report(
                            Rule.RECEIPTS_COUNT, f"a receipt acted on {message.id} after its release", update, call
                        )
        if isinstance(call, Update) and _needs_claim(call):
            may_be = _last_before((each for each in message.holds if each.call is not call), moment)
            lost = self._lost_claims(message.queue, 0, call.end_s) if rank is None else 0
            if may_be and not lost and max(each.latest_s for each in may_be) + CLOCK_SLACK_S < call.start_s:
                self.report(
                    Rule.RECEIPTS_COUNT,
                    f"a claim on {message.id} was renewed or released that had ended",
                    *(each.call for each in may_be),
                    call,
                )

    def _was_refused(self, message: _Message, call: Delete | Update, rank: int | None) -> None:
        if call.code == "message_not_found":
            if message.produce is not None and not message.may_be_gone(call.end_s):
                self.report(Rule.RECEIPTS_COUNT, f"{message.id} was not found, and nobody deleted it", call)
            return
        moment = _Change(call, certain=True, rank=rank)
        held_s = min((each.earliest_s for each in _last_before(message.holds, moment)), default=0.0)
        held = held_s - CLOCK_SLACK_S > call.end_s
        if call.code == "stale_receipt" and rank is not None:
            claimed = self._claim_of(message, rank)
            since_s = claimed.start_s if claimed else 0.0
            released = any(
                each.possible and _releases(each) and each.start_s < call.end_s and each.end_s > since_s
                for each in message.updates
            )
            taken = any(each.receive_count > rank and other.start_s < call.end_s for other, each in message.claims)
            if not released and (held or not (taken or self._lost_claims(message.queue, since_s, call.end_s))):
                self.report(
                    Rule.RECEIPTS_COUNT,
                    f"a receipt on {message.id} was refused as stale, and its claim was current",
                    claimed,
                    call,
                )
        elif call.code == "not_claimed" and held:
            kept = _last_before(message.holds, moment)
            if not any(
                isinstance(each.call, Produce) or getattr(each.call, "delay_s", None) is not None for each in kept
            ):
                self.report(
                    Rule.RECEIPTS_COUNT, f"{message.id} was called not claimed, and was", *(x.call for x in kept), call
                )

    @staticmethod
    def _claim_of(message: _Message, rank: int) -> Consume | None:
        return next((call for call, each in message.claims if each.receive_count == rank), None)

    def _redelivery(self, message: _Message, short: _ShortConsumes) -> None:
        """Find consumes that got less than they asked for while the message could have been given to them."""
        if message.produce is None:
            return
        moments: list[tuple[int, _Change]] = [
            (delivery.receive_count - 1, _as_change(call, delivery)) for call, delivery in message.claims
        ]
        moments += [(found.receive_count, _Change(listing, certain=True)) for listing, found in message.seen[-1:]]
        known = {0, *(delivery.receive_count for _, delivery in message.claims)}
        for received, moment in moments:
            if received not in known:
                continue  # a lost consume may have held it
            may_be = _last_before((each for each in message.holds if each.call is not moment.call), moment)
            if not may_be or any((each.rank or 0) > received for each in may_be):
                continue
            since_s = max(message.known_s, *(each.latest_s for each in may_be)) + CLOCK_SLACK_S
            if isinstance(moment.call, Consume) and moment.call.wait_s:
                late_s = self._began_s(message, moment.call) - max(since_s, moment.start_s)
                if late_s > WAKE_S:
                    self.report(
                        Rule.REDELIVERED_SOON,
                        f"{message.id} was available, and a consumer that waited was woken {late_s:.3f} s later",
                        *(each.call for each in may_be),
                        moment.call,
                    )
            for consume in short.that_missed(since_s, moment.start_s):
                self.report(
                    Rule.REDELIVERED_SOON,
                    f"{message.id} was available for {consume.end_s - since_s:.3f} s when a consume that got "
                    f"{len(consume.deliveries)} of {consume.limit} ended without it",
                    *(each.call for each in may_be),
                    consume,
                    moment.call,
                )

    def _began_s(self, message: _Message, call: Consume) -> float:
        """Return when the broker decided on a claim, by its own account."""
        until_ms = next(each.claimed_until_ms for each in call.deliveries if each.id == message.id)
        return until_ms / 1000 - call.visibility_timeout_s - self.history.wall_offset_s

    # The rules on a queue

    def _presence(self, listings: Sequence[Listing]) -> None:
        queue = listings[0].queue
        known = [each for each in self.messages.values() if each.queue == queue and each.produce is not None]
        for listing in listings:
            ids = Counter(found.id for found in listing.messages)
            twice = [message_id for message_id, count in ids.items() if count > 1]
            if twice:
                self.report(Rule.NOTHING_UNEXPECTED, f"{twice[0]} is listed twice", listing)
            for message in known:
                if (
                    message.known_s < listing.start_s
                    and message.id not in ids
                    and not message.may_be_gone(listing.end_s)
                ):
                    self.report(Rule.ACKED_IS_THERE, f"{message.id} is not listed any more", message.produce, listing)

    def _order(self, listings: Sequence[Listing]) -> None:
        for listing in listings:
            newest: Produce | None = None
            for found in listing.messages:
                produce = self.messages[found.id].produce
                if produce is None:
                    continue
                if newest is not None and produce.end_s < newest.start_s:
                    self.report(Rule.ORDER_STAYS, f"{found.id} is listed behind a younger message", newest, produce)
                if newest is None or produce.start_s > newest.start_s:
                    newest = produce

    def _agreement(self, final: FinalQueue) -> None:
        name = f"queue {final.queue}:"
        listed = Counter(found.status for found in final.live)
        counted = {status: count for status, count in final.counts.items() if count}
        if dict(listed) != counted:
            self.report(Rule.COUNTS_AGREE, f"{name} counts say {counted} and the listing has {dict(listed)}")
        if [found.id for found in final.live] != [found.id for found in final.replayed]:
            self.report(
                Rule.COUNTS_AGREE,
                f"{name} {len(final.live)} messages were listed and {len(final.replayed)} replayed, or in another order",
            )
        replayed = {found.id: found for found in final.replayed}
        for found in final.live:
            again = replayed.get(found.id)
            if again is not None and not _same(found, again, final.replayed_ms):
                self.report(Rule.COUNTS_AGREE, f"{name} {found.id} differs after a replay", found, again)
        ids = {found.id for found in final.live}
        missing, more = ids - set(final.drained), set(final.drained) - ids
        if missing:
            self.report(
                Rule.ACKED_IS_THERE, f"{name} {len(missing)} messages were listed and cannot be consumed", *missing
            )
        if more:
            self.report(Rule.NOTHING_UNEXPECTED, f"{name} {len(more)} messages were consumed and not listed", *more)
        if final.left:
            self.report(Rule.COUNTS_AGREE, f"{name} {final.left} messages are left after all were deleted")


class _ShortConsumes:
    """The consumes of a queue that got less than they asked for, by start."""

    def __init__(self, consumes: Sequence[Consume], history: History) -> None:
        self._consumes = [
            call
            for call in sorted(consumes, key=lambda call: call.start_s)
            if len(call.deliveries) < call.limit
            # A broker that is being stopped gives out nothing more.
            and not any(call.start_s <= until and down <= call.end_s for down, until in history.outages)
        ]
        self._starts = [call.start_s for call in self._consumes]
        self._longest_s = max((call.wait_s for call in self._consumes), default=0.0) + 1

    def that_missed(self, since_s: float, until_s: float) -> list[Consume]:
        """Return those that should have had a message that was available all that time."""
        found = []
        for at in range(bisect_left(self._starts, since_s - self._longest_s), len(self._starts)):
            call = self._consumes[at]
            if call.start_s >= until_s:
                break
            whole = call.start_s >= since_s
            woken = call.wait_s > 0 and not call.deliveries and call.end_s - max(since_s, call.start_s) > WAKE_S
            if call.end_s <= until_s and (whole or woken):
                found.append(call)
        return found


def _as_change(call: Consume, delivery: Delivery) -> _Change:
    return _Change(call, certain=True, rank=delivery.receive_count, claims=True, hold_s=call.visibility_timeout_s)


def _releases(update: Update) -> bool:
    return update.delay_s is not None or update.visibility_timeout_s == 0


def _needs_claim(update: Update) -> bool:
    return update.delay_s is None and update.visibility_timeout_s is not None


def _same(live: Seen, replayed: Seen, replayed_ms: int) -> bool:
    if (live.body, live.receive_count) != (replayed.body, replayed.receive_count):
        return False
    if live.status == replayed.status:
        return live.due_ms == replayed.due_ms
    return replayed.status == "unprocessed" and live.due_ms is not None and live.due_ms <= replayed_ms
