"""What a message carries besides its text, as users see it and as it stands in the log.

In the log it is the map of a message's entry (`wonderq.state.record`), with what was given of ``attributes``, ``system``, ``group``,
``priority``, ``key`` and ``origin``.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any, NamedTuple, overload

from wonderq.model.errors import (
    InvalidValueError,
)
from wonderq.model.settings import QueueSettings

Attribute = tuple[str, str | bytes]
"""Type and value: ``String``, ``Number`` or ``Binary``, each with ``.`` and a label behind it if wanted; only what is binary
has bytes."""

_MAX_ATTRIBUTES = 64
_MAX_NAME_CHARACTERS = 128
_ATTRIBUTE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,256}")
_ATTRIBUTE_TYPE = re.compile(r"(String|Number|Binary)(\.[^\0-\x1f]{1,240})?")
_NUMBER = re.compile(r"[+-]?([0-9]{1,128}(\.[0-9]{0,128})?|\.[0-9]{1,128})([eE][+-]?[0-9]{1,3})?")
_SYSTEM_NAMES = frozenset(("traceparent", "tracestate", "AWSTraceHeader"))
_MAX_SYSTEM_CHARACTERS = 1024


class NewMessage(NamedTuple):
    """A message to be added."""

    body: str
    delay_ms: int | None = None
    """How long it stays hidden; None for the queue's own delay."""
    deliver_at_ms: int | None = None
    """Instead of a delay: until when."""
    attributes: Mapping[str, Attribute] | None = None
    system: Mapping[str, str] | None = None
    """Of tracing systems: ``traceparent`` and ``tracestate`` (W3C Trace Context), ``AWSTraceHeader``."""
    group: str = ""
    """In a FIFO queue those of one group are kept in order; in others no group keeps the rest waiting."""
    priority: int = 0
    """0 to 9; 9 is the most urgent."""
    key: str = ""
    """The same key again within the queue's window adds nothing."""

    def check(self, *, is_fifo: bool) -> None:
        """Check it, but for its size.

        Raises:
            InvalidValueError: something is out of range or malformed.
        """
        if not 0 <= self.priority <= MAX_PRIORITY:
            raise InvalidValueError("priority", f"priority must be from 0 to {MAX_PRIORITY}.")
        if is_fifo and self.priority:
            raise InvalidValueError("priority", "A FIFO queue gives out messages in order, so they have no priority.")
        for field, name in (("group", self.group), ("idempotency_key", self.key)):
            if len(name) > _MAX_NAME_CHARACTERS:
                raise InvalidValueError(field, f"{field} may have {_MAX_NAME_CHARACTERS} characters, not {len(name)}.")
        if self.attributes:
            check_attributes(self.attributes)
        for name, value in (self.system or {}).items():
            if name not in _SYSTEM_NAMES or len(value) > _MAX_SYSTEM_CHARACTERS:
                raise InvalidValueError(name, f"{name[:100]} is not known here, or has too many characters.")

    def headers(self) -> dict[str, Any]:
        """Return what stands in the log besides the body."""
        headers: dict[str, Any] = {}
        if self.attributes:
            headers["attributes"] = dict(self.attributes)
        if self.system:
            headers["system"] = dict(self.system)
        if self.group:
            headers["group"] = self.group
        if self.priority:
            headers["priority"] = self.priority
        if self.key:
            headers["key"] = self.key
        return headers


def check_attributes(attributes: Mapping[str, Attribute]) -> None:
    """Check attributes.

    Raises:
        InvalidValueError: there are too many, or one has a name, a type or a value that it cannot have.
    """
    if len(attributes) > _MAX_ATTRIBUTES:
        raise InvalidValueError("attributes", f"A message may have {_MAX_ATTRIBUTES} attributes.")
    for name, (kind, value) in attributes.items():
        field = f"attributes.{name[:100]}"
        if not _ATTRIBUTE_NAME.fullmatch(name):
            raise InvalidValueError("attributes", "The name of an attribute is 1 to 256 of A-Z a-z 0-9 _ . and -.")
        if not _ATTRIBUTE_TYPE.fullmatch(kind):
            raise InvalidValueError(
                field, f"The type of {field} must be String, Number or Binary, or one with a .label."
            )
        if isinstance(value, bytes) != kind.startswith("Binary"):
            raise InvalidValueError(field, f"{field} must have bytes if it is Binary, and text otherwise.")
        if kind.startswith("Number") and not _NUMBER.fullmatch(str(value)):
            raise InvalidValueError(field, f"{field} is a Number, and its value is not one.")


def has_attribute(attributes: Mapping[str, Attribute], wanted: str) -> bool:
    """Tell whether there is an attribute: ``name``, or ``name=value`` with its value as text, or in base64 if it is binary."""
    name, separator, value = wanted.partition("=")
    found = attributes.get(name)
    if found is None or not separator:
        return found is not None
    return value == (b64encode(found[1]).decode() if isinstance(found[1], bytes) else found[1])


