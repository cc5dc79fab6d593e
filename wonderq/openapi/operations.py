"""Every call of the HTTP API, with what it takes and what it gives: the table that `wonderq.openapi.document` makes its document from.

Paths are as in `wonderq.auth.access.RULES`, where the roles are. A test compares both with the routes that there are.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from msgspec import Struct

from wonderq.openapi import answer_schemas
from wonderq.rest import schemas
from wonderq.rest.schemas import EXAMPLE_ID, EXAMPLE_RECEIPT, EXAMPLE_REDRIVE_ID

TAGS = {
    "Messages": "On the queue `default`. Each call is also there for any queue, under `/queues/{queue}`.",
    "Messages of a queue": "The same, on the queue in the path.",
    "Queues": "Making, looking at, emptying and deleting them.",
    "Redrive": "Bringing dead letters back to where they came from, or moving messages elsewhere.",
    "Schedules": "Messages that are produced again and again.",
    "Health": "For load balancers, supervisors and Prometheus.",
    "Documentation": "What you are reading.",
}


class Answer(NamedTuple):
    """What a call gives when it succeeds."""

    schema: Any
    """A type, a list of one, or several types of which it is one; or a media type of what is no value."""
    example: Any = None
    meaning: str = "Done."
    json_only: bool = False


class Operation(NamedTuple):
    """One method of one path."""

    method: str
    path: str
    id: str
    """Its ``operationId``. On a queue in the path it gets ``InQueue`` at the end."""
    tag: str
    summary: str
    answers: dict[int, Answer]
    codes: tuple[str, ...] = ()
    """Of the errors that it may be answered with, besides those of every call."""
    description: str = ""
    query: type[Struct] = schemas.Body
    body: type[Struct] | None = None
    body_required: bool = False
    examples: dict[str, Any] = {}  # noqa: RUF012 - never changed
    """Fields that work, by what they are for: in the body, or else in the query string."""


_READ_CODES = ("queue_not_found", "log_failed", "log_damaged")
_WRITE_CODES = (*_READ_CODES, "shutting_down", "disk_full")
_ROOM_CODES = ("too_many_queues", "queue_full", "broker_full", "too_many_keys", "queue_draining")
_RECEIPT_CODES = ("message_not_found", "stale_receipt", "invalid_value")

_MESSAGE = {
    "id": EXAMPLE_ID,
    "message": "resize cat.png",
    "status": "processing",
    "receive_count": 1,
    "produced_at": "2026-11-24T04:18:36.314Z",
    "claimed_until": "2026-11-24T04:19:36.325Z",
    "queue": "default",
}
_QUEUE = {
    "queue": "mail",
    "settings": {
        "visibility_timeout": 60,
        "delay": 0,
        "retention": 0,
        "max_messages": 0,
        "max_bytes": 0,
        "max_message_bytes": 0,
        "max_receives": 5,
        "dead_letter_queue": "mail-dead",
        "paused": False,
        "draining": False,
        "content_deduplication": False,
        "deduplication_window": 300,
        "deduplication_per_group": False,
        "max_in_flight": 0,
        "max_in_flight_per_group": 0,
        "max_claims_per_second": 0,
        "max_claims_per_second_per_group": 0,
        "tags": {},
    },
    "created_at": "2026-11-24T04:18:30.127Z",
    "counts": {"unprocessed": 12, "processing": 3, "delayed": 0, "buried": 0},
    "bytes": 4410,
    "newest_id": EXAMPLE_ID,
    "oldest_age": 41.5,
}
_SUCCESS = Answer(answer_schemas.Success, {"success": True})
_RESULTS = Answer(
    answer_schemas.Results,
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
    "Each entry was done or refused by itself: look at its result.",
)
_CLAIMED = Answer(
    list[answer_schemas.Message],
    [{**_MESSAGE, "receipt": EXAMPLE_RECEIPT}],
    "The messages that were claimed, the oldest first; an empty array if there were none.",
)
_LISTED = Answer(
    list[answer_schemas.Message], [_MESSAGE], "Message objects, the oldest first. Always JSON.", json_only=True
)

_CONSUME = (
    "Nobody else gets these messages until the timeout is over. Delete each with its receipt when the work is done, or renew "
    "the claim. At most 16 MiB of messages at a time."
)
_UPDATE = (
    "With no field, or `receipt` alone, it renews the claim from now, by the timeout it was claimed with or last renewed by. "
    "`visibility_timeout` renews by so much; 0 gives the message back at once. `delay` takes it from whoever holds it, and "
    "hides it; so does `backoff`, for longer each time. `bury` keeps it aside until it is kicked. Of these only one can be given. "
    "`message` and `attributes` replace what it has, and by themselves leave the claim as it is. Without a receipt it acts on "
    "the message whoever holds it, and needs a key with the role `admin`.\n\n"
    "This call also has a method of its own, `UPDATE`, which OpenAPI cannot describe; `PUT` and `PATCH` are the same."
)
_EITHER = "Fields may be given in the body or in the query string, not in both."
_DELETE = "With a receipt, only if that claim is still the newest. Without one, whoever holds it; that needs the role `admin`."


def _update(method: str, operation_id: str, description: str) -> Operation:
    return Operation(
        method,
        "/messages/{message_id}",
        operation_id,
        "Messages",
        "Renew, release, delay or change a message.",
        {200: _SUCCESS},
        (
            *_RECEIPT_CODES,
            "not_claimed",
            "version_conflict",
            "message_too_large",
            "batch_too_large",
            "queue_full",
            "broker_full",
            *_WRITE_CODES,
        ),
        f"{description}\n\n{_EITHER}",
        schemas.Update,
        schemas.Update,
        examples={
            "renew by a minute": {"receipt": EXAMPLE_RECEIPT, "visibility_timeout": 60},
            "give back": {"receipt": EXAMPLE_RECEIPT, "visibility_timeout": 0},
            "try again in ten minutes": {"receipt": EXAMPLE_RECEIPT, "delay": 600},
            "try again, later each time": {"receipt": EXAMPLE_RECEIPT, "backoff": 5},
            "give up": {"receipt": EXAMPLE_RECEIPT, "bury": True},
        },
    )


_OF_MESSAGES = [
    Operation(
        "POST",
        "/messages/produce",
        "produce",
        "Messages",
        "Add a message, or a batch of them.",
        {
            201: Answer(
                (answer_schemas.Produced, answer_schemas.BatchProduced),
                {"id": EXAMPLE_ID, "message": "resize cat.png", "status": "unprocessed", "statusCode": 201},
                "They are in the log, on the disk.",
            )
        },
        ("message_too_large", "batch_too_large", *_ROOM_CODES, *_WRITE_CODES),
        "Either `message`, or `messages`: 1 to 1000 of them, of which all are added or none. Beside `messages` only `delay` and "
        "`idempotency_key` may be given; the rest belongs to each message.",
        body=schemas.Produce,
        body_required=True,
        examples={
            "one": {"message": "resize cat.png"},
            "one, in a minute": {"message": "resize cat.png", "delay": 60},
            "one that is more": {
                "message": "resize cat.png",
                "attributes": {"tenant": "acme"},
                "group": "acme",
                "priority": 5,
                "idempotency_key": "upload-8123",
            },
            "a batch": {"messages": ["resize cat.png", {"message": "resize dog.png", "delay": 60}]},
        },
    ),
    Operation(
        "GET",
        "/messages/consume",
        "consume",
        "Messages",
        "Claim messages.",
        {200: _CLAIMED},
        ("invalid_value", "too_many_waiting_consumers", "too_many_in_flight", "too_many_keys", *_WRITE_CODES),
        _CONSUME,
        schemas.Consume,
        examples={"wait for some": {"max": 10, "wait": 20, "visibility_timeout": 60}},
    ),
    Operation(
        "POST",
        "/messages/consume",
        "claim",
        "Messages",
        "Claim messages, as with `GET`.",
        {200: _CLAIMED},
        ("invalid_value", "too_many_waiting_consumers", "too_many_in_flight", "too_many_keys", *_WRITE_CODES),
        f"{_CONSUME}\n\n{_EITHER}",
        schemas.Consume,
        schemas.Consume,
        examples={"wait for some": {"max": 10, "wait": 20, "visibility_timeout": 60}},
    ),
    Operation(
        "GET",
        "/messages/{message_id}",
        "getMessage",
        "Messages",
        "Look at a message, without touching it.",
        {200: Answer(answer_schemas.Message, _MESSAGE, "The message.")},
        ("message_not_found", *_READ_CODES),
    ),
    Operation(
        "DELETE",
        "/messages/{message_id}",
        "deleteMessage",
        "Messages",
        "Delete a message.",
        {200: _SUCCESS},
        (*_RECEIPT_CODES, *_WRITE_CODES),
        f"{_DELETE}\n\n{_EITHER}",
        schemas.Delete,
        schemas.Delete,
        examples={"with the receipt of its claim": {"receipt": EXAMPLE_RECEIPT}},
    ),
    _update("PUT", "updateMessage", _UPDATE),
    _update("PATCH", "patchMessage", "The same as `PUT`, and as `UPDATE`."),
    Operation(
        "POST",
        "/messages/delete",
        "deleteMessages",
        "Messages",
        "Delete up to 1000 messages.",
        {200: _RESULTS},
        ("batch_too_large", *_WRITE_CODES),
        "Either `receipts`, or `ids`. " + _DELETE,
        body=schemas.DeleteBatch,
        body_required=True,
        examples={"by receipt": {"receipts": [EXAMPLE_RECEIPT]}, "by id": {"ids": [EXAMPLE_ID]}},
    ),
    Operation(
        "POST",
        "/messages/update",
        "updateMessages",
        "Messages",
        "Renew, release, delay or change up to 1000 messages.",
        {200: _RESULTS},
        ("message_too_large", "batch_too_large", "queue_full", "broker_full", *_WRITE_CODES),
        "Each entry has an `id` or a `receipt`, and the fields of an update. A message may be in it only once.",
        body=schemas.UpdateBatch,
        body_required=True,
        examples={"give back": {"entries": [{"receipt": EXAMPLE_RECEIPT, "visibility_timeout": 0}]}},
    ),
    Operation(
        "POST",
        "/messages/hand-over",
        "handOver",
        "Messages",
        "Delete messages and produce what comes of them, at once.",
        {
            201: Answer(
                answer_schemas.HandedOver,
                {"success": True, "ids": [EXAMPLE_ID], "statusCode": 201},
                "It is done; had one receipt not counted any more, nothing would have been.",
            )
        },
        (*_RECEIPT_CODES, "message_too_large", "batch_too_large", "invalid_queue_name", *_ROOM_CODES, *_WRITE_CODES),
        "So work that leads to more work is neither lost in between nor done twice. A key needs the role `produce` too, for each "
        "queue that gets something.",
        body=schemas.HandOver,
        body_required=True,
        examples={
            "on to the next queue": {
                "receipts": [EXAMPLE_RECEIPT],
                "produce": [{"queue": "mail", "message": "cat.png is ready"}],
            }
        },
    ),
    Operation(
        "POST",
        "/messages/kick",
        "kick",
        "Messages",
        "Let buried messages be consumed again.",
        {200: Answer(answer_schemas.Kicked, {"success": True, "kicked": 3})},
        ("invalid_value", *_WRITE_CODES),
        "The oldest first, up to `max`. They count as never received. To kick a certain one, update it with a `delay` of 0.\n\n"
        + _EITHER,
        schemas.Kick,
        schemas.Kick,
        examples={"a hundred": {"max": 100}},
    ),
    Operation(
        "GET",
        "/dev/messages",
        "listMessages",
        "Messages",
        "List the messages of a queue, without touching them.",
        {200: _LISTED},
        ("invalid_value", "too_many_listings", *_READ_CODES),
        "Streamed, whatever its length. For the next page, ask `after` the last id.",
        schemas.Listing,
        examples={"a page": {"limit": 100}, "search": {"contains": "cat", "attribute": "tenant=acme", "limit": 100}},
    ),
    Operation(
        "GET",
        "/dev/messages/status",
        "listMessagesByStatus",
        "Messages",
        "List the messages of one status.",
        {200: _LISTED},
        ("invalid_value", "too_many_listings", *_READ_CODES),
        "Streamed, whatever its length. For the next page, ask `after` the last id.",
        schemas.StatusListing,
        examples={"what is being worked on": {"status": "processing", "limit": 100}},
    ),
    Operation(
        "GET",
        "/dev/messages/count",
        "countMessages",
        "Messages",
        "Count the messages of one status.",
        {200: Answer(answer_schemas.Counted, {"count": 12, "status": "unprocessed"}, "How many there are.")},
        ("invalid_value", *_READ_CODES),
        query=schemas.Count,
        examples={"what waits": {"status": "unprocessed"}},
    ),
]


def _in_queue(operation: Operation) -> Operation:
    """Return the same call on a queue in the path."""
    return operation._replace(
        path="/queues/{queue}" + operation.path,
        id=operation.id + "InQueue",
        tag="Messages of a queue",
        codes=(*operation.codes, "invalid_queue_name") if operation.id == "produce" else operation.codes,
    )


def _health(method: str, path: str, operation_id: str, status: str, summary: str, codes: tuple[str, ...]) -> Operation:
    answer = Answer(None) if method == "HEAD" else Answer(answer_schemas.Health, {"status": status})
    return Operation(method, path, operation_id, "Health", summary, {200: answer}, codes)


_REDRIVEN = {
    "id": EXAMPLE_REDRIVE_ID,
    "queue": "dead",
    "destination": None,
    "status": "running",
    "moved": 1200,
    "skipped": 3,
    "total": 4110,
    "dry_run": False,
    "per_second": 100,
    "limit": None,
    "contains": None,
    "attribute": "tenant=acme",
    "started_at": "2026-11-24T04:18:36.314Z",
    "ended_at": None,
    "failure": None,
}
_REDRIVE = [
    Operation(
        "POST",
        "/queues/{queue}/redrive",
        "startRedrive",
        "Redrive",
        "Begin to move the messages of a queue.",
        {202: Answer(answer_schemas.RedriveTask, _REDRIVEN, "It goes on by itself, also after a restart.")},
        ("redrive_running", "invalid_value", *_WRITE_CODES),
        "Moves the messages that wait or are buried now, not those that are claimed or delayed. Each is gone here and new there "
        "at one moment, whatever limits the other queue has. Without a `destination` a dead letter goes back to where it came "
        "from, if that queue is there; a key has to open all queues for that, and else the destination too.\n\n"
        + _EITHER,
        schemas.Redrive,
        schemas.Redrive,
        examples={
            "some of them, slowly": {"destination": "default", "per_second": 100, "attribute": "tenant=acme"},
            "what would be moved": {"dry_run": True},
        },
    ),
    Operation(
        "GET",
        "/queues/{queue}/redrive",
        "listRedrives",
        "Redrive",
        "List the redrives of a queue.",
        {
            200: Answer(
                list[answer_schemas.RedriveTask],
                [_REDRIVEN],
                "The newest first: the one that is under way, if one is, and the last ten that ended.",
            )
        },
        _READ_CODES,
    ),
    Operation(
        "GET",
        "/queues/{queue}/redrive/{redrive_id}",
        "getRedrive",
        "Redrive",
        "Look how far a redrive is.",
        {200: Answer(answer_schemas.RedriveTask, _REDRIVEN, "The redrive.")},
        ("redrive_not_found", *_READ_CODES),
    ),
    Operation(
        "DELETE",
        "/queues/{queue}/redrive/{redrive_id}",
        "cancelRedrive",
        "Redrive",
        "Cancel a redrive.",
        {200: Answer(answer_schemas.RedriveTask, {**_REDRIVEN, "status": "cancelled"}, "As it is by now.")},
        ("redrive_not_found", *_WRITE_CODES),
        "What was moved stays moved. One that has ended stays as it is.",
    ),
]

_SCHEDULE = {
    "name": "nightly",
    "cron": "30 4 * * *",
    "timezone": "Europe/Vienna",
    "queue": "mail",
    "message": "send the reports",
    "missed": "once",
    "paused": False,
    "created_at": "2026-11-24T04:18:36.314Z",
    "next_at": "2026-11-25T03:30:00.000Z",
    "last_at": None,
    "failure": None,
}
_SCHEDULES = [
    Operation(
        "GET",
        "/schedules",
        "listSchedules",
        "Schedules",
        "List the schedules whose queues the key opens.",
        {200: Answer(list[answer_schemas.Schedule], [_SCHEDULE], "By name.")},
        ("log_failed", "log_damaged"),
    ),
    Operation(
        "GET",
        "/schedules/{schedule}",
        "getSchedule",
        "Schedules",
        "Look at a schedule.",
        {200: Answer(answer_schemas.Schedule, _SCHEDULE, "The schedule.")},
        ("schedule_not_found", *_READ_CODES),
    ),
    Operation(
        "PUT",
        "/schedules/{schedule}",
        "putSchedule",
        "Schedules",
        "Make a schedule, or change one.",
        {
            200: Answer(answer_schemas.Schedule, _SCHEDULE, "It was there: the schedule as it is now."),
            201: Answer(answer_schemas.Schedule, _SCHEDULE, "It was made: the schedule."),
        },
        ("too_many_schedules", "invalid_queue_name", "message_too_large", "batch_too_large", *_WRITE_CODES),
        "A new one needs `cron`, `queue` and `message`; what is not given stays as it was. Each time has its message once, "
        "also if the broker is killed. Its attributes `schedule` and `scheduled_at` say what it is of.",
        body=schemas.PutSchedule,
        body_required=True,
        examples={
            "every night": {
                "cron": "30 4 * * *",
                "timezone": "Europe/Vienna",
                "queue": "mail",
                "message": "send the reports",
                "missed": "once",
            },
            "pause": {"paused": True},
        },
    ),
    Operation(
        "DELETE",
        "/schedules/{schedule}",
        "deleteSchedule",
        "Schedules",
        "Delete a schedule.",
        {200: _SUCCESS},
        ("schedule_not_found", *_WRITE_CODES),
        "The messages that it has produced stay.",
    ),
]

OPERATIONS = [
    *_OF_MESSAGES,
    *map(_in_queue, _OF_MESSAGES),
    Operation(
        "GET",
        "/queues",
        "listQueues",
        "Queues",
        "List the queues that the key opens.",
        {200: Answer(list[answer_schemas.Queue], [_QUEUE], "Queue objects.")},
        ("log_failed", "log_damaged"),
    ),
    Operation(
        "GET",
        "/queues/{queue}",
        "getQueue",
        "Queues",
        "Look at a queue.",
        {200: Answer(answer_schemas.Queue, _QUEUE, "The queue.")},
        _READ_CODES,
    ),
    Operation(
        "PUT",
        "/queues/{queue}",
        "putQueue",
        "Queues",
        "Make a queue, or change its settings.",
        {
            200: Answer(answer_schemas.Queue, _QUEUE, "It was there: the queue as it is now."),
            201: Answer(answer_schemas.Queue, _QUEUE, "It was made: the queue."),
        },
        (
            "invalid_queue_name",
            "invalid_value",
            "too_many_queues",
            "log_failed",
            "log_damaged",
            "shutting_down",
            "disk_full",
        ),
        f"What is not given stays as it was.\n\n{_EITHER}",
        schemas.PutQueue,
        schemas.PutQueue,
        examples={
            "claims of a minute": {"visibility_timeout": 60, "delay": 0},
            "five tries": {"max_receives": 5, "dead_letter_queue": "mail-dead"},
        },
    ),
    Operation(
        "DELETE",
        "/queues/{queue}",
        "deleteQueue",
        "Queues",
        "Delete a queue with all its messages.",
        {200: _SUCCESS},
        ("queue_not_deletable", *_WRITE_CODES),
    ),
    Operation(
        "POST",
        "/queues/{queue}/purge",
        "purgeQueue",
        "Queues",
        "Delete all messages of a queue, claimed ones too.",
        {200: Answer(answer_schemas.Purged, {"success": True, "deleted": 15})},
        _WRITE_CODES,
    ),
    _health("GET", "/healthz", "getHealth", "ok", "Ask whether the process answers.", ()),
    _health("HEAD", "/healthz", "headHealth", "ok", "Ask the same without an answer's body.", ()),
    _health("GET", "/readyz", "getReadiness", "ready", "Ask whether the broker takes work.", ("not_ready",)),
    _health("HEAD", "/readyz", "headReadiness", "ready", "Ask the same without an answer's body.", ("not_ready",)),
    Operation(
        "GET",
        "/metrics",
        "metrics",
        "Health",
        "Get what there is to watch, for Prometheus.",
        {200: Answer("text/plain", meaning="Prometheus' text format.")},
    ),
    Operation(
        "GET",
        "/",
        "home",
        "Documentation",
        "Be sent to `/docs`.",
        {302: Answer(None, meaning="`Location` is `/docs`.")},
    ),
    Operation(
        "GET",
        "/docs",
        "docs",
        "Documentation",
        "Read this as a page.",
        {200: Answer("text/html", meaning="A page that needs nothing from elsewhere.")},
    ),
    Operation(
        "GET",
        "/openapi.json",
        "openapi",
        "Documentation",
        "Get this as an OpenAPI 3.1 document.",
        {200: Answer("application/json", meaning="The document.")},
    ),
    *_REDRIVE,
    *_SCHEDULES,
]
