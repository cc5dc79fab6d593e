"""Messages as the client gives and takes them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeAlias, TypeVar

import msgspec

from wonderq.client import bodies
from wonderq.client.failures import Failure

T = TypeVar("T")

AttributeValue: TypeAlias = str | int | float | bytes
"""Value of an attribute. The broker keeps numbers as numbers and bytes as bytes."""


class Sent(msgspec.Struct, frozen=True):
    """A message that is durable in the broker."""

    id: str
    """Id of the message."""
    duplicate: bool = False
    """Whether its idempotency key was used before. Then no message was added, and the id is the earlier one's."""


class DeadLetter(msgspec.Struct, frozen=True):
    """Origin of a message in a dead-letter queue."""

    queue: str
    """Queue that the message came from."""
    id: str
    """Id that it had there."""
    reason: str
    moved_at: datetime
    produced_at: datetime
    receive_count: int


class Contents(msgspec.Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """A message as the broker returns it."""

    id: str
    text: str = msgspec.field(name="message")
    """Text as the broker stores it. `body` returns what the sender gave."""
    queue: str
    status: str
    """``unprocessed``, ``processing``, ``delayed`` or ``buried``."""
    tries: int = msgspec.field(name="receive_count")
    """Number of times that the message was received, this time included."""
    produced_at: datetime
    claimed_until: datetime | None = None
    """Time at which the claim ends unless you renew it; None if the message is not claimed."""
    delayed_until: datetime | None = None
    receipt: str | None = None
    """Receipt of the claim; None if the message was not received but only looked at."""
    raw_attributes: Mapping[str, Any] = msgspec.field(default_factory=dict, name="attributes")
    """Attributes as in the HTTP API. `attributes` returns their plain values."""
    group: str | None = None
    priority: int = 0
    key: str | None = msgspec.field(default=None, name="idempotency_key")
    version: int = 1
    traceparent: str | None = None
    tracestate: str | None = None
    dead_letter: DeadLetter | None = None
    last_error: Failure | None = None
    """Failure that the last `release`, `bury` or `dead` with an error noted."""
    consumer: str | None = None
    """Name of the client that has the message, if it gave one."""

    @property
    def claim_receipt(self) -> str:
        """Receipt of the claim.

        Raises:
            ValueError: the message was not received, but only looked at.
        """
        if self.receipt is None:
            raise ValueError("this message was only looked at: receive it to change it")
        return self.receipt

    @property
    def attributes(self) -> dict[str, AttributeValue]:
        """Attributes without ``content_type``, as ``str``, ``int``, ``float`` or ``bytes``."""
        return attributes_of(self.raw_attributes)

    @property
    def content_type(self) -> str | None:
        """Form in which the body was sent: None for text, else ``application/json`` or ``application/octet-stream``."""
        found = self.raw_attributes.get(bodies.CONTENT_TYPE)
        return found if isinstance(found, str) else None

    @property
    def body(self) -> Any:
        """Body as the sender gave it: text, bytes, or JSON as dicts, lists, strings and numbers.

        Raises:
            ValueError: the text is not what ``content_type`` says.
        """
        return bodies.loads(self.text, self.content_type)

    def json(self) -> Any:
        """Return the text decoded as JSON, whatever its content type.

        Raises:
            ValueError: the text is not JSON.
        """
        return msgspec.json.decode(self.text)

    def json_as(self, kind: type[T]) -> T:
        """Return the text decoded as JSON of a type, such as a dataclass or ``dict[str, int]``.

        Raises:
            ValueError: the text is not JSON, or not of this type.
        """
        return msgspec.json.decode(self.text, type=kind)


class ReceivedContents(Contents, frozen=True, kw_only=True):
    """A message that was received. It is yours until ``claimed_until``."""

    engine: Any = None
    """Engine that carries out the calls of the client that received the message."""


def attributes_json(attributes: Mapping[str, AttributeValue]) -> dict[str, Any]:
    """Return attributes in the form of the HTTP API."""
    return {
        name: {"type": "Binary", "value": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
        for name, value in attributes.items()
    }


def attributes_of(raw: Mapping[str, Any]) -> dict[str, AttributeValue]:
    """Return attributes of the HTTP API as plain values, without ``content_type``."""
    return {name: _value(each) for name, each in raw.items() if name != bodies.CONTENT_TYPE}


def _value(value: Any) -> AttributeValue:
    if not isinstance(value, dict):
        return value  # type: ignore[no-any-return]  # a str or an int, as the API promises
    text = str(value["value"])
    kind = str(value["type"]).partition(".")[0]
    if kind == "Binary":
        return base64.b64decode(text)
    if kind == "Number":
        return float(text)
    return text
