"""Types of requests. They validate JSON and msgpack alike, and an error names the field that is invalid.

`wonderq.openapi.document` publishes them, with their descriptions and examples.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import fields

from wonderq.model.bounds import MAX_CONSUMER_CHARACTERS, MAX_SOURCES, MAX_WEIGHT
from wonderq.model.failures import MAX_ERROR_BYTES
from wonderq.model.queue_names import QUEUE_NAME_PATTERN
from wonderq.model.queue_orders import QueueOrder
from wonderq.model.settings import RANGES
from wonderq.rest.field_types import (
    After,
    Backoff,
    Contains,
    Cron,
    Delay,
    DeliverAt,
    Group,
    IdempotencyKey,
    Limit,
    Max,
    MessageId,
    Missed,
    Order,
    Priority,
    ProducerId,
    QueueName,
    Receipt,
    RequestNumber,
    Since,
    Status,
    Text,
    Timezone,
    Traceparent,
    Tracestate,
    Uncounted,
    Until,
    VisibilityTimeout,
    Wait,
    WithAttribute,
)


def range_of(setting: str, description: str) -> Meta:
    """Return the range of a setting of a queue or topic; for one in ms, in seconds."""
    least, most = RANGES[setting]
    unit = 1000 if setting.endswith("_ms") else 1
    return Meta(ge=least // unit, le=most // unit, description=description)


class Body(Struct, forbid_unknown_fields=True):
    """Base of all requests; by itself, a request without fields."""


class TypedAttribute(Body):
    """An attribute that states its type."""

    type: Annotated[
        str,
        Meta(
            description="`String`, `Number` or `Binary`, optionally followed by `.` and a label of your own.",
            pattern=r"^(String|Number|Binary)(\.[^\u0000-\u001f]{1,240})?$",
            examples=["Number.int"],
        ),
    ]
    value: Annotated[str, Meta(description="The value as text; for `Binary`, as base64.", examples=["42"])]


Attributes = Annotated[
    dict[
        Annotated[
            str,
            Meta(
                pattern=r"^[A-Za-z0-9_.-]{1,256}$",
                description="Name of an attribute: up to 256 letters, digits, `_`, `.` or `-`.",
                examples=["tenant"],
            ),
        ],
        Annotated[
            str | Annotated[int, Meta(ge=-(1 << 53), le=1 << 53)] | float | TypedAttribute,
            Meta(description="Value of an attribute.", examples=["acme"]),
        ],
    ],
    Meta(
        max_length=64,
        description="Metadata of the message: strings, numbers and typed values, by name.",
        examples=[{"tenant": "acme", "retries": 3, "digest": {"type": "Binary", "value": "3q2+7w=="}}],
    ),
]


class MessageFields(Body):
    """Optional fields of a new message."""

    delay: Delay | UnsetType = UNSET
    deliver_at: DeliverAt | UnsetType = UNSET
    attributes: Attributes | UnsetType = UNSET
    group: Group | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    idempotency_key: IdempotencyKey | UnsetType = UNSET
    traceparent: Traceparent | UnsetType = UNSET
    tracestate: Tracestate | UnsetType = UNSET


class NewMessage(MessageFields, kw_only=True):
    """A message of a batch."""

    message: Text


class Produce(MessageFields, kw_only=True):
    """One message, or a batch."""

    message: Text | UnsetType = UNSET
    messages: (
        Annotated[list[Text | NewMessage], Meta(min_length=1, description="Batch of up to 1000 messages.")] | UnsetType
    ) = UNSET
    producer_id: ProducerId | UnsetType = UNSET
    request_number: RequestNumber | UnsetType = UNSET


OF_ONE_MESSAGE = ("deliver_at", "attributes", "group", "priority", "traceparent", "tracestate")
"""Fields of a message that cannot stand beside a batch."""


class NextMessage(NewMessage, kw_only=True):
    """A message of a hand-over, with the queue to produce it to."""

    queue: Annotated[QueueName, Meta(description="Queue to produce the message to.")]


class HandOver(Body):
    """Claims to end, and the messages to produce in exchange."""

    receipts: Annotated[
        list[Receipt],
        Meta(min_length=1, description="Receipts of the messages to delete, up to 1000, all of the queue in the path."),
    ]
    produce: Annotated[list[NextMessage], Meta(min_length=1, description="Messages to produce, up to 1000.")]


def given(body: Struct) -> dict[str, Any]:
    """Return the fields of a request that the client gave."""
    found = {each.name: getattr(body, each.name) for each in fields(body)}
    return {name: value for name, value in found.items() if value is not UNSET}


class Consume(Body):
    """Size and duration of a claim."""

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
                    "Id of this attempt, for a consumer that lost the response. Repeating it within five minutes "
                    "returns the same messages with the same receipts and renews their claims, unless one of them has "
                    "changed since. It ends the earlier request if that still waits."
                ),
                examples=["worker-1-0001"],
            ),
        ]
        | UnsetType
    ) = UNSET
    consumer: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=MAX_CONSUMER_CHARACTERS,
                description="Name of the consumer. Messages show it as long as the consumer holds them.",
                examples=["worker-1:4711"],
            ),
        ]
        | UnsetType
    ) = UNSET


class ReportedError(Body):
    """The error with which a consumer failed to process a message. All texts together have at most 8 KiB in UTF-8."""

    message: Annotated[
        str, Meta(max_length=MAX_ERROR_BYTES, description="What went wrong.", examples=["not a valid image"])
    ]
    type: Annotated[
        str, Meta(max_length=MAX_ERROR_BYTES, description="Kind of the error.", examples=["ValueError"])
    ] = ""
    traceback: Annotated[
        str, Meta(max_length=MAX_ERROR_BYTES, description="Where it happened.", examples=['File "resize.py", line 3'])
    ] = ""
    consumer: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=MAX_CONSUMER_CHARACTERS,
                description="Name of the consumer. It counts if the claim has ended or has no name.",
                examples=["worker-1:4711"],
            ),
        ]
        | UnsetType
    ) = UNSET


_Error = Annotated[
    ReportedError, Meta(description="Error of the consumer. The message keeps the last one as `last_error`.")
]


class WeightedQueue(Body):
    """A queue to consume from, with its share."""

    queue: Annotated[QueueName, Meta(description="Name of the queue.")]
    weight: Annotated[
        int,
        Meta(
            ge=1,
            le=MAX_WEIGHT,
            description="Share of the claims that ask this queue first, in proportion to the other weights.",
            examples=[3],
        ),
    ]


_Queues = Annotated[
    list[QueueName | WeightedQueue],
    Meta(
        min_length=1,
        max_length=MAX_SOURCES,
        description=(
            "Queues to claim from, on the path without a queue. Names: in this order, each only when those before it "
            "have no message left. Objects with weights: in an order that is drawn for each claim. Default: `default`."
        ),
        examples=[["urgent", "jobs"]],
    ),
]


class ConsumeFrom(Consume):
    """Size and duration of a claim, and its queues."""

    queues: _Queues | UnsetType = UNSET


class Release(Body, kw_only=True):
    """A message to release."""

    receipt: Receipt
    delay: Delay | UnsetType = UNSET
    backoff: Backoff | UnsetType = UNSET
    uncounted: Uncounted = False
    error: _Error | UnsetType = UNSET


class DeadMessage(Body, kw_only=True):
    """A message that cannot be processed."""

    receipt: Receipt
    error: _Error | UnsetType = UNSET


class Next(ConsumeFrom):
    """Messages that the consumer has finished, and the next claim. All lists together have up to 1000 entries."""

    delete: Annotated[list[Receipt], Meta(description="Receipts of messages to delete.")] | UnsetType = UNSET
    release: Annotated[list[Release], Meta(description="Messages to release.")] | UnsetType = UNSET
    dead: (
        Annotated[list[DeadMessage], Meta(description="Messages to move to the dead-letter queue, or to bury.")]
        | UnsetType
    ) = UNSET


class Kick(Body):
    """Number of buried messages to release."""

    max: Max = 10


class Delete(Body):
    """The claim to end with the deletion."""

    receipt: Receipt | UnsetType = UNSET


class Update(Body):
    """A change of a message or of its claim."""

    receipt: Receipt | UnsetType = UNSET
    visibility_timeout: VisibilityTimeout | UnsetType = UNSET
    delay: Delay | UnsetType = UNSET
    message: Text | UnsetType = UNSET
    attributes: Attributes | UnsetType = UNSET
    bury: Annotated[
        bool, Meta(description="Set the message aside until it is kicked. This ends the claim of its consumer.")
    ] = False
    backoff: Backoff | UnsetType = UNSET
    if_version: (
        Annotated[
            int,
            Meta(
                ge=1,
                description=(
                    "Version that the message must have. It starts at 1, and each change of text or attributes adds 1."
                ),
            ),
        ]
        | UnsetType
    ) = UNSET
    error: _Error | UnsetType = UNSET
    dead: Annotated[
        bool, Meta(description="Move the message to the dead-letter queue now, or bury it if its queue has none.")
    ] = False
    uncounted: Uncounted = False


class DeleteBatch(Body):
    """Messages to delete."""

    ids: Annotated[list[MessageId], Meta(min_length=1, description="Ids of messages, up to 1000.")] | UnsetType = UNSET
    receipts: Annotated[list[Receipt], Meta(min_length=1, description="Receipts, up to 1000.")] | UnsetType = UNSET


class UpdateEntry(Update):
    """One update of a batch."""

    id: MessageId | UnsetType = UNSET


class UpdateBatch(Body):
    """Messages to update."""

    entries: Annotated[list[UpdateEntry], Meta(min_length=1, description="Updates, up to 1000.")]


#: The lists of a batch by the type of the request: their fields, and the types of their entries. `wonderq.rest.bodies`
#: decodes the entries of a large batch in turns.
ENTRIES: dict[type[Struct], dict[str, Any]] = {
    Produce: {"messages": Text | NewMessage},
    HandOver: {"produce": NextMessage},
    UpdateBatch: {"entries": UpdateEntry},
    Next: {"delete": Receipt, "release": Release, "dead": DeadMessage},
}


class PutQueue(Body):
    """Settings of a queue."""

    visibility_timeout: VisibilityTimeout | UnsetType = UNSET
    delay: Delay | UnsetType = UNSET
    retention: (
        Annotated[
            float,
            range_of(
                "retention_ms",
                "Maximum age of a message, in seconds; older messages are deleted in any status. 0: no limit.",
            ),
        ]
        | UnsetType
    ) = UNSET
    max_messages: (
        Annotated[int, range_of("max_messages", "Maximum number of messages in the queue. 0: no limit.")] | UnsetType
    ) = UNSET
    max_bytes: (
        Annotated[int, range_of("max_bytes", "Maximum size of all messages in the queue, in bytes. 0: no limit.")]
        | UnsetType
    ) = UNSET
    max_message_bytes: (
        Annotated[int, range_of("max_message_bytes", "Maximum size of a message, in bytes. 0: the broker's limit.")]
        | UnsetType
    ) = UNSET
    max_receives: (
        Annotated[
            int,
            range_of(
                "max_receives", "Maximum number of claims of a message before it becomes a dead letter. 0: no limit."
            ),
        ]
        | UnsetType
    ) = UNSET
    dead_letter_queue: (
        Annotated[
            str,
            Meta(
                pattern=f"^({QUEUE_NAME_PATTERN})?$",
                description="Queue to move dead letters to. Empty: they stay in this queue, buried.",
                examples=["mail-dead"],
            ),
        ]
        | UnsetType
    ) = UNSET
    paused: Annotated[bool, Meta(description="Stop delivery: no message can be claimed.")] | UnsetType = UNSET
    draining: Annotated[bool, Meta(description="Reject new messages.")] | UnsetType = UNSET
    content_deduplication: (
        Annotated[
            bool,
            Meta(description="Use the SHA-256 of the text as key of messages without an `idempotency_key`."),
        ]
        | UnsetType
    ) = UNSET
    deduplication_window: (
        Annotated[float, range_of("deduplication_window_ms", "Time that keys are remembered, in seconds.")] | UnsetType
    ) = UNSET
    deduplication_per_group: (
        Annotated[
            bool, Meta(description="Deduplicate within each group: equal keys of different groups are different keys.")
        ]
        | UnsetType
    ) = UNSET
    max_in_flight: (
        Annotated[int, range_of("max_in_flight", "Maximum number of claimed messages. 0: no limit.")] | UnsetType
    ) = UNSET
    max_in_flight_per_group: (
        Annotated[
            int, range_of("max_in_flight_per_group", "Maximum number of claimed messages of a group. 0: no limit.")
        ]
        | UnsetType
    ) = UNSET
    max_claims_per_second: (
        Annotated[
            int, range_of("max_claims_per_second", "Maximum number of messages delivered per second. 0: no limit.")
        ]
        | UnsetType
    ) = UNSET
    max_claims_per_second_per_group: (
        Annotated[
            int,
            range_of(
                "max_claims_per_second_per_group",
                "Maximum number of messages of a group delivered per second. 0: no limit.",
            ),
        ]
        | UnsetType
    ) = UNSET
    tags: (
        Annotated[
            dict[
                Annotated[str, Meta(min_length=1, max_length=128, description="Name of a label.", examples=["team"])],
                Annotated[str, Meta(max_length=256, description="Value of a label.", examples=["billing"])],
            ],
            Meta(
                max_length=50,
                description="Free-form labels, such as for cost allocation. They replace all current tags.",
            ),
        ]
        | UnsetType
    ) = UNSET


Preview = Annotated[
    int,
    Meta(
        ge=0,
        le=65_536,
        description="Return at most this many characters of each text. An object whose text was cut has `full_length`.",
        examples=[200],
    ),
]


class Filters(Body):
    """Choice of messages."""

    after: After | UnsetType = UNSET
    contains: Contains | UnsetType = UNSET
    attribute: WithAttribute | UnsetType = UNSET
    group: (
        Annotated[
            str,
            Meta(min_length=1, max_length=128, description="Only messages of this group.", examples=["tenant-7"]),
        ]
        | UnsetType
    ) = UNSET
    since: Since | UnsetType = UNSET
    until: Until | UnsetType = UNSET


class Listing(Filters):
    """Filters of a listing."""

    order: Order = "oldest"
    limit: Limit | UnsetType = UNSET
    preview: Preview | UnsetType = UNSET


class SearchAll(Filters):
    """Filters of a search in all queues, and how far it goes at a time."""

    status: Status | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1, le=100, description="Maximum number of messages to find.", examples=[50])] = 50
    examine: Annotated[
        int,
        Meta(ge=1, le=100_000, description="Maximum number of messages to examine.", examples=[10_000]),
    ] = 10_000
    preview: Preview = 200


class Search(SearchAll):
    """Filters of a search in a queue, its order, and how far it goes at a time."""

    order: Order = "oldest"


WithFigures = Annotated[
    bool,
    Meta(description="Also return `figures`: waiting consumers, rates, and the recent number of waiting messages."),
]


class Page(Body):
    """A page of a listing by name."""

    contains: (
        Annotated[str, Meta(max_length=256, description="Only names that have this text in them.", examples=["or"])]
        | UnsetType
    ) = UNSET
    after: (
        Annotated[
            str,
            Meta(
                max_length=256,
                description="Only names after this one: the last name of the page before.",
                examples=["a"],
            ),
        ]
        | UnsetType
    ) = UNSET
    limit: Annotated[int, Meta(ge=1, le=1000, description="Maximum number of items to return.", examples=[100])] = 1000


class ScheduleListing(Page):
    """A page of the schedules."""


class QueueListing(Body):
    """The queues to list."""

    prefix: (
        Annotated[
            str,
            Meta(
                max_length=80,
                description="Only queues whose names begin with this.",
                examples=["mail-"],
            ),
        ]
        | UnsetType
    ) = UNSET
    after: (
        Annotated[
            str,
            Meta(
                max_length=80,
                description="Only queues whose names follow this one: the last name of the page before.",
                examples=["mail-out"],
            ),
        ]
        | UnsetType
    ) = UNSET
    limit: Annotated[int, Meta(ge=1, description="Maximum number of queues. Default: all.")] | UnsetType = UNSET
    contains: (
        Annotated[
            str,
            Meta(max_length=80, description="Only queues whose names contain this.", examples=["mail"]),
        ]
        | UnsetType
    ) = UNSET
    sort: Annotated[
        QueueOrder,
        Meta(
            description=(
                "Order of the queues: by name, or those with the largest figure first. The figures that decide the "
                "order are about a second old. With another order than `name` there is no `after`."
            ),
            examples=["name"],
        ),
    ] = "name"
    dead_letters: Annotated[
        bool,
        Meta(
            description=(
                "Only queues with dead letters: those that are the dead-letter queue of another and have messages, and "
                "those with buried messages, as of about a second ago."
            )
        ),
    ] = False
    figures: WithFigures = False


class QueueQuery(Body):
    """Choice of what is returned of a queue."""

    figures: WithFigures = False


class NewSession(Body):
    """The key to open a session of a browser with."""

    key: Annotated[
        str,
        Meta(max_length=200, description="An API key. A broker without keys takes any text.", examples=["wq_…"]),
    ]


class CronQuery(Body):
    """The expression to explain."""

    cron: Cron
    timezone: Timezone = "UTC"
    limit: Annotated[int, Meta(ge=1, le=20, description="Maximum number of times.", examples=[5])] = 5


class HistoryQuery(Body):
    """The period to return."""

    window: Annotated[
        Literal["1h", "24h"],
        Meta(
            description="The last hour, as up to 360 points of 10 seconds, or the last day, as up to 288 of 5 minutes."
        ),
    ] = "1h"


class StatusListing(Listing, kw_only=True):
    """Filters of a listing of one status."""

    status: Status


class Count(Body, kw_only=True):
    """The status whose messages to count."""

    status: Status


class Redrive(Body):
    """The messages to move, their destination and a rate."""

    destination: (
        Annotated[
            QueueName,
            Meta(description="Queue to move all messages to. Default: each dead letter returns to its source queue."),
        ]
        | UnsetType
    ) = UNSET
    per_second: (
        Annotated[
            int,
            Meta(ge=1, le=1_000_000, description="Maximum number of messages to move per second.", examples=[100]),
        ]
        | UnsetType
    ) = UNSET
    limit: Annotated[int, Meta(ge=1, le=1 << 53, description="Maximum number of messages to move.")] | UnsetType = UNSET
    contains: Contains | UnsetType = UNSET
    attribute: WithAttribute | UnsetType = UNSET
    since: Since | UnsetType = UNSET
    until: Until | UnsetType = UNSET
    dry_run: Annotated[bool, Meta(description="Count the messages that would be moved, without moving them.")] = False


class Move(Body):
    """The messages to move, and their destination."""

    ids: Annotated[list[MessageId], Meta(min_length=1, description="Ids of the messages to move, up to 1000.")]
    destination: (
        Annotated[
            QueueName,
            Meta(description="Queue to move them to. Default: each dead letter returns to its source queue."),
        ]
        | UnsetType
    ) = UNSET


class PutSchedule(Body):
    """Fields of a schedule."""

    cron: Cron | UnsetType = UNSET
    timezone: Timezone | UnsetType = UNSET
    queue: Annotated[QueueName, Meta(description="Queue to produce the messages to.")] | UnsetType = UNSET
    message: (
        Annotated[
            str,
            Meta(
                description="Text of the messages, up to 16 KiB together with the attributes.",
                examples=["nightly report"],
            ),
        ]
        | UnsetType
    ) = UNSET
    attributes: Attributes | UnsetType = UNSET
    group: Group | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    delay: Delay | UnsetType = UNSET
    missed: Missed | UnsetType = UNSET
    paused: (
        Annotated[bool, Meta(description="Produce nothing. Times that pass meanwhile do not count as missed.")]
        | UnsetType
    ) = UNSET


class Readiness(Body):
    """The check of a node of a cluster."""

    strict: Annotated[bool, Meta(description="Whether a shard without an owner makes the node unready.")] = True


class Transfer(Body):
    """Give a shard to a node."""

    shard: Annotated[int, Meta(description="Number of the shard.", examples=[0])]
    node: Annotated[str, Meta(description="Name of a node that can own shards.", examples=["a"])]


class Drain(Body):
    """Give all shards of a node to the others, or let it own shards again."""

    node: Annotated[str, Meta(description="Name of the node.", examples=["a"])]
    drained: Annotated[bool, Meta(description="False: let the node own shards again.")] = True
