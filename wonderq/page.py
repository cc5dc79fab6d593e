"""A page: up to `PAGE_MESSAGES` messages with neighbouring sequence numbers, as columns."""

from __future__ import annotations

import re
import struct
from array import array
from itertools import repeat
from typing import NamedTuple, Self

from storage.record import CLAIMED, DELAYED, GONE, WAITING

PAGE_BITS = 12
PAGE_MESSAGES = 1 << PAGE_BITS

#: What stands for "no claim" in the token column.
NO_TOKEN = 0

#: Finds messages that are not gone.
_THERE = re.compile(rb"[^\0]")

_STATUS_BYTES = bytes((GONE, WAITING, CLAIMED, DELAYED))

#: First sequence number, number of messages, how many of them have a place in the columns of claims and delays.
_DUMP_HEADER = struct.Struct("<QII")


#: Makes a named tuple in a third of the time that calling its class takes.
new_tuple = tuple.__new__


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

    @property
    def merely_waits(self) -> bool:
        """Whether it was never claimed, and can be."""
        return self.status == WAITING and not self.receives

    @property
    def claim(self) -> tuple[int, int, int, int, int, int]:
        """What an UPDATE record says of a restated message that does not merely wait."""
        return self.sequence, self.status, self.due_ms, self.timeout_ms, self.receives, self.token


class Page:
    """Messages from sequence ``first`` on; all arrays are indexed by ``sequence - first``.

    The columns of claims and delays (``due_ms``, ``timeout_ms``, ``receives``, ``token``) may be shorter than the others:
    a message without a place in them was never claimed or delayed.
    """

    __slots__ = (
        "due_ms",
        "first",
        "frozen",
        "length",
        "listed",
        "live",
        "position",
        "produced_ms",
        "receives",
        "status",
        "timeout_ms",
        "token",
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

    def copy(self) -> Page:
        copy = Page(self.first)
        copy.live, copy.waiting, copy.listed = self.live, self.waiting, self.listed
        copy.status = self.status[:]
        for name in ("position", "length", "produced_ms", "due_ms", "timeout_ms", "receives", "token"):
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
        self.grow_claims()
        self.status[:0] = bytes(count)
        for name in ("position", "length", "produced_ms", "due_ms", "timeout_ms", "receives", "token"):
            column = getattr(self, name)
            column[:0] = array(column.typecode, bytes(column.itemsize * count))

    def grow_claims(self) -> None:
        """Give every message of the page a place in the columns of claims and delays."""
        missing = len(self.status) - len(self.due_ms)
        if missing > 0:
            for column in (self.due_ms, self.timeout_ms, self.receives, self.token):
                column.frombytes(bytes(column.itemsize * missing))

    def next_index(self, index: int, status: int | None) -> int:
        """Return the first index from ``index`` on with that status (None: any message), or -1."""
        if status is not None:
            return self.status.find(status, index)
        found = _THERE.search(self.status, index)
        return found.start() if found else -1

    def view(self, index: int) -> MessageView:
        claims = index < len(self.due_ms)
        fields = (
            self.first + index,
            self.status[index],
            self.position[index],
            self.length[index],
            self.produced_ms[index],
            self.receives[index] if claims else 0,
            self.token[index] if claims else 0,
            self.due_ms[index] if claims else 0,
            self.timeout_ms[index] if claims else 0,
        )
        return new_tuple(MessageView, fields)

    def views(self, start: int, stop: int) -> list[MessageView]:
        """Do what `view` does for a stretch of messages, in half the time for each if there are many."""
        if stop - start == 1:
            return [self.view(start)]
        places = len(self.due_ms)
        if start < places < stop:
            return self.views(start, places) + self.views(places, stop)
        claims = (
            column[start:stop] if stop <= places else repeat(0)
            for column in (self.receives, self.token, self.due_ms, self.timeout_ms)
        )
        columns = (self.status, self.position, self.length, self.produced_ms)
        fields = zip(
            range(self.first + start, self.first + stop),
            *(column[start:stop] for column in columns),
            *claims,
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
        return b"".join(
            (
                _DUMP_HEADER.pack(self.first, len(self.status), len(self.due_ms)),
                self.status,
                self.position,
                self.length,
                self.produced_ms,
                self.due_ms,
                self.timeout_ms,
                self.receives,
                self.token,
            )
        )

    @classmethod
    def load(cls, data: bytes) -> Self:
        """Read a dump.

        Raises:
            ValueError: it is none.
        """
        view = memoryview(data)
        if len(data) < _DUMP_HEADER.size:
            raise ValueError("a page is too short")
        first, count, claims = _DUMP_HEADER.unpack_from(view)
        page = cls(first)
        at = _DUMP_HEADER.size
        page.status.extend(view[at : at + count])
        at += count
        for column, places in (
            (page.position, count),
            (page.length, count),
            (page.produced_ms, count),
            (page.due_ms, claims),
            (page.timeout_ms, claims),
            (page.receives, claims),
            (page.token, claims),
        ):
            column.frombytes(view[at : at + places * column.itemsize])
            at += places * column.itemsize
        if at != len(data) or claims > count or first % PAGE_MESSAGES + count > PAGE_MESSAGES:
            raise ValueError("a page has another length than it says")
        if page.status.translate(None, _STATUS_BYTES) or any(
            page.status.find(status, claims) >= 0 for status in (CLAIMED, DELAYED)
        ):
            raise ValueError("a page has a message without a status, or without the deadline that belongs to it")
        page.live = count - page.status.count(GONE)
        page.waiting = page.status.count(WAITING)
        return page
