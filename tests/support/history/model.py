"""A model of a queue as a list of messages: the answer that the broker must give to each call in turn.

The model knows no time. A hold is the number of the event that set it and its length; whoever runs the model says at each
event which holds are over. So the same few lines produce histories and, in `tests.crash.search`, judge them.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from tests.support.history.calls import (
    DEAD_LETTERS,
    Call,
    Consume,
    Create,
    Delete,
    Drop,
    Listing,
    Produce,
    Purge,
    Update,
)
from tests.support.history.changes import needs_claim, releases


@dataclass(frozen=True, slots=True)
class Held:
    """A message of the model. ``key`` numbers messages by their place in their queue."""

    key: int
    body: str
    count: int = 0
    status: str = "unprocessed"
    since: int = 0
    """The event that set the hold."""
    hold_ms: int = 0
    token: int | None = None
    """The event of the claim whose receipt counts."""
    consumer: str = ""
    error: str | None = None
    source: int | None = None
    """Key of the message of which this is the dead letter."""

    @property
    def held(self) -> bool:
        return self.status != "unprocessed"


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue of the model, and its dead-letter queue, which is always there."""

    there: bool = True
    next_key: int = 0
    messages: tuple[Held, ...] = ()
    letters: tuple[Held, ...] = ()

    @property
    def held(self) -> list[Held]:
        return [each for each in (*self.messages, *self.letters) if each.held]


@dataclass(frozen=True, slots=True)
class Answer:
    """A refusal's code, or the messages that were made, delivered or listed, or how many a purge deleted."""

    code: str | None = None
    messages: tuple[Held, ...] = ()
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Names:
    """Meaning of a call's id and receipt: a key, and a key and an event; None for one that was never issued."""

    key: Callable[[str], int | None]
    token: Callable[[str], int | None]


def to_ms(seconds: float) -> int:
    """Convert seconds to milliseconds."""
    return round(seconds * 1000)


def after_holds(queue: Queue, over: AbstractSet[int]) -> Queue:
    """Return the queue once the holds of these keys have ended."""

    def ended(each: Held) -> Held:
        # The receipt of a claim whose time is over still deletes; a delay has none.
        return replace(each, status="unprocessed", hold_ms=0, since=0, consumer="") if each.key in over else each

    return replace(queue, messages=tuple(map(ended, queue.messages)), letters=tuple(map(ended, queue.letters)))


def step(queue: Queue, call: Call, event: int, names: Names) -> tuple[Queue, Answer]:
    """Carry out a call whose holds that are over have been ended, and return the queue after it and the answer."""
    if call.queue != DEAD_LETTERS:
        return _step(queue, call, event, names)
    after, answer = _step(replace(queue, there=True, messages=queue.letters), call, event, names)
    return replace(queue, letters=after.messages), answer


def _step(queue: Queue, call: Call, event: int, names: Names) -> tuple[Queue, Answer]:
    match call:
        case Produce():
            return _produce(queue, call, event)
        case Create():
            return replace(queue, there=True), Answer()
    if not queue.there:
        return queue, Answer("queue_not_found")
    match call:
        case Consume():
            return _consume(queue, call, event)
        case Delete() | Update():
            return _change(queue, call, event, names)
        case Listing():
            return queue, Answer(messages=queue.messages)
        case Purge():
            return replace(queue, messages=()), Answer(count=len(queue.messages))
        case Drop():
            return replace(queue, there=False, messages=()), Answer()
    raise TypeError(call)


def _produce(queue: Queue, call: Produce, event: int) -> tuple[Queue, Answer]:
    delay_ms = to_ms(call.delay_s)
    held = {"status": "delayed", "since": event, "hold_ms": delay_ms} if delay_ms else {}
    new = tuple(
        replace(Held(queue.next_key + index, body), **held)  # type: ignore[arg-type] # fields of Held
        for index, body in enumerate(call.bodies)
    )
    after = replace(queue, there=True, next_key=queue.next_key + len(new), messages=queue.messages + new)
    return after, Answer(messages=new)


def _consume(queue: Queue, call: Consume, event: int) -> tuple[Queue, Answer]:
    free = [each for each in queue.messages if not each.held][: call.limit]
    claimed = {
        each.key: replace(
            each,
            count=each.count + 1,
            status="processing",
            since=event,
            hold_ms=to_ms(call.visibility_timeout_s),
            token=event,
            consumer=call.consumer,
        )
        for each in free
    }
    messages = tuple(claimed.get(each.key, each) for each in queue.messages)
    return replace(queue, messages=messages), Answer(messages=tuple(claimed.values()))


def _change(queue: Queue, call: Delete | Update, event: int, names: Names) -> tuple[Queue, Answer]:
    key = names.key(call.id)
    found = next((each for each in queue.messages if each.key == key), None)
    if found is None:
        return queue, Answer("message_not_found")
    if call.receipt is not None and names.token(call.receipt) != found.token:
        return queue, Answer("stale_receipt")
    others = tuple(each for each in queue.messages if each is not found)
    if isinstance(call, Delete):
        return replace(queue, messages=others), Answer()
    changed = found if call.body is None else replace(found, body=call.body)
    changed = changed if call.error is None else replace(changed, error=call.error)
    if call.dead:
        letter = Held(queue.next_key, changed.body, error=changed.error, source=found.key)
        return replace(queue, next_key=queue.next_key + 1, messages=others, letters=(*queue.letters, letter)), Answer()
    if needs_claim(call) and found.status != "processing":
        return queue, Answer("not_claimed")
    if call.hold_s is not None:
        hold_ms = to_ms(call.hold_s)
        status = ("processing" if call.delay_s is None else "delayed") if hold_ms else "unprocessed"
        token = None if releases(call) else found.token
        count = changed.count - call.uncounted
        consumer = changed.consumer if status == "processing" else ""
        changed = replace(
            changed,
            status=status,
            since=event if hold_ms else 0,
            hold_ms=hold_ms,
            token=token,
            count=count,
            consumer=consumer,
        )
    return replace(queue, messages=tuple(changed if each is found else each for each in queue.messages)), Answer()
