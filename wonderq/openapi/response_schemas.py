"""Types of responses, for the OpenAPI document. Tests compare real responses with them.

The server does not build its responses from these types, as that would cost time in every request.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from msgspec import UNSET, Meta, Struct, UnsetType, defstruct, field
from msgspec.structs import fields

from wonderq.model.status import STATUS_BY_NAME
from wonderq.rest.field_types import (
    EXAMPLE_REDRIVE_ID,
    Cron,
    Group,
    MessageId,
    Missed,
    Priority,
    Receipt,
    Status,
    Text,
    Timezone,
    Traceparent,
    Tracestate,
)
from wonderq.rest.schemas import Attributes, PutQueue

Time = Annotated[
    str, Meta(description="UTC, in ISO 8601 with milliseconds.", extra_json_schema={"format": "date-time"})
]
Count = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0)]
HTTPStatus = Annotated[int, Meta(description="Same as the HTTP status of the response.", ge=400, le=599)]
_Duplicates = Annotated[
    list[Count], Meta(description="Indexes of messages that were not added, because their keys were already used.")
]


class Produced(Struct):
    """A message was produced."""

    id: MessageId
    message: Text
    status: Literal["unprocessed"]
    status_code: Literal[201] = field(name="statusCode")
    duplicate: (
        Annotated[
            Literal[True],
            Meta(description="No message was added: the key was already used for the message with this id."),
        ]
        | UnsetType
    ) = UNSET


class BatchProduced(Struct):
    """A batch was produced."""

    ids: Annotated[list[MessageId], Meta(description="Ids of the messages, in the order of the request.")]
    status: Literal["unprocessed"]
    status_code: Literal[201] = field(name="statusCode")
    duplicates: _Duplicates | UnsetType = UNSET


class HandedOver(Struct):
    """Messages were deleted and others produced."""

    success: Literal[True]
    ids: Annotated[list[MessageId], Meta(description="Ids of the new messages, in the order of the request.")]
    status_code: Literal[201] = field(name="statusCode")
    duplicates: _Duplicates | UnsetType = UNSET


class Kicked(Struct):
    """Buried messages were made available."""

    success: Literal[True]
    kicked: Annotated[Count, Meta(description="Number of messages.")]


class DeadLetter(Struct):
    """Source of a dead letter, and the reason for the move."""

    queue: Annotated[str, Meta(description="Source queue.")]
    id: Annotated[MessageId, Meta(description="Id of the message in the source queue.")]
    reason: str
    moved_at: Time
    produced_at: Annotated[Time, Meta(description="Time at which the message was first produced.")]
    receive_count: Annotated[Count, Meta(description="Number of times the message was claimed in the source queue.")]


class LastError(Struct):
    """The error that a consumer reported last."""

    type: str
    message: str
    traceback: str
    at: Annotated[Time, Meta(description="Time of the report.")]
    attempt: Annotated[Count, Meta(description="Receive count of the message at that time.")]
    consumer: Annotated[str | None, Meta(description="Name of the consumer; null if it gave none.")]


class Message(Struct):
    """A message, as consumers and listings receive it."""

    id: MessageId
    message: Text
    status: Status
    receive_count: Annotated[Count, Meta(description="Number of times the message was claimed.")]
    produced_at: Time
    claimed_until: Annotated[
        Time | None, Meta(description="Deadline of the claim; null unless the status is `processing`.")
    ]
    queue: Annotated[str, Meta(description="Name of the queue.")]
    receipt: (
        Annotated[
            Receipt, Meta(description="Receipt of the claim. Only the consumer that claimed the message gets it.")
        ]
        | UnsetType
    ) = UNSET
    consumer: (
        Annotated[str, Meta(description="Name of the consumer that holds the message, if it gave one.")] | UnsetType
    ) = UNSET
    delayed_until: (
        Annotated[Time, Meta(description="Time from which the message can be consumed, if the status is `delayed`.")]
        | UnsetType
    ) = UNSET
    version: (
        Annotated[
            int, Meta(ge=2, description="1, plus the number of changes of text or attributes. Absent while it is 1.")
        ]
        | UnsetType
    ) = UNSET
    attributes: Attributes | UnsetType = UNSET
    group: Group | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    idempotency_key: str | UnsetType = UNSET
    traceparent: Traceparent | UnsetType = UNSET
    tracestate: Tracestate | UnsetType = UNSET
    dead_letter: DeadLetter | UnsetType = UNSET
    last_error: LastError | UnsetType = UNSET
    masked: (
        Annotated[
            Literal[True],
            Meta(description="Parts are hidden by `--ui-mask`. Only requests of the dashboard are answered so."),
        ]
        | UnsetType
    ) = UNSET
    full_length: (
        Annotated[Count, Meta(description="Characters of the whole text, if a listing with `preview` has cut it.")]
        | UnsetType
    ) = UNSET


class SearchResult(Struct):
    """Messages that a search has found so far, and where to go on."""

    messages: list[Message]
    examined: Annotated[Count, Meta(description="Number of messages that this call has examined.")]
    next_after: Annotated[MessageId | None, Meta(description="Pass it as `after` to go on; null at the end.")]


class Success(Struct):
    """The call succeeded."""

    success: Literal[True]


class Purged(Struct):
    """The messages of a queue were deleted."""

    success: Literal[True]
    deleted: Annotated[Count, Meta(description="Number of deleted messages.")]


class Counted(Struct):
    """The number of messages of a status."""

    count: Count
    status: Status


#: The fields of `PutQueue`, all of them required.
Settings = defstruct(
    "Settings", [(each.name, get_args(each.type)[0]) for each in fields(PutQueue)], namespace={"__module__": __name__}
)


class Flows(Struct):
    """Messages per second."""

    produced: Seconds
    claimed: Seconds
    deleted: Annotated[Seconds, Meta(description="Deleted by consumers.")]
    expired: Annotated[Seconds, Meta(description="Deleted because they exceeded the queue's `retention`.")]
    dead: Annotated[Seconds, Meta(description="Moved to a dead-letter queue, or buried as dead letters.")]


class TopicOfQueue(Struct):
    """A subscription by which messages come to a queue."""

    topic: str
    subscription: str
    gets: Annotated[
        Literal["published", "refused"],
        Meta(description="`refused`: what the subscription's queue refuses, because this is its dead-letter queue."),
    ]
    paused: bool


class QueueFigures(Struct):
    """Figures of a queue besides its contents."""

    oldest_waiting_age: Annotated[
        Seconds | None, Meta(description="Seconds since the oldest waiting message could first be claimed.")
    ]
    consumers: Annotated[Count, Meta(description="Number of consumers that wait for a message.")]
    per_second: Annotated[
        Flows | None,
        Meta(description="Rates over about ten seconds; null if the broker keeps no history of the queue."),
    ]
    recent_waiting: Annotated[
        list[Count], Meta(description="Waiting messages in the last ten minutes, every ten seconds, the oldest first.")
    ]
    sources: Annotated[list[str], Meta(description="Queues whose dead letters come here; at most 100 of them.")]
    topics: Annotated[
        list[TopicOfQueue], Meta(description="Subscriptions by which messages come here; at most 100 of them.")
    ]


class Queue(Struct):
    """A queue with its settings and current figures."""

    queue: Annotated[str, Meta(description="Name of the queue.")]
    settings: Settings  # type: ignore[valid-type]
    created_at: Time
    counts: Annotated[
        dict[str, Count],
        Meta(description="Number of messages by status.", extra_json_schema={"required": list(STATUS_BY_NAME)}),
    ]
    bytes: Annotated[Count, Meta(description="Size of all messages as stored.")]
    newest_id: Annotated[
        str | None,
        Meta(
            description="Id of the newest message, even if it was deleted. List `after` it to see only later messages."
        ),
    ]
    oldest_age: Annotated[Seconds | None, Meta(description="Age of the oldest message, in seconds.")]
    figures: QueueFigures | UnsetType = UNSET


class Problem(Struct):
    """Something that somebody should look at."""

    code: Literal[
        "damaged",
        "not_ready",
        "clock",
        "disk_low",
        "schedule_failed",
        "redrive_failed",
        "no_consumer",
        "late",
        "dead_letters",
        "publish_refused",
        "skipped",
        "paused",
        "draining",
    ]
    severity: Literal["error", "warning", "notice"]
    message: Annotated[str, Meta(description="A sentence for people. It may change.")]
    queue: Annotated[str | None, Meta(description="The queue that it concerns.")]
    schedule: Annotated[str | None, Meta(description="The schedule that it concerns.")]
    topic: Annotated[str | None, Meta(description="The topic that it concerns.")]


class AccessOfKey(Struct):
    """Rights of the request's key. Without keys, everything is permitted."""

    key: Annotated[str | None, Meta(description="Id of the key; null if the broker has no keys.")]
    name: str | None
    roles: list[str]
    queues: Annotated[list[str], Meta(description="Patterns of the queues that the key opens.")]
    read_only: Annotated[
        bool, Meta(description="Whether the request is from a dashboard that may only read (`--ui read-only`).")
    ]


