"""Topics: the queues of its subscriptions get the messages that are published to one."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Literal, NamedTuple, Self, get_args

from wonderq.model.attributes import Attribute
from wonderq.model.errors import InvalidValueError
from wonderq.model.filters import Filter, Scope, compile_filter
from wonderq.model.messages import NewMessage
from wonderq.model.permits import Permits
from wonderq.model.push import Push
from wonderq.model.settings import DEDUPLICATION_WINDOW_MS, FIFO_SUFFIX
from wonderq.model.times import iso_time
from wonderq.model.unicode import clean_json

TOPIC_NAME_PATTERN = r"[A-Za-z0-9_-]{1,256}|[A-Za-z0-9_-]{1,251}\.fifo"
"""Regular expression for a whole topic name, in the syntax that Python and JSON Schema share."""

SUBSCRIPTION_NAME_PATTERN = r"[A-Za-z0-9_-]{1,80}"
"""Regular expression for a whole name of a subscription."""

_TOPIC_NAME = re.compile(TOPIC_NAME_PATTERN)
_SUBSCRIPTION_NAME = re.compile(SUBSCRIPTION_NAME_PATTERN)

MAX_TOPICS = 10_000
"""Most topics of a broker."""
MAX_SUBSCRIPTIONS = 10_000
"""Most subscriptions of a topic."""
MAX_TOTAL_SUBSCRIPTIONS = 100_000
"""Most subscriptions of a broker. They are kept in memory."""

MAX_SUBJECT_CHARACTERS = 100
"""Longest subject of a published message."""

SCOPES: tuple[Scope, ...] = get_args(Scope)
"""Parts of a message that a filter may be about: its attributes, or its body, which must be JSON then."""

WhenFull = Literal["fail", "skip"]
WHEN_FULL: tuple[WhenFull, ...] = get_args(WhenFull)
"""The effect if the queue of a subscription refuses a message: the publish fails, or the queue is passed over."""


def check_topic_name(name: str) -> None:
    """Check the name of a topic.

    Raises:
        InvalidValueError: the name is malformed.
    """
    if not _TOPIC_NAME.fullmatch(name):
        raise InvalidValueError(
            "topic", "The topic name is invalid. Use 1 to 256 of A-Z a-z 0-9 _ and -, with .fifo allowed at the end."
        )


def check_subscription_name(name: str) -> None:
    """Check the name of a subscription.

    Raises:
        InvalidValueError: the name is malformed.
    """
    if not _SUBSCRIPTION_NAME.fullmatch(name):
        raise InvalidValueError(
            "subscription", "The name of the subscription is invalid. Use 1 to 80 of A-Z a-z 0-9 _ and -."
        )


@dataclass(frozen=True)
class TopicSettings:
    """Settings of one topic."""

    content_deduplication: bool = False
    """Whether the SHA-256 of the body is the idempotency key of a published message without one."""
    deduplication_window_ms: int = DEDUPLICATION_WINDOW_MS
    """Time for which an idempotency key is remembered."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Free-form labels."""
    sns: Mapping[str, str] = field(default_factory=dict)
    """Topic attributes that exist in the SNS API only. They are returned as they were set, and have no effect here."""

    def to_record(self) -> dict[str, Any]:
        """Return the settings that differ from the defaults, for a TOPIC record."""
        return _changed(self, _DEFAULTS)

    @classmethod
    def from_record(cls, found: Mapping[str, Any]) -> Self:
        """Return the settings of a TOPIC record.

        Raises:
            TypeError: the record has an unknown setting.
        """
        return cls(**found)


