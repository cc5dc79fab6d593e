"""Types of the requests about topics; see `wonderq.rest.schemas`."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from wonderq.model.filters import Scope
from wonderq.model.queue_names import QUEUE_NAME_PATTERN
from wonderq.model.topics import MAX_SUBJECT_CHARACTERS, WhenFull
from wonderq.rest.field_types import QueueName, Text
from wonderq.rest.schemas import Body, MessageFields, range_of

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


class PutSubscription(Body):
    """Fields of a subscription."""

    queue: (
        Annotated[QueueName, Meta(description="Queue that gets the messages. It must exist, and cannot be changed.")]
        | UnsetType
    ) = UNSET
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
                description="Queue that gets what the queue refuses, with `when_full` `skip`. Empty: none.",
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
