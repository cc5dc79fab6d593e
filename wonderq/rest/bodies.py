"""Decode request bodies and query strings, and encode responses, as JSON or msgpack."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, TypeVar

import falcon
import msgspec

from wonderq.httpd.errors import JSON, MSGPACK, RequestError, encode_json
from wonderq.httpd.room import whole_body
from wonderq.httpd.structure import UNCHECKED_BYTES, Bounds, check_structure
from wonderq.model.bounds import ESCAPED_BYTES
from wonderq.model.limits import Limits
from wonderq.rest import schemas, topic_schemas
from wonderq.rest.explain import explain
from wonderq.rest.masks import check_written
from wonderq.rest.schemas import Attributes
from wonderq.runtime.fibers import took

_T = TypeVar("_T", bound=msgspec.Struct)
encode_msgpack = msgspec.msgpack.Encoder().encode

#: Error messages repeat at most this many characters of a name that the client sent.
_NAME_CHARACTERS = 100

#: Most values of one entry of a batch, or of any other request: its fields, and 64 attributes that state their types.
_VALUES_PER_ENTRY = 256

#: Bytes in which entries are found, without being decoded, in a step of `took`.
_SCANNED_BYTES_PER_STEP = 1000

#: Characters of a message of msgspec that are read, at its beginning and at its end.
_ERROR_CHARACTERS = 2000

#: The lists of a batch by the type of the request.
ENTRIES = schemas.ENTRIES | topic_schemas.ENTRIES

_inspection_lock = threading.Lock()


def _make_decoders(schema: Any) -> dict[str, Any]:
    # msgspec inspects a type when it is first used, and crashes if two threads do that at the same time (0.22).
    with _inspection_lock:
        return {JSON: msgspec.json.Decoder(schema), MSGPACK: msgspec.msgpack.Decoder(schema)}


_decoders: Callable[[Any], dict[str, Any]] = cache(_make_decoders)


def read_body(req: falcon.Request, schema: type[_T], limits: Limits) -> _T:
    """Decode a request's body as ``schema``.

    Raises:
        RequestError: the body is missing or malformed, has another media type or does not match the schema, the body
            has more values than the limits allow, or the request has a query string too.
        BatchTooLargeError: a large body is a batch of too many entries.
    """
    if req.params:
        raise RequestError(
            400, "ambiguous_request", "The request has fields in both body and query string. Give all in the body."
        )
    data = whole_body(req.env)
    if not data:
        raise RequestError(400, "empty_body", "The request has no body. Send a JSON object.")
    check_written(req, data)
    decoders, media_type = _decoders(schema), req.content_type or ""
    if media_type not in decoders:  # it has a parameter, or capitals
        media_type = media_type_of(media_type)
    decoder = decoders.get(media_type)
    if decoder is None:
        raise RequestError(
            415,
            "unsupported_media_type",
            f"The body's Content-Type is {media_type[:_NAME_CHARACTERS] or 'missing'}. Send {JSON} or {MSGPACK}.",
        )
    if len(data) > UNCHECKED_BYTES:
        return _decode_large(data, media_type, schema, limits)
    value: _T = _decode(decoder, data, media_type, schema)
    return value


def media_type_of(content_type: str) -> str:
    """Return the media type that a ``Content-Type`` states: in lower case, without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def _decode(decoder: Any, data: Any, media_type: str, schema: type[msgspec.Struct], place: str = "") -> Any:
    """Decode a body, or the part of it at ``place``."""
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        raise _invalid(error, schema, place) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(400, "malformed_body", f"The body is not valid {media_type}: {error}.") from error


