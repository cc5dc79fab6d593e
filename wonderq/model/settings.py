"""What can be set for a queue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from wonderq.model.errors import InvalidValueError

#: For how long a key is remembered, and an attempt to claim: what SQS does, too.
DEDUPLICATION_WINDOW_MS = 300_000

FIFO_SUFFIX = ".fifo"

_TEN_YEARS_MS = 10 * 366 * 86_400_000
_MANY = 1 << 53

#: What a setting may be, where it is a number: from, to, and what it counts.
RANGES: dict[str, tuple[int, int]] = {
    "retention_ms": (0, _TEN_YEARS_MS),
    "max_messages": (0, _MANY),
    "max_bytes": (0, _MANY),
    "max_message_bytes": (0, _MANY),
    "max_receives": (0, 1_000_000),
    "deduplication_window_ms": (1000, 7 * 86_400_000),
    "max_in_flight": (0, _MANY),
    "max_in_flight_per_group": (0, _MANY),
    "max_claims_per_second": (0, 1_000_000),
    "max_claims_per_second_per_group": (0, 1_000_000),
}

_MAX_TEXTS = 50
_MAX_NAME_CHARACTERS = 128
_MAX_TEXT_CHARACTERS = 256


def check_setting(field: str, value: int) -> None:
    """Check a number against `RANGES`.

    Raises:
        InvalidValueError: it is out of range.
    """
    least, most = RANGES[field]
    if not least <= value <= most:
        name = field.removesuffix("_ms")
        if name != field:
            raise InvalidValueError(name, f"{name} must be from {least // 1000} to {most // 1000} seconds.")
        raise InvalidValueError(name, f"{name} must be from {least} to {most}.")


def check_texts(texts: Mapping[str, str], field: str) -> None:
    """Check tags.

    Raises:
        InvalidValueError: there are too many, or one is too long.
    """
    if len(texts) > _MAX_TEXTS:
        raise InvalidValueError(field, f"A queue may have {_MAX_TEXTS} {field}.")
    for name, value in texts.items():
        if not 1 <= len(name) <= _MAX_NAME_CHARACTERS or len(value) > _MAX_TEXT_CHARACTERS:
            raise InvalidValueError(
                field,
                f"In {field}, a name has 1 to {_MAX_NAME_CHARACTERS} characters and a value at most {_MAX_TEXT_CHARACTERS}.",
            )


@dataclass(frozen=True)
class QueueSettings:
    """The settings of one queue. 0, an empty string and False mean that it is not set, or not so."""

    visibility_timeout_ms: int = 30_000
    """How long a claim lasts that does not say."""
    delay_ms: int = 0
    """How long a produced message that does not say stays hidden."""
    retention_ms: int = 0
    """How old a message may get; then it is gone, whatever it is doing."""
    max_messages: int = 0
    max_bytes: int = 0
    """Of all messages as they are stored."""
    max_message_bytes: int = 0
    """Of one message's body."""
    max_receives: int = 0
    """How often a message may be claimed. What is left over after that is a dead letter."""
    dead_letter_queue: str = ""
    """Where dead letters go. Without one they stay, buried."""
    paused: bool = False
    """Nothing can be claimed."""
    draining: bool = False
    """Nothing can be added."""
    content_deduplication: bool = False
    """A message without a key has the SHA-256 of its body for one."""
    deduplication_window_ms: int = DEDUPLICATION_WINDOW_MS
    """For how long a key is remembered."""
    deduplication_per_group: bool = False
    """The same key in two groups is two keys."""
    max_in_flight: int = 0
    """How many messages may be claimed at once."""
    max_in_flight_per_group: int = 0
    max_claims_per_second: int = 0
    """How many messages may be given out in a second."""
    max_claims_per_second_per_group: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)
    """For people, and for what they keep their books with."""
    sqs: Mapping[str, str] = field(default_factory=dict)
    """Attributes of a queue that only the SQS API has, and gives back as they were given."""

    @property
    def has_rates(self) -> bool:
        return bool(self.max_claims_per_second or self.max_claims_per_second_per_group)

    @property
    def restricts_sending(self) -> bool:
        """Whether a message may be refused, or taken for one that was there already."""
        return bool(self.draining or self.content_deduplication or self.max_message_bytes)

    @property
    def restricts_claims(self) -> bool:
        """Whether a message that waits may have to go on waiting, or go."""
        limited = self.max_receives or self.max_in_flight or self.has_rates
        return bool(limited or self.retention_ms or self.paused)

    def to_record(self) -> dict[str, Any]:
        """Return what differs from the settings of a queue that has none."""
        return {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if getattr(self, each.name) != getattr(_NONE, each.name)
        }

    @classmethod
    def from_record(cls, found: Mapping[str, Any]) -> Self:
        """Read what `to_record` wrote.

        Raises:
            TypeError: it has a setting that is not known.
        """
        return cls(**found)


_NONE = QueueSettings()
