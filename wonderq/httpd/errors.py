"""The one shape of errors over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from wonderq.httpd.counters import refusals

JSON = "application/json"

encode_json = msgspec.json.Encoder().encode


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
