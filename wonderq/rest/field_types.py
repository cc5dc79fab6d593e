"""Types of single fields of requests: their ranges, descriptions and examples, which the API document publishes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from wonderq.model.limits import Limits
from wonderq.model.queue_names import QUEUE_NAME_PATTERN
from wonderq.model.status import STATUS_BY_NAME

EXAMPLE_ID = "a7f5325c-e413-8fbc-ada0-759277567d55"
EXAMPLE_REDRIVE_ID = "4f6c1d0e-8a3b-4a4e-9d53-6f0d1f2b7c11"
EXAMPLE_RECEIPT = "029fd4c973904fef2da0759277567d5539924d0e"
#: Limits that no configuration changes: the times.
_LIMITS = Limits()
VisibilityTimeout = Annotated[
    float,
    Meta(ge=0, le=_LIMITS.visibility_timeout_ms // 1000, description="Duration of a claim, in seconds.", examples=[30]),
]
Delay = Annotated[
    float,
    Meta(
        ge=0,
        le=_LIMITS.delay_ms // 1000,
        description="Time until the message can be consumed, in seconds.",
        examples=[60],
    ),
]
Wait = Annotated[
    float,
    Meta(ge=0, le=_LIMITS.wait_s, description="Maximum time to wait for the first message, in seconds.", examples=[20]),
]
Max = Annotated[
    int,
    # The widest value that `batch_messages` can have; the broker checks the configured one.
    Meta(
        ge=1,
        le=10_000,
        description="Maximum number of messages. More than 1000 requires a higher `batch_messages`.",
        examples=[10],
    ),
]
Limit = Annotated[int, Meta(ge=1, description="Maximum number of messages. Default: all.", examples=[100])]
Text = Annotated[str, Meta(description="Text of the message, up to 1 MiB in UTF-8.", examples=["resize cat.png"])]
MessageId = Annotated[str, Meta(description="Id of a message.", examples=[EXAMPLE_ID])]
After = Annotated[
    str,
    Meta(
        description="Id of a message: list only those that follow it in the order of the listing.",
        examples=[EXAMPLE_ID],
    ),
]
Order = Annotated[
    Literal["oldest", "newest"],
    Meta(description="The messages to begin with: the oldest (initially), or the newest.", examples=["newest"]),
]
Since = Annotated[
    datetime,
    Meta(
        tz=True,
        description="Only messages that came into the queue at this time or later. A dead letter came when it moved.",
        examples=["2026-03-28T00:00:00Z"],
    ),
]
Until = Annotated[
    datetime,
    Meta(
        tz=True,
        description="Only messages that came into the queue before this time.",
        examples=["2026-03-29T00:00:00Z"],
    ),
]
Receipt = Annotated[
    str,
    Meta(
        description="Receipt of a claim. The call takes effect only while that claim is the newest of its message.",
        examples=[EXAMPLE_RECEIPT],
    ),
]
Status = Annotated[
    str,
    Meta(
        description=(
            "`unprocessed`: can be consumed now. `processing`: claimed. `delayed`: can be consumed later. `buried`: "
            "set aside until it is kicked."
        ),
        examples=["unprocessed"],
        extra_json_schema={"enum": list(STATUS_BY_NAME)},
    ),
]
QueueName = Annotated[str, Meta(pattern=f"^({QUEUE_NAME_PATTERN})$", examples=["mail"])]
Contains = Annotated[
    str,
    Meta(min_length=1, max_length=1024, description="Only messages whose text contains this.", examples=["cat.png"]),
]
WithAttribute = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=1024,
        description="Only messages with this attribute: a name, or `name=value`.",
        examples=["tenant=acme"],
    ),
]
Group = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=128,
        description=(
            "Message group. A FIFO queue delivers the messages of a group in order, one claim at a time. Other queues "
            "alternate between groups, so that no group holds up the rest."
        ),
        examples=["tenant-7"],
    ),
]
Priority = Annotated[
    int,
    Meta(
        ge=0,
        le=9,
        description="Priority: 9 is delivered first, 0 last. Default: 0. Not available in FIFO queues.",
        examples=[5],
    ),
]
IdempotencyKey = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=128,
        description=(
            "Deduplication key. Within the queue's `deduplication_window`, a second message with the same key is not "
            "added; the response describes the first one. In a batch, each message has the key `KEY/INDEX`."
        ),
        examples=["order-4711"],
    ),
]
DeliverAt = Annotated[
    datetime,
    Meta(
        tz=True,
        description="Time from which the message can be consumed, at most ten years ahead. An alternative to `delay`.",
        examples=["2026-03-29T14:05:06Z"],
    ),
]
Traceparent = Annotated[
    str,
    Meta(
        pattern=r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$",
        description="W3C Trace Context, returned with the message. Default: the request's header of the same name.",
        examples=["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
    ),
]
Tracestate = Annotated[
    str,
    Meta(
        max_length=512,
        description="State of the W3C Trace Context, returned with the message.",
        examples=["vendor=00f067aa0ba902b7"],
    ),
]
ProducerId = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        description=(
            "Random name of a producer that numbers its requests to this queue. A request with the same "
            "`request_number` as the newest one adds nothing and returns the same response. The broker forgets a "
            "producer an hour after its newest request."
        ),
        examples=["6f1c3a52d7e04b0f"],
    ),
]
RequestNumber = Annotated[
    int,
    Meta(
        ge=1,
        le=1 << 53,
        description="Number of the request, larger than those of the producer's earlier requests. Needs `producer_id`.",
    ),
]
Backoff = Annotated[
    float,
    Meta(
        ge=0,
        le=43_200,
        description="Like `delay`, but doubled for each receive after the first, up to 12 hours.",
        examples=[10],
    ),
]
Uncounted = Annotated[
    bool,
    Meta(
        description=(
            "Do not count the claim that is released: `receive_count` becomes one less. Needs the receipt, and "
            "`visibility_timeout` 0, `delay` or `backoff`."
        )
    ),
]
Cron = Annotated[
    str,
    Meta(
        min_length=9,
        max_length=200,
        description=(
            "Cron expression: minute, hour, day of month, month and day of week, with the syntax of Debian's cron. An "
            "optional sixth field in front gives the second."
        ),
        examples=["30 4 * * MON-FRI"],
    ),
]
Timezone = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        description="IANA time zone of the cron expression. Default: `UTC`.",
        examples=["Europe/Vienna"],
    ),
]
Missed = Annotated[
    Literal["skip", "once", "all"],
    Meta(
        description=(
            "Handling of times that passed more than a minute ago without a message, usually because the broker was "
            "down. `skip` (default): produce nothing. `once`: one message for all of them. `all`: one for each of the "
            "oldest 1000."
        )
    ),
]
