"""Every call of the HTTP API: its fields, responses, error codes and examples.

`wonderq.openapi.document` builds the document from this table. `wonderq.auth.roles.RULES` has the roles, by the same
paths. Tests compare both with the routes of the application.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from msgspec import Struct

from wonderq.openapi import response_schemas
from wonderq.rest import schemas
from wonderq.rest.schemas import EXAMPLE_ID, EXAMPLE_RECEIPT, EXAMPLE_REDRIVE_ID

TAGS = {
    "Messages": "Calls on the queue `default`. Every other queue has the same calls under `/queues/{queue}`.",
    "Messages of a queue": "The same calls, on the queue in the path.",
    "Queues": "Create, configure, inspect, purge and delete queues.",
    "Redrive": "Move dead letters back to their source queues, or messages to another queue.",
    "Schedules": "Produce messages at fixed times.",
    "Overview": "Figures and problems of all queues, for people; the dashboard and `wonderq top` show them.",
    "Health": "Endpoints for load balancers, supervisors and Prometheus.",
    "Documentation": "This document.",
}


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


_READ_CODES = ("queue_not_found", "log_failed", "log_damaged")
_WRITE_CODES = (*_READ_CODES, "shutting_down", "disk_full")
_ROOM_CODES = ("too_many_queues", "queue_full", "broker_full", "too_many_keys", "queue_draining")
_WAIT_CODES = ("too_many_waiting_consumers", "too_many_in_flight")
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
_SUCCESS = Response(response_schemas.Success, {"success": True})
_RESULTS = Response(
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
_CLAIMED = Response(
    list[response_schemas.Message],
    [{**_MESSAGE, "receipt": EXAMPLE_RECEIPT}],
    "The claimed messages, oldest first; an empty array if none is available.",
)
_LISTED = Response(
    list[response_schemas.Message], [_MESSAGE], "Message objects, oldest first. Always JSON.", json_only=True
)

_CONSUME = (
    "No other consumer receives these messages until the visibility timeout ends. When the work is done, delete each "
    "message with its receipt; if the work takes longer, renew the claim. One call claims at most 16 MiB of messages."
)
_UPDATE = (
    "Without fields, or with `receipt` alone, the call renews the claim from now, with the timeout of the last claim "
    "or renewal. `visibility_timeout` renews it for that time; 0 releases the message at once. `delay` ends the claim "
    "and hides the message; `backoff` does the same for a time that grows with each receive. `bury` sets the message "
    "aside until it is kicked; `dead` makes it a dead letter. Give at most one of these.\n\n`error` is kept "
    "with the message, which shows the last one as `last_error`. `uncounted` undoes the receive of a claim that is "
    "released; it needs the receipt.\n\n`message` and `attributes` replace the "
    "current ones and do not affect the claim.\n\nWithout a receipt the call changes the message even while another "
    "consumer has claimed it. This requires the role `admin`.\n\nThe call also has a method of its own, `UPDATE`, "
    "which OpenAPI cannot describe. `PUT` and `PATCH` are equivalent to it."
)
_EITHER = "Give the fields in the body or in the query string, but not in both."
_DELETE = (
    "With a receipt, the call takes effect only while that claim is the newest. Without a receipt it deletes the "
    "message even while another consumer has claimed it; this requires the role `admin`."
)


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
            "renew for a minute": {"receipt": EXAMPLE_RECEIPT, "visibility_timeout": 60},
            "release": {"receipt": EXAMPLE_RECEIPT, "visibility_timeout": 0},
            "try again in ten minutes": {"receipt": EXAMPLE_RECEIPT, "delay": 600},
            "try again, later each time": {"receipt": EXAMPLE_RECEIPT, "backoff": 5},
            "give up": {"receipt": EXAMPLE_RECEIPT, "bury": True},
            "a dead letter": {"receipt": EXAMPLE_RECEIPT, "dead": True},
            "give back without a try": {"receipt": EXAMPLE_RECEIPT, "visibility_timeout": 0, "uncounted": True},
        },
    )


_MESSAGES = [
    Operation(
        "POST",
        "/messages/produce",
        "produce",
        "Messages",
        "Produce a message or a batch.",
        {
            201: Response(
                (response_schemas.Produced, response_schemas.BatchProduced),
                {"id": EXAMPLE_ID, "message": "resize cat.png", "status": "unprocessed", "statusCode": 201},
                "The messages are in the log on the disk.",
            )
        },
        ("message_too_large", "batch_too_large", "request_superseded", *_ROOM_CODES, *_WRITE_CODES),
        "Give either `message`, or `messages` with 1 to 1000 messages. The broker adds all messages of a batch or "
        "none. Beside `messages` you can give only `delay` and `idempotency_key`; all other fields belong to the "
        "individual messages.",
        body=schemas.Produce,
        body_required=True,
        examples={
            "one": {"message": "resize cat.png"},
            "one, in a minute": {"message": "resize cat.png", "delay": 60},
            "one with optional fields": {
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
        ("invalid_value", *_WAIT_CODES, "too_many_keys", *_WRITE_CODES),
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
        ("invalid_value", *_WAIT_CODES, "too_many_keys", *_WRITE_CODES),
        f"{_CONSUME}\n\n{_EITHER}",
        schemas.Consume,
        schemas.ConsumeFrom,
        examples={"wait for some": {"max": 10, "wait": 20, "visibility_timeout": 60}},
    ),
    Operation(
        "POST",
        "/messages/next",
        "next",
        "Messages",
        "Finish the last messages, and claim the next ones.",
        {200: Response(response_schemas.NextMessages, {"messages": _CLAIMED.example, "success": True})},
        ("invalid_value", "batch_too_large", "too_many_keys", "too_many_queues", *_WAIT_CODES, *_WRITE_CODES),
        "The broker deletes, releases or moves the messages in the lists, then claims as `POST /messages/consume` "
        "does. The receipts may be of any queue for which the key has the role `consume`. Entries succeed or fail "
        "independently; `results` is there if one failed. If the claim is refused, what was finished stays: the "
        "response has no messages, and `claim_error` gives the reason.\n\nWith `attempt_id`, repeating the request "
        "within five minutes finishes nothing again and returns the same results.",
        body=schemas.Next,
        body_required=True,
        examples={
            "delete and go on": {"delete": [EXAMPLE_RECEIPT], "max": 10, "wait": 20},
            "try again later": {
                "release": [{"receipt": EXAMPLE_RECEIPT, "backoff": 5, "error": {"message": "connection refused"}}]
            },
            "a dead letter": {
                "dead": [{"receipt": EXAMPLE_RECEIPT, "error": {"type": "ValueError", "message": "no image"}}]
            },
        },
    ),
    Operation(
        "GET",
        "/messages/{message_id}",
        "getMessage",
        "Messages",
        "Get a message without claiming it.",
        {200: Response(response_schemas.Message, _MESSAGE, "The message.")},
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
    _update("PATCH", "patchMessage", "This call is equivalent to `PUT` and `UPDATE`."),
    Operation(
        "POST",
        "/messages/delete",
        "deleteMessages",
        "Messages",
        "Delete up to 1000 messages.",
        {200: _RESULTS},
        ("batch_too_large", *_WRITE_CODES),
        "Give either `receipts` or `ids`. " + _DELETE,
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
        "Each entry has an `id` or a `receipt`, and the fields of an update. A batch may contain a message only once.",
        body=schemas.UpdateBatch,
        body_required=True,
        examples={"release": {"entries": [{"receipt": EXAMPLE_RECEIPT, "visibility_timeout": 0}]}},
    ),
    Operation(
        "POST",
        "/messages/hand-over",
        "handOver",
        "Messages",
        "Delete messages and produce their successors in one step.",
        {
            201: Response(
                response_schemas.HandedOver,
                {"success": True, "ids": [EXAMPLE_ID], "statusCode": 201},
                "Every message was deleted and produced. If one receipt is stale, nothing is changed.",
            )
        },
        (*_RECEIPT_CODES, "message_too_large", "batch_too_large", "invalid_queue_name", *_ROOM_CODES, *_WRITE_CODES),
        "Use this call when one step of work leads to the next: no step is lost or started twice. The key "
        "also needs the role `produce` for each queue that it produces to.",
        body=schemas.HandOver,
        body_required=True,
        examples={
            "to the next queue": {
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
        "Make buried messages available again.",
        {200: Response(response_schemas.Kicked, {"success": True, "kicked": 3})},
        ("invalid_value", *_WRITE_CODES),
        "The broker kicks up to `max` messages, oldest first, and resets their receive count. To kick a particular "
        "message, update it with a `delay` of 0.\n\n" + _EITHER,
        schemas.Kick,
        schemas.Kick,
        examples={"a hundred": {"max": 100}},
    ),
    Operation(
        "GET",
        "/dev/messages",
        "listMessages",
        "Messages",
        "List the messages of a queue without claiming them.",
        {200: _LISTED},
        ("invalid_value", "too_many_listings", *_READ_CODES),
        "The response is streamed and may have any length. For the next page, pass the last id as `after`.",
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
        "The response is streamed and may have any length. For the next page, pass the last id as `after`.",
        schemas.StatusListing,
        examples={"claimed messages": {"status": "processing", "limit": 100}},
    ),
    Operation(
        "GET",
        "/dev/messages/count",
        "countMessages",
        "Messages",
        "Count the messages of one status.",
        {200: Response(response_schemas.Counted, {"count": 12, "status": "unprocessed"}, "The number of messages.")},
        ("invalid_value", *_READ_CODES),
        query=schemas.Count,
        examples={"waiting messages": {"status": "unprocessed"}},
    ),
]


def _in_queue(operation: Operation) -> Operation:
    """Return the same call for a queue in the path."""
    return operation._replace(
        path="/queues/{queue}" + operation.path,
        id=operation.id + "InQueue",
        tag="Messages of a queue",
        codes=(*operation.codes, "invalid_queue_name") if operation.id == "produce" else operation.codes,
    )


def _health(method: str, path: str, operation_id: str, status: str, summary: str, codes: tuple[str, ...]) -> Operation:
    response = Response(None) if method == "HEAD" else Response(response_schemas.Health, {"status": status})
    return Operation(method, path, operation_id, "Health", summary, {200: response}, codes)


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
        "Start to move the messages of a queue.",
        {
            202: Response(
                response_schemas.RedriveTask,
                _REDRIVEN,
                "The redrive has started. It continues in the background, also after a restart.",
            )
        },
        ("redrive_running", "invalid_value", *_WRITE_CODES),
        "A redrive moves the messages that are waiting or buried when it starts; it skips claimed and delayed ones. "
        "Each message leaves this queue and enters the other in one step, regardless of the limits of the other "
        "queue.\n\nWithout a `destination`, each dead letter returns to its source queue if that still exists. The key "
        "must then open all "
        "queues. With a `destination`, it must open that queue too.\n\n" + _EITHER,
        schemas.Redrive,
        schemas.Redrive,
        examples={
            "some of them, slowly": {"destination": "default", "per_second": 100, "attribute": "tenant=acme"},
            "count only": {"dry_run": True},
        },
    ),
    Operation(
        "GET",
        "/queues/{queue}/redrive",
        "listRedrives",
        "Redrive",
        "List the redrives of a queue.",
        {
            200: Response(
                list[response_schemas.RedriveTask],
                [_REDRIVEN],
                "The running redrive and the last ten that ended, newest first.",
            )
        },
        _READ_CODES,
    ),
    Operation(
        "GET",
        "/queues/{queue}/redrive/{redrive_id}",
        "getRedrive",
        "Redrive",
        "Get the progress of a redrive.",
        {200: Response(response_schemas.RedriveTask, _REDRIVEN, "The redrive.")},
        ("redrive_not_found", *_READ_CODES),
    ),
    Operation(
        "DELETE",
        "/queues/{queue}/redrive/{redrive_id}",
        "cancelRedrive",
        "Redrive",
        "Cancel a redrive.",
        {200: Response(response_schemas.RedriveTask, {**_REDRIVEN, "status": "cancelled"}, "The redrive.")},
        ("redrive_not_found", *_WRITE_CODES),
        "Messages that were moved already stay moved. A redrive that has ended does not change.",
    ),
]

_REDRIVE += [
    Operation(
        "POST",
        "/queues/{queue}/redrive/messages",
        "moveMessages",
        "Redrive",
        "Move up to 1000 messages at once.",
        {200: _RESULTS},
        ("not_movable", "message_not_found", "invalid_value", "batch_too_large", *_WRITE_CODES),
        "The messages must wait or be buried. Each leaves this queue and enters the other in one step. The results "
        "tell which have moved.\n\nWithout a `destination`, each dead letter returns to its source queue if that still "
        "exists. The key must then open all queues. With a `destination`, it must open that queue too.",
        body=schemas.Move,
        body_required=True,
        examples={"to a queue": {"ids": [EXAMPLE_ID], "destination": "default"}},
    ),
    Operation(
        "GET",
        "/redrives",
        "listAllRedrives",
        "Redrive",
        "List the redrives of all queues that the key opens.",
        {200: Response(list[response_schemas.RedriveTask], [_REDRIVEN], "The redrives, the newest first.")},
        ("log_failed", "log_damaged"),
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
        {200: Response(list[response_schemas.Schedule], [_SCHEDULE], "Schedules, ordered by name.")},
        ("log_failed", "log_damaged"),
    ),
    Operation(
        "GET",
        "/schedules/{schedule}",
        "getSchedule",
        "Schedules",
        "Get a schedule.",
        {200: Response(response_schemas.Schedule, _SCHEDULE, "The schedule.")},
        ("schedule_not_found", *_READ_CODES),
    ),
    Operation(
        "PUT",
        "/schedules/{schedule}",
        "putSchedule",
        "Schedules",
        "Create or change a schedule.",
        {
            200: Response(response_schemas.Schedule, _SCHEDULE, "The schedule existed: its current state."),
            201: Response(response_schemas.Schedule, _SCHEDULE, "The schedule was created."),
        },
        ("too_many_schedules", "invalid_queue_name", "message_too_large", "batch_too_large", *_WRITE_CODES),
        "A new schedule requires `cron`, `queue` and `message`. Fields that you do not give keep their values. The "
        "broker produces exactly one message for each time, even if it is killed. The message's attributes `schedule` "
        "and `scheduled_at` hold the schedule's name and that time.",
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
        "Messages that it has produced stay in their queue.",
    ),
]

_FLOWS = {"produced": 41.2, "claimed": 40.8, "deleted": 40.5, "expired": 0.0, "dead": 0.3}
_OVERVIEW = {
    "version": "0.1.0",
    "now": "2026-11-24T04:18:36.314Z",
    "started_at": "2026-11-20T09:00:12.004Z",
    "ready": True,
    "damaged": False,
    "queues": 3,
    "counts": {"unprocessed": 1204, "processing": 32, "delayed": 5, "buried": 0},
    "dead_letters": 14,
    "dead_letters_last_hour": 14,
    "per_second": {"10s": _FLOWS, "1m": _FLOWS},
    "consumers": 4,
    "problems": [
        {
            "code": "dead_letters",
            "severity": "warning",
            "message": "mail had 14 dead letters in the last hour, moved to mail-dead.",
            "queue": "mail",
            "schedule": None,
        }
    ],
    "disk_free_bytes": 52_613_349_376,
    "log_bytes": 31_457_280,
    "log_disk_bytes": 67_108_864,
    "segments": 1,
    "sync_p99": 0.005,
    "connections": 12,
    "connections_limit": 2000,
    "access": {"key": None, "name": None, "roles": ["admin"], "queues": ["*"]},
}
_HISTORY = {
    "window": "1h",
    "step": 10,
    "ended_at": "2026-11-24T04:18:30.000Z",
    "is_kept": True,
    "waiting": [12, 9],
    "in_flight": [3, 4],
    "produced": [412, 398],
    "deleted": [405, 401],
    "dead": [0, 3],
}


OPERATIONS = [
    *_MESSAGES,
    *map(_in_queue, _MESSAGES),
    Operation(
        "GET",
        "/queues",
        "listQueues",
        "Queues",
        "List the queues that the key opens.",
        {200: Response(list[response_schemas.Queue], [_QUEUE], "Queue objects, ordered by name.")},
        ("invalid_value", "log_failed", "log_damaged"),
        query=schemas.QueueListing,
    ),
    Operation(
        "GET",
        "/queues/{queue}",
        "getQueue",
        "Queues",
        "Get a queue.",
        {200: Response(response_schemas.Queue, _QUEUE, "The queue.")},
        (*_READ_CODES, "invalid_value"),
        query=schemas.QueueQuery,
    ),
    Operation(
        "GET",
        "/queues/{queue}/history",
        "getQueueHistory",
        "Overview",
        "Get the figures of a queue over the last hour or day.",
        {200: Response(response_schemas.History, _HISTORY, "The history, since the start of the broker at most.")},
        (*_READ_CODES, "invalid_value"),
        query=schemas.HistoryQuery,
    ),
    Operation(
        "GET",
        "/overview",
        "getOverview",
        "Overview",
        "Get the figures and problems of all queues that the key opens.",
        {200: Response(response_schemas.Overview, _OVERVIEW, "The overview.")},
        description=(
            "The broker gathers the figures at most once a second for everybody who asks, so they may be that old, and "
            "a call costs little. Rates are of the queues that have counters of their own: the first 100. This call "
            "also answers if the log has failed or is damaged."
        ),
    ),
    Operation(
        "GET",
        "/overview/history",
        "getHistory",
        "Overview",
        "Get the figures of all queues together over the last hour or day.",
        {200: Response(response_schemas.History, _HISTORY, "The history, since the start of the broker at most.")},
        ("invalid_value",),
        query=schemas.HistoryQuery,
    ),
    Operation(
        "PUT",
        "/queues/{queue}",
        "putQueue",
        "Queues",
        "Create a queue or change its settings.",
        {
            200: Response(response_schemas.Queue, _QUEUE, "The queue existed: its current state."),
            201: Response(response_schemas.Queue, _QUEUE, "The queue was created."),
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
        f"Settings that you do not give keep their values.\n\n{_EITHER}",
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
        "Delete all messages of a queue, including claimed ones.",
        {200: Response(response_schemas.Purged, {"success": True, "deleted": 15})},
        _WRITE_CODES,
    ),
    _health("GET", "/healthz", "getHealth", "ok", "Check whether the process responds.", ()),
    _health("HEAD", "/healthz", "headHealth", "ok", "Check the same, without a response body.", ()),
    _health("GET", "/readyz", "getReadiness", "ready", "Check whether the broker serves requests.", ("not_ready",)),
    _health("HEAD", "/readyz", "headReadiness", "ready", "Check the same, without a response body.", ("not_ready",)),
    Operation(
        "GET",
        "/metrics",
        "metrics",
        "Health",
        "Get the metrics, for Prometheus.",
        {200: Response("text/plain", meaning="Prometheus' text format.")},
    ),
    Operation(
        "GET",
        "/",
        "home",
        "Documentation",
        "Redirect to `/docs`.",
        {302: Response(None, meaning="`Location` is `/docs`.")},
    ),
    Operation(
        "GET",
        "/docs",
        "docs",
        "Documentation",
        "Read this document as a web page.",
        {200: Response("text/html", meaning="A self-contained page without scripts.")},
    ),
    Operation(
        "GET",
        "/openapi.json",
        "openapi",
        "Documentation",
        "Get this document as OpenAPI 3.1.",
        {200: Response("application/json", meaning="The document.")},
    ),
    *_REDRIVE,
    *_SCHEDULES,
]
