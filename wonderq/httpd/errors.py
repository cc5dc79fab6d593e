"""Error objects of the HTTP API. Every error has the same shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from wonderq.httpd.counters import refusals

JSON = "application/json"
MSGPACK = "application/msgpack"

encode_json = msgspec.json.Encoder().encode


class RequestError(Exception):
    """A request that is rejected before the broker acts on it; becomes a response with ``status``."""

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


class ResponseCutError(Exception):
    """A response that has begun cannot be sent to its end. The text is the reason.

    The server closes the connection, so that the client sees that the rest is missing, and logs the reason.
    """


class ErrorResponse(NamedTuple):
    """The response to a request that is rejected."""

    status: int
    media_type: str
    body: bytes
    headers: Mapping[str, str]


RenderError = Callable[[str, str, Mapping[str, str], RequestError], ErrorResponse | None]
"""Renders the error of a request, given as method, decoded path and headers like those of `wonderq.httpd.head.Head`.

Returns None for the error object of the HTTP API. A request that cannot be parsed has the parts that are known."""


def error_response(status: int, code: str, message: str, field: str | None = None) -> dict[str, Any]:
    """Return the error object for a request or connection that is refused, and count the refusal by its code.

    Failed entries of a batch that otherwise succeeds are not refusals: use `error_object` for those.
    """
    refusals[code] += 1
    return error_object(status, code, message, field)


def error_object(status: int, code: str, message: str, field: str | None = None) -> dict[str, Any]:
    """Return an error object, without counting it."""
    error = {"code": code, "message": message}
    if field is not None:
        error["field"] = field
    return {"success": False, "statusCode": status, "error": error}