class Overview(Struct):
    """Figures of all queues that the key opens, and the state of the broker."""

    version: str
    now: Annotated[Time, Meta(description="Time of the broker's clock.")]
    started_at: Time
    ready: bool
    damaged: bool
    queues: Annotated[Count, Meta(description="Number of queues.")]
    counts: Annotated[
        dict[str, Count],
        Meta(description="Number of messages by status.", extra_json_schema={"required": list(STATUS_BY_NAME)}),
    ]
    dead_letters: Annotated[
        Count,
        Meta(description="Messages in the dead-letter queues of queues and subscriptions, and buried messages."),
    ]
    dead_letters_last_hour: Annotated[Count, Meta(description="Messages that became dead letters in the last hour.")]
    per_second: Annotated[
        dict[str, Flows],
        Meta(description="Rates over about ten seconds and a minute.", extra_json_schema={"required": ["10s", "1m"]}),
    ]
    consumers: Annotated[Count, Meta(description="Number of consumers that wait for a message.")]
    problems: Annotated[
        list[Problem],
        Meta(
            description="The most urgent first; at most 100 of each kind. Empty if all is well. "
            "In a cluster, this is so for each shard, one after the other."
        ),
    ]
    more_problems: Annotated[Count, Meta(description="Number of problems that were left out.")]
    disk_free_bytes: Count | None
    log_bytes: Annotated[Count | None, Meta(description="Bytes of all records, also of those that compaction removes.")]
    log_disk_bytes: Annotated[Count | None, Meta(description="Bytes of all files of the log, with reserved space.")]
    segments: Annotated[Count | None, Meta(description="Number of files of the log.")]
    sync_p50: Annotated[Seconds | None, Meta(description="The same for half of the syncs.")]
    sync_p99: Annotated[
        Seconds | None, Meta(description="Seconds that 99 of 100 syncs of the log did not exceed, since the start.")
    ]
    connections: Annotated[Count | None, Meta(description="Number of open connections.")]
    connections_limit: Count | None
    access: AccessOfKey


