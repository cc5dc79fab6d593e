"""Sort a history by message and queue, and report all that belongs to no message."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

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
    Publish,
    Purge,
    Seen,
    Update,
    dead_letters_of,
)
from tests.support.history.changes import Change, Message, last_before, removes
from tests.support.history.rules import CLOCK_SLACK_S, Rule, Violation


class Evidence:
    """A history by messages and queues, and the violations found so far."""

    def __init__(self, history: History, final: FinalState) -> None:
        self.history = history
        self.final = final
        self.violations: list[Violation] = []
        self.messages: dict[str, Message] = {}
        self.ranks: dict[str, int] = {}  # of each receipt, among the claims of its message
        self.receipts: set[str] = set()
        self.requests: dict[int, list[Delete | Update]] = defaultdict(list)
        self.consumes: dict[str, list[Consume]] = defaultdict(list)
        self.published = _publications(history)
        self.lost_produces = [each for shares in self.published for each in shares] + [
            call
            for call in history.calls
            if isinstance(call, Produce) and not isinstance(call, Publish) and call.outcome is Outcome.UNKNOWN
        ]
        self.lost_consumes: dict[str, list[Consume]] = defaultdict(list)
        self.listings: dict[str, list[Listing]] = defaultdict(list)
        self.clearings: dict[str, list[Purge | Drop]] = defaultdict(list)  # those that may have happened
        self.proofs: dict[str, list[Call]] = defaultdict(list)  # calls that found a queue there, or made it
        self._gather()
        self._identify()
        for message in self.messages.values():
            self._order_claims(message)
        for message in [each for each in self.messages.values() if each.source is None]:
            produce = message.produce
            known = produce is not None and message.index < len(produce.bodies)
            self._prepare(message, [produce.bodies[message.index] if produce and known else None], [None])
        self._trace_dead_letters()

    def report(self, rule: Rule, text: str, *evidence: object) -> None:
        self.violations.append(Violation(rule, text, evidence))

    def lost_between(self, queue: str, since_s: float, until_s: float) -> list[Consume]:
        """Return the lost consumes that may have claimed a message between two moments."""
        return [call for call in self.lost_consumes[queue] if call.start_s <= until_s and call.end_s >= since_s]

    def lost_claims(self, queue: str, since_s: float, until_s: float) -> int:
        """Return how many lost consumes may have claimed a message between two moments."""
        return len(self.lost_between(queue, since_s, until_s))

    def stopping(self, call: Call) -> bool:
        """Tell whether the broker was down, or on its way, at some moment of a call."""
        return any(call.start_s <= until and down <= call.end_s for down, until in self.history.outages)

    def without_room(self, call: Call) -> bool:
        """Tell whether the disk may have been full at some moment of a call."""
        return any(call.start_s <= until and since <= call.end_s for since, until in self.history.disk_full)

    def hindered(self, call: Call) -> bool:
        """Tell whether the broker may have been unable to give out messages at some moment of a call."""
        slow = any(call.start_s <= until and since <= call.end_s for since, until in self.history.slow)
        return slow or self.stopping(call) or self.without_room(call)

    def offsets_s(self, since_s: float, until_s: float) -> list[float]:
        """Return the differences between the broker's clock and the monotonic clock at the moments of an interval."""
        offsets = [self.history.wall_offset_s]
        for change in self.history.clock_changes:
            if change.until_s < since_s:
                offsets = [change.wall_offset_s]
            elif change.since_s <= until_s:
                offsets.append(change.wall_offset_s)
        return offsets

    def same_clock(self, moments_s: Iterable[float], until_s: float) -> bool:
        """Tell whether the broker's clock had no change between any of several moments and another one.

        Only then are durations what they say.
        """
        return all(len(self.offsets_s(each, until_s)) == 1 for each in moments_s)

    def ranks_of(self, message: Message, count: int, moment: Change) -> list[int]:
        """Return the ranks of the claims of which one was the last at a moment, with 0 for none.

        None at all if the receive count at that moment shows that there was a claim that nobody knows of, or allows it.
        """
        claims = [change for _, _, change in message.claims]
        ranks = [0] if count == 0 and not any(each.before(moment) for each in claims) else []
        for each in last_before(claims, moment):
            assert each.rank is not None
            counts, open_ = message.counts_after(each.rank, moment)
            # An unknown claim after an undone one makes the count what it was.
            hidden = open_ and count == max(counts) and self.lost_claims(message.queue, each.start_s, moment.end_s)
            if count in counts and not hidden:
                ranks.append(each.rank)
        return ranks

    def _message(self, message_id: str, queue: str) -> Message:
        message = self.messages.get(message_id)
        if message is None:
            message = self.messages[message_id] = Message(message_id, queue)
        elif message.queue != queue:
            self.report(Rule.NOTHING_UNEXPECTED, f"{message_id} is in {message.queue}, and in {queue}")
        return message

    def _gather(self) -> None:
        changes: list[Delete | Update] = []
        for call in sorted(self.history.calls, key=lambda call: call.start_s):
            if call.happened and not isinstance(call, Drop):
                self.proofs[call.queue].append(call)
            match call:
                case Publish():
                    pass  # see `_publications`
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
                        self._note_source(found, call)
                case Delete() | Update():
                    changes.append(call)
                case Purge() | Drop():
                    if call.possible:
                        self.clearings[call.queue].append(call)
        for change in changes:
            message = self._message(change.id, change.queue)
            if change.request is not None:
                self.requests[change.request].append(change)
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

    def _note_source(self, found: Seen | Delivery, call: Call) -> None:
        """Note of which message a dead letter was made."""
        message = self.messages[found.id]
        if message.source is not None and found.source != message.source:
            text = f"{message.id} was made of {message.source}, and then of {found.source}"
            self.report(Rule.DEAD_IS_THERE, text, call)
        message.source = found.source

    def _claimed(self, call: Consume, delivery: Delivery) -> None:
        """Note a claim, with the moment that follows from its deadline."""
        message = self._message(delivery.id, call.queue)
        self._note_source(delivery, call)
        within = self.claimed_within(call, delivery)
        if within is None:
            self.report(
                Rule.DEADLINES_STAY,
                f"{message.id} was claimed for {call.visibility_timeout_s} s, and its deadline is another one",
                call,
                delivery,
            )
        start_s, end_s = within or (call.start_s, call.end_s)
        change = Change(call, start_s, end_s, True, claims=True, hold_s=call.visibility_timeout_s)
        message.claims.append((call, delivery, change))
        if delivery.receipt in self.receipts:
            self.report(Rule.RECEIPTS_COUNT, f"a receipt of {message.id} was given out twice", call)
        self.receipts.add(delivery.receipt)

    def claimed_within(self, call: Consume, delivery: Delivery) -> tuple[float, float] | None:
        """Return from when to when the broker can have decided on a claim, by its own account; None if never."""
        within = []
        for offset_s in self.offsets_s(call.start_s, call.end_s):
            began_s = delivery.claimed_until_ms / 1000 - call.visibility_timeout_s - offset_s
            start_s, end_s = max(call.start_s, began_s - CLOCK_SLACK_S), min(call.end_s, began_s + CLOCK_SLACK_S)
            if start_s <= end_s:
                within.append((start_s, end_s))
        return (min(start for start, _ in within), max(end for _, end in within)) if within else None

    def _identify(self) -> None:
        """Find the produce of each message that came from a lost call; each of its bodies happened once or not at all."""
        lost = {(call.queue, body): call for call in self.lost_produces for body in call.bodies}
        found: dict[tuple[str, str], Message] = {}
        for message in self.messages.values():
            witnesses = message.witnesses
            if not witnesses or message.source is not None:
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
            if isinstance(call, Publish):
                continue  # `_everywhere` says more
            self._whole(call, [found.get((call.queue, body)) for body in call.bodies])
        for shares in self.published:
            self._everywhere(shares, found)

    def _everywhere(self, shares: list[Publish], found: dict[tuple[str, str], Message]) -> None:
        """Note that all queues of a publish have each message that one of them has or was promised, seen or not."""
        sights = [found[each.queue, body] for each in shares for body in each.bodies if (each.queue, body) in found]
        known_s = min([each.known_s for each in sights], default=float("inf"))
        if _crosses(self.history, shares):
            known_s = self.history.arrival_s(known_s)
        known_s = min([known_s, *(each.end_s for each in shares if each.happened)])
        if not sights and not any(each.happened for each in shares):
            return
        for share in shares:
            for index, body in enumerate(share.bodies):
                message = found.get((share.queue, body))
                if message is None:
                    message = Message(f"the message {body!r} of {share.queue}", share.queue, produce=share, index=index)
                    self.messages[message.id] = message
                message.known_s = min(message.known_s, known_s)

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

    def _order_claims(self, message: Message) -> None:
        """Order the claims of a message, and give each its rank.

        The receive count falls only for a claim that was undone, and grows again with the next one: so it never falls from
        claim to claim. Of those with the same count, the broker's deadlines give the order.
        """

        def order(claim: tuple[Consume, Delivery, Change]) -> tuple[int, int, float]:
            call, delivery, change = claim
            began_ms = delivery.claimed_until_ms - round(call.visibility_timeout_s * 1000)
            return delivery.receive_count, began_ms, change.end_s

        message.claims = [
            (call, delivery, replace(change, rank=rank))
            for rank, (call, delivery, change) in enumerate(sorted(message.claims, key=order), 1)
        ]
        for _, delivery, change in message.claims:
            assert change.rank is not None
            self.ranks[delivery.receipt] = change.rank
        for update in message.updates:
            if update.uncounted and update.possible and update.receipt in self.ranks:
                message.undoings.setdefault(self.ranks[update.receipt], []).append(update)

    def _trace_dead_letters(self) -> None:
        """Find what made each dead letter, and report those that nobody made and those that are there twice."""
        letters: dict[str, list[Message]] = defaultdict(list)
        for message in list(self.messages.values()):
            if message.source is not None:
                letters[message.source].append(message)
        for source_id, found in letters.items():
            source = self.messages.get(source_id)
            sight = found[0].witnesses[0][0]
            if source is None or not any(each.dead and each.possible for each in source.updates):
                text = f"{found[0].id} is a dead letter, and nobody declared {source_id} dead"
                self.report(Rule.DEAD_IS_THERE, text, sight)
            if len(found) > 1:
                text = f"{source_id} became two dead letters, {found[0].id} and {found[1].id}"
                self.report(Rule.DEAD_IS_THERE, text, sight, found[1].witnesses[0][0])
        for source in list(self.messages.values()):
            updates = [each for each in source.updates if each.dead and each.possible]
            certain = [each for each in updates if each.happened]
            if certain and not letters[source.id]:
                unseen = Message(f"the dead letter of {source.id}", dead_letters_of(source.queue), source=source.id)
                letters[source.id].append(unseen)
                self.messages[unseen.id] = unseen
            for letter in letters[source.id] if updates else ():
                self._trace(letter, source, certain[:1] or updates)

    def _trace(self, letter: Message, source: Message, updates: list[Update]) -> None:
        """Take the update that declared its source dead as the produce of a dead letter."""
        start_s, end_s = min(each.start_s for each in updates), max(each.end_s for each in updates)
        bodies: set[str | None] = set()
        errors: set[str | None] = set()
        for update in updates:
            moment = Change.of(update, rank=None if update.receipt is None else self.ranks.get(update.receipt))
            bodies |= {each.value for each in last_before(source.bodies, moment)}
            reported = [each for each in source.errors if each.call is not update]
            errors |= {update.error} if update.error is not None else {e.value for e in last_before(reported, moment)}
        crosses = self.history.shard_of(letter.queue) != self.history.shard_of(source.queue)
        end_s = self.history.arrival_s(end_s) if crosses else end_s
        known_s = [call.end_s for call, _ in letter.witnesses]
        if updates[0].happened:
            known_s.append(self.history.arrival_s(updates[0].end_s) if crosses else updates[0].end_s)
        letter.known_s = min(known_s)
        letter.produce = Produce(
            queue=letter.queue, start_s=start_s, end_s=end_s, outcome=updates[0].outcome, bodies=("",)
        )
        self._prepare(letter, bodies, errors)
        if len(updates) == 1 and letter.witnesses and not updates[0].happened:  # so it did, without an answer
            declared = replace(updates[0], end_s=min(updates[0].end_s, letter.known_s))
            others = [each for each in source.removals if each[0] is not updates[0]]
            source.removals = [*others, (declared, True)]

    def _prepare(self, message: Message, bodies: Iterable[str | None], errors: Iterable[str | None]) -> None:
        """Gather all that may have changed a message, which was made with one of the bodies and errors."""
        ends: list[Delete | Update] = [*message.deletes, *message.updates]
        message.removals = [(each, each.happened) for each in ends if each.possible and removes(each)]
        produce = message.produce
        if produce is not None:
            born = Change.of(produce, rank=0, claims=True, hold_s=produce.delay_s)
            message.holds.append(born)
            message.bodies += [replace(born, value=each) for each in bodies]
            message.errors += [replace(born, value=each) for each in errors]
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
                    message.bodies.append(Change.of(update, certain=certain, rank=rank, value=update.body))
                if update.error is not None:
                    message.errors.append(Change.of(update, certain=certain, rank=rank, value=update.error))


def _crosses(history: History, shares: Iterable[Publish]) -> bool:
    """Tell whether a publish has queues in several shards, so that each queue has its messages at a moment of its own."""
    return len({history.shard_of(each.queue) for each in shares}) > 1


def _publications(history: History) -> list[list[Publish]]:
    """Return the shares of each publication that may have happened, with one call for all that had the same key."""
    attempts: dict[str, dict[str, list[Publish]]] = defaultdict(lambda: defaultdict(list))
    for call in history.calls:
        if isinstance(call, Publish) and call.possible:
            attempts[call.key][call.queue].append(call)
    found = []
    for by_queue in attempts.values():
        shares = []
        for same in by_queue.values():
            assert len({each.bodies for each in same}) == 1, "a key was used for two publishes"
            certain = [each for each in same if each.happened]
            end_s = min((each.end_s for each in certain), default=max(each.end_s for each in same))
            first = min(same, key=lambda each: each.start_s)
            outcome = Outcome.OK if certain else Outcome.UNKNOWN
            shares.append(replace(first, end_s=max(end_s, first.start_s), outcome=outcome))
        if _crosses(history, shares):
            shares = [replace(each, end_s=history.arrival_s(each.end_s)) for each in shares]
        found.append(shares)
    return found