@dataclass(frozen=True)
class Subscription:
    """One subscription of a topic, to a queue."""

    name: str
    queue: int
    """Number of the queue. A subscription ends with its queue; another queue of the same name has none of it."""
    created_ms: int
    raw: bool = True
    """Whether the queue gets a message as it was published. Otherwise it gets an envelope: a JSON object that names the
    topic and has the message as text."""
    filter: str = ""
    """Filter of the messages, as JSON; empty for none."""
    filter_scope: Scope = "attributes"
    dead_letter_queue: str = ""
    """Queue that gets the messages that the queue refuses, if `when_full` is ``skip``; empty for none."""
    paused: bool = False
    """Whether the queue gets nothing. Messages that are published meanwhile pass by."""
    when_full: WhenFull = "fail"
    sns: Mapping[str, str] = field(default_factory=dict)
    """Subscription attributes that exist in the SNS API only."""
    push: Push | None = None
    """The HTTP endpoint to which the broker delivers the messages of the queue; None without one."""

    @property
    def owns_queue(self) -> bool:
        """Whether the queue was made for the endpoint. Then it ends with the subscription, and needs no permission."""
        return self.push is not None and self.push.owns_queue

    @property
    def protocol(self) -> str:
        """Protocol of the endpoint, ``http`` or ``https``; empty without an endpoint."""
        return "" if self.push is None else self.push.url.partition(":")[0].lower()

    @property
    def is_pending(self) -> bool:
        """Whether the endpoint has not confirmed the subscription, which gets nothing until then."""
        return self.push is not None and not self.push.confirmed

    def is_open_to(self, permits: Permits, queue: str) -> bool:
        """Return whether a client may use this subscription, given that it may use the topic, and the queue's name.

        A queue that was made for an endpoint belongs to the topic.
        """
        return self.owns_queue or permits(queue)

    @cached_property
    def compiled_filter(self) -> Filter | None:
        """The filter, compiled when it is first asked for, or None without one.

        Raises:
            FilterPolicyError, ValueError: it is no valid filter.
        """
        return compile_filter(json.loads(self.filter), self.filter_scope) if self.filter else None

    @property
    def is_compiled(self) -> bool:
        """Whether `compiled_filter` was asked for before."""
        return "compiled_filter" in vars(self)

    def to_record(self) -> dict[str, Any]:
        """Return the value of a SUBSCRIPTION record: the fields without the name and those that have their defaults."""
        needed: dict[str, Any] = {"queue": self.queue, "created_ms": self.created_ms}
        if self.push is not None:
            needed["push"] = self.push.to_record()
        return needed | {name: value for name, value in _changed(self, _PLAIN).items() if name not in ("name", *needed)}

    @classmethod
    def from_record(cls, name: str, found: Mapping[str, Any]) -> Self:
        """Return the subscription of a SUBSCRIPTION record.

        Raises:
            TypeError: the record has an unknown field, or lacks one.
        """
        fields = dict(found)
        if "push" in fields:
            fields["push"] = Push(**fields["push"])
        if "filter" in fields:  # earlier versions took any
            fields["filter"] = clean_json(fields["filter"])
        return cls(name, **fields)


def _changed(value: Any, defaults: Any) -> dict[str, Any]:
    return {
        each.name: getattr(value, each.name)
        for each in fields(value)
        if getattr(value, each.name) != getattr(defaults, each.name)
    }


_DEFAULTS = TopicSettings()
_PLAIN = Subscription("", 0, 0)


class Publication(NamedTuple):
    """A message to be published."""

    message: NewMessage
    subject: str = ""
    """Subject, which only the envelope has."""
    texts: Mapping[str, str] | None = None
    """Texts for HTTP endpoints in place of that of the message, by protocol: ``http`` and ``https``."""

    def check(self, *, is_fifo: bool) -> None:
        """Check all fields except the size.

        Raises:
            InvalidValueError: a field is out of range or malformed.
        """
        self.message.check(is_fifo=is_fifo)
        if len(self.subject) > MAX_SUBJECT_CHARACTERS:
            raise InvalidValueError(
                "subject",
                f"subject has {len(self.subject)} characters, and at most {MAX_SUBJECT_CHARACTERS} are allowed. "
                "Shorten it.",
            )