class DeadLetterSource(NamedTuple):
    """Where a dead letter came from."""

    queue: str
    id: str
    """That it had there."""
    reason: str
    moved_ms: int
    produced_ms: int
    receives: int


class Envelope(NamedTuple):
    """What a message has besides its body, if anything."""

    attributes: Mapping[str, Attribute]
    system: Mapping[str, str]
    group: str
    priority: int
    key: str
    version: int
    """1 at first; one more with each update of body or attributes."""
    origin: DeadLetterSource | None


def envelope_of(headers: Mapping[str, Any], updates: int) -> Envelope | None:
    """Return what a message has that carries this and was updated so often; None if that is nothing."""
    if not headers and not updates:
        return None
    found = headers.get("origin")
    return Envelope(
        attributes={name: (kind, value) for name, (kind, value) in headers.get("attributes", {}).items()},
        system=headers.get("system", {}),
        group=headers.get("group", ""),
        priority=headers.get("priority", 0),
        key=headers.get("key", ""),
        version=updates + 1,
        origin=None if found is None else DeadLetterSource(*found),
    )


MAX_PRIORITY = 9


def size_of(body: str, attributes: Mapping[str, Attribute] | None) -> int:
    """Return a message's size in bytes: its body, and the names, types and values of its attributes, as SQS counts them."""
    size = len(body.encode())
    for name, (kind, value) in (attributes or {}).items():
        size += len(name) + len(kind.encode()) + len(value if isinstance(value, bytes) else value.encode())
    return size


class Message(NamedTuple):
    """A message as a client sees it."""

    id: str
    body: str
    status: str
    """``unprocessed``, ``processing``, ``delayed`` or ``buried``."""
    receipt: str | None
    """Only for the consumer that just claimed it."""
    receives: int
    produced_ms: int
    due_ms: int | None
    """When its claim or delay ends, or None."""
    queue: str
    sequence: int
    """Its place in the order in which the queue's messages were produced."""
    first_claimed_ms: int
    """0 if it never was, or if that is not known."""
    envelope: Envelope | None


class SendResult(NamedTuple):
    """Result of producing one message."""

    id: str
    sequence: int
    is_duplicate: bool
    """The message's key was used before. The result names the message that was added then, which may be deleted."""


@dataclass(frozen=True)
class SendResults(Sequence[SendResult]):
    """Results of producing a batch, in its order. Kept as columns, so that a large batch costs no object per message."""

    ids: list[str]
    sequences: Sequence[int]
    duplicates: frozenset[int] = frozenset()
    """Indexes of the duplicates."""

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> SendResult: ...

    @overload
    def __getitem__(self, index: slice) -> list[SendResult]: ...

    def __getitem__(self, index: int | slice) -> SendResult | list[SendResult]:
        indexes = range(len(self))[index]
        if isinstance(indexes, range):
            return [self[each] for each in indexes]
        return SendResult(self.ids[indexes], self.sequences[indexes], indexes in self.duplicates)


class QueueInfo(NamedTuple):
    """A queue's settings and figures, all of one moment."""

    name: str
    settings: QueueSettings
    created_ms: int
    counts: dict[str, int]
    """Messages by status."""
    bytes: int
    """Of all messages as they are stored."""
    oldest_ms: int | None
    """When the oldest message was produced."""
    newest_id: str | None
    """Of the message produced last, which may be gone; a listing after it shows what comes from now on."""
    now_ms: int


class Target(NamedTuple):
    """Which message a delete or update means: by id, whoever holds it, or by receipt, if that claim still counts."""

    id: str | None = None
    receipt: str | None = None

    @classmethod
    def each(cls, ids: Iterable[str], receipts: Iterable[str]) -> list[Target]:
        """Return a target for each id and for each receipt."""
        fields = chain(zip(ids, repeat(None), strict=False), zip(repeat(None), receipts, strict=False))
        return list(map(new_tuple, repeat(cls), fields))


@dataclass(frozen=True)
class Change:
    """What an update changes; with nothing set it renews the claim by the timeout it was claimed with."""

    visibility_timeout_ms: int | None = None
    """Renews the claim for this long from now; 0 releases the message."""
    delay_ms: int | None = None
    """Takes the message from whoever holds it and hides it for this long."""
    body: str | None = None
    attributes: Mapping[str, Attribute] | None = None
    """Replace those that it has."""
    bury: bool = False
    """Takes the message from whoever holds it, and keeps it aside until it is kicked."""
    backoff_ms: int | None = None
    """As ``delay_ms``, doubled with each time it was received after the first."""
    if_version: int | None = None
    """Change it only if this is its version."""

    @property
    def rewrites(self) -> bool:
        """Whether it replaces something of what the message carries."""
        return self.body is not None or self.attributes is not None


#: Makes a named tuple in a third of the time that calling its class takes.
new_tuple = tuple.__new__
