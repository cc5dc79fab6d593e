"""Every call of the HTTP API: its fields, responses, error codes and examples.

`wonderq.openapi.document` builds the document from this table. `wonderq.auth.roles.RULES` has the roles, by the same
paths. Tests compare both with the routes of the application.
"""

from __future__ import annotations

from wonderq.openapi import response_schemas
from wonderq.openapi.message_operations import MESSAGES
from wonderq.openapi.operation import (
    EITHER,
    LOG_CODES,
    READ_CODES,
    RESULTS,
    SUCCESS,
    WRITE_CODES,
    Operation,
    Response,
)
from wonderq.openapi.topic_operations import TOPICS
from wonderq.rest import schemas
from wonderq.rest.field_types import EXAMPLE_ID, EXAMPLE_REDRIVE_ID

TAGS = {
    "Messages": "Calls on the queue `default`. Every other queue has the same calls under `/queues/{queue}`.",
    "Messages of a queue": "The same calls, on the queue in the path.",
    "Queues": "Create, configure, inspect, purge and delete queues.",
    "Redrive": "Move dead letters back to their source queues, or messages to another queue.",
    "Schedules": "Produce messages at fixed times.",
    "Topics": "Publish a message once, for every queue that has subscribed.",
    "Overview": "Figures and problems of all queues, for people; the dashboard and `wonderq top` show them.",
    "Health": "Endpoints for load balancers, supervisors and Prometheus.",
    "Documentation": "This document.",
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
    "since": "2026-11-23T00:00:00.000Z",
    "until": None,
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
        ("redrive_running", "invalid_value", *WRITE_CODES),
        "A redrive moves the messages that are waiting or buried when it starts; it skips claimed and delayed ones. "
        "Each message leaves this queue and enters the other in one step, regardless of the limits of the other "
        "queue.\n\nWithout a `destination`, each dead letter returns to its source queue if that still exists. The key "
        "must then open all "
        "queues. With a `destination`, it must open that queue too.\n\n" + EITHER,
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
        READ_CODES,
    ),
    Operation(
        "GET",
        "/queues/{queue}/redrive/{redrive_id}",
        "getRedrive",
        "Redrive",
        "Get the progress of a redrive.",
        {200: Response(response_schemas.RedriveTask, _REDRIVEN, "The redrive.")},
        ("redrive_not_found", *READ_CODES),
    ),
    Operation(
        "DELETE",
        "/queues/{queue}/redrive/{redrive_id}",
        "cancelRedrive",
        "Redrive",
        "Cancel a redrive.",
        {200: Response(response_schemas.RedriveTask, {**_REDRIVEN, "status": "cancelled"}, "The redrive.")},
        ("redrive_not_found", *WRITE_CODES),
        "Messages that were moved already stay moved. A redrive that has ended does not change.",
    ),
    Operation(
        "POST",
        "/queues/{queue}/redrive/messages",
        "moveMessages",
        "Redrive",
        "Move up to 1000 messages at once.",
        {200: RESULTS},
        ("not_movable", "message_not_found", "invalid_value", "batch_too_large", *WRITE_CODES),
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
        LOG_CODES,
    ),
]
_SCHEDULE = {
    "name": "nightly",
    "cron": "30 4 * * *",
    "words": "At 04:30 every day",
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
_CRON_TIMES = {
    "cron": "30 4 * * *",
    "timezone": "Europe/Vienna",
    "words": "At 04:30 every day",
    "times": ["2026-11-25T03:30:00.000Z", "2026-11-26T03:30:00.000Z"],
}
_SCHEDULES = [
    Operation(
        "GET",
        "/schedules",
        "listSchedules",
        "Schedules",
        "List the schedules whose queues the key opens.",
        {200: Response(list[response_schemas.Schedule], [_SCHEDULE], "Schedules, ordered by name.")},
        ("invalid_value", *LOG_CODES),
        query=schemas.ScheduleListing,
    ),
    Operation(
        "GET",
        "/schedules/{schedule}",
        "getSchedule",
        "Schedules",
        "Get a schedule.",
        {200: Response(response_schemas.Schedule, _SCHEDULE, "The schedule.")},
        ("schedule_not_found", *READ_CODES),
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
        ("too_many_schedules", "invalid_queue_name", "message_too_large", "batch_too_large", *WRITE_CODES),
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
        {200: SUCCESS},
        ("schedule_not_found", *WRITE_CODES),
        "Messages that it has produced stay in their queue.",
    ),
    Operation(
        "GET",
        "/cron/times",
        "getCronTimes",
        "Schedules",
        "Explain a cron expression, and get its next times.",
        {200: Response(response_schemas.CronTimes, _CRON_TIMES)},
        ("invalid_value",),
        "Use it before you create a schedule. Nothing is changed.",
        query=schemas.CronQuery,
        examples={"every night": {"cron": "30 4 * * *", "timezone": "Europe/Vienna", "limit": 2}},
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
            "topic": None,
        }
    ],
    "more_problems": 0,
    "disk_free_bytes": 52_613_349_376,
    "log_bytes": 31_457_280,
    "log_disk_bytes": 67_108_864,
    "segments": 1,
    "sync_p50": 0.0025,
    "sync_p99": 0.005,
    "connections": 12,
    "connections_limit": 2000,
    "access": {"key": None, "name": None, "roles": ["admin"], "queues": ["*"], "read_only": False},
}
_AGES = {"bounds": [0.005, 0.025], "counts": [120, 31, 2], "sum": 1.4, "p50": 0.005, "p90": 0.025, "p99": None}
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
    "time_to_claim": _AGES,
    "lifetime": _AGES,
}
_BROKER = {
    "checkpoint": {"written_at": "2026-11-24T04:10:00.000Z", "bytes": 81_920, "lag_bytes": 4_194_304},
    "sync": {"p50": 0.0025, "p99": 0.005},
    "log_live_bytes": 20_971_520,
    "shared_log": {
        "node": "10.0.0.1:7979",
        "epoch": 7,
        "took_over_at": "2026-11-20T09:00:12.004Z",
        "takeover": 0.91,
        "fenced": 0,
        "others": [{"node": "10.0.0.2:7979", "role": "standing_by"}],
        "clock_ahead": 0.004,
        "replicas": 3,
        "replicas_current": 3,
    },
    "limits": [{"name": "queues", "used": 3, "limit": 10_000}, {"name": "total_bytes", "used": 9100, "limit": None}],
    "settings": [{"name": "fsync", "value": "interval:100", "source": "--fsync", "default": "always"}],
    "keys": [
        {
            "id": "5b0d7f1a2c3e",
            "name": "mailer",
            "roles": ["produce"],
            "queues": ["mail*"],
            "created_at": "2026-11-20T09:00:00.000Z",
            "expires_at": None,
            "requests_per_second": None,
            "sqs": False,
        }
    ],
}

