"""Translate fields of requests to the values that the broker takes: milliseconds, messages, changes, filters."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import repeat
from typing import Any

import falcon
from msgspec import UNSET, UnsetType
from msgspec.structs import asdict

from wonderq.broker.finishing import Finish
from wonderq.broker.polls import Sources
from wonderq.httpd.errors import RequestError
from wonderq.model.attributes import Attribute, has_attribute
from wonderq.model.failures import ReportedError
from wonderq.model.masks import Mask
from wonderq.model.messages import MAX_NAME_CHARACTERS, Change, Message, NewMessage, new_tuple
from wonderq.model.status import STATUS_BY_NAME
from wonderq.model.times import Period, to_ms
from wonderq.rest import schemas, topic_schemas
from wonderq.rest.masks import hide_message
from wonderq.rest.objects import SETTINGS
from wonderq.runtime.fibers import took

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_MAX_TRACESTATE_CHARACTERS = 512

_QUOTED = re.compile(r'"((?:[^"\\]|\\["\\])*)"')
_ESCAPE = re.compile(r'\\(["\\])')

Trace = dict[str, str]


def set_value(value: Any) -> Any:
    """Return a field's value, or None if it was not given."""
    return None if isinstance(value, UnsetType) else value


def set_ms(seconds: float | UnsetType) -> int | None:
    """Return a duration in milliseconds, or None if it was not given."""
    return None if isinstance(seconds, UnsetType) else to_ms(seconds)


def trace_of(req: falcon.Request) -> Trace:
    """Return the trace context of a request (https://www.w3.org/TR/trace-context/), empty if missing or malformed."""
    traceparent = req.env.get("HTTP_TRACEPARENT")
    if traceparent is None or not _TRACEPARENT.fullmatch(traceparent):
        return {}
    tracestate = req.env.get("HTTP_TRACESTATE", "")
    if not 0 < len(tracestate) <= _MAX_TRACESTATE_CHARACTERS:
        return {"traceparent": traceparent}
    return {"traceparent": traceparent, "tracestate": tracestate}


def idempotency_key_of(req: falcon.Request) -> str | UnsetType:
    """Return the key in the header ``Idempotency-Key``, or UNSET without one.

    The header is a string in double quotes (draft-ietf-httpapi-idempotency-key-header); many clients leave the quotes
    out.

    Raises:
        RequestError: the key is empty or too long.
    """
    header = req.env.get("HTTP_IDEMPOTENCY_KEY")
    if header is None:
        return UNSET
    quoted = _QUOTED.fullmatch(header)
    key = _ESCAPE.sub(r"\1", quoted[1]) if quoted else header
    if not 1 <= len(key) <= MAX_NAME_CHARACTERS:
        raise RequestError(
            400,
            "invalid_value",
            f"The header Idempotency-Key must have 1 to {MAX_NAME_CHARACTERS} characters.",
            "idempotency_key",
        )
    return key


def _has_body_only(body: schemas.MessageFields) -> bool:
    return (
        body.delay is UNSET
        and body.deliver_at is UNSET
        and body.attributes is UNSET
        and body.group is UNSET
        and body.priority is UNSET
        and body.idempotency_key is UNSET
        and body.traceparent is UNSET
        and body.tracestate is UNSET
    )


def sendable(text: str, body: schemas.MessageFields, trace: Trace) -> str | NewMessage:
    """Return a message as `Producer.send` takes it: its text, if it has nothing else."""
    return text if not trace and _has_body_only(body) else new_message(text, body, trace)


def new_message(text: str, body: schemas.MessageFields, trace: Trace) -> NewMessage:
    """Return a message as the broker takes it. A trace of its own overrides ``trace``, that of the request.

    Raises:
        RequestError: it has both ``delay`` and ``deliver_at``, or an attribute is not base64.
    """
    deliver_at_ms = _moment_ms(body.deliver_at)
    if deliver_at_ms is not None and body.delay is not UNSET:
        raise RequestError(400, "ambiguous_request", "Give either delay or deliver_at, not both.", "deliver_at")
    if body.traceparent is not UNSET or body.tracestate is not UNSET:
        own = {"traceparent": body.traceparent, "tracestate": body.tracestate}
        system = trace if body.traceparent is UNSET else {}
        trace = {**system, **{name: value for name, value in own.items() if isinstance(value, str)}}
    return NewMessage(
        text,
        set_ms(body.delay),
        deliver_at_ms,
        attributes_of(body.attributes),
        trace,
        set_value(body.group) or "",
        set_value(body.priority) or 0,
        set_value(body.idempotency_key) or "",
    )


