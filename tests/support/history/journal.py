"""The part of a history that is about one message, as lines for a person."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tests.support.history.calls import Call, Consume, Delete, History, Listing, Produce, Update

_WIDTH = 300


def ids_in(text: str, history: History) -> list[str]:
    """Return the ids of messages that a text names."""
    known = {each for call in history.calls for each in _ids_of(call)}
    words = (word.strip(",.:()[]'\"") for word in text.split())
    return list(dict.fromkeys(word for word in words if word in known))


def about(message_id: str, history: History) -> Iterator[str]:
    """Yield the calls that a message was in, in their order, with times since the first call of the history."""
    calls = sorted(history.calls, key=lambda call: call.start_s)
    for call in calls:
        if message_id in _ids_of(call):
            since_s, until_s = call.start_s - calls[0].start_s, call.end_s - calls[0].start_s
            yield f"{since_s:9.3f} to {until_s:9.3f} {call.outcome.name} {_what(call, message_id)}"[:_WIDTH]


def _ids_of(call: Call) -> Iterable[str]:
    match call:
        case Delete() | Update():
            return (call.id,)
        case Produce():
            return call.ids
        case Consume():
            return [each.id for each in call.deliveries]
        case Listing():
            return [each.id for each in call.messages]
        case _:
            return ()


def _what(call: Call, message_id: str) -> str:
    match call:
        case Produce():
            return f"produced into {call.queue} with {len(call.ids)} messages"
        case Consume():
            (found,) = (each for each in call.deliveries if each.id == message_id)
            return f"claimed from {call.queue} for {call.visibility_timeout_s} s: {found}"
        case Listing():
            return f"listed: {next(each for each in call.messages if each.id == message_id)}"
        case _:
            return repr(call)
