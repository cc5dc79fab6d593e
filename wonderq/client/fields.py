"""The arguments of calls as fields of the HTTP API."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypedDict, cast

from wonderq.client import bodies
from wonderq.client.messages import AttributeValue, attributes_json


class MessageOptions(TypedDict, total=False):
    """Optional fields of a message."""

    delay: float
    """Seconds until the message becomes available. Excludes ``deliver_at``."""
    deliver_at: datetime
    """Time, with a time zone, at which the message becomes available."""
    attributes: Mapping[str, AttributeValue]
    group: str
    """Group: a FIFO queue delivers a group in order; other queues let groups take turns."""
    priority: int
    """0 (default) to 9 (first)."""
    key: str
    """Idempotency key: a second message with it is not added."""
    traceparent: str
    tracestate: str


class QueueSettings(TypedDict, total=False):
    """Settings of a queue, as docs/API.md describes them. Durations are in seconds; 0 switches a setting off."""

    visibility_timeout: float
    delay: float
    retention: float
    max_messages: int
    max_bytes: int
    max_message_bytes: int
    max_receives: int
    dead_letter_queue: str
    paused: bool
    draining: bool
    content_deduplication: bool
    deduplication_window: float
    deduplication_per_group: bool
    max_in_flight: int
    max_in_flight_per_group: int
    max_claims_per_second: float
    max_claims_per_second_per_group: float
    tags: dict[str, str]


def given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def given_options(**options: Any) -> MessageOptions:
    """Return the options of a message that are not None."""
    return cast("MessageOptions", given(options))


def message_fields(body: bodies.Body, options: MessageOptions | None = None) -> dict[str, Any]:
    """Return a new message as an object of the HTTP API.

    Raises:
        TypeError: the body cannot be written as JSON.
        ValueError: ``deliver_at`` has no time zone, or an option is unknown.
    """
    text, content_type = bodies.dumps(body)
    fields: dict[str, Any] = {"message": text}
    if options:
        fields.update(_option_fields(options))
    if content_type is not None:
        fields["attributes"] = {bodies.CONTENT_TYPE: content_type, **(fields.get("attributes") or {})}
    return fields


def _option_fields(options: MessageOptions) -> dict[str, Any]:
    unknown = options.keys() - MessageOptions.__annotations__.keys()
    if unknown:
        raise ValueError(f"unknown option {min(unknown)!r}: a message has {', '.join(MessageOptions.__annotations__)}")
    fields: dict[str, Any] = dict(options)
    if options.get("attributes"):
        fields["attributes"] = attributes_json(options["attributes"])
    if "key" in fields:
        fields["idempotency_key"] = fields.pop("key")
    deliver_at = options.get("deliver_at")
    if deliver_at is not None:
        if deliver_at.tzinfo is None:
            raise ValueError("deliver_at needs a time zone, for example datetime.now(UTC) + timedelta(hours=1)")
        fields["deliver_at"] = deliver_at.isoformat()
    return fields