def of_batch(message: NewMessage, index: int, body: schemas.MessageFields) -> NewMessage:
    """Return a message of a batch. The delay and the key beside the batch are those of messages without their own."""
    if message.delay_ms is None and message.deliver_at_ms is None:
        message = message._replace(delay_ms=set_ms(body.delay))
    if not isinstance(body.idempotency_key, UnsetType) and not message.key:
        message = message._replace(key=f"{body.idempotency_key}/{index}", key_of_batch=True)
    return message


def check_batch_fields(body: schemas.Produce | topic_schemas.Publish, *more: str) -> None:
    """Reject fields of a single message beside ``messages``, ``more`` included: they would apply to none.

    Raises:
        RequestError: such a field was given.
    """
    if body.message is not UNSET:
        raise RequestError(400, "ambiguous_request", "Give either message or messages, not both.", "messages")
    for name in (*schemas.OF_ONE_MESSAGE, *more):
        if getattr(body, name) is not UNSET:
            raise RequestError(400, "ambiguous_request", f"Give {name} with each of the messages.", name)


def attributes_of(given: Mapping[str, Any] | UnsetType) -> dict[str, Attribute] | None:
    """Return attributes with their types, or None if the field was not given.

    Raises:
        RequestError: a binary value is not base64.
    """
    if isinstance(given, UnsetType):
        return None
    took(3 * len(given))
    return {name: _attribute(name, value) for name, value in given.items()}


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
        raise RequestError(
            400, "invalid_value", f"{field} has the type Binary, so its value must be base64.", field
        ) from error


def change_of(body: schemas.Update) -> Change:
    """Return the change that an update requests."""
    took(5)
    return Change(
        set_ms(body.visibility_timeout),
        set_ms(body.delay),
        set_value(body.message),
        attributes_of(body.attributes),
        body.bury,
        set_ms(body.backoff),
        set_value(body.if_version),
        error=error_of(body.error),
        reporter=_reporter_of(body.error),
        dead=body.dead,
        uncounted=body.uncounted,
    )


def error_of(given: schemas.ReportedError | UnsetType) -> ReportedError | None:
    """Return the error that a consumer reports, or None."""
    return None if isinstance(given, UnsetType) else ReportedError(given.message, given.type, given.traceback)


def _reporter_of(given: schemas.ReportedError | UnsetType) -> str:
    """Return the name of the consumer that reports an error; empty if it gives none."""
    return "" if isinstance(given, UnsetType) else set_value(given.consumer) or ""


def finished_of(body: schemas.Next) -> list[Finish]:
    """Return the messages that a request finishes: those to delete, to release and that are dead, in this order.

    Raises:
        RequestError: a message to release has both ``delay`` and ``backoff``.
    """
    deletes = zip(set_value(body.delete) or (), repeat(None), strict=False)
    finished: list[Finish] = list(map(new_tuple, repeat(Finish), deletes))
    for index, each in enumerate(set_value(body.release) or ()):
        delay_ms, backoff_ms = set_ms(each.delay), set_ms(each.backoff)
        if delay_ms is not None and backoff_ms is not None:
            field = f"release[{index}].backoff"
            raise RequestError(400, "ambiguous_request", "Give either delay or backoff, not both.", field)
        timeout_ms = 0 if delay_ms is None and backoff_ms is None else None
        change = Change(
            timeout_ms,
            delay_ms,
            backoff_ms=backoff_ms,
            error=error_of(each.error),
            reporter=_reporter_of(each.error),
            uncounted=each.uncounted,
        )
        finished.append(Finish(each.receipt, change))
    dead = set_value(body.dead) or ()
    finished += [
        Finish(each.receipt, Change(error=error_of(each.error), reporter=_reporter_of(each.error), dead=True))
        for each in dead
    ]
    took(4 * len(finished))
    return finished


