"""Compaction of a message that is in more queues than one turn may be about: all of them share one copy.

A RESTATE record states its message in each queue as it is when the record is appended. To learn that of 10,000 queues
takes 200 ms. So the parts of the record are collected in turns. A queue that is used between the turn of its part and
the record is collected again, as the decisions of a publish are made again (`wonderq.state.arrivals`). After the
record, the queues take over the places of the copy in turns too, or when they are next used.

The work begins anew for queues that are used all the time. After some repetitions they are left out, and the caller
rewrites the message for them as for few queues.
"""

from __future__ import annotations

import time
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple, cast

from wonderq.broker.broker import Broker
from wonderq.broker.core import COMPACTION_LEAVES, Locked
from wonderq.runtime.collector import no_collections
from wonderq.state import record
from wonderq.state.arrivals import Arrivals, ArrivingParts
from wonderq.state.places import SharedPlaces
from wonderq.state.record_contents import Sharer
from wonderq.state.state import Queue

#: Queues of a turn, which take about four milliseconds; and of the turn that appends the record, besides the record.
_QUEUES = 200
_MOST_QUEUES_BESIDES = 50

#: Collected queues, in times their number, after which those that are still missing are left out.
_MOST_REPETITIONS = 4

#: Bytes of a record besides its parts and its entry.
_RECORD_BYTES = 128

#: Seconds between two turns, in which others get the lock.
_REST_S = 0.001


class WideMessage(NamedTuple):
    """A message of a record, and the queues that got it."""

    topic: int
    message: int
    """Index in the record."""
    places: SharedPlaces
    """Places of the messages of the record."""
    head: bytes
    entry: bytes
    sharers: Sequence[Sharer]


class WideCopy:
    """Copies one message for all its queues, in turns."""

    def __init__(self, broker: Broker, message: WideMessage, limit_bytes: int) -> None:
        self._broker = broker
        self._message = message
        self._room_bytes = limit_bytes - _RECORD_BYTES - len(message.head) - len(message.entry)
        self._arrivals: Arrivals[record.Part] = Arrivals()
        self._sharers: dict[int, list[Sharer]] = {}
        for each in message.sharers:
            self._sharers.setdefault(each.queue, []).append(each)
        self._left = deque(self._sharers)
        self._encoded: dict[int, list[bytes]] = {}  # parts by queue
        self._bytes = 0
        self._has_head = False
        self._collected = 0  # queues, also those whose parts were void

    @property
    def missing(self) -> list[Sharer]:
        """Queues that were used too often, and do not have the copy."""
        return list(chain.from_iterable(self._sharers[number] for number in self._left))

    def run(self) -> Iterator[int]:
        """Append records until all queues have a copy, or are left out; yield the bytes of the entry of each.

        All queues share the copy of one record, unless their parts are larger than a record may be.
        """
        is_over = False
        while self._left and not is_over:
            with no_collections():  # its many objects are freed soon
                try:
                    copied, is_over = self._append_in_turns()
                finally:
                    self._settle_in_turns()
            yield copied

    def _append_in_turns(self) -> tuple[int, bool]:
        """Collect parts and append their record; return the bytes of its entry, and whether to go on with no other."""
        while True:
            with self._broker.locked() as locked:
                collected = self._collect(locked)
                is_over = self._collected > _MOST_REPETITIONS * len(self._sharers)
                is_ready = not self._left or self._is_full or is_over
                if locked.state.is_freezing:
                    locked.state.freeze_more()  # a snapshot of before must not see the queues change one by one
                elif is_ready and (is_over or collected <= _MOST_QUEUES_BESIDES):
                    return self._append(locked), is_over
            _pause()

    @property
    def _is_full(self) -> bool:
        """Whether the record has as many parts as fit. One queue always fits, as in a record of its own."""
        return bool(self._encoded) and self._bytes > self._room_bytes // 2

    def _collect(self, locked: Locked) -> int:
        """Collect the parts of queues, those again that were used since; return how many queues that was about."""
        for number in self._arrivals.used:
            for each in self._encoded.pop(number, ()):
                self._bytes -= len(each)
            self._arrivals.targets.pop(number, None)
            self._left.append(number)
        self._arrivals.used.clear()
        begun = self._collected
        while self._left and self._collected - begun < _QUEUES and not self._is_full:
            self._collected += 1
            number = self._left.popleft()
            queue = locked.state.find(number)
            if queue is None:
                continue
            if queue.expects_other(self._arrivals):  # a publish, whose decision would be void
                self._left.append(number)
                continue
            parts = list(self._parts_of(queue))
            if parts:
                self._add(queue, parts)
        return self._collected - begun

    def _parts_of(self, queue: Queue) -> Iterator[record.Part]:
        """Yield the part of a record for each time that a queue still has the message of the old record."""
        index = self._message.message
        for sharer in self._sharers[queue.number]:
            flags = sharer.flags & record.WITH_HEAD
            runs = [sharer.sequences[bisect_left(sharer.indexes, index)], 1]
            there = array("Q", [self._message.places.of(flags).positions[index]])
            if any(queue.messages.find_at_positions(runs, there)):
                yield record.Part(queue.number, flags, [0, 1], runs, *queue.messages.rewrite_fields(runs))

    def _add(self, queue: Queue, parts: list[record.Part]) -> None:
        encoded = [record.encode(each) for each in parts]
        self._encoded[queue.number] = encoded
        self._bytes += sum(len(each) for each in encoded)
        self._has_head = self._has_head or any(each.flags for each in parts)
        self._arrivals.targets[queue.number] = parts
        queue.expect(self._arrivals)

    def _append(self, locked: Locked) -> int:
        """Append the record of the collected parts, if there are any; return the bytes of its entry."""
        if not self._encoded:
            return 0
        message = self._message
        head = message.head if self._has_head else b""
        encoded = list(chain.from_iterable(self._encoded.values()))
        fields = (
            locked.now_ms,
            message.topic,
            cast("Sequence[record.Part]", ArrivingParts(encoded, self._arrivals, [len(encoded)])),
            [len(head)] if head else (),
            [len(message.entry)],
            head + message.entry,
        )
        locked.append_and_apply(record.Restate(record.RESTATE, *fields), leave=COMPACTION_LEAVES)
        return len(head) + len(message.entry)

    def _settle_in_turns(self) -> None:
        """Let the queues take over the copy, or expect it no more if there is none; and be ready for another record."""
        numbers = deque(self._encoded)
        while numbers:
            with self._broker.locked() as (state, _, _):
                for _ in range(min(len(numbers), _QUEUES)):
                    number = numbers.popleft()
                    queue = state.find(number)
                    if queue is not None and not queue.expects_other(self._arrivals):
                        queue.settle()
                    self._encoded.pop(number)
            _pause()
        self._arrivals, self._bytes, self._has_head = Arrivals(), 0, False


def _pause() -> None:
    time.sleep(_REST_S)