OPERATIONS = [
    *MESSAGES,
    *map(_in_queue, MESSAGES),
    Operation(
        "GET",
        "/search",
        "searchAllMessages",
        "Overview",
        "Look for messages in all queues that the key opens, a part at a time.",
        {
            200: Response(
                response_schemas.SearchResult,
                {"messages": [], "examined": 10_000, "next_after": EXAMPLE_ID},
                "The messages that were found in this part.",
            )
        },
        ("invalid_value", "too_many_listings", *LOG_CODES),
        "The queues come in the order of their creation, and the messages of each from the oldest on. This call "
        "examines `examine` messages at most. To go on, pass `next_after` as `after`; it is null at the end.",
        schemas.SearchAll,
        examples={"an order": {"contains": "order-4711", "examine": 20_000}},
    ),
    Operation(
        "GET",
        "/queues",
        "listQueues",
        "Queues",
        "List the queues that the key opens.",
        {200: Response(list[response_schemas.Queue], [_QUEUE], "Queue objects, ordered by name.")},
        ("invalid_value", *LOG_CODES),
        query=schemas.QueueListing,
    ),
    Operation(
        "GET",
        "/queues/{queue}",
        "getQueue",
        "Queues",
        "Get a queue.",
        {200: Response(response_schemas.Queue, _QUEUE, "The queue.")},
        (*READ_CODES, "invalid_value"),
        query=schemas.QueueQuery,
    ),
    Operation(
        "GET",
        "/queues/{queue}/history",
        "getQueueHistory",
        "Overview",
        "Get the figures of a queue over the last hour or day.",
        {200: Response(response_schemas.History, _HISTORY, "The history, since the start of the broker at most.")},
        (*READ_CODES, "invalid_value"),
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
        "GET",
        "/overview/broker",
        "getBroker",
        "Overview",
        "Get the state of the log, the limits and their use, the settings and the keys.",
        {200: Response(response_schemas.BrokerState, _BROKER, "The broker.")},
        description=(
            "The key must open all queues. Settings and keys are null unless it has the role `admin`. No response has "
            "the text of a key or a secret."
        ),
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
            *LOG_CODES,
            "shutting_down",
            "disk_full",
        ),
        f"Settings that you do not give keep their values.\n\n{EITHER}",
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
        {200: SUCCESS},
        ("queue_not_deletable", *WRITE_CODES),
    ),
    Operation(
        "POST",
        "/queues/{queue}/purge",
        "purgeQueue",
        "Queues",
        "Delete all messages of a queue, including claimed ones.",
        {200: Response(response_schemas.Purged, {"success": True, "deleted": 15})},
        WRITE_CODES,
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
    *TOPICS,
]
