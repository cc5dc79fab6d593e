"""Bytes to values and back: JSON or msgpack, whichever the client speaks, and the one shape of errors."""

from __future__ import annotations

import re
import threading
from base64 import b64encode
from collections.abc import Hashable, Mapping, Sequence
from functools import cache, lru_cache
from time import gmtime, strftime
from types import MappingProxyType
from typing import Any, TypeVar, cast

import falcon
import msgspec

from wonderq.contents import Envelope
from wonderq.measures import refusals
from wonderq.model import Message

JSON = "application/json"
MSGPACK = "application/msgpack"

_T = TypeVar("_T", bound=msgspec.Struct)

_encode_json = msgspec.json.Encoder().encode
_encode_msgpack = msgspec.msgpack.Encoder().encode


class RequestError(Exception):
    """A request that cannot be read; becomes a 4xx."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        field: str | None = None,
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.field = field
        self.headers = headers


#: A number that everybody's JSON can hold.
_WHOLE_NUMBER = re.compile(r"0|-?[1-9]\d{0,14}")

#: Whoever sends a megabyte of a name need not get it back.
_NAME_CHARACTERS = 100

#: From so many on, it is quicker to go column by column.
_MANY_MESSAGES = 5

_planning = threading.Lock()


@cache
def _decoders(schema: Hashable) -> dict[str, Any]:
    # msgspec plans how to read a type when it first meets it, and crashes if two threads do that at once (0.22).
    with _planning:
        return {JSON: msgspec.json.Decoder(schema), MSGPACK: msgspec.msgpack.Decoder(schema)}


def read_body(req: falcon.Request, schema: type[_T]) -> _T:
    """Read a request's body as ``schema``.

    Raises:
        RequestError: it is missing, malformed, of another media type, does not fit the schema, or there is a query too.
    """
    if req.params:
        raise RequestError(400, "ambiguous_request", "Give the fields in the body alone, and none in the query.")
    data = req.bounded_stream.read()
    if not data:
        raise RequestError(400, "empty_body", "The request needs a body: a JSON object.")
    media_type = (req.content_type or "").partition(";")[0].strip().lower()
    decoder = _decoders(cast("Hashable", schema)).get(media_type)
    if decoder is None:
        raise RequestError(
            415,
            "unsupported_media_type",
            f"Send the body as Content-Type: {JSON} or {MSGPACK}, not {media_type[:_NAME_CHARACTERS] or 'without one'}.",
        )
    try:
        value: _T = decoder.decode(data)
    except msgspec.ValidationError as error:
        raise _invalid(error, schema) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(400, "malformed_body", f"The body is not {media_type} that can be read: {error}.") from error
    return value


def read_optional_body(req: falcon.Request, schema: type[_T]) -> _T:
    """Read a body that may be left out, or else the same fields from the query string."""
    if req.content_length or req.get_header("Transfer-Encoding"):
        return read_body(req, schema)
    return read_query(req, schema)


def read_query(req: falcon.Request, schema: type[_T]) -> _T:
    """Read the query string as ``schema``.

    Raises:
        RequestError: a field is unknown, given twice, or does not fit the schema.
    """
    if req.content_length:
        raise RequestError(400, "unexpected_body", "This call takes its fields in the query string, and no body.")
    for name, value in req.params.items():
        if isinstance(value, list):
            name = name[:_NAME_CHARACTERS]  # noqa: PLW2901
            raise RequestError(400, "invalid_value", f"{name} may be given only once.", name)
    _decoders(cast("Hashable", schema))  # so that this is not the first use of the type
    try:
        return msgspec.convert(req.params, schema, strict=False)
    except msgspec.ValidationError as error:
        raise _invalid(error, schema) from error


_VALIDATION_ERROR = re.compile(r"(?P<text>.*?)(?: - at `(?:key in )?\$(?P<path>[^`]*)`)?", re.DOTALL)
_NAMED_FIELD = re.compile(r"Object (contains unknown|missing required) field `(.*)`", re.DOTALL)


def _invalid(error: msgspec.ValidationError, schema: type[msgspec.Struct]) -> RequestError:
    """Turn msgspec's message, such as "Expected `str`, got `int` - at `$.message`", into ours."""
    found = _VALIDATION_ERROR.fullmatch(str(error))
    assert found is not None
    text, field = found["text"], (found["path"] or "").lstrip(".")
    named = _NAMED_FIELD.fullmatch(text)
    if named is None:
        return RequestError(400, "invalid_value", f"{field or 'The body'} is not valid: {text}.", field or None)
    name = named[2][:_NAME_CHARACTERS]
    field = f"{field}.{name}" if field else name
    if named[1] == "contains unknown":
        known = f" Known are: {', '.join(schema.__struct_fields__) or 'none'}." if field == name else ""
        return RequestError(400, "unknown_field", f"The field {field} is not known here.{known}", field)
    return RequestError(400, "missing_field", f"The field {field} is required.", field)