def _decode_large(data: bytes, media_type: str, schema: type[_T], limits: Limits) -> _T:
    """Decode a body in turns, each of which takes a few milliseconds."""
    string_bytes = ESCAPED_BYTES * limits.message_bytes + UNCHECKED_BYTES
    entry_bounds = Bounds(_VALUES_PER_ENTRY, string_bytes)
    lists = ENTRIES.get(schema)
    if lists is None:
        check_structure(data, media_type, entry_bounds._replace(values=_VALUES_PER_ENTRY + 2 * limits.batch_messages))
        value: _T = _decode(_decoders(schema)[media_type], data, media_type, schema)
        return value
    check_structure(data, media_type, Bounds(_VALUES_PER_ENTRY * (limits.batch_messages + 1), string_bytes))
    steps = len(data) // _SCANNED_BYTES_PER_STEP
    took(steps)  # a scan that takes long is done in a turn of its own
    outer = _decode(_decoders(_with_raw_entries(schema))[media_type], data, media_type, schema)
    took(steps)
    attributes = getattr(outer, "attributes", msgspec.UNSET)
    if isinstance(attributes, msgspec.Raw):
        check_structure(memoryview(attributes), media_type, entry_bounds)
        decoder = _decoders(Attributes)[media_type]
        outer.attributes = _decode(decoder, attributes, media_type, schema, "attributes")
    found = {name: getattr(outer, name) for name in lists if isinstance(getattr(outer, name), list)}
    limits.check_entries(sum(map(len, found.values())))  # before an object is made for each
    for name, raw in found.items():
        decoder, entries = _decoders(lists[name])[media_type], []
        for index, each in enumerate(raw):
            check_structure(memoryview(each), media_type, entry_bounds)
            entries.append(_decode(decoder, each, media_type, schema, f"{name}[{index}]"))
            took(30 + len(memoryview(each)) // 400)
        setattr(outer, name, entries)
    return schema(**{field: getattr(outer, field) for field in schema.__struct_fields__})


@cache
def _with_raw_entries(schema: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """Return a type like ``schema`` that leaves the entries of its lists, and attributes beside them, undecoded."""
    fields: list[tuple[str, Any, Any]] = []
    least = 0 if len(ENTRIES[schema]) > 1 else 1  # the only list of a batch is not empty
    entries = Annotated[list[msgspec.Raw], msgspec.Meta(min_length=least)]
    raw = {**dict.fromkeys(ENTRIES[schema], entries), "attributes": msgspec.Raw}
    for each in msgspec.structs.fields(schema):
        kind = raw.get(each.name, each.type)
        fields.append((each.name, kind | msgspec.UnsetType if each.default is msgspec.UNSET else kind, each.default))
    return msgspec.defstruct(schema.__name__, fields, kw_only=True, forbid_unknown_fields=True)


def read_optional_body(req: falcon.Request, schema: type[_T], limits: Limits) -> _T:
    """Decode the body if there is one, else the same fields from the query string.

    Raises:
        RequestError: as `read_body` and `read_query`.
    """
    if req.content_length or req.get_header("Transfer-Encoding"):
        return read_body(req, schema, limits)
    if req.method != "GET":
        check_written(req, str(req.params).encode())
    return read_query(req, schema)


def read_query(req: falcon.Request, schema: type[_T]) -> _T:
    """Decode the query string as ``schema``.

    Raises:
        RequestError: a field is unknown, given twice or does not match the schema, or the request has a body.
    """
    if req.content_length:
        raise RequestError(400, "unexpected_body", "This call takes no body. Give its fields in the query string.")
    for name, value in req.params.items():
        if isinstance(value, list):
            name = name[:_NAME_CHARACTERS]  # noqa: PLW2901
            raise RequestError(400, "invalid_value", f"{name} is given more than once. Give it once.", name)
    _decoders(schema)  # under the lock, so that `convert` is not the first use of the type
    try:
        return msgspec.convert(req.params, schema, strict=False)
    except msgspec.ValidationError as error:
        raise _invalid(error, schema) from error


_VALIDATION_ERROR = re.compile(r"(?P<text>.*?)(?: - at `(?P<key>key` in `)?\$(?P<path>[^`]*)`)?", re.DOTALL)
_RECEIVED = re.compile("got `([a-z]+)`")
_NAMED_FIELD = re.compile(r"Object (contains unknown|missing required) field `(.*)`", re.DOTALL)


def _invalid(error: msgspec.ValidationError, schema: type[msgspec.Struct], place: str = "") -> RequestError:
    """Translate an error of msgspec at ``place``, such as "Expected `str`, got `int` - at `$.message`"."""
    message = str(error)
    if len(message) > 2 * _ERROR_CHARACTERS:  # a name that the client sent may have megabytes
        message = message[:_ERROR_CHARACTERS] + message[-_ERROR_CHARACTERS:]
    found = _VALIDATION_ERROR.fullmatch(message)
    assert found is not None
    text, field = found["text"], (place + (found["path"] or "")).lstrip(".")
    named = _NAMED_FIELD.fullmatch(text)
    if named is None:
        received = _RECEIVED.search(text)
        message = explain(schema, field, is_key=bool(found["key"]), received=received[1] if received else "")
        return RequestError(400, "invalid_value", message, field or None)
    name = named[2][:_NAME_CHARACTERS]
    field = f"{field}.{name}" if field else name
    if named[1] == "contains unknown":
        known = f" Its fields are: {', '.join(schema.__struct_fields__) or 'none'}." if field == name else ""
        return RequestError(400, "unknown_field", f"This call has no field {field}.{known}", field)
    return RequestError(400, "missing_field", f"The field {field} is required.", field)


def accepts_msgpack(req: falcon.Request) -> bool:
    """Return whether the client wants the response in msgpack."""
    return MSGPACK in req.env.get("HTTP_ACCEPT", "")


def encoded(value: Any) -> msgspec.Raw:
    """Return a value in msgpack, as a part of a response to `render` in msgpack."""
    return msgspec.Raw(encode_msgpack(value))


def render(req: falcon.Request, resp: falcon.Response, value: Any, status: int = 200) -> None:
    """Set the response to a value, in the format that the client accepts."""
    resp.data, resp.content_type = body_of(req, value)
    resp.status = status


def body_of(req: falcon.Request, value: Any) -> tuple[bytes, str]:
    """Return the body of a response, in the format that the client accepts, and its media type."""
    if accepts_msgpack(req):
        return encode_msgpack(value), MSGPACK
    return encode_json(value) + b"\n", JSON  # so that a shell prompt starts on a new line
