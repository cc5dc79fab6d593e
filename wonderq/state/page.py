"""A page: up to `PAGE_MESSAGES` messages with neighbouring sequence numbers, as columns."""

from __future__ import annotations

import re
import struct
from array import array
from itertools import repeat
from typing import NamedTuple, Self

from wonderq.model.messages import new_tuple
from wonderq.model.status import BURIED, CLAIMED, DELAYED, GONE, WAITING

PAGE_BITS = 12
PAGE_MESSAGES = 1 << PAGE_BITS

#: What stands for "no claim" in the token column.
NO_TOKEN = 0

#: The status of a message that waits in a lane (see `wonderq.state.lanes`), where those that merely wait have WAITING. It is of
#: the columns alone: everybody else is told WAITING.
IN_LANE = 5

#: Finds messages that are not gone, and those that wait.
_THERE = re.compile(rb"[^\0]")
_WAITS = re.compile(bytes((ord("["), WAITING, IN_LANE, ord("]"))))

_STATUS_BYTES = bytes((GONE, WAITING, CLAIMED, DELAYED, BURIED, IN_LANE))

#: What statuses look like from outside.
SHOWN = bytes((GONE, WAITING, CLAIMED, DELAYED, BURIED, WAITING)).ljust(256, b"\0")

#: First sequence number, number of messages, and how many of them have a place in the columns of claims and delays, in that
#: of lanes, and in that of updates.
_DUMP_HEADER = struct.Struct("<QIIII")

_CLAIM_COLUMNS = ("due_ms", "timeout_ms", "receives", "token", "first_claimed_ms")
_COLUMNS = ("position", "length", "produced_ms", *_CLAIM_COLUMNS, "lane", "updates")


class MessageView(NamedTuple):
    """A copy of what the columns say of one message."""

    sequence: int
    status: int
    position: int
    """Where its entry lies in the log."""
    length: int
    """Bytes of the entry."""
    produced_ms: int
    receives: int
    token: int
    """Of its newest claim, also when that has expired; `NO_TOKEN` before the first and after a release."""
    due_ms: int
    """When a claim or a delay ends."""
    timeout_ms: int
    """That of the newest claim."""
    first_claimed_ms: int
    """When it was first claimed; 0 before that, and if it is not known."""
    lane: int
    """The number of its lane, or 0."""
    updates: int
    """How often its contents were replaced."""

    @property
    def is_pristine(self) -> bool:
        """Whether it was never claimed or changed, can be claimed, and is in no lane."""
        return self.status == WAITING and not (self.receives or self.lane or self.updates)


