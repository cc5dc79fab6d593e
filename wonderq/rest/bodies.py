"""Bytes to values and back: JSON or msgpack, whichever the client speaks, and the one shape of errors."""

from __future__ import annotations

import re
import threading
from collections.abc import Hashable
from functools import cache
from typing import Any, TypeVar, cast

import falcon
import msgspec

from wonderq.httpd.errors import JSON, RequestError, encode_json

MSGPACK = "application/msgpack"

_T = TypeVar("_T", bound=msgspec.Struct)
_encode_msgpack = msgspec.msgpack.Encoder().encode


#: Whoever sends a megabyte of a name need not get it back.
_NAME_CHARACTERS = 100

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
        resp.data = encode_json(value) + b"\n"  # for people at a prompt
    resp.status = status
