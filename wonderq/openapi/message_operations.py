"""The calls on messages: their fields, responses, error codes and examples."""

from __future__ import annotations

from wonderq.openapi import response_schemas
from wonderq.openapi.operation import (
    EITHER,
    READ_CODES,
    RECEIPT_CODES,
    RESULTS,
    ROOM_CODES,
    SUCCESS,
    WAIT_CODES,
    WRITE_CODES,
    Operation,
    Response,
)
from wonderq.rest import schemas
from wonderq.rest.field_types import EXAMPLE_ID, EXAMPLE_RECEIPT

_MESSAGE = {
    "id": EXAMPLE_ID,
    "message": "resize cat.png",
    "status": "processing",
    "receive_count": 1,
    "produced_at": "2026-11-24T04:18:36.314Z",
    "claimed_until": "2026-11-24T04:19:36.325Z",
    "queue": "default",
}
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
        {200: SUCCESS},
        (
            *RECEIPT_CODES,
            "not_claimed",
            "version_conflict",
            "message_too_large",
            "batch_too_large",
            "queue_full",
            "broker_full",
            *WRITE_CODES,
        ),
        f"{description}\n\n{EITHER}",
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


MESSAGES = [
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
        ("message_too_large", "batch_too_large", "request_superseded", *ROOM_CODES, *WRITE_CODES),
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
        ("invalid_value", *WAIT_CODES, *WRITE_CODES),
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
        ("invalid_value", *WAIT_CODES, *WRITE_CODES),
        f"{_CONSUME}\n\n{EITHER}",
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
        ("invalid_value", "batch_too_large", "too_many_queues", *WAIT_CODES, *WRITE_CODES),
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
        ("message_not_found", *READ_CODES),
    ),
    Operation(
        "DELETE",
        "/messages/{message_id}",
        "deleteMessage",
        "Messages",
        "Delete a message.",
        {200: SUCCESS},
        (*RECEIPT_CODES, *WRITE_CODES),
        f"{_DELETE}\n\n{EITHER}",
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
        {200: RESULTS},
        ("batch_too_large", *WRITE_CODES),
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
        {200: RESULTS},
        ("message_too_large", "batch_too_large", "queue_full", "broker_full", *WRITE_CODES),
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
        (*RECEIPT_CODES, "message_too_large", "batch_too_large", "invalid_queue_name", *ROOM_CODES, *WRITE_CODES),
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
        ("invalid_value", *WRITE_CODES),
        "The broker kicks up to `max` messages, oldest first, and resets their receive count. To kick a particular "
        "message, update it with a `delay` of 0.\n\n" + EITHER,
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
        ("invalid_value", "too_many_listings", *READ_CODES),
        "The response is streamed and may have any length. For the next page, pass the last id as `after`. For the "
        "page before, pass the first id, with the opposite `order`.",
        schemas.Listing,
        examples={
            "a page": {"limit": 100},
            "the newest": {"order": "newest", "limit": 100},
            "search": {"contains": "cat", "attribute": "tenant=acme", "limit": 100},
        },
    ),
    Operation(
        "GET",
        "/dev/messages/status",
        "listMessagesByStatus",
        "Messages",
        "List the messages of one status.",
        {200: _LISTED},
        ("invalid_value", "too_many_listings", *READ_CODES),
        "The response is streamed and may have any length. For the next page, pass the last id as `after`.",
        schemas.StatusListing,
        examples={"claimed messages": {"status": "processing", "limit": 100}},
    ),
    Operation(
        "GET",
        "/dev/messages/search",
        "searchMessages",
        "Messages",
        "Look for messages in a part of a queue at a time.",
        {
            200: Response(
                response_schemas.SearchResult,
                {"messages": [_LISTED.example[0]], "examined": 10_000, "next_after": EXAMPLE_ID},
                "The messages that were found in this part.",
            )
        },
        ("invalid_value", "too_many_listings", *READ_CODES),
        "A listing with filters reads the whole queue. This call examines `examine` messages at most, so you see how "
        "far the search is, and can stop it. To go on, pass `next_after` as `after`; it is null at the end.",
        schemas.Search,
        examples={"search": {"contains": "cat", "examine": 20_000}},
    ),
    Operation(
        "GET",
        "/dev/messages/count",
        "countMessages",
        "Messages",
        "Count the messages of one status.",
        {200: Response(response_schemas.Counted, {"count": 12, "status": "unprocessed"}, "The number of messages.")},
        ("invalid_value", *READ_CODES),
        query=schemas.Count,
        examples={"waiting messages": {"status": "unprocessed"}},
    ),
]
