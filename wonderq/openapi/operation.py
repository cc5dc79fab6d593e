"""One call in the API document: the type of its row, and values that rows share."""

from __future__ import annotations

from typing import Any, NamedTuple

from msgspec import Struct

from wonderq.openapi import response_schemas
from wonderq.rest import schemas
from wonderq.rest.field_types import EXAMPLE_RECEIPT


class Response(NamedTuple):
    """A response of a call that succeeds."""

    schema: Any
    """A type, a list of one, or a tuple of alternatives; a string is a media type without schema. None: no body."""
    example: Any = None
    meaning: str = "Done."
    json_only: bool = False


class Operation(NamedTuple):
    """One method of one path."""

    method: str
    path: str
    id: str
    """The ``operationId``. The same call on a queue in the path has the suffix ``InQueue``."""
    tag: str
    summary: str
    responses: dict[int, Response]
    codes: tuple[str, ...] = ()
    """Error codes of this call, besides those that every call has."""
    description: str = ""
    query: type[Struct] = schemas.Body
    body: type[Struct] | None = None
    body_required: bool = False
    examples: dict[str, Any] = {}  # noqa: RUF012 - never changed
    """Valid fields by title: of the body, or of the query string if the call has no body."""


LOG_CODES = ("log_failed", "log_lost", "log_damaged")
READ_CODES = ("queue_not_found", *LOG_CODES)
WRITE_CODES = (*READ_CODES, "shutting_down", "disk_full")
ROOM_CODES = ("too_many_queues", "queue_full", "broker_full", "too_many_keys", "queue_draining")
WAIT_CODES = ("too_many_waiting_consumers", "too_many_in_flight")
RECEIPT_CODES = ("message_not_found", "stale_receipt", "invalid_value")

SUCCESS = Response(response_schemas.Success, {"success": True})
RESULTS = Response(
    response_schemas.Results,
    {
        "success": False,
        "results": [
            {"receipt": EXAMPLE_RECEIPT, "success": True},
            {
                "receipt": "0" * 40,
                "success": False,
                "statusCode": 400,
                "error": {
                    "code": "invalid_value",
                    "message": "This is not a receipt: use the one that consume returned.",
                    "field": "receipt",
                },
            },
        ],
    },
    "The result of each entry. Entries succeed or fail independently.",
)

EITHER = "Give the fields in the body or in the query string, but not in both."
