"""Every error code of the HTTP API: its HTTP status, its meaning and, if fixed, its ``Retry-After``.

`wonderq.rest.errors` takes the status of a broker error from this table. `wonderq.openapi` publishes it. Tests compare
it with the errors that the source raises and with docs/API.md.
"""

from __future__ import annotations

from typing import NamedTuple


class ErrorCode(NamedTuple):
    """One row of the table."""

    statuses: tuple[int, ...]
    """HTTP statuses of the code. Only `too_many_connections` has more than one."""
    meaning: str
    retry_after_s: int | None = None
    """Value of ``Retry-After``. None: the response has no such header, or the code that raises the error sets it."""


# 507 (RFC 4918, section 11.5) rather than 429, which limits requests in a given time (RFC 6585, section 4): here room
# is missing. `too_many_queues` and `too_many_schedules` have no `Retry-After`: it is unknown when one will be
# deleted.
ERROR_CODES = {
    "malformed_body": ErrorCode((400,), "The body is not valid JSON or msgpack."),
    "empty_body": ErrorCode((400,), "The call requires a body."),
    "missing_field": ErrorCode((400,), "A required field is missing."),
    "unknown_field": ErrorCode((400,), "The call does not have this field."),
    "invalid_value": ErrorCode((400,), "A field has the wrong type or is out of range."),
    "ambiguous_request": ErrorCode((400,), "The request has two fields that exclude each other."),
    "unexpected_body": ErrorCode((400,), "The call takes its fields from the query string and no body."),
    "invalid_queue_name": ErrorCode((400,), "A queue name has 1 to 80 of `A-Z a-z 0-9 _ -` and may end in `.fifo`."),
    "masked_text": ErrorCode((400,), "The dashboard would write the sign of `--ui-mask` instead of the text it hides."),
    "bad_request": ErrorCode((400,), "The request is malformed or ambiguous HTTP."),
    "unauthorized": ErrorCode((401,), "The request has no valid key."),
    "forbidden": ErrorCode((403,), "The key lacks the role, or does not open this queue."),
    "invalid_key": ErrorCode((403,), "The key with which a browser wants to open a session is not valid."),
    "read_only": ErrorCode((403,), "The dashboard may only read: the broker runs with `--ui read-only`."),
    "cross_site_request": ErrorCode((403,), "The request comes, or may come, from a web page of another site."),
    "message_not_found": ErrorCode((404,), "The queue has no message with this id."),
    "queue_not_found": ErrorCode((404,), "No queue has this name."),
    "redrive_not_found": ErrorCode(
        (404,), "The queue has no redrive with this id. Only the last ten that ended are kept."
    ),
    "schedule_not_found": ErrorCode((404,), "No schedule has this name."),
    "topic_not_found": ErrorCode((404,), "No topic has this name."),
    "subscription_not_found": ErrorCode((404,), "The topic has no subscription of this name."),
    "path_not_found": ErrorCode((404,), "The API has no such path."),
    "method_not_allowed": ErrorCode((405,), "The path does not support this method; `Allow` lists those it supports."),
    "request_timeout": ErrorCode((408,), "The request arrived too slowly."),
    "stale_receipt": ErrorCode((409,), "The claim of this receipt has ended. Nothing was changed."),
    "request_superseded": ErrorCode(
        (409,),
        "A request with a larger `request_number` of the same `producer_id` was carried out. Nothing was changed.",
    ),
    "not_claimed": ErrorCode((409,), "The message is not claimed, so there is nothing to renew or release."),
    "not_movable": ErrorCode((409,), "The message is claimed or delayed, or has no queue to return to."),
    "version_conflict": ErrorCode((409,), "The message has another version than `if_version`. Nothing was changed."),
    "queue_draining": ErrorCode((409,), "The queue is draining and accepts no new messages."),
    "queue_not_deletable": ErrorCode((409,), "The queue `default` cannot be deleted."),
    "already_subscribed": ErrorCode((409,), "The queue has another subscription of the topic."),
    "different_shards": ErrorCode(
        (409,), "In a cluster: the call changes two queues in one step, and they are in different shards."
    ),
    "redrive_running": ErrorCode((409,), "Another redrive of this queue is running."),
    "message_too_large": ErrorCode((413,), "A message exceeds 1 MiB or the configured limit."),
    "batch_too_large": ErrorCode((413,), "A batch exceeds 1000 entries, 16 MiB or the configured limit."),
    "body_too_large": ErrorCode((413,), "The body has more bytes or values than this call can need."),
    "target_too_long": ErrorCode((414,), "Path and query string together exceed 8 KiB."),
    "unsupported_media_type": ErrorCode((415,), "The body is neither `application/json` nor `application/msgpack`."),
    "unsupported_content_encoding": ErrorCode((415,), "The body has a `Content-Encoding`."),
    "expectation_failed": ErrorCode((417,), "`Expect` is not `100-continue`."),
    "unknown_host": ErrorCode((421,), "The broker has no keys, and `Host` is not a name of this machine."),
    "too_many_requests": ErrorCode((429,), "The key has used up its requests per second."),
    "too_many_in_flight": ErrorCode((429,), "Messages are waiting, but the limit of claimed messages is reached.", 1),
    "too_many_listings": ErrorCode((429,), "The limit of open listings is reached.", 1),
    "too_many_waiting_consumers": ErrorCode((429,), "The limit of waiting consumers is reached.", 1),
    "too_many_connections": ErrorCode((429, 503), "Too many connections from one address (429) or in total (503)."),
    "headers_too_large": ErrorCode((431,), "The request has more than 100 headers, or more than 32 KiB of them."),
    "internal_error": ErrorCode((500,), "A bug in WonderQ. The broker's log has the details."),
    "not_implemented": ErrorCode(
        (501,), "`Transfer-Encoding` is not `chunked`, or the request wants to go on as a WebSocket."
    ),
    "log_failed": ErrorCode((503,), "The disk failed. Calls in progress may or may not have taken effect.", 30),
    "log_lost": ErrorCode(
        (503,), "Another broker has taken over the log. Calls in progress may or may not have taken effect.", 1
    ),
    "standing_by": ErrorCode(
        (503,), "Another process owns the log, or none does. The request was not carried out: send it there.", 1
    ),
    "no_quorum": ErrorCode((503,), "NATS acknowledges nothing at present. The request was not carried out.", 1),
    "shard_unavailable": ErrorCode(
        (503,), "In a cluster: no node owns the shard at present. The request was not carried out.", 1
    ),
    "outcome_unknown": ErrorCode(
        (503,), "In a cluster: the node that owns the shard did not answer. The request may have been carried out.", 1
    ),
    "log_damaged": ErrorCode((503,), "The log on the disk is damaged.", 30),
    "too_many_unsent": ErrorCode(
        (503,), "Clients have not read their large responses yet, so there is no room for another."
    ),
    "shutting_down": ErrorCode((503,), "The broker is shutting down.", 5),
    "not_ready": ErrorCode((503,), "The broker cannot serve requests.", 30),
    "too_many_queues": ErrorCode((507,), "The limit of queues is reached."),
    "too_many_keys": ErrorCode((507,), "The limit of remembered idempotency keys is reached.", 5),
    "too_many_schedules": ErrorCode((507,), "The limit of 10,000 schedules is reached."),
    "too_many_topics": ErrorCode((507,), "The limit of 10,000 topics is reached."),
    "too_many_subscriptions": ErrorCode(
        (507,), "The limit of 10,000 subscriptions of a topic, or of 100,000 in all, is reached."
    ),
    "queue_full": ErrorCode((507,), "The queue has reached its limit of messages or bytes.", 5),
    "broker_full": ErrorCode((507,), "The broker has reached its limit of messages or bytes.", 5),
    "disk_full": ErrorCode((507,), "The disk is full. Nothing was changed.", 30),
}

#: Codes that every call may return: the server refuses the request before, or while, it reads it.
BY_ANY_CALL = (
    "bad_request",
    "cross_site_request",
    "unknown_host",
    "too_many_requests",
    "request_timeout",
    "body_too_large",
    "too_many_unsent",
    "target_too_long",
    "unsupported_content_encoding",
    "expectation_failed",
    "too_many_connections",
    "standing_by",
    "no_quorum",
    "shard_unavailable",
    "outcome_unknown",
    "different_shards",
    "headers_too_large",
    "internal_error",
    "not_implemented",
)
