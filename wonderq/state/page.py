"""A page: messages of one queue in order of sequence number, with one array per field.

A *dense* page has a place for each of up to `PAGE_MESSAGES` neighbouring sequence numbers. A *sparse* page has rows for
only the messages that were left when it was made, and a column of their sequence numbers.
"""

from __future__ import annotations

import re
import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, compress, repeat
from operator import ge
from typing import NamedTuple, Self

from wonderq.model.messages import new_tuple
from wonderq.model.status import BURIED, CLAIMED, DELAYED, GONE, WAITING
from wonderq.state.record import Runs, to_runs

#: Low bits of a sequence number that select a message in its page. The other bits are the number of the page.
PAGE_BITS = 12
PAGE_MESSAGES = 1 << PAGE_BITS

#: Token of a message without a claim.
NO_TOKEN = 0

#: Status of a message that waits in a lane (see `wonderq.state.lanes`). A plain message has WAITING instead, so that
#: a search for WAITING finds plain messages only. Pages use it internally: a `MessageView` has WAITING.
IN_LANE = 5

#: Status of a waiting message that was set aside since it was claimed too often (`Columns.set_aside_next`). No search
#: for the next message finds it. Pages use it internally: a `MessageView` has WAITING, and so has a dump.
SPENT = 6

#: Find a status byte of a message that exists, and of one that waits.
_LIVE = re.compile(rb"[^\0]")
_WAITING_BYTES = (WAITING, IN_LANE, SPENT)
_WAITS = re.compile(bytes((ord("["), *_WAITING_BYTES, ord("]"))))

_GONE_BYTE = bytes([GONE])
_STATUS_BYTES = bytes((GONE, WAITING, CLAIMED, DELAYED, BURIED, IN_LANE))

#: Translation from status bytes to the status in a `MessageView`.
SHOWN = bytes((GONE, WAITING, CLAIMED, DELAYED, BURIED, WAITING, WAITING)).ljust(256, b"\0")

#: First sequence number; number of messages; lengths of the claim columns, of the lane column, of the update column and
#: of the column of sequence numbers.
_DUMP_HEADER = struct.Struct("<QIIIII")

_CLAIM_COLUMNS = ("due_ms", "timeout_ms", "receives", "token", "first_claimed_ms")
_COLUMNS = ("position", "length", "produced_ms", *_CLAIM_COLUMNS, "lane", "updates")

#: Approximate memory of a page without messages, and of one message in the columns that every page has, in the claim
#: columns, and in all columns of a dense page.
EMPTY_BYTES, _MESSAGE_BYTES, _CLAIM_BYTES, MOST_BYTES = 1536, 21, 28, 57


class MessageView(NamedTuple):
    """Copy of the fields of one message."""

    sequence: int
    status: int
    position: int
    """Position of the entry in the log."""
    length: int
    """Bytes of the entry."""
    produced_ms: int
    receives: int
    """Number of claims so far."""
    token: int
    """Token of the newest claim, which may have expired; `NO_TOKEN` before the first claim and after a release."""
    due_ms: int
    """Deadline of the newest claim or delay."""
    timeout_ms: int
    """Visibility timeout of the newest claim."""
    first_claimed_ms: int
    """Time of the first claim; 0 if there was none, or if it is not known."""
    lane: int
    """Number of the lane, or 0."""
    updates: int
    """Number of times that the contents were replaced."""

    @property
    def is_pristine(self) -> bool:
        """Whether the message waits, was never claimed or updated, and is in no lane."""
        return self.status == WAITING and not (self.receives or self.lane or self.updates)

    def at(self, now_ms: int) -> MessageView:
        """Return the message as it is at ``now_ms``: a claim or delay may have ended that `advance` has yet to end."""
        if self.status in (CLAIMED, DELAYED) and self.due_ms <= now_ms:
            return self._replace(status=WAITING)
        return self


