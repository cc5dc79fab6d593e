"""Every code that an error can have: the HTTP status it comes with, and what it means.

For `wonderq.openapi.document`. A test compares this table with the code, and with docs/API.md.
"""

from __future__ import annotations

from typing import NamedTuple


class ErrorCode(NamedTuple):
    """One code."""

    statuses: tuple[int, ...]
    meaning: str


ERROR_CODES = {
    "malformed_body": ErrorCode((400,), "The body is not JSON or msgpack."),
    "empty_body": ErrorCode((400,), "The call needs a body."),
    "missing_field": ErrorCode((400,), "A field is required."),
    "unknown_field": ErrorCode((400,), "A field is not known here."),
    "invalid_value": ErrorCode((400,), "A field is of the wrong type, or out of range."),
    "ambiguous_request": ErrorCode((400,), "Two things are given of which one is enough."),
    "unexpected_body": ErrorCode((400,), "The call takes its fields in the query string."),
    "invalid_queue_name": ErrorCode((400,), "A queue's name is 1 to 80 of `A-Z a-z 0-9 _ -`, and may end in `.fifo`."),
    "bad_request": ErrorCode((400,), "It is not HTTP that everybody would read in the same way."),
    "unauthorized": ErrorCode((401,), "There is no key that counts."),
    "forbidden": ErrorCode((403,), "The key does not have the role, or not for this queue."),
    "cross_site_request": ErrorCode((403,), "The request comes from a web page of another site."),
    "message_not_found": ErrorCode((404,), "There is no message with this id in this queue."),
    "queue_not_found": ErrorCode((404,), "There is no queue with this name."),
    "redrive_not_found": ErrorCode((404,), "There is no redrive with this id of this queue, or not any more."),
    "schedule_not_found": ErrorCode((404,), "There is no schedule with this name."),
    "path_not_found": ErrorCode((404,), "There is nothing at this path."),
    "method_not_allowed": ErrorCode((405,), "The path does not take this method; `Allow` lists those that it does."),
    "request_timeout": ErrorCode((408,), "The head or the body came too slowly."),
    "stale_receipt": ErrorCode((409,), "The claim of this receipt is over. Nothing was changed."),
    "not_claimed": ErrorCode((409,), "The message is not claimed, so there is nothing to renew or release."),
    "version_conflict": ErrorCode((409,), "The message has another version than `if_version`. Nothing was changed."),
    "queue_draining": ErrorCode((409,), "The queue takes no more messages: it is being drained."),
    "queue_not_deletable": ErrorCode((409,), "The queue `default` cannot be deleted."),
    "redrive_running": ErrorCode((409,), "Another redrive of this queue has not ended."),
    "message_too_large": ErrorCode((413,), "A message has more than 1 MiB, or what is set instead."),
    "batch_too_large": ErrorCode((413,), "A batch has more than 1000 entries, or 16 MiB, or what is set instead."),
    "body_too_large": ErrorCode((413,), "The body has more than 33 MiB, or twice the largest batch."),
    "target_too_long": ErrorCode((414,), "Path and query have more than 8 KiB."),
    "unsupported_media_type": ErrorCode((415,), "The body is neither `application/json` nor `application/msgpack`."),
    "unsupported_content_encoding": ErrorCode((415,), "The body has a `Content-Encoding`."),
    "expectation_failed": ErrorCode((417,), "`Expect` is something other than `100-continue`."),
    "unknown_host": ErrorCode((421,), "There are no keys, and `Host` has a name that is not one of this machine."),
    "too_many_requests": ErrorCode((429,), "So many requests a second are allowed with this key."),
    "too_many_in_flight": ErrorCode((429,), "Messages wait, but so many are claimed already."),
    "too_many_listings": ErrorCode((429,), "So many listings are under way already."),
    "too_many_waiting_consumers": ErrorCode((429,), "So many consumers are waiting already."),
    "too_many_connections": ErrorCode((429, 503), "Too many connections: from one address (429), or in all (503)."),
    "headers_too_large": ErrorCode((431,), "There are more than 100 headers, or 32 KiB of them."),
    "internal_error": ErrorCode((500,), "A mistake in WonderQ. The broker's log has the details."),
    "not_implemented": ErrorCode((501,), "`Transfer-Encoding` is something other than `chunked`."),
    "log_failed": ErrorCode((503,), "The disk failed. Whether a call that was under way was done is open."),
    "log_damaged": ErrorCode((503,), "The log on the disk is damaged."),
    "shutting_down": ErrorCode((503,), "The broker is shutting down."),
    "not_ready": ErrorCode((503,), "The broker takes no work."),
    "too_many_queues": ErrorCode((507,), "There are as many queues as there may be."),
    "too_many_keys": ErrorCode((507,), "As many idempotency keys and attempts are remembered as may be."),
    "too_many_schedules": ErrorCode((507,), "There are 1000 schedules, and no more may be made."),
    "queue_full": ErrorCode((507,), "The queue has as many messages, or bytes, as it may."),
    "broker_full": ErrorCode((507,), "All queues together have as many messages, or bytes, as they may."),
    "disk_full": ErrorCode((507,), "The disk is full. Nothing was changed."),
}

#: What any call may be answered with, whatever it is about: by the server, before or while it reads the request.
BY_ANY_CALL = (
    "bad_request",
    "cross_site_request",
    "unknown_host",
    "too_many_requests",
    "request_timeout",
    "body_too_large",
    "target_too_long",
    "unsupported_content_encoding",
    "expectation_failed",
    "too_many_connections",
    "headers_too_large",
    "internal_error",
    "not_implemented",
)
