"""What answers hold, as types: what `wonderq.openapi.document` tells clients. Tests compare real answers with them.

The answers themselves are written without these, since they are on the way of every request.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from msgspec import UNSET, Meta, Struct, UnsetType, defstruct, field
from msgspec.structs import fields

from wonderq.model.status import STATUS_BY_NAME
from wonderq.rest.schemas import (
    EXAMPLE_REDRIVE_ID,
    Attributes,
    Cron,
    Group,
    MessageId,
    Missed,
    Priority,
    PutQueue,
    Receipt,
    Status,
    Text,
    Timezone,
    Traceparent,
    Tracestate,
)

Time = Annotated[
    str, Meta(description="In UTC, as ISO 8601 with milliseconds.", extra_json_schema={"format": "date-time"})
]
Count = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0)]
HTTPStatus = Annotated[int, Meta(description="The same as the status of the answer.", ge=400, le=599)]


_Duplicates = Annotated[
    list[Count], Meta(description="The indexes of those that were not added, since their keys were used before.")
]


class Produced(Struct):
    id: MessageId
    message: Text
    status: Literal["unprocessed"]
    status_code: Literal[201] = field(name="statusCode")
    duplicate: (
        Annotated[
            Literal[True], Meta(description="Nothing was added: the key was used before, for the message with this id.")
        ]
        | UnsetType
    ) = UNSET


class BatchProduced(Struct):
    ids: Annotated[list[MessageId], Meta(description="In the order of the messages.")]
    status: Literal["unprocessed"]
    status_code: Literal[201] = field(name="statusCode")
    duplicates: _Duplicates | UnsetType = UNSET


class HandedOver(Struct):
    success: Literal[True]
    ids: Annotated[list[MessageId], Meta(description="Of the new messages, in their order.")]
    status_code: Literal[201] = field(name="statusCode")
    duplicates: _Duplicates | UnsetType = UNSET


class Kicked(Struct):
    success: Literal[True]
    kicked: Annotated[Count, Meta(description="How many messages.")]


class DeadLetter(Struct):
    """Where a dead letter came from, and why."""

    queue: str
    id: Annotated[MessageId, Meta(description="That it had there.")]
    reason: str
    moved_at: Time
    produced_at: Annotated[Time, Meta(description="When it was first produced.")]
    receive_count: Annotated[Count, Meta(description="How often it was claimed there.")]


class Message(Struct):
    id: MessageId
    message: Text
    status: Status
    receive_count: Annotated[Count, Meta(description="How often it was claimed.")]
    produced_at: Time
    claimed_until: Annotated[Time | None, Meta(description="When its claim ends; null unless it is `processing`.")]
    queue: str
    receipt: Annotated[Receipt, Meta(description="Of this claim; only for the consumer that made it.")] | UnsetType = (
        UNSET
    )
    delayed_until: Annotated[Time, Meta(description="When it can be consumed, if it is `delayed`.")] | UnsetType = UNSET
    version: (
        Annotated[int, Meta(ge=2, description="How often its text or attributes were set. Not there if once.")]
        | UnsetType
    ) = UNSET
    attributes: Attributes | UnsetType = UNSET
    group: Group | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    idempotency_key: str | UnsetType = UNSET
    traceparent: Traceparent | UnsetType = UNSET
    tracestate: Tracestate | UnsetType = UNSET
    dead_letter: DeadLetter | UnsetType = UNSET


class Success(Struct):
    success: Literal[True]


class Purged(Struct):
    success: Literal[True]
    deleted: Annotated[Count, Meta(description="How many messages there were.")]


class Counted(Struct):
    count: Count
    status: Status


#: The settings of a queue are what can be given for one, and all are there.
Settings = defstruct(
    "Settings", [(each.name, get_args(each.type)[0]) for each in fields(PutQueue)], namespace={"__module__": __name__}
)


class Queue(Struct):
    queue: str
    settings: Settings  # type: ignore[valid-type]
    created_at: Time
    counts: Annotated[
        dict[str, Count], Meta(description="Messages by status.", extra_json_schema={"required": list(STATUS_BY_NAME)})
    ]
    bytes: Annotated[Count, Meta(description="Of all its messages, as they are stored.")]
    newest_id: Annotated[
        str | None,
        Meta(
            description="Of the message produced last, also if it is gone. List `after` it to see what comes from now on."
        ),
    ]
    oldest_age: Annotated[Seconds | None, Meta(description="Age of the oldest message, in seconds.")]


class Health(Struct):
    status: Literal["ok", "ready"]


class ErrorDetails(Struct):
    code: Annotated[str, Meta(description="What went wrong. Codes do not change.")]
    message: Annotated[str, Meta(description="The same for people, with what to do about it. It may change.")]
    field: Annotated[str, Meta(description="The field that is to blame, if one is.")] | UnsetType = UNSET


class Error(Struct):
    """The one shape of every error."""

    success: Literal[False]
    status_code: HTTPStatus = field(name="statusCode")
    error: ErrorDetails


class Result(Struct):
    """What became of one entry of a batch: with the id or the receipt that was given, and an error if it failed."""

    success: bool
    id: MessageId | UnsetType = UNSET
    receipt: Annotated[Receipt, Meta(description="As it was given.")] | UnsetType = UNSET
    status_code: (
        Annotated[HTTPStatus, Meta(description="That it would have had as a call of its own, if it failed.")]
        | UnsetType
    ) = field(name="statusCode", default=UNSET)
    error: ErrorDetails | UnsetType = UNSET


class Results(Struct):
    success: Annotated[bool, Meta(description="Whether all was done.")]
    results: Annotated[list[Result], Meta(description="One for each entry, in the same order.")]


class RedriveTask(Struct):
    """Messages of a queue on their way to others."""

    id: Annotated[str, Meta(examples=[EXAMPLE_REDRIVE_ID])]
    queue: Annotated[str, Meta(description="Where the messages are moved from.")]
    destination: Annotated[str | None, Meta(description="Null: each goes back to where it came from.")]
    status: Literal["running", "completed", "cancelled", "failed"]
    moved: Annotated[Count, Meta(description="How many messages by now; in a dry run, how many would be.")]
    skipped: Annotated[
        Count,
        Meta(
            description=(
                "How many it came to and left: others than were asked for, those that do not say where they came from, or "
                "whose queue is gone, and those that were claimed or delayed just then."
            )
        ),
    ]
    total: Annotated[Count, Meta(description="How many messages waited or were buried when it began.")]
    dry_run: bool
    per_second: int | None
    limit: int | None
    contains: str | None
    attribute: str | None
    started_at: Time
    ended_at: Time | None
    failure: Annotated[str | None, Meta(description="Why it failed.")]


class Schedule(Struct):
    name: str
    cron: Cron
    timezone: Timezone
    queue: str
    message: Text
    missed: Missed
    paused: bool
    created_at: Time
    next_at: Annotated[Time | None, Meta(description="When it is due next; null if it is paused.")]
    last_at: Annotated[Time | None, Meta(description="The last time for which there is a message.")]
    failure: Annotated[str | None, Meta(description="Why there is none for the time after that.")]
    attributes: Attributes | UnsetType = UNSET
    group: Group | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    delay: Annotated[Seconds, Meta(description="How long the messages are hidden, in seconds.")] | UnsetType = UNSET