class Ages(Struct):
    """How old messages were, since the start of the broker."""

    bounds: Annotated[list[Seconds], Meta(description="Upper bounds of the ranges, in seconds.")]
    counts: Annotated[
        list[Count],
        Meta(description="Messages in each range: up to its bound and above the one before. The last is above all."),
    ]
    sum: Annotated[Seconds, Meta(description="Sum of all ages, in seconds.")]
    p50: Annotated[
        Seconds | None,
        Meta(description="The bound that half of the ages did not exceed; null without any, or above all bounds."),
    ]
    p90: Seconds | None
    p99: Seconds | None


class History(Struct):
    """Figures at equal distances in time, the oldest first. They are in memory: a start begins anew."""

    window: Literal["1h", "24h"]
    step: Annotated[Count, Meta(description="Seconds from one point to the next.")]
    ended_at: Annotated[Time, Meta(description="Time of the last point.")]
    is_kept: Annotated[bool, Meta(description="Whether the broker keeps a history of this queue: of 100 at most.")]
    waiting: Annotated[list[Count], Meta(description="Waiting messages; for `24h` the most within the step.")]
    in_flight: Annotated[list[Count], Meta(description="Claimed messages; for `24h` the most within the step.")]
    produced: Annotated[list[Count], Meta(description="Messages that were produced during the step.")]
    deleted: Annotated[list[Count], Meta(description="Messages that consumers deleted during the step.")]
    dead: Annotated[list[Count], Meta(description="Messages that became dead letters during the step.")]
    time_to_claim: Annotated[Ages | None, Meta(description="From produce to claim, for each claim.")]
    lifetime: Annotated[Ages | None, Meta(description="From produce to deletion by a consumer.")]


