"""The envelope of a message: its optional fields besides the body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from wonderq.model.attributes import Attribute
from wonderq.model.failures import Failure


class DeadLetterSource(NamedTuple):
    """Origin of a dead letter."""

    queue: str
    """Name of the queue in which the message failed."""
    id: str
    """Message id in that queue."""
    reason: str
    moved_ms: int
    """Time at which the message became a dead letter."""
    produced_ms: int
    """Time at which the message was produced in that queue."""
    receives: int
    """Receive count in that queue."""


class Envelope(NamedTuple):
    """Optional fields of a message."""

    attributes: Mapping[str, Attribute]
    system: Mapping[str, str]
    """Trace context; see `NewMessage`."""
    group: str
    priority: int
    key: str
    """Idempotency key."""
    version: int
    """1 for a new message. Each update of the body or the attributes adds 1."""
    dead_letter_source: DeadLetterSource | None
    last_failure: Failure | None = None
    """Error that a consumer reported last."""


def envelope_of(headers: Mapping[str, Any], updates: int) -> Envelope | None:
    """Return the envelope of a message with these stored headers, or None if all its fields have their defaults.

    ``updates`` is the number of updates of the body or the attributes.
    """
    if not headers and not updates:
        return None
    source = headers.get("origin")
    return Envelope(
        attributes={name: (kind, value) for name, (kind, value) in headers.get("attributes", {}).items()},
        system=headers.get("system", {}),
        group=headers.get("group", ""),
        priority=headers.get("priority", 0),
        key=headers.get("key", ""),
        version=updates + 1,
        dead_letter_source=None if source is None else DeadLetterSource(*source),
        last_failure=Failure.from_headers(headers),
    )
