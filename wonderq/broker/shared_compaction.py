"""Compaction of published messages, whose entries are in the log once for all queues that have them.

A PUBLISH or RESTATE record of the oldest segment is rewritten as RESTATE records, which hold each entry that is still
needed once. The work is done in portions of some messages, each under the broker's lock. A message in more queues than
a portion may be about is rewritten in several turns (`wonderq.broker.wide_copies`).
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from wonderq.broker.broker import Broker
from wonderq.broker.core import COMPACTION_LEAVES, Locked
from wonderq.broker.wide_copies import WideCopy, WideMessage
from wonderq.state import record
from wonderq.state.places import SharedPlaces, shared_places
from wonderq.state.record_contents import Sharer, Span, sharers_of, spans_of
from wonderq.state.state import Queue
from wonderq_storage import Position

#: Most queues of a portion, and most messages of all its queues together, which take four milliseconds.
_QUEUES = 200
_COPIES = 400

#: Bytes of a `Part` besides its messages.
_PART_BYTES = 32


class SharedRecord(NamedTuple):
    """A record of the segment that is compacted."""

    start: Position
    """Position of its first entry."""
    read: record.Publish | record.Restate


class Portion(NamedTuple):
    """Messages of a record, by index from ``first`` to before ``end``, in some of its queues."""

    shared: SharedRecord
    places: SharedPlaces
    spans: Sequence[Span]
    first: int
    end: int
    sharers: Sequence[Sharer]


class _Copy(NamedTuple):
    """A message that a queue still has."""

    message: int
    """Index in the record."""
    sequence: int
    queue: Queue
    flags: int


def rewrite(broker: Broker, shared: SharedRecord, limit_bytes: int, overhead_bytes: int) -> Iterator[int]:
    """Rewrite the messages of a record that their queues still have; yield the bytes of entries after some turns.

    ``limit_bytes`` is the largest record. ``overhead_bytes`` is the most that a message takes besides its entry.
    """
    for portion in _portions_of(shared):
        if len(portion.sharers) <= _QUEUES:
            yield _rewrite_at_once(broker, portion, limit_bytes, overhead_bytes)
            continue
        wide = WideCopy(broker, _wide(portion), limit_bytes)
        yield from wide.run()
        missing = wide.missing
        for some in (missing[at : at + _QUEUES] for at in range(0, len(missing), _QUEUES)):
            yield _rewrite_at_once(broker, portion._replace(sharers=some), limit_bytes, overhead_bytes)


def _rewrite_at_once(broker: Broker, portion: Portion, limit_bytes: int, overhead_bytes: int) -> int:
    with broker.locked() as locked:
        return restate(portion, locked, limit_bytes, overhead_bytes)


def _portions_of(shared: SharedRecord) -> Iterator[Portion]:
    """Yield the portions of a record: single messages if many queues have got it."""
    count = len(shared.read.lengths)
    places = shared_places(shared.start, shared.read.heads, shared.read.lengths)
    spans, every = spans_of(shared.read), list(sharers_of(shared.read))
    if len(every) <= _QUEUES:
        step = max(_COPIES // max(len(every), 1), 1)
        for first in range(0, count, step):
            yield Portion(shared, places, spans, first, min(first + step, count), every)
        return
    by_message: list[list[Sharer]] = [[] for _ in range(count)]
    for sharer in every:
        for index in sharer.indexes:
            by_message[index].append(sharer)
    for index, sharers in enumerate(by_message):
        yield Portion(shared, places, spans, index, index + 1, sharers)


def _wide(portion: Portion) -> WideMessage:
    read, span = portion.shared.read, portion.spans[portion.first]
    entries = memoryview(bytes(read.entries))
    head, entry = bytes(entries[span.head : span.entry]), bytes(entries[span.entry : span.end])
    return WideMessage(read.topic, portion.first, portion.places, head, entry, portion.sharers)


def restate(portion: Portion, locked: Locked, limit_bytes: int, overhead_bytes: int) -> int:
    """Rewrite the messages of a portion that their queues still have, under the lock; return the bytes of entries.

    ``limit_bytes`` is the largest record. ``overhead_bytes`` is the most that a message takes besides its entry.
    """
    read, spans, copied = portion.shared.read, portion.spans, 0
    entries = bytes(read.entries)
    for copies in _records(list(_live(portion, locked)), read, limit_bytes, overhead_bytes):
        has_heads = bool(read.heads) and any(each.flags & record.WITH_HEAD for each in copies)
        used = sorted({each.message for each in copies})
        data = b"".join(entries[spans[at].head if has_heads else spans[at].entry : spans[at].end] for at in used)
        fields = (
            locked.now_ms,
            read.topic,
            _parts(copies, used),
            [read.heads[at] for at in used] if has_heads else (),
            [read.lengths[at] for at in used],
            data,
        )
        locked.append_and_apply(record.Restate(record.RESTATE, *fields), leave=COMPACTION_LEAVES)
        copied += len(data)
    return copied


def _live(portion: Portion, locked: Locked) -> Iterator[_Copy]:
    """Yield the messages of a portion whose current entries are those of its record."""
    for number, flags, indexes, sequences in portion.sharers:
        queue = locked.state.find(number)
        begin, stop = bisect_left(indexes, portion.first), bisect_left(indexes, portion.end)
        if queue is None or begin == stop:
            continue
        positions = portion.places.of(flags & record.WITH_HEAD).positions
        there = array("Q", (positions[index] for index in indexes[begin:stop]))
        runs = record.to_runs(sequences[begin:stop])
        for at, sequence, count in queue.messages.find_at_positions(runs, there):
            for more in range(count):
                yield _Copy(indexes[begin + at + more], sequence + more, queue, flags)


def _records(
    copies: list[_Copy], read: record.Publish | record.Restate, limit_bytes: int, overhead_bytes: int
) -> Iterator[list[_Copy]]:
    """Split messages so that each list fits into one record, with all copies of an entry together if possible."""
    copies.sort(key=lambda each: each.message)
    chosen: list[_Copy] = []
    size, queues = 0, set[int]()
    for each in copies:
        head = read.heads[each.message] if read.heads else 0
        more = overhead_bytes + (0 if each.queue.number in queues else _PART_BYTES)
        entry = 0 if chosen and chosen[-1].message == each.message else head + read.lengths[each.message]
        if chosen and size + more + entry > limit_bytes:
            yield chosen
            chosen, size, queues = [], 0, set()
            more, entry = overhead_bytes + _PART_BYTES, head + read.lengths[each.message]
        chosen.append(each)
        queues.add(each.queue.number)
        size += more + entry
    if chosen:
        yield chosen


def _parts(copies: Sequence[_Copy], used: Sequence[int]) -> list[record.Part]:
    place_of = {index: place for place, index in enumerate(used)}
    by_queue: dict[tuple[int, int], list[_Copy]] = {}
    for each in copies:
        by_queue.setdefault((each.queue.number, each.flags), []).append(each)
    parts = []
    for (number, flags), theirs in by_queue.items():
        theirs.sort(key=lambda each: each.sequence)
        runs = record.to_runs(each.sequence for each in theirs)
        indexes = record.to_runs(place_of[each.message] for each in theirs)
        produced_ms, claims = theirs[0].queue.messages.rewrite_fields(runs)
        parts.append(record.Part(number, flags & record.WITH_HEAD, indexes, runs, produced_ms, claims))
    return parts