class CheckpointState(Struct):
    """The newest checkpoint: a start loads it and replays the records after it."""

    written_at: Annotated[Time | None, Meta(description="Null if none was written since the start.")]
    bytes: Count
    lag_bytes: Annotated[Count, Meta(description="Bytes of records that a start would replay.")]


class SyncTimes(Struct):
    """Durations of the syncs of the log since the start, in seconds, as the bound of a range."""

    p50: Seconds | None
    p99: Seconds | None


class LimitUse(Struct):
    """A limit of the broker and how much of it is in use."""

    name: Annotated[str, Meta(description="Name of the setting, or `schedules`.")]
    used: Count
    limit: Annotated[Count | None, Meta(description="Null if there is none.")]


class SettingInForce(Struct):
    """A setting of the process."""

    name: str
    value: str
    source: Annotated[str, Meta(description="The option, the variable, or the key and the file; or `default`.")]
    default: str


class KeyEntry(Struct):
    """A key, without its text or any secret."""

    id: str
    name: str
    roles: list[str]
    queues: Annotated[list[str], Meta(description="Patterns of the queues that the key opens.")]
    created_at: Time
    expires_at: Time | None
    requests_per_second: Annotated[Count | None, Meta(description="Its own rate, if it has one.")]
    sqs: Annotated[bool, Meta(description="Whether SQS clients can sign with it.")]


class NeighbourState(Struct):
    """Another process of the same log."""

    node: str
    role: Annotated[str, Meta(description="`standing_by`, `owner`, `released` (has just ended) or `unable`.")]


class SharedLogState(Struct):
    """The log of a broker that others can take over, as the process that owns it sees it."""

    node: Annotated[str, Meta(description="Name of the process that responds.")]
    epoch: Annotated[Count, Meta(description="Number of this ownership; it grows with each takeover.")]
    took_over_at: Time
    takeover: Annotated[Seconds, Meta(description="Seconds from the decision to take over until the process served.")]
    fenced: Annotated[Count, Meta(description="Times that another process took the log from this one.")]
    others: Annotated[list[NeighbourState], Meta(description="The other processes that are heard at present.")]
    clock_ahead: Annotated[
        float | None,
        Meta(description="Seconds by which the system's clock is ahead of the others; below 0 if it is behind."),
    ]
    replicas: Annotated[Count | None, Meta(description="NATS servers that are to have the log.")]
    replicas_current: Annotated[Count | None, Meta(description="NATS servers that have all of it.")]


class BrokerState(Struct):
    """The broker as its operator sees it."""

    checkpoint: CheckpointState
    sync: SyncTimes
    log_live_bytes: Annotated[Count, Meta(description="Bytes of log that existing messages and queues need, about.")]
    shared_log: Annotated[SharedLogState | None, Meta(description="Null if the log is in a folder.")]
    limits: list[LimitUse]
    settings: Annotated[list[SettingInForce] | None, Meta(description="Null without the role `admin`.")]
    keys: Annotated[list[KeyEntry] | None, Meta(description="Null without the role `admin`.")]


class CronTimes(Struct):
    """The meaning of a cron expression."""

    cron: Cron
    timezone: Timezone
    words: Annotated[str, Meta(description="The expression in English.", examples=["At 04:30 every day"])]
    times: Annotated[list[Time], Meta(description="The next times.")]


class Health(Struct):
    """The broker is well."""

    status: Literal["ok", "ready"]
    warnings: (
        Annotated[list[str], Meta(description="Problems that an operator must solve while the broker works.")]
        | UnsetType
    ) = UNSET