def sources_of(given: Sequence[str | schemas.WeightedQueue]) -> Sources:
    """Return the queues of a claim.

    Raises:
        RequestError: only some have a weight.
    """
    names = [each if isinstance(each, str) else each.queue for each in given]
    weights = [each.weight for each in given if not isinstance(each, str)]
    if not weights:
        return Sources(names)
    if len(weights) < len(names):
        message = "Give either the names of all queues, for a strict order, or all with a weight."
        raise RequestError(400, "invalid_value", message, "queues")
    return Sources(names, weights)


def check_status(status: str) -> str:
    """Return the status if it is one that messages can have.

    Raises:
        RequestError: it is not.
    """
    if status not in STATUS_BY_NAME:
        raise RequestError(400, "invalid_value", f"status must be one of {', '.join(STATUS_BY_NAME)}.", "status")
    return status


def period_of(query: schemas.Filters | schemas.Redrive) -> Period:
    """Return the period in which messages must have come.

    Raises:
        RequestError: it ends before it begins.
    """
    since_ms, until_ms = _moment_ms(query.since), _moment_ms(query.until)
    if since_ms is not None and until_ms is not None and until_ms <= since_ms:
        raise RequestError(400, "invalid_value", "until must be later than since.", "until")
    return Period(since_ms, until_ms)


def _moment_ms(moment: datetime | UnsetType) -> int | None:
    """Return a moment in milliseconds since 1970, or None if it was not given."""
    return None if isinstance(moment, UnsetType) else round(moment.timestamp() * 1000)


def message_filter(query: schemas.Filters, mask: Mask | None) -> Callable[[Message], bool] | None:
    """Return a predicate for the messages of a listing, or None if it has no filters.

    With a mask, a message must also match by what is shown of it, so that a search reveals nothing else.
    """
    tests: list[Callable[[Message], bool]] = []
    if not isinstance(query.contains, UnsetType):
        text = query.contains
        tests.append(lambda message: text in message.body)
    if not isinstance(query.attribute, UnsetType):
        tests.append(_attribute_filter(query.attribute))
    if not isinstance(query.group, UnsetType):
        group = query.group
        tests.append(lambda message: message.envelope is not None and message.envelope.group == group)
    if not tests:
        return None

    def matches(message: Message) -> bool:
        return all(test(message) for test in tests)

    return matches if mask is None else lambda message: matches(message) and matches(hide_message(mask, message))


def _attribute_filter(text: str) -> Callable[[Message], bool]:
    """Return a predicate for messages with an attribute: ``name``, or ``name=value`` with JSON or plain text."""
    return lambda message: message.envelope is not None and has_attribute(message.envelope.attributes, text)


def subscription_fields_of(body: topic_schemas.PutSubscription) -> dict[str, Any]:
    """Return the fields of a subscription that were given. Of its delivery, those that differ from the defaults."""
    found = schemas.given(body)
    delivery = found.get("delivery")
    if delivery is not None:
        plain, values = asdict(topic_schemas.DeliveryFields()), asdict(delivery)
        found["delivery"] = {name: value for name, value in values.items() if value != plain[name]}
    return found


def topic_settings_of(body: topic_schemas.PutTopic) -> dict[str, Any]:
    """Return the settings of a topic that were given, with durations in milliseconds."""
    given = schemas.given(body)
    if "deduplication_window" in given:
        given["deduplication_window_ms"] = to_ms(given.pop("deduplication_window"))
    return given


def settings_of(body: schemas.PutQueue) -> dict[str, Any]:
    """Return the settings that were given, with durations in milliseconds."""
    given = schemas.given(body)
    return {
        name: to_ms(given[field]) if field != name else given[field]
        for name in SETTINGS
        if (field := name.removesuffix("_ms")) in given
    }


def schedule_fields_of(body: schemas.PutSchedule) -> dict[str, Any]:
    """Return the fields of a schedule that were given, as arguments of the broker's call."""
    given = schemas.given(body)
    if "message" in given:
        given["body"] = given.pop("message")
    if "attributes" in given:
        given["attributes"] = attributes_of(given["attributes"])
    if "delay" in given:
        given["delay_ms"] = to_ms(given.pop("delay"))
    return given
