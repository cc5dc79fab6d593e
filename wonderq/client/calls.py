"""Calls of the API, as requests and readers of answers. The clients for threads and asyncio share them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import quote

import msgspec

from wonderq.client.bodies import Body
from wonderq.client.errors import Refused
from wonderq.client.fields import MessageOptions, message_fields
from wonderq.client.messages import Contents, Sent
from wonderq.client.requests import Answer, Request, queue_path, read_answer
from wonderq.client.results import Produced, Results, errors_of

T = TypeVar("T")
M = TypeVar("M", bound=Contents)
N = TypeVar("N", bound="Named")

#: Messages, queues or others that a listing asks for at a time.
PAGE = 1000


class Named(Protocol):
    """An item of a listing by name."""

    @property
    def name(self) -> str:
        """Name of the item."""


class Call(msgspec.Struct, Generic[T], frozen=True):
    """A request, and how to read its answer."""

    request: Request
    read: Callable[[Answer], T]
    at_cancel: Request | None = None
    """The same request without a wait, for the answer to one that was cancelled."""
    messages: Callable[[Answer], Sequence[Contents]] | None = None
    """Reads the messages that the call claimed. Somebody has to finish them, also if its caller was interrupted."""

    def as_json(self) -> Call[Any]:
        """Return this call with the answer as the objects of the HTTP API."""
        return Call(self.request, lambda answer: read_answer(answer, Any), self.at_cancel, self.messages)


def call(request: Request, kind: type[T]) -> Call[T]:
    """Return a call whose answer is of a type."""
    return Call(request, lambda answer: read_answer(answer, kind))


def any_call(method: str, target: str, kind: type[T], body: Any, wait_s: float, repeatable: bool | None) -> Call[T]:
    """Return a call that users describe. Unless they say so, a POST is not repeatable: most of them add something."""
    is_repeatable = method != "POST" if repeatable is None else repeatable
    return call(Request.of(method, target, body, wait_s=wait_s, repeatable=is_repeatable), kind)


def deletion(target: str) -> Call[None]:
    """Return a call that deletes a named object. A repetition that does not find the object succeeds."""

    def read(answer: Answer) -> None:
        if answer.status != 404 or not answer.is_repeated:
            read_answer(answer, Any)

    return Call(Request.of("DELETE", target), read)


class Kicked(msgspec.Struct, frozen=True):
    """Answer to a kick."""

    kicked: int


class Counted(msgspec.Struct, frozen=True):
    """Answer to a count."""

    count: int


def look(
    queue: str, status: str | None, after: str | None, filters: Mapping[str, str | None], page: int = PAGE
) -> Call[list[Contents]]:
    """List messages without claiming them."""
    path = "/dev/messages" if status is None else "/dev/messages/status"
    query = {"status": status, "after": after, "limit": page, **filters}
    return call(Request.of("GET", queue_path(queue, path, query)), list[Contents])


def get(queue: str, message_id: str) -> Call[Contents]:
    """Look at one message."""
    return call(Request.of("GET", queue_path(queue, f"/messages/{quote(message_id, safe='')}")), Contents)


def count(queue: str, status: str) -> Call[Counted]:
    """Count the messages of a status."""
    return call(Request.of("GET", queue_path(queue, "/dev/messages/count", {"status": status})), Counted)


def kick(queue: str, limit: int) -> Call[Kicked]:
    """Make buried messages available again."""
    request = Request.of("POST", queue_path(queue, "/messages/kick"), {"max": limit}, repeatable=False)
    return call(request, Kicked)


def delete(queue: str, field: str, names: Sequence[str]) -> Call[list[Refused | None]]:
    """Delete messages by their ``ids`` or ``receipts``."""
    return _each(Request.of("POST", queue_path(queue, "/messages/delete"), {field: names}), ends_claims=True)


def renew(queue: str, receipts: Sequence[str], lease_s: float | None) -> Call[list[Refused | None]]:
    """Renew claims."""
    more = {} if lease_s is None else {"visibility_timeout": lease_s}
    entries = [{"receipt": receipt, **more} for receipt in receipts]
    return _each(Request.of("POST", queue_path(queue, "/messages/update"), {"entries": entries}), ends_claims=False)


def update(queue: str, entries: Sequence[Mapping[str, Any] | msgspec.Raw]) -> Call[list[Refused | None]]:
    """End claims by releases, burials and dead letters."""
    fields = {"entries": entries}
    return _each(Request.of("POST", queue_path(queue, "/messages/update"), fields), ends_claims=True)


def hand_over(
    queue: str, receipts: Sequence[str], send: Sequence[tuple[str, Body] | tuple[str, Body, MessageOptions]]
) -> Call[list[Sent]]:
    """Delete messages and send others in one step."""
    produce = [{"queue": name, **message_fields(body, *options)} for name, body, *options in send]
    fields = {"receipts": receipts, "produce": produce}
    request = Request.of("POST", queue_path(queue, "/messages/hand-over"), fields, repeatable=False)
    return Call(request, lambda answer: read_answer(answer, Produced).sent())


def _each(request: Request, *, ends_claims: bool) -> Call[list[Refused | None]]:
    def read(answer: Answer) -> list[Refused | None]:
        return errors_of(read_answer(answer, Results).results, is_repeated=ends_claims and answer.is_repeated)

    return Call(request, read)