class ErrorDetails(Struct):
    """Details of an error."""

    code: Annotated[str, Meta(description="Stable identifier of the error, for programs.")]
    message: Annotated[str, Meta(description="Explanation for people, with a remedy. The text may change.")]
    field: Annotated[str, Meta(description="The field that caused the error, if a single field did.")] | UnsetType = (
        UNSET
    )


class Error(Struct):
    """An error. All errors have this shape."""

    success: Literal[False]
    status_code: HTTPStatus = field(name="statusCode")
    error: ErrorDetails


class Result(Struct):
    """Result of one entry of a batch, with the id or the receipt that was given, and the error if it failed."""

    success: bool
    id: MessageId | UnsetType = UNSET
    receipt: Annotated[Receipt, Meta(description="The receipt that was given.")] | UnsetType = UNSET
    status_code: (
        Annotated[
            HTTPStatus, Meta(description="HTTP status that the entry would have as a separate call, if it failed.")
        ]
        | UnsetType
    ) = field(name="statusCode", default=UNSET)
    error: ErrorDetails | UnsetType = UNSET


class Results(Struct):
    """Results of a batch."""

    success: Annotated[bool, Meta(description="Whether every entry succeeded.")]
    results: Annotated[list[Result], Meta(description="One result for each entry, in the order of the request.")]


class ResultsByList(Struct):
    """Results of the lists that were given, each in the order of the request."""

    delete: list[Result] | UnsetType = UNSET
    release: list[Result] | UnsetType = UNSET
    dead: list[Result] | UnsetType = UNSET


class NextMessages(Struct):
    """Messages that were claimed, after others were finished."""

    messages: Annotated[list[Message], Meta(description="The claimed messages, as `POST /messages/consume` has them.")]
    success: Annotated[bool, Meta(description="Whether every entry of the lists succeeded.")]
    results: ResultsByList | UnsetType = UNSET
    claim_error: (
        Annotated[ErrorDetails, Meta(description="Reason why nothing was claimed, if the claim was refused.")]
        | UnsetType
    ) = UNSET


class RedriveTask(Struct):
    """A redrive: a background task that moves messages of a queue."""

    id: Annotated[str, Meta(examples=[EXAMPLE_REDRIVE_ID])]
    queue: Annotated[str, Meta(description="Queue that the messages leave.")]
    destination: Annotated[
        str | None, Meta(description="Queue that the messages enter; null: each returns to its source queue.")
    ]
    status: Literal["running", "completed", "cancelled", "failed"]
    moved: Annotated[
        Count, Meta(description="Number of messages moved so far; in a dry run, of those that would be moved.")
    ]
    skipped: Annotated[
        Count,
        Meta(
            description=(
                "Number of messages left in place: they did not match the filters, were claimed or delayed, or had no "
                "source queue that still exists."
            )
        ),
    ]
    total: Annotated[Count, Meta(description="Number of waiting and buried messages when the redrive started.")]
    dry_run: bool
    per_second: int | None
    limit: int | None
    contains: str | None
    attribute: str | None
    since: Time | None
    until: Time | None
    started_at: Time
    ended_at: Time | None
    failure: Annotated[str | None, Meta(description="Reason for the failure.")]


class Schedule(Struct):
    """A schedule."""

    name: str
    cron: Cron
    words: Annotated[str, Meta(description="The expression in English.", examples=["At 04:30 every day"])]
    timezone: Timezone
    queue: str
    message: Text
    missed: Missed
    paused: bool
    created_at: Time
    next_at: Annotated[
        Time | None, Meta(description="Next time at which it produces a message; null while it is paused.")
    ]
    last_at: Annotated[Time | None, Meta(description="Last time for which it produced a message.")]
    failure: Annotated[str | None, Meta(description="Reason why it produced none for the time after that.")]
    attributes: Attributes | UnsetType = UNSET
    group: Group | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    delay: Annotated[Seconds, Meta(description="Time until each message can be consumed, in seconds.")] | UnsetType = (
        UNSET
    )
