"""Decide exactly whether a small history is possible: try every order, and every choice of lost calls that took effect.

Moments are whole milliseconds, as the broker's are. In one order of the calls, whether a hold is over at a call says only
that one moment is at least, or less than, so much after another; and so do the calls' starts and ends, and the deadlines
that answers show. A set of such statements can be true together if and only if no cycle of them is negative.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

from tests.support.history.calls import (
    Call,
    Consume,
    Delete,
    Delivery,
    History,
    Listing,
    Outcome,
    Produce,
    Purge,
    Seen,
    Update,
)
from tests.support.history.model import Answer, Held, Names, Queue, after_holds, step, to_ms

_FAR_MS = 1 << 40


@dataclass(slots=True)
class _Times:
    """``most[i][j]``: by how much moment i may at most be later than moment j. Moment 0 is the beginning of time."""

    most: list[list[int]]

    @classmethod
    def of(cls, calls: Sequence[Call]) -> _Times | None:
        size = len(calls) + 1
        times = cls([[0 if i == j else _FAR_MS for j in range(size)] for i in range(size)])
        for event, call in enumerate(calls, 1):
            end_ms = _FAR_MS if call.end_s == float("inf") else to_ms(call.end_s)
            if not (times.add(event, 0, end_ms) and times.add(0, event, -to_ms(call.start_s))):
                return None
        return times

    def copy(self) -> _Times:
        return _Times([list(row) for row in self.most])

    def add(self, i: int, j: int, at_most: int) -> bool:
        """State that moment i is at most so much later than j; tells whether that can be."""
        most = self.most
        if most[j][i] + at_most < 0:
            return False
        if at_most < most[i][j]:
            others = range(len(most))
            for a in others:
                to_i = most[a][i] + at_most
                row, from_j = most[a], most[j]
                for b in others:
                    through = to_i + from_j[b]
                    if through < row[b]:
                        row[b] = through
        return True


@dataclass(frozen=True, slots=True)
class _World:
    queue: Queue
    ids: tuple[tuple[str, int], ...] = ()
    tokens: tuple[tuple[str, int, int], ...] = ()
    """Receipts, with the key and the event of their claim."""


class _Search:
    def __init__(self, history: History) -> None:
        self.history = history
        self.calls = sorted(history.calls, key=lambda call: call.start_s)
        self.wall_ms = to_ms(history.wall_offset_s)
        self.receipts = {each.receipt for call in self.calls if isinstance(call, Consume) for each in call.deliveries}
        self.ids = {
            name
            for call in self.calls
            for name in (
                *(call.ids if isinstance(call, Produce) else ()),
                *(each.id for each in (call.deliveries if isinstance(call, Consume) else ())),
                *(each.id for each in (call.messages if isinstance(call, Listing) else ())),
            )
        }

    def possible(self) -> bool:
        times = _Times.of(self.calls)
        return times is not None and self._go(_World(Queue()), frozenset(range(1, len(self.calls) + 1)), 0, times)

    def _go(self, world: _World, left: frozenset[int], last: int, times: _Times) -> bool:
        if all(self.calls[event - 1].outcome is Outcome.UNKNOWN for event in left):
            return True
        for event in sorted(left):
            call = self.calls[event - 1]
            now = times.copy()
            if not all(
                # A call that was answered comes later; a lost one need not come at all.
                now.add(event, other, 0)
                for other in left
                if other != event and self.calls[other - 1].outcome is not Outcome.UNKNOWN
            ) or not (last == 0 or now.add(last, event, 0)):
                continue
            for queue, then in self._holds(world.queue, event, now):
                for after in self._answer(replace(world, queue=queue), call, event, then):
                    if self._go(after, left - {event}, event, then):
                        return True
        return False

    def _holds(self, queue: Queue, event: int, times: _Times) -> Iterator[tuple[Queue, _Times]]:
        """Go through all choices of the holds that are over."""
        held = queue.held
        if not held:
            yield queue, times
            return
        for choice in product((False, True), repeat=len(held)):
            then = times.copy()
            if all(
                then.add(each.since, event, -each.hold_ms) if over else then.add(event, each.since, each.hold_ms - 1)
                for each, over in zip(held, choice, strict=True)
            ):
                yield after_holds(queue, {each.key for each, over in zip(held, choice, strict=True) if over}), then

    def _answer(self, world: _World, call: Call, event: int, times: _Times) -> Iterator[_World]:
        """Go through the ways in which the broker's answer is the one that was recorded; may add to ``times``."""
        ids = dict(world.ids)
        if isinstance(call, Delete | Update) and call.id in self.ids and call.id not in ids:
            return  # a client has an id only from an answer
        tokens = {receipt: (key, claim) for receipt, key, claim in world.tokens}
        if isinstance(call, Delete | Update) and call.receipt in self.receipts - tokens.keys():
            return
        names = Names(ids.get, lambda receipt: tokens[receipt][1] if receipt in tokens else -1)
        queue, answer = step(world.queue, call, event, names)
        after = replace(world, queue=queue)
        if call.outcome is Outcome.UNKNOWN:
            if answer.code is None:
                yield after
            return
        if call.outcome is Outcome.REFUSED:
            if answer.code == call.code:
                yield after
            return
        if answer.code is not None:
            return
        if isinstance(call, Consume) and not call.deliveries and self._stopping(call):
            yield world  # a broker that is being stopped gives out nothing
            return
        found = self._fits(after, call, answer, times)
        if found is not None:
            yield found

    def _stopping(self, call: Call) -> bool:
        return any(call.start_s <= until and down <= call.end_s for down, until in self.history.outages)

    def _fits(self, world: _World, call: Call, answer: Answer, times: _Times) -> _World | None:
        match call:
            case Produce():
                return _named(world, call.ids, answer.messages)
            case Consume():
                named = _named(world, [each.id for each in call.deliveries], answer.messages)
                if named is None:
                    return None
                tokens = named.tokens
                for given, held in zip(call.deliveries, answer.messages, strict=True):
                    if any(given.receipt == each for each, _, _ in tokens) or not self._same(named, given, held, times):
                        return None
                    tokens = (*tokens, (given.receipt, held.key, held.since))
                return replace(named, tokens=tokens)
            case Listing():
                named = _named(world, [each.id for each in call.messages], answer.messages)
                if named is None or not all(
                    self._same(named, given, held, times)
                    for given, held in zip(call.messages, answer.messages, strict=True)
                ):
                    return None
                return named
            case Purge():
                return world if call.deleted in (None, answer.count) else None
        return world

    def _same(self, world: _World, given: Delivery | Seen, held: Held, times: _Times) -> bool:
        source = None if given.source is None else dict(world.ids).get(given.source, -1)
        shown = (given.body, given.receive_count, given.consumer, given.error, source)
        if shown != (held.body, held.count, held.consumer, held.error, held.source):
            return False
        if isinstance(given, Seen):
            if given.status != held.status or (given.due_ms is None) == held.held:
                return False
            due_ms = given.due_ms
        else:
            due_ms = given.claimed_until_ms
        if due_ms is None:
            return True
        at_ms = due_ms - held.hold_ms - self.wall_ms
        return times.add(held.since, 0, at_ms) and times.add(0, held.since, -at_ms)


def _named(world: _World, names: Sequence[str], messages: Sequence[Held]) -> _World | None:
    """Give messages the ids that an answer has for them, unless they or others have them already."""
    if len(names) != len(messages):
        return None
    ids = dict(world.ids)
    for name, held in zip(names, messages, strict=True):
        known = next((each for each, key in ids.items() if key == held.key), None)
        if (known is None and name in ids) or known not in (None, name):
            return None
        ids[name] = held.key
    return replace(world, ids=tuple(ids.items()))


def possible(history: History) -> bool:
    """Tell whether a broker that keeps its promises can have given these answers. Takes histories of one queue and its dead letters, without waits."""
    return _Search(history).possible()
