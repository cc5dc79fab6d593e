"""The calls of the API, as requests and types of answers. The clients for threads and asyncio share them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import msgspec

from wonderq.client.bodies import Body
from wonderq.client.fields import MessageOptions, QueueSettings, message_fields
from wonderq.client.messages import Contents
from wonderq.client.operations import Operation
from wonderq.client.requests import Request, encode, queue_path

T = TypeVar("T")
M = TypeVar("M", bound=Contents)

#: Messages that a listing asks for at a time.
PAGE = 1000


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A request, and the type of its answer."""

    request: Request
    answer: type[T]


class QueueInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Settings and statistics of a queue."""

    name: str = msgspec.field(name="queue")
    settings: dict[str, Any]
    created_at: str
    counts: dict[str, int]
    """Number of messages by status."""
    bytes: int
    newest_id: str | None = None
    oldest_age: float | None = None
    """Age of the oldest message in seconds."""


class Purged(msgspec.Struct, frozen=True):
    """Answer to a purge."""

    deleted: int


class Kicked(msgspec.Struct, frozen=True):
    """Answer to a kick."""

    kicked: int


def receive(queue: str, kind: type[M], limit: int, wait_s: float, lease_s: float | None) -> Call[list[M]]:
    """Claim messages, and return them as a type. A repeated request gets the same ones, by its attempt id."""
    fields: dict[str, Any] = {"max": limit, "wait": wait_s, "attempt_id": secrets.token_hex(8)}
    if lease_s is not None:
        fields["visibility_timeout"] = lease_s
    request = Request("POST", queue_path(queue, "/messages/consume"), encode(fields), wait_s=wait_s)
    return Call(request, list[kind])  # type: ignore[valid-type]


def look(queue: str, status: str | None, after: str | None, filters: Mapping[str, str | None]) -> Call[list[Contents]]:
    """List messages without claiming them."""
    path = "/dev/messages" if status is None else "/dev/messages/status"
    query = {"status": status, "after": after, "limit": PAGE, **filters}
    return Call(Request("GET", queue_path(queue, path, query)), list[Contents])


def get(queue: str, message_id: str) -> Call[Contents]:
    """Look at one message."""
    return Call(Request("GET", queue_path(queue, f"/messages/{quote(message_id, safe='')}")), Contents)


def info(queue: str) -> Call[QueueInfo]:
    """Get settings and statistics of a queue."""
    return Call(Request("GET", queue_path(queue)), QueueInfo)


def configure(queue: str, settings: QueueSettings) -> Call[QueueInfo]:
    """Create a queue, or change the given settings."""
    return Call(Request("PUT", queue_path(queue), encode(settings)), QueueInfo)


def drop(queue: str) -> Call[dict[str, Any]]:
    """Delete a queue."""
    return Call(Request("DELETE", queue_path(queue)), dict[str, Any])


def purge(queue: str) -> Call[Purged]:
    """Delete all messages of a queue."""
    return Call(Request("POST", queue_path(queue, "/purge")), Purged)


def kick(queue: str, limit: int) -> Call[Kicked]:
    """Make buried messages available again."""
    return Call(Request("POST", queue_path(queue, "/messages/kick"), encode({"max": limit}), repeatable=False), Kicked)


# Operations, which batch by themselves


def send(body: Body, options: MessageOptions) -> Operation:
    """Add one message."""
    return Operation(message_fields(body, options))


def send_together(messages: Sequence[Body | tuple[Body, MessageOptions]]) -> Operation:
    """Add messages, all or none."""
    pairs = [each if isinstance(each, tuple) else (each, MessageOptions()) for each in messages]
    return Operation([message_fields(body, options) for body, options in pairs])


def delete(receipt: str) -> Operation:
    """Delete a message that was received."""
    return Operation(receipt, ends_claim=True)


def renew(receipt: str, lease_s: float | None) -> Operation:
    """Renew a claim, for a time or for as long as before."""
    return Operation({"receipt": receipt} if lease_s is None else {"receipt": receipt, "visibility_timeout": lease_s})


def release(receipt: str, delay_s: float) -> Operation:
    """Give a message back, available after a delay."""
    change = {"delay": delay_s} if delay_s else {"visibility_timeout": 0}
    return Operation({"receipt": receipt, **change}, ends_claim=True)


def bury(receipt: str) -> Operation:
    """Set a message aside until it is kicked."""
    return Operation({"receipt": receipt, "bury": True}, ends_claim=True)
