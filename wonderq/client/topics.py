"""Calls for topics, with the types of their answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypedDict
from urllib.parse import quote

import msgspec

from wonderq.client.bodies import Body
from wonderq.client.calls import PAGE, Call, call, deletion
from wonderq.client.fields import MessageOptions, message_fields
from wonderq.client.requests import Request, read_answer, with_query


class TopicInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A topic."""

    name: str = msgspec.field(name="topic")
    settings: dict[str, Any]
    """Settings, with the names of `TopicSettings`."""
    created_at: datetime
    subscriptions: int
    """Number of subscriptions."""
    published: int
    """Number of messages that were ever published to it."""


class LastAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """The last request to an endpoint."""

    at: datetime
    delivered: bool
    reason: str
    """The reason why nothing was delivered; empty if the message was."""


class Deliveries(msgspec.Struct, frozen=True, kw_only=True):
    """The queue of an endpoint, and the last request to it."""

    waiting: int
    """Messages that may be sent now."""
    delayed: int
    """Messages that wait for a retry, or for the end of their delay."""
    buried: int
    """Messages that are not tried again."""
    last: LastAttempt | None
    """None if there was none since the broker started."""


class SubscriptionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription of a topic."""

    name: str = msgspec.field(name="subscription")
    topic: str
    queue: str
    raw: bool
    filter: dict[str, Any] | None
    filter_scope: str
    dead_letter_queue: str
    paused: bool
    when_full: str
    created_at: datetime
    delivered: int
    """Messages that its queue got since the broker started."""
    skipped: int
    """Messages that its queue refused since the broker started."""
    endpoint: str | None = None
    """URL of the HTTP endpoint that gets the messages of the queue; None without one."""
    style: str = ""
    """Form of the requests to the endpoint: ``webhook`` or ``sns``."""
    confirmed: bool = True
    """Whether the endpoint gets messages. One that an SNS client has subscribed must confirm that first."""
    delivery: dict[str, Any] | None = None
    """Policy of the requests to the endpoint, with the names of `DeliveryFields`."""
    deliveries: Deliveries | None = None
    """Messages that wait for the endpoint, and the last request to it."""
    secret: str = ""
    """Secret that signs the requests, if this call has made it. The broker never shows it again."""


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """A message that every queue that wants it has, durably."""

    id: str
    """Id of the publication. In each queue, the message has an id of its own."""
    queues: int
    """Number of queues that have the message."""
    skipped: int
    """Number of queues that refused the message and were passed over."""
    duplicate: bool = False
    """Whether its idempotency key was used before. Then no queue got it, and the id is the earlier one's."""


class Match(msgspec.Struct, frozen=True):
    """The effect that a publish would have on one subscription."""

    subscription: str
    queue: str
    matches: bool
    reason: str
    """The reason why its queue would not get the message; empty if it would."""
    fails_publish: bool = False
    """Whether no queue would get the message, because this one refuses it and its subscription says ``fail``."""


class TopicSettings(TypedDict, total=False):
    """Settings of a topic. Durations are in seconds."""

    content_deduplication: bool
    deduplication_window: float
    tags: dict[str, str]


class DeliveryFields(TypedDict, total=False):
    """Repetitions and limits of the requests to an endpoint, as docs/PUSH.md describes them. Delays are in seconds."""

    min_delay: int
    max_delay: int
    retries: int
    no_delay_retries: int
    min_delay_retries: int
    max_delay_retries: int
    backoff: Literal["linear", "arithmetic", "geometric", "exponential"]
    max_per_second: int
    timeout: int
    content_type: str


class SubscriptionFields(TypedDict, total=False):
    """Fields of a subscription, as docs/TOPICS.md describes them."""

    endpoint: str
    style: Literal["webhook", "sns"]
    secret: str
    delivery: DeliveryFields

    raw: bool
    filter: dict[str, Any] | None
    filter_scope: Literal["attributes", "body"]
    dead_letter_queue: str
    paused: bool
    when_full: Literal["fail", "skip"]


class _Results(msgspec.Struct):
    results: list[Published]


for _answer in (Published, _Results):  # see `wonderq.client.requests`
    msgspec.json.Decoder(_answer)


def topics(after: str) -> Call[list[TopicInfo]]:
    """List a page of topics by name."""
    return call(Request.of("GET", with_query("/topics", {"after": after or None, "limit": PAGE})), list[TopicInfo])


def info(topic: str) -> Call[TopicInfo]:
    """Get a topic."""
    return call(Request.of("GET", _path(topic)), TopicInfo)


def configure(topic: str, settings: TopicSettings) -> Call[TopicInfo]:
    """Create a topic, or change the given settings."""
    return call(Request.of("PUT", _path(topic), settings), TopicInfo)


def drop(topic: str) -> Call[None]:
    """Delete a topic."""
    return deletion(_path(topic))


def subscriptions(topic: str, after: str) -> Call[list[SubscriptionInfo]]:
    """List a page of subscriptions by name."""
    query = {"after": after or None, "limit": PAGE}
    return call(Request.of("GET", with_query(_path(topic, "/subscriptions"), query)), list[SubscriptionInfo])


def subscribe(topic: str, name: str, queue: str | None, fields: SubscriptionFields) -> Call[SubscriptionInfo]:
    """Create a subscription, or change the given fields of one.

    It is not repeated if the broker may have made a secret, which only its first answer tells.
    """
    more = {} if queue is None else {"queue": queue}
    repeatable = "secret" in fields or not ("endpoint" in fields or "style" in fields)
    request = Request.of("PUT", _subscription_path(topic, name), {**fields, **more}, repeatable=repeatable)
    return call(request, SubscriptionInfo)


def subscription(topic: str, name: str) -> Call[SubscriptionInfo]:
    """Get a subscription."""
    return call(Request.of("GET", _subscription_path(topic, name)), SubscriptionInfo)


def unsubscribe(topic: str, name: str) -> Call[None]:
    """Delete a subscription."""
    return deletion(_subscription_path(topic, name))


def publish(topic: str, body: Body, options: MessageOptions, subject: str | None) -> Call[Published]:
    """Publish a message. Without a key, it is not repeated: a second publish would add it a second time."""
    fields = _fields(body, options, subject)
    request = Request.of("POST", _path(topic, "/publish"), fields, repeatable="idempotency_key" in fields)
    return call(request, Published)


def publish_together(
    topic: str, messages: Sequence[Body | tuple[Body, MessageOptions]], key: str | None
) -> Call[list[Published]]:
    """Publish messages in one step. Only messages that all have keys are repeated."""
    batch = [message_fields(*each) if isinstance(each, tuple) else message_fields(each) for each in messages]
    fields: dict[str, Any] = {"messages": batch}
    if key is not None:
        fields["idempotency_key"] = key
    repeatable = key is not None or all("idempotency_key" in each for each in batch)
    request = Request.of("POST", _path(topic, "/publish"), fields, repeatable=repeatable)
    return Call(request, lambda answer: read_answer(answer, _Results).results)


def match(topic: str, body: Body, options: MessageOptions) -> Call[list[Match]]:
    """Ask which subscriptions a message would match."""
    return call(Request.of("POST", _path(topic, "/match"), _fields(body, options, None)), list[Match])


def _fields(body: Body, options: MessageOptions, subject: str | None) -> Mapping[str, Any]:
    more = {} if subject is None else {"subject": subject}
    return {**message_fields(body, options), **more}


def _path(topic: str, more: str = "") -> str:
    return f"/topics/{quote(topic, safe='')}{more}"


def _subscription_path(topic: str, name: str) -> str:
    return _path(topic, f"/subscriptions/{quote(name, safe='')}")