class Page:
    """Messages from sequence ``first`` on; all arrays are indexed by ``sequence - first``.

    The columns of claims and delays (``due_ms``, ``timeout_ms``, ``receives``, ``token``, ``first_claimed_ms``) may be
    shorter than the others: a message without a place in them was never claimed or delayed. So may ``lane`` and ``updates``,
    if it is in no lane, or was never updated.
    """

    __slots__ = (
        "due_ms",
        "first",
        "first_claimed_ms",
        "frozen",
        "lane",
        "length",
        "listed",
        "live",
        "position",
        "produced_ms",
        "receives",
        "status",
        "timeout_ms",
        "token",
        "updates",
        "waiting",
    )

    def __init__(self, first: int) -> None:
        self.first = first
        self.live = 0
        self.waiting = 0
        self.listed = False  # whether the queue's heap of pages with waiting messages holds this page
        self.frozen = False  # whether a snapshot holds this page, so that it has to be copied before a change
        self.status = bytearray()
        self.position = array("Q")
        self.length = array("I")
        self.produced_ms = array("q")
        self.due_ms = array("q")
        self.timeout_ms = array("I")
        self.receives = array("I")
        self.token = array("I")
        self.first_claimed_ms = array("q")
        self.lane = array("I")
        self.updates = array("I")

    def copy(self) -> Page:
        copy = Page(self.first)
        copy.live, copy.waiting, copy.listed = self.live, self.waiting, self.listed
        copy.status = self.status[:]
        for name in _COLUMNS:
            setattr(copy, name, getattr(self, name)[:])
        return copy

    def fill(self, count: int) -> None:
        """Add places at the end for ``count`` messages that are gone."""
        self.status.extend(bytes(count))
        for column in (self.position, self.length, self.produced_ms):
            column.frombytes(bytes(column.itemsize * count))

    def fill_front(self, first: int) -> None:
        """Add places for gone messages at the front, so that the page begins at ``first``."""
        count = self.first - first
        self.first = first
        self.status[:0] = bytes(count)
        for name in _COLUMNS:
            column = getattr(self, name)
            column[:0] = array(column.typecode, bytes(column.itemsize * count))

    def grow_claims(self) -> None:
        """Give every message of the page a place in the columns of claims and delays."""
        missing = len(self.status) - len(self.due_ms)
        if missing > 0:
            for column in (self.due_ms, self.timeout_ms, self.receives, self.token, self.first_claimed_ms):
                column.frombytes(bytes(column.itemsize * missing))

    def grow(self, column: array[int]) -> None:
        """Give every message of the page a place in a column."""
        column.frombytes(bytes(column.itemsize * (len(self.status) - len(column))))

    def lane_of(self, index: int) -> int:
        return self.lane[index] if index < len(self.lane) else 0

    def next_index(self, index: int, status: int | None) -> int:
        """Return the first index from ``index`` on with that status (None: any message), or -1."""
        if status is not None and status != WAITING:
            return self.status.find(status, index)
        found = (_THERE if status is None else _WAITS).search(self.status, index)
        return found.start() if found else -1

    def view(self, index: int) -> MessageView:
        claims = index < len(self.due_ms)
        fields = (
            self.first + index,
            SHOWN[self.status[index]],
            self.position[index],
            self.length[index],
            self.produced_ms[index],
            self.receives[index] if claims else 0,
            self.token[index] if claims else 0,
            self.due_ms[index] if claims else 0,
            self.timeout_ms[index] if claims else 0,
            self.first_claimed_ms[index] if claims else 0,
            self.lane[index] if index < len(self.lane) else 0,
            self.updates[index] if index < len(self.updates) else 0,
        )
        return new_tuple(MessageView, fields)

    def views(self, start: int, stop: int) -> list[MessageView]:
        """Do what `view` does for a stretch of messages, in half the time for each if there are many."""
        if stop - start == 1:
            return [self.view(start)]
        for column in (self.due_ms, self.lane, self.updates):
            if start < len(column) < stop:
                return self.views(start, len(column)) + self.views(len(column), stop)
        claims = (self.receives, self.token, self.due_ms, self.timeout_ms, self.first_claimed_ms)
        columns = (self.position, self.length, self.produced_ms, *claims, self.lane, self.updates)
        fields = zip(
            range(self.first + start, self.first + stop),
            self.status[start:stop].translate(SHOWN),
            *(column[start:stop] if stop <= len(column) else repeat(0) for column in columns),
            strict=False,
        )
        return list(map(new_tuple, repeat(MessageView), fields))

    def live_bytes(self) -> int:
        """Return the entry bytes of all messages that are not gone."""
        if self.live == len(self.status):
            return sum(self.length)
        return sum(length for length, status in zip(self.length, self.status, strict=True) if status != GONE)

    def dump(self) -> bytes:
        """Write the columns down as they are, in this machine's byte order."""
        header = _DUMP_HEADER.pack(self.first, len(self.status), len(self.due_ms), len(self.lane), len(self.updates))
        return b"".join((header, self.status, *(getattr(self, name) for name in _COLUMNS)))

    @classmethod
    def load(cls, data: bytes) -> Self:
        """Read a dump.

        Raises:
            ValueError: it is none.
        """
        view = memoryview(data)
        if len(data) < _DUMP_HEADER.size:
            raise ValueError("a page is too short")
        first, count, claims, lanes, updates = _DUMP_HEADER.unpack_from(view)
        page = cls(first)
        at = _DUMP_HEADER.size
        page.status.extend(view[at : at + count])
        at += count
        for name in _COLUMNS:
            column = getattr(page, name)
            places = {"lane": lanes, "updates": updates}.get(name, claims if name in _CLAIM_COLUMNS else count)
            column.frombytes(view[at : at + places * column.itemsize])
            at += places * column.itemsize
        if at != len(data) or max(claims, lanes, updates) > count or first % PAGE_MESSAGES + count > PAGE_MESSAGES:
            raise ValueError("a page has another length than it says")
        status = page.status
        if (
            status.translate(None, _STATUS_BYTES)
            or any(status.find(each, claims) >= 0 for each in (CLAIMED, DELAYED))
            or status.find(IN_LANE, lanes) >= 0
        ):
            raise ValueError("a page has a message without a status, or without the deadline that belongs to it")
        page.live = count - status.count(GONE)
        page.waiting = status.count(WAITING)
        return page
