"""A queue and its messages, as `naive_broker` models them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from wonderq.broker.finishing import Finish
from wonderq.model.envelope import envelope_of
from wonderq.model.messages import Change, Message, NewMessage
from wonderq.model.settings import QueueSettings
from wonderq.state.record import encode_entry

READY, TAKEN, HIDDEN, ASIDE = "unprocessed", "processing", "delayed", "buried"

Lane = tuple[int, str]
"""Priority and group."""

Key = tuple[str | None, bool, str]
"""The group, None if keys are those of all groups, and the key."""


class RefusalError(Exception):
    """Error that the model expects instead of a result."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass
class Item:
    """One message."""

    id: str
    body: str
    produced_ms: int
    sequence: int
    headers: Mapping[str, Any] = field(default_factory=dict)
    lane: Lane = (0, "")
    held: str = READY
    due_ms: int = 0
    timeout_ms: int = 0
    receives: int = 0
    receipt: str | None = None
    first_claimed_ms: int = 0
    updates: int = 0
    consumer: str = ""

    def status(self, now_ms: int) -> str:
        return READY if self.held in (TAKEN, HIDDEN) and self.due_ms <= now_ms else self.held

    def uncount(self, change: Change) -> None:
        """Undo the receive of the claim that a change releases, if it is to count as none."""
        if change.uncounted:
            self.receives -= 1
            self.first_claimed_ms = self.first_claimed_ms if self.receives else 0

    @property
    def size(self) -> int:
        return len(encode_entry(self.body, self.headers))

    def seen(self, queue: str, now_ms: int, receipt: str | None = None) -> Message:
        status = self.status(now_ms) if receipt is None else TAKEN
        due_ms = self.due_ms if status in (TAKEN, HIDDEN) else None
        known = self.id, self.body, status, receipt, self.receives, self.produced_ms, due_ms, queue
        envelope = envelope_of(self.headers, self.updates)
        consumer = self.consumer if status == TAKEN else ""
        return Message(*known, self.sequence, self.first_claimed_ms, envelope, consumer)


@dataclass
class Attempt:
    """Messages that a claim attempt returned."""

    given: list[tuple[str, str]]
    """Ids and receipts."""
    due_ms: int
    until_ms: int


@dataclass
class Finished:
    """A request that finished messages, and may be repeated."""

    finishes: tuple[Finish, ...]
    results: list[str | None]
    until_ms: int


@dataclass
class Line:
    """One queue: its items in the order they were produced."""

    name: str
    created_ms: int
    settings: QueueSettings = field(default_factory=QueueSettings)
    items: dict[str, Item] = field(default_factory=dict)
    newest_id: str | None = None
    next_sequence: int = 0
    keys: dict[Key, tuple[str, int, int]] = field(default_factory=dict)
    """Id and sequence of the message, and until when it is remembered."""
    attempts: dict[str, Attempt] = field(default_factory=dict)
    finished: dict[str, Finished] = field(default_factory=dict)

    @property
    def is_fifo(self) -> bool:
        return self.name.endswith(".fifo")

    def by_status(self, now_ms: int, status: str) -> list[Item]:
        return [item for item in self.items.values() if item.status(now_ms) == status]

    def check_room(self, count: int, size: int) -> None:
        settings = self.settings
        if count and settings.max_messages and len(self.items) + count > settings.max_messages:
            raise RefusalError("QueueFullError")
        if settings.max_bytes and sum(item.size for item in self.items.values()) + size > settings.max_bytes:
            raise RefusalError("QueueFullError")

    def key_of(self, message: NewMessage) -> Key | None:
        key = message.key
        if not key and self.settings.content_deduplication:
            key = sha256(message.body.encode()).hexdigest()
        return (
            (message.group if self.settings.deduplication_per_group else None, message.key_of_batch, key)
            if key
            else None
        )

    # Next messages

    def lines(self, now_ms: int) -> dict[Lane, list[Item]]:
        """The messages that wait, by lane; in a FIFO queue, those before the first that is delayed or in flight.

        In a FIFO queue, they are also those before the first that was claimed too often, unless that is the first.
        """
        lines: dict[Lane, list[Item]] = {}
        closed: set[Lane] = set()
        for item in self.items.values():
            status = item.status(now_ms)
            if self.is_fifo and lines.get(item.lane) and 0 < self.settings.max_receives <= item.receives:
                closed.add(item.lane)
            if status == READY and item.lane not in closed:
                lines.setdefault(item.lane, []).append(item)
            elif status in (HIDDEN, TAKEN) and self.is_fifo:
                closed.add(item.lane)
        return lines

    def in_flight(self, now_ms: int) -> dict[str, int]:
        counts: dict[str, int] = {}
        for item in self.by_status(now_ms, TAKEN):
            name = share_of(item.lane)
            counts[name] = counts.get(name, 0) + 1
        return counts

    def may_be_next(self, lines: Mapping[Lane, list[Item]], busy: Mapping[str, int], last: Lane | None) -> list[Item]:
        """Return the messages of which one has to be given next; ``last`` is the lane of the last one in this answer."""
        most = self.settings.max_in_flight_per_group

        def is_full(lane: Lane) -> bool:
            return bool(most and lane[1] and busy.get(share_of(lane), 0) >= most)

        if self.is_fifo and last is not None and lines.get(last) and not is_full(last):
            return lines[last][:1]
        ready = [lane for lane, line in lines.items() if line and not is_full(lane)]
        if not ready:
            return []
        urgent = [lane for lane in ready if lane[0] == max(ready)[0]]
        least = min(busy.get(share_of(lane), 0) for lane in urgent)
        return [lines[lane][0] for lane in urgent if busy.get(share_of(lane), 0) == least]


def share_of(lane: Lane) -> str:
    """Return the key of fair sharing: a group takes turns whatever its priority, and so do messages with neither."""
    return "neither" if lane == (0, "") else f"group {lane[1]}"