class PublishResult(NamedTuple):
    """Result of publishing one message."""

    id: str
    """Id of the publication. No message of a queue has it: in each queue, the message has an id of its own."""
    sequence: int
    """Number of the publication in its topic; later ones have larger numbers."""
    is_duplicate: bool
    """Whether the idempotency key was used before. The id is then that of the first publication; nothing was added."""
    queues: int
    """Number of queues that have the message; 0 for a duplicate."""
    skipped: int
    """Number of queues that refused the message and were passed over."""


class LastAttempt(NamedTuple):
    """The last request to an endpoint."""

    at_ms: int
    reason: str
    """Sentence that says why nothing was delivered; empty if the message was."""


class Deliveries(NamedTuple):
    """The queue of an endpoint, and what came of the last request to it."""

    waiting: int
    """Number of messages that may be sent now."""
    delayed: int
    """Number of messages that wait for a retry, or for the end of their delay."""
    buried: int
    """Number of messages that are not tried again."""
    last: LastAttempt | None
    """None if there was none since the broker started."""


class SubscriptionInfo(NamedTuple):
    """A subscription as clients see it."""

    subscription: Subscription
    topic: str
    queue: str
    """Name of the queue."""
    delivered: int
    """Number of messages that the queue got, since the broker started."""
    skipped: int
    """Number of messages that the queue refused, since the broker started."""
    deliveries: Deliveries | None = None
    """None without an endpoint."""
    secret: str = ""
    """The secret of the endpoint, if this call has made it; otherwise empty."""


class TopicInfo(NamedTuple):
    """A topic as clients see it."""

    name: str
    settings: TopicSettings
    created_ms: int
    subscriptions: int
    published: int
    """Number of messages that were ever published to it."""


class Match(NamedTuple):
    """The effect that a publish would have on one subscription."""

    subscription: str
    queue: str
    matches: bool
    reason: str
    """Sentence that says why the message would not get to the queue; empty if it would."""
    fails_publish: bool
    """Whether no queue would get the message, because this one refuses it and its subscription says ``fail``."""


PUBLISHED_HEADER = "published"
"""Header of a message with an envelope: the fields of `Published`."""


class Published(NamedTuple):
    """The origin of a published message, as the head of its entry has it."""

    topic: str
    id: str
    """Id of the publication."""
    published_ms: int
    subject: str


EnvelopeWriter = Callable[[Published, str, str, Mapping[str, Attribute]], str]
"""Returns the body that consumers of a queue get for an enveloped message: given where it was published, the name of
the queue, the body and the attributes."""


def write_envelope(published: Published, _queue: str, body: str, attributes: Mapping[str, Attribute]) -> str:
    """Return an envelope with the fields of an SNS notification that need no account: an `EnvelopeWriter`."""
    value: dict[str, Any] = {"Type": "Notification", "MessageId": published.id, "Topic": published.topic}
    if published.subject:
        value["Subject"] = published.subject
    value |= {"Message": body, "Timestamp": iso_time(published.published_ms)}
    if attributes:
        value["MessageAttributes"] = {
            name: {"Type": kind, "Value": b64encode(content).decode() if isinstance(content, bytes) else content}
            for name, (kind, content) in attributes.items()
        }
    return json.dumps(value, ensure_ascii=False)


def is_fifo(topic: str) -> bool:
    """Return whether a topic of this name keeps the order of each group into FIFO queues."""
    return topic.endswith(FIFO_SUFFIX)


def as_delivered(body: str, headers: dict[str, Any], queue: str, write: EnvelopeWriter) -> tuple[str, dict[str, Any]]:
    """Return the body and the headers of a message as consumers of a queue get it: in its envelope, if it has one.

    The envelope has the attributes of the message, so there are none beside it.
    """
    head: Sequence[Any] | None = headers.get(PUBLISHED_HEADER)
    if head is None:
        return body, headers
    left = {name: each for name, each in headers.items() if name not in ("attributes", PUBLISHED_HEADER)}
    attributes = {name: (kind, value) for name, (kind, value) in headers.get("attributes", {}).items()}
    return write(Published(*head), queue, body, attributes), left
