"""Makes small histories that are possible, by running the model, and spoils them in one place each."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.support.history.calls import (
    ABANDONED,
    DEAD_LETTERS,
    Call,
    Consume,
    Delete,
    Delivery,
    Drop,
    History,
    Listing,
    Outcome,
    Produce,
    Purge,
    Seen,
    Update,
)
from tests.support.history.changes import releases
from tests.support.history.model import Answer, Held, Names, Queue, after_holds, step, to_ms

QUEUE = "default"
WALL_MS = 1_000_000_000
CALLS = 6
CLIENTS = 2
MESSAGES = 3

_HOLDS_S = (0.1, 0.3, 0.7, 1.5, 5.0)
_GAPS_MS = (0, 5, 60, 150, 300, 700, 1200)
_SPANS_MS = (0, 0, 1, 20, 100, 400)


@dataclass(slots=True)
class _Maker:
    rng: random.Random
    queue: Queue = field(default_factory=Queue)
    moments: dict[int, int] = field(default_factory=dict)
    """Time of each event."""
    calls: list[Call] = field(default_factory=list)
    free_ms: list[int] = field(default_factory=lambda: [1000] * CLIENTS)
    known: list[tuple[int, str, str, str | None]] = field(default_factory=list)
    """Known ids, or ids with receipts, each with the time since when a client knows it, and its queue."""
    produced: int = 0
    ending: bool = False
    """Whether claims are mostly ended, so that messages are claimed anew and become dead letters."""

    def make(self) -> History:
        rng = self.rng
        self.ending = rng.random() < 0.4
        history = History(wall_offset_s=WALL_MS / 1000)
        moment_ms = 1000
        count = CALLS if self.ending else rng.randint(2, CALLS)
        outage_at = rng.randint(1, count) if rng.random() < 0.6 else 0
        down_ms = up_ms = 0
        cut_off: set[int] = set()
        for event in range(1, count + 1):
            client = rng.randrange(CLIENTS)
            if event == outage_at + 1 and cut_off and client not in cut_off and self.free_ms[client] <= down_ms:
                moment_ms = rng.randint(max(moment_ms, self.free_ms[client]), down_ms)
            elif cut_off:
                self.free_ms = [max(each, up_ms + 1) for each in self.free_ms]
                cut_off = set()
            if not cut_off:
                moment_ms = max(moment_ms + rng.choice(_GAPS_MS), self.free_ms[client])
            if event == outage_at:
                down_ms = moment_ms + rng.choice(_SPANS_MS)
                up_ms = down_ms + rng.choice((10, 300, 2000))
                history.outages.append((down_ms / 1000, up_ms / 1000))
                cut_off.add(client)
            elif cut_off:
                cut_off.add(client)
            start_ms = max(self.free_ms[client], moment_ms - rng.choice(_SPANS_MS))
            end_ms = down_ms + 5 if cut_off else moment_ms + rng.choice(_SPANS_MS)
            call = replace(self._call(start_ms, last=event == count), start_s=start_ms / 1000, end_s=end_ms / 1000)
            self.free_ms[client] = end_ms + 1
            if cut_off:
                self._lost(event, call, moment_ms)
            elif rng.random() < 0.05:
                self._lost(event, replace(call, end_s=float("inf"), code=ABANDONED), moment_ms)
            else:
                self._answered(event, call, moment_ms)
        history.extend(self.calls)
        return history

    def _step(self, event: int, call: Call, moment_ms: int) -> Answer:
        self.moments[event] = moment_ms
        over = {each.key for each in self.queue.held if moment_ms >= self.moments[each.since] + each.hold_ms}
        names = Names(lambda name: int(name[1:]), lambda receipt: int(receipt.partition("/")[2]))
        self.queue, answer = step(after_holds(self.queue, over), call, event, names)
        return answer

    def _lost(self, event: int, call: Call, moment_ms: int) -> None:
        if self.rng.random() < 0.5:
            self._step(event, call, moment_ms)
        self.calls.append(replace(call, outcome=Outcome.UNKNOWN))

    def _answered(self, event: int, call: Call, moment_ms: int) -> None:
        answer = self._step(event, call, moment_ms)
        known_ms = to_ms(call.end_s)
        if answer.code is not None:
            self.calls.append(replace(call, outcome=Outcome.REFUSED, code=answer.code))
            return
        found: dict[str, Any] = {}
        match call:
            case Produce():
                found["ids"] = tuple(f"m{each.key}" for each in answer.messages)
            case Consume():
                found["deliveries"] = tuple(self._delivery(each, event) for each in answer.messages)
                self.known += [
                    (known_ms, call.queue, f"m{each.key}", f"{each.key}/{event}") for each in answer.messages
                ]
            case Listing():
                found["messages"] = tuple(map(self._seen, answer.messages))
            case Purge():
                found["deleted"] = answer.count
        if not isinstance(call, Consume):
            self.known += [(known_ms, call.queue, f"m{each.key}", None) for each in answer.messages]
        self.calls.append(replace(call, **found) if found else call)

    def _due_ms(self, held: Held) -> int:
        return WALL_MS + self.moments[held.since] + held.hold_ms

    def _delivery(self, held: Held, event: int) -> Delivery:
        receipt, more = f"{held.key}/{event}", (held.consumer, held.error, self._source(held))
        return Delivery(f"m{held.key}", held.body, receipt, held.count, self._due_ms(held), *more)

    def _seen(self, held: Held) -> Seen:
        due_ms = self._due_ms(held) if held.held else None
        more = held.consumer, held.error, self._source(held)
        return Seen(f"m{held.key}", held.body, held.status, held.count, due_ms, *more)

    @staticmethod
    def _source(held: Held) -> str | None:
        return None if held.source is None else f"m{held.source}"

    def _body(self) -> str:
        self.produced += 1
        return f"body {self.produced}"

    def _error(self) -> str:
        self.produced += 1
        return f"error {self.produced}"

    def _call(self, start_ms: int, *, last: bool) -> Call:
        rng = self.rng
        about: dict[str, Any] = {"queue": QUEUE, "start_s": 0, "end_s": 0}
        known = [each for since_ms, *each in self.known if since_ms < start_ms]
        any_letters = self.queue.letters and rng.random() < 0.6
        if last and rng.random() < 0.5:
            return Listing(**{**about, "queue": DEAD_LETTERS} if any_letters else about)
        choice = rng.random()
        if self.ending:
            choice = rng.choice((0.3, 0.3, 0.5, 0.9, 0.9)) if any(receipt for *_, receipt in known) else 0.3
        if any_letters and choice < 0.4:
            dead: dict[str, Any] = {**about, "queue": DEAD_LETTERS}
            return self._consume(dead) if choice < 0.2 else Listing(**dead)
        if self.queue.next_key == 0 or (choice < 0.12 and self.queue.next_key < MESSAGES):
            count = rng.choice((1, 1, 2)) if self.queue.next_key + 1 < MESSAGES else 1
            delay_s = rng.choice(_HOLDS_S) if rng.random() < 0.2 else 0
            return Produce(bodies=tuple(self._body() for _ in range(count)), delay_s=delay_s, **about)
        if choice < 0.45 or not known:
            return self._consume(about)
        if choice < 0.55:
            return Listing(**about)
        if choice < 0.60:
            return rng.choice((Purge, Purge, Drop))(**about)
        return self._change(about, choice, known)

    def _consume(self, about: dict[str, Any]) -> Consume:
        rng = self.rng
        timeout_s, consumer = rng.choice(_HOLDS_S), rng.choice(("", "", "one", "two"))
        return Consume(limit=rng.choice((1, 1, 2)), visibility_timeout_s=timeout_s, consumer=consumer, **about)

    def _change(self, about: dict[str, Any], choice: float, known: list[list[Any]]) -> Call:
        """Return a call on one of the messages that the client knows."""
        rng = self.rng
        about["queue"], name, receipt = (
            rng.choice([each for each in known if each[2]] or known) if rng.random() < 0.8 else known[0]
        )
        if self.ending:
            about["queue"], name, receipt = ([each for each in known if each[2]] or known)[-1]
        if receipt is not None and rng.random() < 0.2:
            receipt = None
        if choice < 0.75:
            return Delete(id=name, receipt=receipt, **about)
        change: dict[str, Any] = rng.choice(
            (
                {"visibility_timeout_s": rng.choice(_HOLDS_S)},
                {"visibility_timeout_s": rng.choice(_HOLDS_S)},
                {"visibility_timeout_s": 0.0},
                {"delay_s": rng.choice((0.0, *_HOLDS_S))},
                {"body": self._body()},
                {"error": self._error()},
            )
        )
        if self.ending and rng.random() < 0.6:
            change = {"delay_s": 0.0}
        if about["queue"] == QUEUE and rng.random() < 0.2:
            change = {"dead": True}
        elif receipt is not None and releases(Update(id=name, **about, **change)):
            change["uncounted"] = rng.random() < 0.5
        if rng.random() < 0.2:
            change["error"] = self._error()
        return Update(id=name, receipt=receipt, **about, **change)


def possible_history(rng: random.Random) -> History:
    """Return a history that a broker which keeps its promises can have made: at most six calls of two clients."""
    return _Maker(rng).make()


# Spoiling. Each takes a call and returns it changed, None if there is nothing to change in it.

Spoiler = Callable[[random.Random, Any, Sequence[Call]], Call | None]


def _in_delivery(change: Callable[[random.Random, Delivery], Delivery]) -> Spoiler:
    def spoil(rng: random.Random, call: Any, _calls: Sequence[Call]) -> Call | None:
        if not isinstance(call, Consume) or not call.deliveries:
            return None
        at = rng.randrange(len(call.deliveries))
        changed = change(rng, call.deliveries[at])
        return replace(call, deliveries=(*call.deliveries[:at], changed, *call.deliveries[at + 1 :]))

    return spoil


def _in_listing(change: Callable[[random.Random, Seen], Seen | None]) -> Spoiler:
    def spoil(rng: random.Random, call: Any, _calls: Sequence[Call]) -> Call | None:
        if not isinstance(call, Listing) or not call.messages:
            return None
        at = rng.randrange(len(call.messages))
        changed = change(rng, call.messages[at])
        kept = () if changed is None else (changed,)
        return replace(call, messages=(*call.messages[:at], *kept, *call.messages[at + 1 :]))

    return spoil


def _moved(rng: random.Random) -> int:
    return rng.choice((-1, 1)) * rng.choice((50, 200, 1000, 3000))


def _other_error(rng: random.Random) -> str | None:
    number = rng.randint(0, 6)
    return f"error {number}" if number else None


def _other_due(rng: random.Random, seen: Seen) -> Seen:
    return seen if seen.due_ms is None else replace(seen, due_ms=seen.due_ms + _moved(rng))


def _other_status(rng: random.Random, seen: Seen) -> Seen:
    status = rng.choice([each for each in ("unprocessed", "processing", "delayed") if each != seen.status])
    due_ms = None if status == "unprocessed" else seen.due_ms or WALL_MS + 4000
    return replace(seen, status=status, due_ms=due_ms)


def _fewer_deliveries(rng: random.Random, call: Any, _calls: Sequence[Call]) -> Call | None:
    if not isinstance(call, Consume) or not call.deliveries:
        return None
    at = rng.randrange(len(call.deliveries))
    return replace(call, deliveries=call.deliveries[:at] + call.deliveries[at + 1 :])


def _delivered_again(rng: random.Random, call: Any, calls: Sequence[Call]) -> Call | None:
    """Give a message to a consume that got nothing."""
    if not isinstance(call, Consume) or call.deliveries or call.outcome is not Outcome.OK:
        return None
    sources = [delivery for each in calls if isinstance(each, Consume) for delivery in each.deliveries]
    if not sources:
        return None
    source = rng.choice(sources)
    began_ms = rng.randint(to_ms(call.start_s), to_ms(call.end_s))
    until_ms = WALL_MS + began_ms + to_ms(call.visibility_timeout_s)
    again = replace(
        source, receipt=source.receipt + "0", receive_count=source.receive_count + 1, claimed_until_ms=until_ms
    )
    return replace(call, deliveries=(again,))


def _listed_again(rng: random.Random, call: Any, calls: Sequence[Call]) -> Call | None:
    """Put a message into a listing that it is not in, or is in already."""
    if not isinstance(call, Listing) or call.outcome is not Outcome.OK:
        return None
    found = [
        Seen(name, body, "unprocessed", 0, None)
        for each in calls
        if isinstance(each, Produce)
        for name, body in zip(each.ids, each.bodies, strict=False)
    ]
    found += [seen for each in calls if isinstance(each, Listing) for seen in each.messages]
    if not found:
        return None
    at = rng.randint(0, len(call.messages))
    return replace(call, messages=(*call.messages[:at], rng.choice(found), *call.messages[at:]))


def _other_order(rng: random.Random, call: Any, _calls: Sequence[Call]) -> Call | None:
    if isinstance(call, Listing) and len(call.messages) > 1:
        return replace(call, messages=call.messages[::-1])
    if isinstance(call, Consume) and len(call.deliveries) > 1:
        return replace(call, deliveries=call.deliveries[::-1])
    return None


def _other_message(rng: random.Random, call: Any, calls: Sequence[Call]) -> Call | None:
    """Deliver another message than the one that was."""
    if not isinstance(call, Consume) or len(call.deliveries) != 1:
        return None
    [given] = call.deliveries
    others = [
        (name, body)
        for each in calls
        if isinstance(each, Produce)
        for name, body in zip(each.ids, each.bodies, strict=False)
        if name != given.id
    ]
    if not others:
        return None
    name, body = rng.choice(others)
    return replace(call, deliveries=(replace(given, id=name, body=body, receipt="0" + given.receipt, receive_count=1),))


def _other_outcome(rng: random.Random, call: Any, _calls: Sequence[Call]) -> Call | None:
    if not isinstance(call, Delete | Update) or call.outcome is Outcome.UNKNOWN:
        return None
    codes = [None, "message_not_found", "stale_receipt", *(("not_claimed",) if isinstance(call, Update) else ())]
    code = rng.choice([each for each in codes if each != call.code])
    return replace(call, outcome=Outcome.OK if code is None else Outcome.REFUSED, code=code)


def _counted_or_not(rng: random.Random, call: Any, _calls: Sequence[Call]) -> Call | None:
    if not isinstance(call, Update) or call.receipt is None or not releases(call):
        return None
    return replace(call, uncounted=not call.uncounted)


def _no_queue(rng: random.Random, call: Any, _calls: Sequence[Call]) -> Call | None:
    if isinstance(call, Produce) or call.outcome is not Outcome.OK or call.queue != QUEUE:
        return None
    kept = {"deliveries": ()} if isinstance(call, Consume) else {"messages": ()} if isinstance(call, Listing) else {}
    changed: Call = replace(call, outcome=Outcome.REFUSED, code="queue_not_found", **kept)
    return changed


def _other_time(rng: random.Random, call: Any, _calls: Sequence[Call]) -> Call | None:
    if call.outcome is Outcome.UNKNOWN:
        return None
    by_ms = _moved(rng)
    start_ms, end_ms = (max(to_ms(each) + by_ms, 0) for each in (call.start_s, call.end_s))
    changed: Call = replace(call, start_s=start_ms / 1000, end_s=end_ms / 1000)
    return changed


def _other_purge(rng: random.Random, call: Any, _calls: Sequence[Call]) -> Call | None:
    if not isinstance(call, Purge) or call.deleted is None:
        return None
    return replace(call, deleted=max(call.deleted + rng.choice((-1, 1)), 0))


def _id_given_twice(rng: random.Random, call: Any, calls: Sequence[Call]) -> Call | None:
    ids = [name for each in calls if isinstance(each, Produce) and each is not call for name in each.ids]
    if not isinstance(call, Produce) or not call.ids or not ids:
        return None
    return replace(call, ids=(rng.choice(ids), *call.ids[1:]))


SPOILERS: dict[str, Spoiler] = {
    "another body delivered": _in_delivery(lambda rng, each: replace(each, body=f"body {rng.randint(1, 4)}")),
    "another body listed": _in_listing(lambda rng, each: replace(each, body=f"body {rng.randint(1, 4)}")),
    "another count delivered": _in_delivery(
        lambda rng, each: replace(each, receive_count=max(each.receive_count + rng.choice((-1, 1)), 0))
    ),
    "another count listed": _in_listing(
        lambda rng, each: replace(each, receive_count=max(each.receive_count + rng.choice((-1, 1)), 0))
    ),
    "another deadline delivered": _in_delivery(
        lambda rng, each: replace(each, claimed_until_ms=each.claimed_until_ms + _moved(rng))
    ),
    "another deadline listed": _in_listing(_other_due),
    "another id delivered": _in_delivery(lambda _, each: replace(each, id="m9")),
    "another id listed": _in_listing(lambda _, each: replace(each, id="m9")),
    "another message delivered": _other_message,
    "another status listed": _in_listing(_other_status),
    "not listed": _in_listing(lambda _rng, _each: None),
    "not delivered": _fewer_deliveries,
    "delivered once more": _delivered_again,
    "listed once more": _listed_again,
    "another order": _other_order,
    "another answer to a change": _other_outcome,
    "no such queue": _no_queue,
    "another error delivered": _in_delivery(lambda rng, each: replace(each, error=_other_error(rng))),
    "another error listed": _in_listing(lambda rng, each: replace(each, error=_other_error(rng))),
    "another consumer": _in_listing(lambda rng, each: replace(each, consumer=rng.choice(("", "one", "two")))),
    "another source": _in_listing(lambda rng, each: replace(each, source=each.source and f"m{rng.randint(0, 3)}")),
    "counted or not": _counted_or_not,
    "another time": _other_time,
    "another count purged": _other_purge,
    "an id given twice": _id_given_twice,
}


def spoiled(rng: random.Random, history: History) -> tuple[History, str] | None:
    """Return the history with one call changed, and how, or None if nothing fits. It may still be possible."""
    calls = list(history.calls)
    for how in rng.sample(list(SPOILERS), len(SPOILERS)):
        for at in rng.sample(range(len(calls)), len(calls)):
            changed = SPOILERS[how](rng, calls[at], calls)
            if changed is not None and changed != calls[at]:
                calls[at] = changed
                return History(calls, list(history.outages), history.wall_offset_s), how
    return None
