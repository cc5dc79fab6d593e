"""Types of the requests about topics; see `wonderq.rest.schemas`."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from wonderq.model.filters import Scope
from wonderq.model.push import MAX_URL_CHARACTERS, Backoff, Style
from wonderq.model.queue_names import QUEUE_NAME_PATTERN
from wonderq.model.topics import MAX_SUBJECT_CHARACTERS, WhenFull
from wonderq.rest.field_types import QueueName, Text
from wonderq.rest.schemas import Body, MessageFields, Page, range_of

Subject = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_SUBJECT_CHARACTERS,
        description="Subject of the message. Only envelopes show it.",
        examples=["New order"],
    ),
]
Filter = Annotated[
    dict[str, Any] | None,
    Meta(
        description=(
            "Only messages that match get to the queue. A key for each attribute or field, with a list of conditions, "
            "as in the filter policies of Amazon SNS. `null`: all messages."
        ),
        examples=[{"kind": ["order", {"prefix": "order."}], "amount": [{"numeric": [">=", 100]}]}],
    ),
]


class PublishFields(MessageFields):
    """Optional fields of a published message."""

    subject: Subject | UnsetType = UNSET


class NewPublication(PublishFields, kw_only=True):
    """A message of a batch to publish."""

    message: Text


class Publish(PublishFields, kw_only=True):
    """One message to publish, or a batch."""

    message: Text | UnsetType = UNSET
    messages: (
        Annotated[list[Text | NewPublication], Meta(min_length=1, description="Batch of up to 1000 messages.")]
        | UnsetType
    ) = UNSET


#: The lists of a batch; see `wonderq.rest.schemas.ENTRIES`.
ENTRIES: dict[type[Struct], dict[str, Any]] = {Publish: {"messages": Text | NewPublication}}


class MatchedMessage(PublishFields, kw_only=True):
    """A message to try on the subscriptions of a topic."""

    message: Text
    limit: Annotated[int, Meta(ge=1, le=10_000, description="Maximum number of subscriptions to return.")] = 1000


Figures = Annotated[bool, Meta(description="Add `figures` to each topic.")]


class TopicListing(Page):
    """A page of the topics."""

    figures: Figures = False


class SubscriptionListing(Page):
    """A page of the subscriptions of a topic. `contains` also finds names of their queues."""


class TopicQuery(Body):
    """A request for one topic."""

    figures: Figures = False


class PutTopic(Body):
    """Settings of a topic."""

    content_deduplication: (
        Annotated[
            bool,
            Meta(description="Let the SHA-256 of the text be the idempotency key of a message that has none."),
        ]
        | UnsetType
    ) = UNSET
    deduplication_window: (
        Annotated[
            float,
            range_of("deduplication_window_ms", "Time for which the topic remembers an idempotency key, in seconds."),
        ]
        | UnsetType
    ) = UNSET
    tags: (
        Annotated[
            dict[Annotated[str, Meta(min_length=1, max_length=128)], Annotated[str, Meta(max_length=256)]],
            Meta(max_length=50, description="Labels of your own.", examples=[{"team": "shop"}]),
        ]
        | UnsetType
    ) = UNSET


class DeliveryFields(Body):
    """Repetitions and limits of the requests to an endpoint. Fields that are not given have their defaults."""

    min_delay: Annotated[int, Meta(ge=1, le=86_400, description="Shortest delay of a retry, in seconds.")] = 20
    max_delay: Annotated[int, Meta(ge=1, le=86_400, description="Longest delay of a retry, in seconds.")] = 20
    retries: Annotated[int, Meta(ge=0, le=100, description="Number of all retries.")] = 3
    no_delay_retries: Annotated[int, Meta(ge=0, le=100, description="First, retries without delay.")] = 0
    min_delay_retries: Annotated[int, Meta(ge=0, le=100, description="Then, retries after `min_delay`.")] = 0
    max_delay_retries: Annotated[int, Meta(ge=0, le=100, description="Last, retries after `max_delay`.")] = 0
    backoff: Annotated[Backoff, Meta(description="How the delay grows in the retries between these.")] = "linear"
    max_per_second: Annotated[
        int, Meta(ge=0, le=1_000_000, description="Maximum number of requests per second; 0 for no limit.")
    ] = 0
    timeout: Annotated[int, Meta(ge=1, le=60, description="Seconds that a request may take.")] = 15
    content_type: Annotated[
        str,
        Meta(
            max_length=200,
            description="Media type of the requests; empty for the one that fits the body.",
            examples=["application/json"],
        ),
    ] = ""


class PutSubscription(Body):
    """Fields of a subscription."""

    queue: (
        Annotated[
            QueueName,
            Meta(
                description=(
                    "Queue that gets the messages. It must exist, and cannot be changed. A subscription with an "
                    "endpoint needs none: the broker makes one, which ends with the subscription."
                )
            ),
        ]
        | UnsetType
    ) = UNSET
    endpoint: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=MAX_URL_CHARACTERS,
                description=(
                    "URL of an HTTP endpoint to which the broker delivers the messages of the queue. Its host must be "
                    "named by `--push-hosts`."
                ),
                examples=["https://hooks.example.com/orders"],
            ),
        ]
        | UnsetType
    ) = UNSET
    style: (
        Annotated[
            Style,
            Meta(
                description=(
                    "Form of the requests to the endpoint. `webhook`: signed with the secret. `sns`: as Amazon SNS "
                    "makes them."
                )
            ),
        ]
        | UnsetType
    ) = UNSET
    secret: (
        Annotated[
            str,
            Meta(
                max_length=120,
                description=(
                    "Secret that signs the requests to the endpoint: `whsec_` and 24 to 64 bytes in base64. Empty: the "
                    "broker makes a new one, and shows it in this response alone."
                ),
                examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
            ),
        ]
        | UnsetType
    ) = UNSET
    delivery: DeliveryFields | UnsetType = UNSET
    raw: (
        Annotated[
            bool,
            Meta(
                description=(
                    "Deliver messages as they were published. Otherwise the text of a message is an envelope: a JSON "
                    "object with the topic, the text and the attributes."
                )
            ),
        ]
        | UnsetType
    ) = UNSET
    filter: Filter | UnsetType = UNSET
    filter_scope: (
        Annotated[
            Scope,
            Meta(description="Part of a message that the filter is about: the attributes, or the text, which is JSON."),
        ]
        | UnsetType
    ) = UNSET
    dead_letter_queue: (
        Annotated[
            str,
            Meta(
                pattern=f"^({QUEUE_NAME_PATTERN})?$",
                description=(
                    "Queue that gets what the queue refuses, with `when_full` `skip`, and what could not be delivered "
                    "to the endpoint. Empty: none."
                ),
                examples=["mail-dead"],
            ),
        ]
        | UnsetType
    ) = UNSET
    paused: (
        Annotated[bool, Meta(description="Deliver nothing. The queue never gets what is published meanwhile.")]
        | UnsetType
    ) = UNSET
    when_full: (
        Annotated[
            WhenFull,
            Meta(
                description=(
                    "The effect if the queue refuses a message, because it is full or draining or the message is too "
                    "large for it. `fail`: the publish is refused. `skip`: the other queues get the message."
                )
            ),
        ]
        | UnsetType
    ) = UNSET
