"""What requests hold, as the broker wants it; and a queue, as clients see it."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping
from typing import Any

import falcon
from msgspec import UNSET, UnsetType

from wonderq.httpd.errors import RequestError
from wonderq.model.attributes import Attribute, has_attribute
from wonderq.model.messages import Change, Message, NewMessage
from wonderq.model.times import to_ms
from wonderq.rest import schemas
from wonderq.rest.objects import SETTINGS

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_MAX_TRACESTATE_CHARACTERS = 512

Trace = dict[str, str]


def set_value(value: Any) -> Any:
    """Return a field's value, or None if it was not given."""
    return None if isinstance(value, UnsetType) else value


def set_ms(seconds: float | UnsetType) -> int | None:
    return None if isinstance(seconds, UnsetType) else to_ms(seconds)


def trace_of(req: falcon.Request) -> Trace:
    """Return what the request's headers say of its trace (https://www.w3.org/TR/trace-context/); nothing if malformed."""
    traceparent = req.env.get("HTTP_TRACEPARENT")
    if traceparent is None or not _TRACEPARENT.fullmatch(traceparent):
        return {}
    tracestate = req.env.get("HTTP_TRACESTATE", "")
    if not 0 < len(tracestate) <= _MAX_TRACESTATE_CHARACTERS:
        return {"traceparent": traceparent}
    return {"traceparent": traceparent, "tracestate": tracestate}


def is_plain(body: schemas.MessageFields) -> bool:
    """Tell whether a message has nothing but its text, and a delay at most."""
    return (
        body.deliver_at is UNSET
        and body.attributes is UNSET
        and body.group is UNSET
        and body.priority is UNSET
        and body.idempotency_key is UNSET
        and body.traceparent is UNSET
        and body.tracestate is UNSET
    )


def new_message(text: str, body: schemas.MessageFields, trace: Trace) -> NewMessage:
    """Return a message as the broker takes it; ``trace`` is that of the request, which the message's own overrides."""
    deliver_at_ms = None
    if not isinstance(body.deliver_at, UnsetType):
        if body.delay is not UNSET:
            raise RequestError(400, "ambiguous_request", "Give either delay or deliver_at, not both.", "deliver_at")
        deliver_at_ms = round(body.deliver_at.timestamp() * 1000)
    own = {"traceparent": body.traceparent, "tracestate": body.tracestate}
    system = trace if body.traceparent is UNSET else {}
    return NewMessage(
        text,
        set_ms(body.delay),
        deliver_at_ms,
        attributes_of(body.attributes),
        {**system, **{name: value for name, value in own.items() if isinstance(value, str)}},
        set_value(body.group) or "",
        set_value(body.priority) or 0,
        set_value(body.idempotency_key) or "",
    )


def attributes_of(given: Mapping[str, Any] | UnsetType) -> dict[str, Attribute] | None:
    """Return attributes with their types, or None if none were given."""
    return None if isinstance(given, UnsetType) else {name: _attribute(name, value) for name, value in given.items()}


def _attribute(name: str, value: str | float | schemas.TypedAttribute) -> Attribute:
    if isinstance(value, str):
        return "String", value
    if isinstance(value, int | float):
        return "Number", repr(value)
    if not value.type.startswith("Binary"):
        return value.type, value.value
    try:
        return value.type, b64decode(value.value, validate=True)
    except (Base64Error, ValueError) as error:
        field = f"attributes.{name}"
        raise RequestError(400, "invalid_value", f"{field} is Binary, and its value is not base64.", field) from error


def change_of(body: schemas.Update) -> Change:
    return Change(
        set_ms(body.visibility_timeout),
        set_ms(body.delay),
        set_value(body.message),
        attributes_of(body.attributes),
        body.bury,
        set_ms(body.backoff),
        set_value(body.if_version),
    )


def message_filter(asked: schemas.Listing) -> Callable[[Message], bool] | None:
    """Return what tells whether a message is one that was asked for, or None if all are."""
    tests: list[Callable[[Message], bool]] = []
    if not isinstance(asked.contains, UnsetType):
        text = asked.contains
        tests.append(lambda message: text in message.body)
    if not isinstance(asked.attribute, UnsetType):
        tests.append(attribute_matcher(asked.attribute))
    if not isinstance(asked.group, UnsetType):
        group = asked.group
        tests.append(lambda message: message.envelope is not None and message.envelope.group == group)
    return (lambda message: all(test(message) for test in tests)) if tests else None


def attribute_matcher(text: str) -> Callable[[Message], bool]:
    """Return what tells whether a message has an attribute: ``name``, or ``name=value`` as JSON or text shows the value."""
    return lambda message: message.envelope is not None and has_attribute(message.envelope.attributes, text)


def settings_of(body: schemas.PutQueue) -> dict[str, Any]:
    """Return the settings that were given, as the broker takes them."""
    given = schemas.given(body)
    return {
        name: to_ms(given[shown]) if shown != name else given[shown]
        for name in SETTINGS
        if (shown := name.removesuffix("_ms")) in given
    }
