"""Settings of a queue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from wonderq.model.errors import InvalidValueError

#: Default deduplication window, and lifetime of an attempt to claim: five minutes, as in SQS.
DEDUPLICATION_WINDOW_MS = 300_000

#: Retention of a queue that an SQS client creates: four days, as in SQS.
SQS_RETENTION_MS = 345_600_000

#: Suffix of the name of a FIFO queue.
FIFO_SUFFIX = ".fifo"

_TEN_YEARS_MS = 10 * 366 * 86_400_000
_LARGEST = 1 << 53  # every JSON parser reads integers up to here exactly

#: Lowest and highest value of each numeric setting.
RANGES: dict[str, tuple[int, int]] = {
    "retention_ms": (0, _TEN_YEARS_MS),
    "max_messages": (0, _LARGEST),
    "max_bytes": (0, _LARGEST),
    "max_message_bytes": (0, _LARGEST),
    "max_receives": (0, 1_000_000),
    "deduplication_window_ms": (1000, 7 * 86_400_000),
    "max_in_flight": (0, _LARGEST),
    "max_in_flight_per_group": (0, _LARGEST),
    "max_claims_per_second": (0, 1_000_000),
    "max_claims_per_second_per_group": (0, 1_000_000),
}

MAX_TAGS = 50
MAX_TAG_NAME_CHARACTERS = 128
MAX_TAG_VALUE_CHARACTERS = 256

#: Most bytes, in UTF-8, of the texts that a queue's settings hold: its tags, and its attributes of the SQS API. SQS
#: itself allows 19 KB of tags in ASCII, which no known use comes near; a broker may have thousands of queues.
MAX_TEXT_BYTES = 16 << 10


def check_setting(field: str, value: int) -> None:
    """Check a numeric setting against `RANGES`.

    Raises:
        InvalidValueError: the value is out of range.
    """
    lowest, highest = RANGES[field]
    if not lowest <= value <= highest:
        name = field.removesuffix("_ms")
        if name != field:
            raise InvalidValueError(name, f"{name} must be from {lowest // 1000} to {highest // 1000} seconds.")
        raise InvalidValueError(name, f"{name} must be from {lowest} to {highest}.")


def check_tags(tags: Mapping[str, str]) -> None:
    """Check the tags of a queue.

    Raises:
        InvalidValueError: there are too many, or a name or value is too long.
    """
    if len(tags) > MAX_TAGS:
        raise InvalidValueError(
            "tags", f"A queue can have at most {MAX_TAGS} tags, and this one would have {len(tags)}. Remove some."
        )
    for name, value in tags.items():
        if not 1 <= len(name) <= MAX_TAG_NAME_CHARACTERS or len(value) > MAX_TAG_VALUE_CHARACTERS:
            raise InvalidValueError(
                "tags",
                f"The name or value of a tag has a wrong length. Use 1 to {MAX_TAG_NAME_CHARACTERS} characters for "
                f"the name, and at most {MAX_TAG_VALUE_CHARACTERS} for the value.",
            )


def check_texts(tags: Mapping[str, str], sqs: Mapping[str, str]) -> None:
    """Check the size of the texts of the settings of a queue or topic together.

    Raises:
        InvalidValueError: they have more than `MAX_TEXT_BYTES`.
    """
    size = sum(len(text.encode()) for each in (tags, sqs) for pair in each.items() for text in pair)
    if size > MAX_TEXT_BYTES:
        raise InvalidValueError(
            "tags",
            f"The tags of a queue or topic and its attributes of SQS or SNS, such as Policy, may have {MAX_TEXT_BYTES} "
            f"bytes together, and these have {size}. Shorten or remove some.",
        )


@dataclass(frozen=True)
class QueueSettings:
    """Settings of one queue. For a limit, 0 means that there is none."""

    visibility_timeout_ms: int = 30_000
    """Default visibility timeout of claims."""
    delay_ms: int = 0
    """Default delay of produced messages."""
    retention_ms: int = 0
    """Age at which a message is deleted, whatever its status; 0 keeps messages forever."""
    max_messages: int = 0
    """Limit of messages in the queue."""
    max_bytes: int = 0
    """Limit of the bytes of all messages as stored."""
    max_message_bytes: int = 0
    """Limit of the size of a message: body and attributes."""
    max_receives: int = 0
    """Number of claims after which a message becomes a dead letter if it is not deleted; 0 allows any number."""
    dead_letter_queue: str = ""
    """Queue that receives the dead letters. Without one, they are buried in this queue."""
    paused: bool = False
    """Whether claims return no messages."""
    draining: bool = False
    """Whether new messages are rejected."""
    content_deduplication: bool = False
    """Whether the SHA-256 of the body is the idempotency key of a message without one."""
    deduplication_window_ms: int = DEDUPLICATION_WINDOW_MS
    """Time for which an idempotency key is remembered."""
    deduplication_per_group: bool = False
    """Whether each message group has idempotency keys of its own."""
    max_in_flight: int = 0
    """Limit of claimed messages."""
    max_in_flight_per_group: int = 0
    """Limit of claimed messages per message group."""
    max_claims_per_second: int = 0
    """Limit of messages delivered per second."""
    max_claims_per_second_per_group: int = 0
    """Limit of messages delivered per second and message group."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Free-form labels, such as for cost allocation."""
    sqs: Mapping[str, str] = field(default_factory=dict)
    """Queue attributes that exist in the SQS API only. They are returned as they were set, and have no effect."""

    @property
    def has_rates(self) -> bool:
        """Whether a limit of messages per second is set."""
        return bool(self.max_claims_per_second or self.max_claims_per_second_per_group)

    @property
    def limits_size(self) -> bool:
        """Whether the messages that the queue may hold, or their bytes, are limited."""
        return bool(self.max_messages or self.max_bytes)

    @property
    def restricts_sending(self) -> bool:
        """Whether a message may be rejected, or be a duplicate although it has no idempotency key."""
        return bool(self.draining or self.content_deduplication or self.max_message_bytes)

    @property
    def restricts_claims(self) -> bool:
        """Whether a waiting message may be kept from being claimed, or be removed instead."""
        limited = self.max_receives or self.max_in_flight or self.has_rates
        return bool(limited or self.retention_ms or self.paused)

    def of_created_target(self) -> QueueSettings:
        """Return the settings of a queue that is created because a message of this queue moves there.

        A queue with attributes of SQS gives it the limits with which SQS clients create queues; any other gives none.
        """
        return QueueSettings(retention_ms=SQS_RETENTION_MS, max_in_flight=self.max_in_flight) if self.sqs else _DEFAULTS

    def to_record(self) -> dict[str, Any]:
        """Return the settings that differ from the defaults, for a QUEUE record."""
        return {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if getattr(self, each.name) != getattr(_DEFAULTS, each.name)
        }

    @classmethod
    def from_record(cls, found: Mapping[str, Any]) -> Self:
        """Return the settings of a QUEUE record.

        Raises:
            TypeError: the record has an unknown setting.
        """
        return cls(**found)


_DEFAULTS = QueueSettings()
