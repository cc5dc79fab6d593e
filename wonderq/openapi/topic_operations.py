"""The calls on topics: their fields, responses, error codes and examples."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from wonderq.model.filters import Scope
from wonderq.model.push import Style
from wonderq.model.topics import WhenFull
from wonderq.openapi.operation import EITHER, LOG_CODES, SUCCESS, Operation, Response
from wonderq.openapi.response_schemas import Count, Seconds, Time
from wonderq.rest import topic_schemas
from wonderq.rest.field_types import EXAMPLE_ID

_READ = ("topic_not_found", *LOG_CODES)
_WRITE = (*_READ, "shutting_down", "disk_full")


class TopicSettings(Struct):
    """Settings of a topic."""

    content_deduplication: bool
    deduplication_window: Annotated[float, Meta(description="Seconds.")]
    tags: dict[str, str]


class TopicFlows(Struct):
    """Messages of a topic per second."""

    published: Seconds
    delivered: Annotated[Seconds, Meta(description="Messages that queues got.")]
    skipped: Annotated[Seconds, Meta(description="Messages that queues refused.")]


class TopicFigures(Struct):
    """Figures of a topic."""

    delivered: Annotated[Count, Meta(description="Messages that queues got since the broker started.")]
    skipped: Annotated[Count, Meta(description="Messages that queues refused since the broker started.")]
    per_second: Annotated[
        TopicFlows | None,
        Meta(description="Rates over about ten seconds; null if they are not known yet, or of more than 100 topics."),
    ]


class Topic(Struct):
    """A topic."""

    topic: str
    settings: TopicSettings
    created_at: Time
    subscriptions: Count
    published: Annotated[Count, Meta(description="Number of messages that were ever published to it.")]
    figures: TopicFigures | UnsetType = UNSET


class LastAttempt(Struct):
    """The last request to an endpoint."""

    at: Time
    delivered: bool
    reason: Annotated[str, Meta(description="The reason why nothing was delivered; empty if the message was.")]


class Deliveries(Struct):
    """The queue of an endpoint, and the last request to it."""

    waiting: Annotated[Count, Meta(description="Number of messages that may be sent now.")]
    delayed: Annotated[Count, Meta(description="Number of messages that wait for a retry, or for their delay.")]
    buried: Annotated[Count, Meta(description="Number of messages that are not tried again.")]
    last: Annotated[LastAttempt | None, Meta(description="`null` if there was none since the broker started.")]


class Subscription(Struct):
    """A subscription of a topic."""

    subscription: str
    topic: str
    queue: str
    raw: bool
    filter: dict[str, Any] | None
    filter_scope: Scope
    dead_letter_queue: str
    paused: bool
    when_full: WhenFull
    created_at: Time
    delivered: Annotated[Count, Meta(description="Messages that its queue got since the broker started.")]
    skipped: Annotated[Count, Meta(description="Messages that its queue refused since the broker started.")]
    masked: Annotated[bool, Meta(description="Only true: a mask hides parts of the filter.")] | UnsetType = UNSET
    endpoint: Annotated[str, Meta(description="Only with an endpoint: its URL.")] | UnsetType = UNSET
    style: (
        Annotated[
            Style,
            Meta(
                description=(
                    "Only with an endpoint: the form of its requests. `webhook`: signed with a secret. `sns`: as "
                    "Amazon SNS makes them, for a subscription of an SNS client."
                )
            ),
        ]
        | UnsetType
    ) = UNSET
    confirmed: (
        Annotated[
            bool,
            Meta(
                description=(
                    "Only with an endpoint: whether it gets messages. One of an SNS client confirms the subscription."
                )
            ),
        ]
        | UnsetType
    ) = UNSET
    delivery: topic_schemas.DeliveryFields | UnsetType = UNSET
    deliveries: (
        Annotated[Deliveries, Meta(description="Only with an endpoint: what waits for it, and the last request.")]
        | UnsetType
    ) = UNSET
    secret: (
        Annotated[
            str,
            Meta(description="Only in the response to the request that let the broker make it. Keep it."),
        ]
        | UnsetType
    ) = UNSET


class Publication(Struct):
    """Result of publishing one message."""

    id: Annotated[str, Meta(description="Id of the publication. In each queue, the message has another id.")]
    queues: Annotated[Count, Meta(description="Number of queues that have the message.")]
    skipped: Annotated[Count, Meta(description="Number of queues that refused the message and were passed over.")]
    duplicate: (
        Annotated[
            bool,
            Meta(
                description="Only true: the key was used before, and no queue gets the message. `id` is of the first."
            ),
        ]
        | UnsetType
    ) = UNSET


class Publications(Struct):
    """Results of publishing a batch, in its order."""

    results: list[Publication]


class Match(Struct):
    """The effect that a publish would have on one subscription."""

    subscription: str
    queue: str
    matches: bool
    reason: Annotated[str, Meta(description="The reason why the queue would not get the message; empty if it would.")]
    fails_publish: Annotated[
        bool, Meta(description="Whether a publish would be refused, because this queue refuses the message.")
    ]


_TOPIC = {
    "topic": "orders",
    "settings": {"content_deduplication": False, "deduplication_window": 300, "tags": {"team": "shop"}},
    "created_at": "2026-11-24T04:18:36.314Z",
    "subscriptions": 3,
    "published": 4711,
}
_SUBSCRIPTION = {
    "subscription": "mail",
    "topic": "orders",
    "queue": "mail",
    "raw": True,
    "filter": {"kind": ["paid"]},
    "filter_scope": "attributes",
    "dead_letter_queue": "",
    "paused": False,
    "when_full": "fail",
    "created_at": "2026-11-24T04:18:36.314Z",
    "delivered": 4000,
    "skipped": 0,
}
_PUBLISHED = {"id": EXAMPLE_ID, "queues": 3, "skipped": 0}

TOPICS = [
    Operation(
        "GET",
        "/topics",
        "listTopics",
        "Topics",
        "List the topics that the key opens.",
        {200: Response(list[Topic], [_TOPIC], "Topics, ordered by name.")},
        ("invalid_value", *LOG_CODES),
        query=topic_schemas.TopicListing,
    ),
    Operation(
        "GET",
        "/topics/{topic}",
        "getTopic",
        "Topics",
        "Get a topic.",
        {200: Response(Topic, _TOPIC, "The topic.")},
        (*_READ, "invalid_value"),
        query=topic_schemas.TopicQuery,
    ),
    Operation(
        "PUT",
        "/topics/{topic}",
        "putTopic",
        "Topics",
        "Create a topic or change its settings.",
        {
            200: Response(Topic, _TOPIC, "The topic existed: its current state."),
            201: Response(Topic, _TOPIC, "The topic was created."),
        },
        ("too_many_topics", "invalid_value", *LOG_CODES, "shutting_down", "disk_full"),
        f"Settings that you do not give keep their values.\n\n{EITHER}",
        topic_schemas.PutTopic,
        topic_schemas.PutTopic,
        examples={"keys for a minute": {"deduplication_window": 60}},
    ),
    Operation(
        "DELETE",
        "/topics/{topic}",
        "deleteTopic",
        "Topics",
        "Delete a topic with its subscriptions.",
        {200: SUCCESS},
        _WRITE,
        "Messages that were published to it stay in their queues.",
    ),
    Operation(
        "GET",
        "/topics/{topic}/subscriptions",
        "listSubscriptions",
        "Topics",
        "List the subscriptions of a topic whose queues the key opens.",
        {200: Response(list[Subscription], [_SUBSCRIPTION], "Subscriptions, ordered by name.")},
        ("invalid_value", *_READ),
        query=topic_schemas.SubscriptionListing,
    ),
    Operation(
        "GET",
        "/topics/{topic}/subscriptions/{subscription}",
        "getSubscription",
        "Topics",
        "Get a subscription.",
        {200: Response(Subscription, _SUBSCRIPTION, "The subscription.")},
        ("subscription_not_found", *_READ),
    ),
    Operation(
        "PUT",
        "/topics/{topic}/subscriptions/{subscription}",
        "putSubscription",
        "Topics",
        "Subscribe a queue or an HTTP endpoint to a topic, or change a subscription.",
        {
            200: Response(Subscription, _SUBSCRIPTION, "The subscription existed: its current state."),
            201: Response(Subscription, _SUBSCRIPTION, "The queue or the endpoint is subscribed."),
        },
        (
            "already_subscribed",
            "too_many_subscriptions",
            "too_many_queues",
            "queue_not_found",
            "invalid_value",
            *_WRITE,
        ),
        "A new subscription requires `queue` or `endpoint`. Fields that you do not give keep their values. The key "
        "must open the topic, the queue and the dead-letter queue. A subscription ends with its queue.",
        body=topic_schemas.PutSubscription,
        body_required=True,
        examples={
            "everything": {"queue": "default"},
            "some of it": {
                "queue": "default",
                "filter": {"kind": ["paid", "refunded"], "amount": [{"numeric": [">=", 100]}]},
            },
            "by the text": {"queue": "default", "filter": {"order": {"country": ["AT"]}}, "filter_scope": "body"},
        },
    ),
    Operation(
        "DELETE",
        "/topics/{topic}/subscriptions/{subscription}",
        "deleteSubscription",
        "Topics",
        "Delete a subscription.",
        {200: SUCCESS},
        ("subscription_not_found", *_WRITE),
        "Messages that its queue has got stay there.",
    ),
    Operation(
        "POST",
        "/topics/{topic}/publish",
        "publish",
        "Topics",
        "Publish one message or a batch.",
        {201: Response((Publication, Publications), _PUBLISHED, "Every queue that wants it has the message.")},
        (
            "message_too_large",
            "batch_too_large",
            "queue_full",
            "queue_draining",
            "broker_full",
            "too_many_keys",
            *_WRITE,
        ),
        "Each queue whose subscription matches gets the message, as if it had been produced there. All of them get it, "
        "or none does. If one of them refuses it, the publish is refused and the error names the queue, unless the "
        "subscription has `when_full` `skip`.\n\nIn a batch, `delay` and `idempotency_key` may stand beside "
        "`messages`; the other fields belong to each message. An idempotency key is for the topic: it makes later "
        "publishes with the same key duplicates, whatever queues they would go to.",
        body=topic_schemas.Publish,
        body_required=True,
        examples={
            "a message": {"message": '{"order": 4711}', "attributes": {"kind": "paid", "amount": 120}},
            "a batch": {"messages": ["first", {"message": "second", "group": "tenant-7"}]},
        },
    ),
    Operation(
        "POST",
        "/topics/{topic}/match",
        "matchSubscriptions",
        "Topics",
        "Try which subscriptions a message would match, and why not.",
        {
            200: Response(
                list[Match],
                [{"subscription": "mail", "queue": "mail", "matches": True, "reason": "", "fails_publish": False}],
                "The subscriptions of queues that the key opens, in the order in which they were made.",
            )
        },
        ("message_too_large", "batch_too_large", *_READ),
        "Nothing is published.",
        body=topic_schemas.MatchedMessage,
        body_required=True,
        examples={"a message": {"message": '{"order": 4711}', "attributes": {"kind": "paid"}}},
    ),
]