def render(req: falcon.Request, resp: falcon.Response, value: Any, status: int = 200) -> None:
    """Answer with a value, in the format that the client accepts."""
    if MSGPACK in req.env.get("HTTP_ACCEPT", ""):
        resp.content_type = MSGPACK
        resp.data = _encode_msgpack(value)
    else:
        resp.content_type = JSON
        resp.data = _encode_json(value) + b"\n"  # for people at a prompt
    resp.status = status


def encode_json(value: Any) -> bytes:
    return _encode_json(value)


def refusal(status: int, code: str, message: str, field: str | None = None) -> dict[str, Any]:
    """Return the error object for a request, or a connection, that is refused.

    Each refusal comes by here once, and is counted. The entries of a batch that is done in part are not refusals.
    """
    refusals[code] += 1
    return error_object(status, code, message, field)


def error_object(status: int, code: str, message: str, field: str | None = None) -> dict[str, Any]:
    """The one shape of every error."""
    error = {"code": code, "message": message}
    if field is not None:
        error["field"] = field
    return {"success": False, "statusCode": status, "error": error}


class MessageObject(msgspec.Struct, gc=False):
    """A message as it stands in answers."""

    id: str
    message: str
    status: str
    receive_count: int
    produced_at: str
    claimed_until: str | None
    queue: str
    receipt: str | msgspec.UnsetType = msgspec.UNSET
    delayed_until: str | msgspec.UnsetType = msgspec.UNSET
    version: int | msgspec.UnsetType = msgspec.UNSET
    attributes: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    group: str | msgspec.UnsetType = msgspec.UNSET
    priority: int | msgspec.UnsetType = msgspec.UNSET
    idempotency_key: str | msgspec.UnsetType = msgspec.UNSET
    traceparent: str | msgspec.UnsetType = msgspec.UNSET
    tracestate: str | msgspec.UnsetType = msgspec.UNSET
    dead_letter: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


def message_object(message: Message) -> MessageObject:
    message_id, body, status, receipt, receives, produced_ms, due_ms, queue, _, _, envelope = message
    due = None if due_ms is None else iso_time(due_ms)
    value = MessageObject(
        message_id,
        body,
        status,
        receives,
        iso_time(produced_ms),
        due if status == "processing" else None,
        queue,
        msgspec.UNSET if receipt is None else receipt,
        due if due is not None and status == "delayed" else msgspec.UNSET,
    )
    if envelope is not None:
        _add_extras(value, envelope)
    return value


def _add_extras(value: MessageObject, envelope: Envelope) -> None:
    """Add what is there of what few messages have."""
    unset = msgspec.UNSET
    if envelope.version > 1:
        value.version = envelope.version
    if envelope.attributes:
        value.attributes = {name: attribute_value(*each) for name, each in envelope.attributes.items()}
    value.group = envelope.group or unset
    value.priority = envelope.priority or unset
    value.idempotency_key = envelope.key or unset
    value.traceparent = envelope.system.get("traceparent", unset)
    value.tracestate = envelope.system.get("tracestate", unset)
    origin = envelope.origin
    if origin is not None:
        value.dead_letter = {
            "queue": origin.queue,
            "id": origin.id,
            "reason": origin.reason,
            "moved_at": iso_time(origin.moved_ms),
            "produced_at": iso_time(origin.produced_ms),
            "receive_count": origin.receives,
        }


def attribute_value(kind: str, value: str | bytes) -> Any:
    """Return an attribute as JSON has it: a string or a whole number as such, and everything else with its type."""
    if kind == "String":
        return value
    if kind == "Number" and isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value):
        return int(value)
    return {"type": kind, "value": b64encode(value).decode() if isinstance(value, bytes) else value}


def claimed_objects(messages: Sequence[Message]) -> list[MessageObject]:
    """Do what `message_object` does for all messages of a claim, in half the time for each if there are many."""
    if len(messages) < _MANY_MESSAGES:
        return list(map(message_object, messages))
    ids, bodies, statuses, receipts, receives, produced_ms, due_ms, queues, _, _, envelope = zip(*messages, strict=True)
    if any(envelope):
        return list(map(message_object, messages))
    times = map(iso_time, produced_ms), map(iso_time, due_ms)
    return list(map(MessageObject, ids, bodies, statuses, receives, *times, queues, receipts))


@lru_cache(1024)  # those of one batch are all the same
def iso_time(time_ms: int) -> str:
    """Milliseconds since 1970 as ISO 8601 in UTC."""
    moment = gmtime(time_ms // 1000)
    # %Y gives the year 1 one digit
    return f"{moment.tm_year:04}{strftime('-%m-%dT%H:%M:%S', moment)}.{time_ms % 1000:03d}Z"


def to_ms(seconds: float) -> int:
    return round(seconds * 1000)
