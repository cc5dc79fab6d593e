"""Sort a history by message and queue, and report all that belongs to no message."""

from __future__ import annotations

from collections import defaultdict

from tests.support.history.calls import (
    Call,
    Consume,
    Delete,
    Delivery,
    Drop,
    FinalState,
    History,
    Listing,
    Outcome,
    Produce,
    Purge,
    Update,
)
from tests.support.history.changes import Change, Message
from tests.support.history.rules import CLOCK_SLACK_S, Rule, Violation


class Evidence:
    """A history by messages and queues, and the violations found so far."""

    def __init__(self, history: History, final: FinalState) -> None:
        self.history = history
        self.final = final
        self.violations: list[Violation] = []
        self.messages: dict[str, Message] = {}
        self.ranks: dict[str, int] = {}  # of each receipt
        self.consumes: dict[str, list[Consume]] = defaultdict(list)
        self.lost_produces = [
            call for call in history.calls if isinstance(call, Produce) and call.outcome is Outcome.UNKNOWN
        ]
        self.lost_consumes: dict[str, list[Consume]] = defaultdict(list)
        self.listings: dict[str, list[Listing]] = defaultdict(list)
        self.clearings: dict[str, list[Purge | Drop]] = defaultdict(list)  # those that may have happened
        self.proofs: dict[str, list[Call]] = defaultdict(list)  # calls that found a queue there, or made it
        self._gather()
        self._identify()
        for message in self.messages.values():
            self._prepare(message)

    def report(self, rule: Rule, text: str, *evidence: object) -> None:
        self.violations.append(Violation(rule, text, evidence))

    def lost_claims(self, queue: str, since_s: float, until_s: float) -> int:
        """Return how many lost consumes may have claimed a message between two moments."""
        return sum(1 for call in self.lost_consumes[queue] if call.start_s <= until_s and call.end_s >= since_s)

    def stopping(self, call: Call) -> bool:
        """Tell whether the broker was down, or on its way, at some moment of a call."""
        return any(call.start_s <= until and down <= call.end_s for down, until in self.history.outages)

    def _message(self, message_id: str, queue: str) -> Message:
        message = self.messages.get(message_id)
        if message is None:
            message = self.messages[message_id] = Message(message_id, queue)
        return message

    def _gather(self) -> None:
        changes: list[Delete | Update] = []
        for call in sorted(self.history.calls, key=lambda call: call.start_s):
            if call.happened and not isinstance(call, Drop):
                self.proofs[call.queue].append(call)
            match call:
                case Produce(outcome=Outcome.OK):
                    self._acked(call)
                case Consume(outcome=Outcome.OK):
                    self.consumes[call.queue].append(call)
                    for delivery in call.deliveries:
                        self._claimed(call, delivery)
                case Consume(outcome=Outcome.UNKNOWN):
                    self.lost_consumes[call.queue].append(call)
                case Listing(outcome=Outcome.OK):
                    self.listings[call.queue].append(call)
                    for found in call.messages:
                        self._message(found.id, call.queue).seen.append((call, found))
                case Delete() | Update():
                    changes.append(call)
                case Purge() | Drop():
                    if call.possible:
                        self.clearings[call.queue].append(call)
        for change in changes:
            message = self._message(change.id, change.queue)
            if isinstance(change, Delete):
                message.deletes.append(change)
            else:
                message.updates.append(change)

    def _acked(self, call: Produce) -> None:
        if len(call.ids) != len(call.bodies):
            self.report(Rule.NOTHING_UNEXPECTED, f"{len(call.ids)} ids for {len(call.bodies)} messages", call)
        for index, message_id in enumerate(call.ids):
            message = self._message(message_id, call.queue)
            if message.produce is not None:
                self.report(Rule.NOTHING_UNEXPECTED, "an id was given out twice", message.produce, call)
            message.produce = call
            message.index = index
            message.known_s = call.end_s

    def _claimed(self, call: Consume, delivery: Delivery) -> None:
        """Note a claim, with the moment that follows from its deadline."""
        message = self._message(delivery.id, call.queue)
        within = self.claimed_within(call, delivery)
        if within is None:
            self.report(
                Rule.DEADLINES_STAY,
                f"{message.id} was claimed for {call.visibility_timeout_s} s, and its deadline is another one",
                call,
                delivery,
            )
        start_s, end_s = within or (call.start_s, call.end_s)
        change = Change(
            call, start_s, end_s, True, rank=delivery.receive_count, claims=True, hold_s=call.visibility_timeout_s
        )
        message.claims.append((call, delivery, change))
        if delivery.receipt in self.ranks:
            self.report(Rule.RECEIPTS_COUNT, f"a receipt of {message.id} was given out twice", call)
        self.ranks[delivery.receipt] = delivery.receive_count

    def claimed_within(self, call: Consume, delivery: Delivery) -> tuple[float, float] | None:
        """Return from when to when the broker can have decided on a claim, by its own account; None if never."""
        began_s = delivery.claimed_until_ms / 1000 - call.visibility_timeout_s - self.history.wall_offset_s
        start_s, end_s = max(call.start_s, began_s - CLOCK_SLACK_S), min(call.end_s, began_s + CLOCK_SLACK_S)
        return (start_s, end_s) if start_s <= end_s else None

    def _identify(self) -> None:
        """Find the produce of each message that came from a lost call; each of its bodies happened once or not at all."""
        lost = {(call.queue, body): call for call in self.lost_produces for body in call.bodies}
        found: dict[tuple[str, str], Message] = {}
        for message in self.messages.values():
            witnesses = message.witnesses
            if not witnesses:
                continue
            message.known_s = min(message.known_s, *(call.end_s for call, _ in witnesses))
            if message.produce is not None:
                continue
            keys = {(message.queue, body) for _, body in witnesses} & lost.keys()
            if not keys:
                self.report(
                    Rule.NOTHING_UNEXPECTED, f"nobody produced {message.id}", *(call for call, _ in witnesses[:2])
                )
                continue
            key = min(keys)
            if key in found:
                self.report(
                    Rule.NOTHING_UNEXPECTED,
                    f"one produce made two messages, {found[key].id} and {message.id}",
                    lost[key],
                    found[key].witnesses[0][0],
                    witnesses[0][0],
                )
            found[key] = message
            message.produce = lost[key]
            message.known_s = min(message.known_s, lost[key].end_s)
            message.index = lost[key].bodies.index(key[1])
        for call in {id(lost[key]): lost[key] for key in found}.values():
            self._whole(call, [found.get((call.queue, body)) for body in call.bodies])

    def _whole(self, call: Produce, messages: list[Message | None]) -> None:
        """A client can delete a message only if it knows the id: with one of a batch, the others have to be listed."""
        if None not in messages:
            return
        there = [each for each in messages if each is not None]
        known_s = min(each.known_s for each in there)
        listed = {id(listing) for each in there for listing, _ in each.seen}
        for listing in self.listings[call.queue]:
            if (listing.start_s > known_s or id(listing) in listed) and not any(
                clearing.start_s <= listing.end_s and clearing.end_s >= call.start_s
                for clearing in self.clearings[call.queue]
            ):
                missing = [body for body, each in zip(call.bodies, messages, strict=True) if each is None]
                self.report(Rule.NOTHING_UNEXPECTED, f"a batch is there in part, without {missing[:3]}", call, listing)
                return

    def _prepare(self, message: Message) -> None:
        message.claims.sort(key=lambda claim: claim[1].receive_count)
        message.removals = [(each, each.happened) for each in message.deletes if each.possible]
        produce = message.produce
        if produce is not None:
            body = produce.bodies[message.index] if message.index < len(produce.bodies) else None
            born = Change.of(produce, rank=0, claims=True, hold_s=produce.delay_s, body=body)
            message.holds.append(born)
            message.bodies.append(born)
            message.removals += [
                (each, each.happened and message.known_s < each.start_s)
                for each in self.clearings[message.queue]
                if each.end_s >= produce.start_s
            ]
        message.holds += [change for _, _, change in message.claims]
        for update in message.updates:
            if update.possible:
                rank = None if update.receipt is None else self.ranks.get(update.receipt)
                certain = update.happened
                if update.hold_s is not None:
                    message.holds.append(Change.of(update, certain=certain, rank=rank, hold_s=update.hold_s))
                if update.body is not None:
                    message.bodies.append(Change.of(update, certain=certain, rank=rank, body=update.body))
