"""Calls for queues, redrives and schedules, with the types of their answers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

import msgspec

from wonderq.client import bodies
from wonderq.client.bodies import Body
from wonderq.client.calls import PAGE, Call, call, deletion
from wonderq.client.fields import QueueSettings, given
from wonderq.client.messages import AttributeValue, attributes_json, attributes_of
from wonderq.client.requests import Request, queue_path, with_query


class QueueInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Settings and statistics of a queue."""

    name: str = msgspec.field(name="queue")
    settings: dict[str, Any]
    """Settings, with the names of `QueueSettings`."""
    created_at: datetime
    counts: dict[str, int]
    """Number of messages by status."""
    bytes: int
    newest_id: str | None = None
    oldest_age: float | None = None
    """Age of the oldest message in seconds."""


class Redrive(msgspec.Struct, frozen=True, kw_only=True):
    """A background task of the broker that moves messages of a queue to others."""

    id: str
    queue: str
    """Queue that the messages leave."""
    destination: str | None
    """Queue that they go to; None: each goes back to the queue that it came from."""
    status: str
    """``running``, ``completed``, ``cancelled`` or ``failed``."""
    moved: int
    skipped: int
    total: int
    dry_run: bool
    per_second: int | None = None
    limit: int | None = None
    contains: str | None = None
    attribute: str | None = None
    started_at: datetime
    ended_at: datetime | None = None
    failure: str | None = None
    """Reason of an early end."""


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule by which the broker sends a message at recurring times."""

    name: str
    cron: str
    timezone: str
    queue: str
    text: str = msgspec.field(name="message")
    missed: str
    """Treatment of times that were missed while the broker was down: ``skip``, ``once`` or ``all``."""
    paused: bool
    created_at: datetime
    next_at: datetime | None = None
    last_at: datetime | None = None
    failure: str | None = None
    """Reason for which the last message could not be sent."""
    raw_attributes: Mapping[str, Any] = msgspec.field(default_factory=dict, name="attributes")
    group: str | None = None
    priority: int = 0
    delay: float | None = None

    @property
    def attributes(self) -> dict[str, AttributeValue]:
        """Attributes of the messages, as of a received message."""
        return attributes_of(self.raw_attributes)

    @property
    def body(self) -> Any:
        """Body of the messages, as of a received message."""
        return bodies.loads(self.text, self.raw_attributes.get(bodies.CONTENT_TYPE))


class Purged(msgspec.Struct, frozen=True):
    """Answer to a purge."""

    deleted: int


def queues(prefix: str, after: str) -> Call[list[QueueInfo]]:
    """List a page of queues by name."""
    return call(Request.of("GET", with_query("/queues", _page(prefix, after))), list[QueueInfo])


def largest_queues(sort: str, prefix: str, limit: int) -> Call[list[dict[str, Any]]]:
    """List the queues with the largest figure, with their rates."""
    query = {"sort": sort, "prefix": prefix or None, "limit": limit, "figures": "true"}
    return call(Request.of("GET", with_query("/queues", query)), list[dict[str, Any]])


def overview() -> Call[dict[str, Any]]:
    """Get the sums, rates and problems of all queues that the key opens."""
    return call(Request.of("GET", "/overview"), dict[str, Any])


def info(queue: str) -> Call[QueueInfo]:
    """Get settings and statistics of a queue."""
    return call(Request.of("GET", queue_path(queue)), QueueInfo)


def configure(queue: str, settings: QueueSettings) -> Call[QueueInfo]:
    """Create a queue, or change the given settings."""
    return call(Request.of("PUT", queue_path(queue), settings), QueueInfo)


def drop(queue: str) -> Call[None]:
    """Delete a queue."""
    return deletion(queue_path(queue))


def purge(queue: str) -> Call[Purged]:
    """Delete all messages of a queue. It is not repeated: a second purge would delete what came since the first."""
    return call(Request.of("POST", queue_path(queue, "/purge"), repeatable=False), Purged)


def ready() -> Call[Any]:
    """Ask whether the broker accepts work."""
    return call(Request.of("GET", "/readyz"), Any)


def start_redrive(queue: str, fields: Mapping[str, Any]) -> Call[Redrive]:
    """Start moving messages of a queue."""
    return call(Request.of("POST", queue_path(queue, "/redrive"), given(fields), repeatable=False), Redrive)


def redrives(queue: str) -> Call[list[Redrive]]:
    """List redrives of a queue."""
    return call(Request.of("GET", queue_path(queue, "/redrive")), list[Redrive])


def redrive(method: str, queue: str, redrive_id: str) -> Call[Redrive]:
    """Get (``GET``) or cancel (``DELETE``) a redrive."""
    return call(Request.of(method, queue_path(queue, f"/redrive/{quote(redrive_id, safe='')}")), Redrive)


def schedules(after: str) -> Call[list[Schedule]]:
    """List a page of schedules by name."""
    return call(Request.of("GET", with_query("/schedules", _page("", after))), list[Schedule])


def put_schedule(
    name: str, body: Body | None, attributes: Mapping[str, AttributeValue] | None, fields: Mapping[str, Any]
) -> Call[Schedule]:
    """Create a schedule, or change the given fields of one."""
    schedule = given(fields)
    content_type = None
    if body is not None:
        schedule["message"], content_type = bodies.dumps(body)
    if attributes is not None or content_type is not None:
        typed = {} if content_type is None else {bodies.CONTENT_TYPE: content_type}
        schedule["attributes"] = attributes_json({**typed, **(attributes or {})})
    return call(Request.of("PUT", _schedule_path(name), schedule), Schedule)


def get_schedule(name: str) -> Call[Schedule]:
    """Get a schedule."""
    return call(Request.of("GET", _schedule_path(name)), Schedule)


def delete_schedule(name: str) -> Call[None]:
    """Delete a schedule."""
    return deletion(_schedule_path(name))


def _schedule_path(name: str) -> str:
    return f"/schedules/{quote(name, safe='')}"


def _page(prefix: str, after: str) -> dict[str, Any]:
    return {"prefix": prefix or None, "after": after or None, "limit": PAGE}