class MessageColumns(NamedTuple):
    """The fields of some messages as columns: a large batch makes no object for each message; see `MessageView`."""

    sequence: Sequence[int]
    status: Sequence[int]
    position: Sequence[int]
    length: Sequence[int]
    produced_ms: Sequence[int]
    receives: Sequence[int]
    token: Sequence[int]
    due_ms: Sequence[int]
    timeout_ms: Sequence[int]
    first_claimed_ms: Sequence[int]
    lane: Sequence[int]
    updates: Sequence[int]

    @classmethod
    def of(cls, views: Iterable[MessageView]) -> Self:
        """Return the columns of messages, at least one."""
        return cls(*zip(*views, strict=True))

    @classmethod
    def join(cls, parts: Sequence[MessageColumns]) -> MessageColumns:
        """Return the columns of several parts in one."""
        return cls(*(list(chain.from_iterable(columns)) for columns in zip(*parts, strict=True)))


class Page:
    """Messages from sequence number ``first`` on.

    The index of a message is ``sequence - first`` in a dense page. In a sparse page, it is the message's index in the
    ascending column ``sequences``, which a dense page lacks (None).

    The claim columns (``due_ms``, ``timeout_ms``, ``receives``, ``token``, ``first_claimed_ms``) may be shorter than
    the others: a message past their end was never claimed or delayed. The columns ``lane`` and ``updates`` may be
    shorter too: a message past their end is in no lane, or was never updated.
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
        "sequences",
        "status",
        "timeout_ms",
        "token",
        "updates",
        "waiting",
    )

    def __init__(self, first: int) -> None:
        self.first = first
        self.live = 0  # messages that are not deleted
        self.waiting = 0  # messages with the status WAITING, which excludes those in lanes
        self.listed = False  # whether the queue's ReadyPages list this page
        self.frozen = False  # whether a snapshot shares this page, so that a change needs a copy
        self.sequences: array[int] | None = None
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
        """Return a copy that is not frozen."""
        copy = self._slice(0, len(self.status))
        copy.first, copy.listed = self.first, self.listed
        return copy

    def _slice(self, start: int, stop: int) -> Page:
        """Return a copy of neighbouring messages. It is not listed."""
        part = Page(self.sequence(start) if start < stop else self.first)
        part.sequences = None if self.sequences is None else self.sequences[start:stop]
        part.status = self.status[start:stop]
        for name in _COLUMNS:
            setattr(part, name, getattr(self, name)[start:stop])
        part.live = len(part.status) - part.status.count(GONE)
        part.waiting = part.status.count(WAITING)
        return part

    # Sequence numbers

    def sequence(self, index: int) -> int:
        """Return the sequence number of a message."""
        return self.first + index if self.sequences is None else self.sequences[index]

    def index(self, sequence: int) -> int:
        """Return the index of the first message from a sequence number on."""
        return max(sequence - self.first, 0) if self.sequences is None else bisect_left(self.sequences, sequence)

    @property
    def end(self) -> int:
        """Sequence number after the last message."""
        return self.first + len(self.status) if self.sequences is None else self.sequences[-1] + 1

    def runs(self, start: int, stop: int) -> Runs:
        """Return neighbouring messages as runs."""
        if self.sequences is None:
            return [self.first + start, stop - start]
        return to_runs(self.sequences[start:stop])

    # Sparse pages

    @property
    def memory_bytes(self) -> int:
        """Approximate memory that the page takes."""
        columns = _MESSAGE_BYTES * len(self.status) + _CLAIM_BYTES * len(self.due_ms)
        few = 4 * (len(self.lane) + len(self.updates)) + 8 * len(self.sequences or ())
        return EMPTY_BYTES + columns + few

    def thinned(self) -> Page:
        """Return a sparse page of the messages that are not deleted."""
        thin = Page(self.first)
        indexes = list(compress(range(len(self.status)), self.status))
        thin.sequences = array("Q", map(self.sequence, indexes))
        for name in _COLUMNS:
            column = getattr(self, name)
            within = indexes[: bisect_left(indexes, len(column))]
            setattr(thin, name, array(column.typecode, map(column.__getitem__, within)))
        thin.status = self.status.translate(None, _GONE_BYTE)
        thin.live, thin.waiting, thin.listed = self.live, self.waiting, self.listed
        return thin

    def absorb(self, page: Page) -> None:
        """Append the messages of a later page that are not deleted to this sparse page."""
        assert self.sequences is not None
        rows = page.thinned()
        assert rows.sequences is not None
        if rows.due_ms:
            self.grow_claims()
        for column, added in ((self.lane, rows.lane), (self.updates, rows.updates)):
            if added:
                self.grow(column)
        for name in _COLUMNS:
            getattr(self, name).extend(getattr(rows, name))
        self.sequences.extend(rows.sequences)
        self.status.extend(rows.status)
        self.live += rows.live
        self.waiting += rows.waiting

    def carve(self, first: int, end: int) -> tuple[Page, Page, Page]:
        """Split a sparse page: return its messages before ``first``, those up to ``end`` in a dense page, and the rest.

        A page may be without messages.
        """
        start, stop = self.index(first), self.index(end)
        before, middle, after = (self._slice(*part) for part in ((0, start), (start, stop), (stop, len(self.status))))
        return before, middle.thickened(), after

    def thickened(self) -> Page:
        """Return the messages of this sparse page in a dense page."""
        assert self.sequences is not None
        dense = Page(min(self.sequences, default=0))
        dense.live, dense.waiting = self.live, self.waiting
        indexes = [sequence - dense.first for sequence in self.sequences]
        dense.status.extend(bytes(max(indexes, default=-1) + 1))
        for index, status in zip(indexes, self.status, strict=True):
            dense.status[index] = status
        for name in _COLUMNS:
            sparse, column = getattr(self, name), getattr(dense, name)
            if sparse:
                dense.grow(column)
                for index, value in zip(indexes, sparse, strict=False):
                    column[index] = value
        return dense

    # Places for messages

    def fill(self, count: int) -> None:
        """Append ``count`` deleted messages to a dense page."""
        self.status.extend(bytes(count))
        for column in (self.position, self.length, self.produced_ms):
            column.frombytes(bytes(column.itemsize * count))

    def fill_front(self, first: int) -> None:
        """Prepend deleted messages to a dense page, so that it begins at ``first``."""
        count = self.first - first
        self.first = first
        self.status[:0] = bytes(count)
        for name in _COLUMNS:
            column = getattr(self, name)
            column[:0] = array(column.typecode, bytes(column.itemsize * count))

    def grow_claims(self) -> None:
        """Extend the claim columns to all messages of the page."""
        missing = len(self.status) - len(self.due_ms)
        if missing > 0:
            for column in (self.due_ms, self.timeout_ms, self.receives, self.token, self.first_claimed_ms):
                column.frombytes(bytes(column.itemsize * missing))

    def grow(self, column: array[int]) -> None:
        """Extend a column to all messages of the page."""
        column.frombytes(bytes(column.itemsize * (len(self.status) - len(column))))

    def lane_of(self, index: int) -> int:
        """Return the lane number of a message."""
        return self.lane[index] if index < len(self.lane) else 0

    def next_index(self, index: int, status: int | None) -> int:
        """Return the first index from ``index`` on with a status (None: any message), or -1."""
        if status is not None and status != WAITING:
            return self.status.find(status, index)
        found = (_LIVE if status is None else _WAITS).search(self.status, index)
        return found.start() if found else -1

    def previous_index(self, index: int, status: int | None) -> int:
        """Return the last index before ``index`` with a status (None: any message), or -1."""
        if status is None:
            return len(self.status[:index].rstrip(_GONE_BYTE)) - 1
        if status != WAITING:
            return self.status.rfind(status, 0, index)
        return max(self.status.rfind(each, 0, index) for each in _WAITING_BYTES)

    def index_before(self, before_ms: int, start: int, stop: int) -> int:
        """Return the index after the last of the messages from ``start`` on that were produced before ``before_ms``.

        ``start`` must be a message that exists, and a result is at most ``stop``.
        """
        if self.produced_ms[start] >= before_ms:
            return start
        if max(self.produced_ms[start:stop]) < before_ms:
            return stop
        index = end = start
        while 0 <= index < stop and self.produced_ms[index] < before_ms:
            end = index + 1
            index = self.next_index(end, None)
        return end

    def view(self, index: int) -> MessageView:
        """Return the fields of one message."""
        claims = index < len(self.due_ms)
        fields = (
            self.first + index if self.sequences is None else self.sequences[index],
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

    def columns(self, start: int, stop: int) -> MessageColumns:
        """Return the fields of neighbouring messages."""
        if stop - start == 1:
            return new_tuple(MessageColumns, zip(self.view(start)))
        claims = (self.receives, self.token, self.due_ms, self.timeout_ms, self.first_claimed_ms)
        columns = (self.position, self.length, self.produced_ms, *claims, self.lane, self.updates)
        fields = (
            range(self.first + start, self.first + stop) if self.sequences is None else self.sequences[start:stop],
            self.status[start:stop].translate(SHOWN),
            *[column[start:stop] if stop <= len(column) else _padded(column, start, stop) for column in columns],
        )
        return new_tuple(MessageColumns, fields)

    def views(self, start: int, stop: int) -> list[MessageView]:
        """Return the fields of neighbouring messages. For many, it takes half the time of `view` per message."""
        return list(map(new_tuple, repeat(MessageView), zip(*self.columns(start, stop), strict=True)))

    def live_bytes(self) -> int:
        """Return the entry bytes of all messages that are not deleted."""
        if self.live == len(self.status):
            return sum(self.length)
        return sum(length for length, status in zip(self.length, self.status, strict=True) if status != GONE)

    def ends(self, start: int, stop: int) -> Iterator[int]:
        """Yield the position after the entry of each message that exists, from index ``start`` to before ``stop``."""
        columns = self.position[start:stop], self.length[start:stop], self.status[start:stop]
        return (position + length for position, length, status in zip(*columns, strict=True) if status != GONE)

    def dump(self) -> bytes:
        """Return the columns as bytes, in the byte order of this machine."""
        sequences = self.sequences or array("Q")
        lengths = len(self.status), len(self.due_ms), len(self.lane), len(self.updates), len(sequences)
        header = _DUMP_HEADER.pack(self.first, *lengths)
        status, index = self.status, -1
        if SPENT in status:
            status = status[:]
            while (index := status.find(SPENT, index + 1)) >= 0:
                status[index] = IN_LANE if self.lane_of(index) else WAITING
        return b"".join((header, status, *(getattr(self, name) for name in _COLUMNS), sequences))

    @classmethod
    def load(cls, data: bytes) -> Self:
        """Return the page of a dump.

        Raises:
            ValueError: the bytes are not a dump.
        """
        view = memoryview(data)
        if len(data) < _DUMP_HEADER.size:
            raise ValueError("a page is too short")
        first, count, claims, lanes, updates, rows = _DUMP_HEADER.unpack_from(view)
        page = cls(first)
        at = _DUMP_HEADER.size
        page.status.extend(view[at : at + count])
        at += count
        for name in _COLUMNS:
            column = getattr(page, name)
            places = {"lane": lanes, "updates": updates}.get(name, claims if name in _CLAIM_COLUMNS else count)
            column.frombytes(view[at : at + places * column.itemsize])
            at += places * column.itemsize
        if rows:
            page.sequences = array("Q", bytes(view[at : at + rows * 8]))
            at += rows * 8
        if at != len(data) or max(claims, lanes, updates) > count or rows not in (0, count):
            raise ValueError("the length of a page does not match its header")
        if page.sequences is None:
            if first % PAGE_MESSAGES + count > PAGE_MESSAGES:
                raise ValueError("a page is too long")
        elif page.sequences[0] < first or any(map(ge, page.sequences, page.sequences[1:])):
            raise ValueError("the sequence numbers of a page do not ascend")
        status = page.status
        if (
            status.translate(None, _STATUS_BYTES)
            or any(status.find(each, claims) >= 0 for each in (CLAIMED, DELAYED))
            or status.find(IN_LANE, lanes) >= 0
        ):
            raise ValueError("a message of a page has no valid status, or lacks the deadline that its status needs")
        page.live = count - status.count(GONE)
        page.waiting = status.count(WAITING)
        return page


def _padded(column: array[int], start: int, stop: int) -> array[int]:
    """Return a part of a column that ends before the part does, with zeros in the places of what is missing."""
    part = column[start:stop]
    part.frombytes(bytes(part.itemsize * (stop - start - len(part))))
    return part
