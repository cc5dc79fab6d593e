"""What requests may hold, as types: they validate JSON and msgpack alike, and name the field that is wrong.

What they say of themselves is what `wonderq.openapi.document` tells clients.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import fields

from wonderq.model.status import STATUS_BY_NAME

EXAMPLE_ID = "a7f5325c-e413-8fbc-ada0-759277567d55"
EXAMPLE_REDRIVE_ID = "4f6c1d0e-8a3b-4a4e-9d53-6f0d1f2b7c11"
EXAMPLE_RECEIPT = "029fd4c973904fef2da0759277567d5539924d0e"

VisibilityTimeout = Annotated[float, Meta(ge=0, le=43_200, description="How long a claim lasts, in seconds.")]
Delay = Annotated[float, Meta(ge=0, le=10 * 366 * 86_400, description="How long a message is hidden, in seconds.")]
Wait = Annotated[float, Meta(ge=0, le=20, description="How long to wait for the first message, in seconds.")]
Max = Annotated[
    int,
    # What may be set; the broker asks for what is set.
    Meta(
        ge=1, le=10_000, description="How many messages to claim at most. Over 1000 only if `batch_messages` is set so."
    ),
]
Limit = Annotated[int, Meta(ge=1, description="How many messages to list at most; all, if it is not given.")]
Text = Annotated[str, Meta(description="The message itself: any text, of at most 1 MiB in UTF-8.")]
MessageId = Annotated[str, Meta(description="The id of a message.", examples=[EXAMPLE_ID])]
After = Annotated[str, Meta(description="The id of a message: only those produced after it.", examples=[EXAMPLE_ID])]
Receipt = Annotated[
    str,
    Meta(
        description="The receipt of a claim: the call then acts only if that claim is still the newest.",
        examples=[EXAMPLE_RECEIPT],
    ),
]
Status = Annotated[
    str,
    Meta(
        description=(
            "`unprocessed` can be consumed now, `processing` is claimed, `delayed` is hidden until later, `buried` is kept "
            "aside until it is kicked."
        ),
        extra_json_schema={"enum": list(STATUS_BY_NAME)},
    ),
]


_QueueName = Annotated[str, Meta(pattern=r"^([A-Za-z0-9_-]{1,80}|[A-Za-z0-9_-]{1,75}\.fifo)$", examples=["mail"])]
Contains = Annotated[str, Meta(min_length=1, max_length=1024, description="Only those with this in their text.")]
WithAttribute = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=1024,
        description="Only those with this attribute: its name, or `name=value`.",
        examples=["tenant=acme"],
    ),
]


class Body(Struct, forbid_unknown_fields=True):
    """Base of all request bodies."""


class TypedAttribute(Body):
    type: Annotated[
        str,
        Meta(
            description="`String`, `Number` or `Binary`, each with `.` and a label of your own behind it if you like.",
            pattern=r"^(String|Number|Binary)(\.[^\u0000-\u001f]{1,240})?$",
        ),
    ]
    value: Annotated[str, Meta(description="As text; in base64 if it is `Binary`.")]


Attributes = Annotated[
    dict[
        Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,256}$")],
        str | Annotated[int, Meta(ge=-(1 << 53), le=1 << 53)] | float | TypedAttribute,
    ],
    Meta(
        max_length=64,
        description="What goes with the message: texts, numbers, and whatever has a type of its own.",
        examples=[{"tenant": "acme", "retries": 3, "digest": {"type": "Binary", "value": "3q2+7w=="}}],
    ),
]
Group = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=128,
        description=(
            "The group it belongs to. In a FIFO queue the messages of one group are given out in order, one claim at a time; "
            "in others no group keeps the rest waiting."
        ),
    ),
]
Priority = Annotated[
    int, Meta(ge=0, le=9, description="9 is given out first, 0 last, as messages without one. Not in FIFO queues.")
]
IdempotencyKey = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=128,
        description=(
            "The same key again, within the queue's `deduplication_window`, adds nothing: the answer is about the message "
            "that was added first. For a batch, each message has it with its index behind it."
        ),
    ),
]
DeliverAt = Annotated[
    datetime, Meta(tz=True, description="Hide the message until then, at most ten years ahead. Instead of `delay`.")
]
Traceparent = Annotated[
    str,
    Meta(
        pattern=r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$",
        description="Given back with the message: see W3C Trace Context. The request's header of that name does the same.",
        examples=["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
    ),
]
Tracestate = Annotated[str, Meta(max_length=512, description="Given back with the message, as `traceparent` is.")]


class MessageFields(Body):
    """What a new message may have besides its text."""

    delay: Delay | UnsetType = UNSET
    deliver_at: DeliverAt | UnsetType = UNSET
    attributes: Attributes | UnsetType = UNSET
    group: Group | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    idempotency_key: IdempotencyKey | UnsetType = UNSET
    traceparent: Traceparent | UnsetType = UNSET
    tracestate: Tracestate | UnsetType = UNSET


class NewMessage(MessageFields, kw_only=True):
    message: Text


class Produce(MessageFields, kw_only=True):
    message: Text | UnsetType = UNSET
    messages: (
        Annotated[list[Text | NewMessage], Meta(min_length=1, description="At most 1000 messages.")] | UnsetType
    ) = UNSET


class NextMessage(NewMessage, kw_only=True):
    queue: Annotated[_QueueName, Meta(description="Where it goes.")]


class HandOver(Body):
    receipts: Annotated[
        list[Receipt], Meta(min_length=1, description="Of the messages that are done: at most 1000 receipts.")
    ]
    produce: Annotated[list[NextMessage], Meta(min_length=1, description="What comes of them: at most 1000 messages.")]


def given(body: Struct) -> dict[str, Any]:
    """Return the fields of a request that were given."""
    found = {each.name: getattr(body, each.name) for each in fields(body)}
    return {name: value for name, value in found.items() if value is not UNSET}


class Consume(Body):
    max: Max = 10
    wait: Wait = 0
    visibility_timeout: VisibilityTimeout | UnsetType = UNSET
    attempt_id: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=128,
                description=(
                    "The same again, within five minutes, gets the same messages with the same receipts, and their timeout anew, "
                    "unless something was done to one of them: for a consumer that got no answer."
                ),
            ),
        ]
        | UnsetType
    ) = UNSET


class Kick(Body):
    max: Max = 10


class Delete(Body):
    receipt: Receipt | UnsetType = UNSET


class Update(Body):
    receipt: Receipt | UnsetType = UNSET
    visibility_timeout: VisibilityTimeout | UnsetType = UNSET
    delay: Delay | UnsetType = UNSET
    message: Text | UnsetType = UNSET
    attributes: Attributes | UnsetType = UNSET
    bury: Annotated[bool, Meta(description="Keep it aside until it is kicked; whoever holds it loses it.")] = False
    backoff: (
        Annotated[
            float,
            Meta(
                ge=0,
                le=43_200,
                description="As `delay`, doubled with each time it was received after the first, up to 12 hours.",
            ),
        ]
        | UnsetType
    ) = UNSET
    if_version: (
        Annotated[
            int, Meta(ge=1, description="Change it only if this is its version: 1 at first, then one more each time.")
        ]
        | UnsetType
    ) = UNSET


class DeleteBatch(Body):
    ids: Annotated[list[MessageId], Meta(min_length=1, description="At most 1000 ids.")] | UnsetType = UNSET
    receipts: Annotated[list[Receipt], Meta(min_length=1, description="At most 1000 receipts.")] | UnsetType = UNSET


class UpdateEntry(Update):
    id: MessageId | UnsetType = UNSET


class UpdateBatch(Body):
    entries: Annotated[list[UpdateEntry], Meta(min_length=1, description="At most 1000 entries.")]


_Amount = Annotated[int, Meta(ge=0, le=1 << 53)]


class PutQueue(Body):
    visibility_timeout: VisibilityTimeout | UnsetType = UNSET
    delay: Delay | UnsetType = UNSET
    retention: (
        Annotated[
            float,
            Meta(
                ge=0,
                le=10 * 366 * 86_400,
                description="How old a message may get, in seconds; then it is gone, whatever it is doing. 0: any age.",
            ),
        ]
        | UnsetType
    ) = UNSET
    max_messages: Annotated[_Amount, Meta(description="How many messages it may hold. 0: any number.")] | UnsetType = (
        UNSET
    )
    max_bytes: Annotated[_Amount, Meta(description="How many bytes of them. 0: any number.")] | UnsetType = UNSET
    max_message_bytes: (
        Annotated[_Amount, Meta(description="How many bytes one message may have. 0: what the broker allows.")]
        | UnsetType
    ) = UNSET
    max_receives: (
        Annotated[
            int,
            Meta(
                ge=0,
                le=1_000_000,
                description="How often a message may be consumed before it is a dead letter. 0: any number of times.",
            ),
        ]
        | UnsetType
    ) = UNSET
    dead_letter_queue: (
        Annotated[
            str,
            Meta(
                pattern=r"^([A-Za-z0-9_-]{1,80}|[A-Za-z0-9_-]{1,75}\.fifo)?$",
                description="The queue that dead letters are moved to; without one they stay, buried.",
            ),
        ]
        | UnsetType
    ) = UNSET
    paused: Annotated[bool, Meta(description="Nothing can be consumed.")] | UnsetType = UNSET
    draining: Annotated[bool, Meta(description="Nothing can be produced.")] | UnsetType = UNSET
    content_deduplication: (
        Annotated[bool, Meta(description="A message without an `idempotency_key` has the SHA-256 of its text for one.")]
        | UnsetType
    ) = UNSET
    deduplication_window: (
        Annotated[float, Meta(ge=1, le=7 * 86_400, description="For how long keys are remembered, in seconds.")]
        | UnsetType
    ) = UNSET
    deduplication_per_group: (
        Annotated[bool, Meta(description="The same key in two groups is two keys.")] | UnsetType
    ) = UNSET
    max_in_flight: (
        Annotated[_Amount, Meta(description="How many messages may be claimed at once. 0: any number.")] | UnsetType
    ) = UNSET
    max_in_flight_per_group: (
        Annotated[_Amount, Meta(description="How many of one group. 0: any number.")] | UnsetType
    ) = UNSET
    max_claims_per_second: (
        Annotated[int, Meta(ge=0, le=1_000_000, description="How many messages a second are given out. 0: any number.")]
        | UnsetType
    ) = UNSET
    max_claims_per_second_per_group: (
        Annotated[int, Meta(ge=0, le=1_000_000, description="How many a second of one group. 0: any number.")]
        | UnsetType
    ) = UNSET
    tags: (
        Annotated[
            dict[Annotated[str, Meta(min_length=1, max_length=128)], Annotated[str, Meta(max_length=256)]],
            Meta(max_length=50, description="For people. Replaces those that there are."),
        ]
        | UnsetType
    ) = UNSET


class Listing(Body):
    limit: Limit | UnsetType = UNSET
    after: After | UnsetType = UNSET
    contains: Contains | UnsetType = UNSET
    attribute: WithAttribute | UnsetType = UNSET
    group: Annotated[str, Meta(min_length=1, max_length=128, description="Only those of this group.")] | UnsetType = (
        UNSET
    )


class StatusListing(Listing, kw_only=True):
    status: Status


class Count(Body, kw_only=True):
    status: Status


class Redrive(Body):
    destination: (
        Annotated[
            _QueueName, Meta(description="Where all messages go. Without one each goes back to where it came from.")
        ]
        | UnsetType
    ) = UNSET
    per_second: (
        Annotated[int, Meta(ge=1, le=1_000_000, description="How many messages to move in a second at most.")]
        | UnsetType
    ) = UNSET
    limit: Annotated[int, Meta(ge=1, le=1 << 53, description="How many messages to move at most.")] | UnsetType = UNSET
    contains: Contains | UnsetType = UNSET
    attribute: WithAttribute | UnsetType = UNSET
    dry_run: Annotated[bool, Meta(description="Count what would be moved, and move nothing.")] = False


Cron = Annotated[
    str,
    Meta(
        min_length=9,
        max_length=200,
        description=(
            "When: minute, hour, day of month, month and day of week, as Debian's cron reads them, and a second before them if "
            "you like."
        ),
        examples=["30 4 * * MON-FRI"],
    ),
]
Timezone = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        description="The IANA time zone of these times. `UTC` at first.",
        examples=["Europe/Vienna"],
    ),
]
Missed = Annotated[
    Literal["skip", "once", "all"],
    Meta(
        description=(
            "What becomes of times that passed more than a minute ago before anything could be produced, mostly as the broker "
            "was down: nothing (at first), one message for all of them, or one for each of up to 1000, the oldest."
        )
    ),
]


class PutSchedule(Body):
    cron: Cron | UnsetType = UNSET
    timezone: Timezone | UnsetType = UNSET
    queue: Annotated[_QueueName, Meta(description="Where the messages go.")] | UnsetType = UNSET
    message: (
        Annotated[
            str, Meta(description="The message that is produced: any text, of at most 16 KiB with its attributes.")
        ]
        | UnsetType
    ) = UNSET
    attributes: Attributes | UnsetType = UNSET
    group: Group | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    delay: Delay | UnsetType = UNSET
    missed: Missed | UnsetType = UNSET
    paused: Annotated[bool, Meta(description="Nothing is produced, nor counts as missed.")] | UnsetType = UNSET
