"""Compaction: rewrite live messages out of the oldest segment to the end of the log, then drop the segment.

Compaction drops segments from the front only. So no record outlives a record that takes it back, and there are no rules
for merging. A segment that holds nothing live is dropped without copying. Copying starts when garbage outweighs live
data, so each byte is copied about once per turnover of the log, and the folder stays below about twice its live bytes.

A crash at any moment is harmless: until the segment is dropped, the log holds the copies and the originals, and they
agree.
"""

from __future__ import annotations

import logging
import time
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import TypeVar

from wonderq.broker.broker import Broker
from wonderq.broker.core import COMPACTION_LEAVES
from wonderq.broker.shared_compaction import SharedRecord, rewrite
from wonderq.model.bounds import MAX_CONSUMER_CHARACTERS
from wonderq.state import record, record_contents
from wonderq.state.record import Record
from wonderq.state.state import Queue, State, queue_record
from wonderq.state.topics import Topic, rows_record, subscription_record, topic_record
from wonderq_storage import CorruptLogError, Log, Position

_Item = TypeVar("_Item")

logger = logging.getLogger("wonderq.maintenance")

#: Bytes of log to inspect, and to copy where they are live, while the broker's lock is held: calmly, and when garbage
#: exceeds its allowance by a quarter, so that the clients who cause it wait a little.
BATCH_BYTES = 64 << 10
URGENT_BATCH_BYTES = 1 << 20

#: Most bytes of copies that are in memory and not yet synced.
_UNWRITTEN_BYTES = 4 << 20

#: Bytes of log per message besides its entry: its share of a record, of a claim and of a deletion.
_MESSAGE_OVERHEAD_BYTES = 64

#: Further bytes of a message whose consumer gave its name: a rewritten message states it, and its claim does so once.
_NAME_BYTES = 4 * MAX_CONSUMER_CHARACTERS + 3

#: Typical bytes of log per queue besides its messages: the record that defines it.
_QUEUE_BYTES = 256

#: Queues, topics, subscriptions or other things whose records are rewritten while the lock is held.
_RECORDS_OF_A_PORTION = 100

#: Typical bytes of log per dedup entry, and per METADATA record besides its value.
_DEDUP_BYTES = 64
_METADATA_BYTES = 128


def live_bytes(broker: Broker) -> int:
    """Return the approximate bytes of log that the existing queues and messages need."""
    with broker.locked() as (state, _, _):
        return needed_bytes(state)


def needed_bytes(state: State) -> int:
    """Return the approximate bytes of log that a state needs, under the lock."""
    messages_bytes = state.bytes - state.shared.saved_bytes + _MESSAGE_OVERHEAD_BYTES * state.messages
    metadata = sum(map(len, state.metadata.values())) + state.subscriptions
    metadata_bytes = state.metadata_bytes + state.subscription_bytes + _METADATA_BYTES * metadata
    named = len(state.queues) + len(state.topics)
    return messages_bytes + _QUEUE_BYTES * named + _DEDUP_BYTES * state.dedup_entries + metadata_bytes


def compact_oldest(
    broker: Broker, log: Log, rest: Callable[[float], bool] = lambda _: False, *, batch_bytes: int | None = None
) -> bool:
    """Rewrite live messages out of the oldest segment, and drop it; return whether a segment was dropped.

    ``rest`` is called between batches with the seconds that the last one took. If it returns True, compaction stops.

    Raises:
        DiskFullError: the disk has no room for the copies. Nothing was dropped.
        CorruptLogError: the segment does not verify, and holds live messages. Nothing was dropped.
    """
    found = log.oldest()
    if found is None:
        return False
    end, records = found
    copied = 0
    began = time.monotonic()
    limit_bytes = log.max_record_bytes - _MESSAGE_OVERHEAD_BYTES
    unwritten = 0
    try:
        for batch in _batches(records, batch_bytes or BATCH_BYTES):
            for size in _copy_live(broker, batch, limit_bytes):
                copied += size
                unwritten += size
                if unwritten > _UNWRITTEN_BYTES:
                    log.wait(log.end() - 1)
                    unwritten = 0
                if rest(time.monotonic() - began):
                    return False
                began = time.monotonic()
    except CorruptLogError as error:
        if _holds_any_before(broker, end):
            raise
        logger.warning("%s. The segment holds nothing live, and is dropped", error)
    _rewrite_queues(broker, end)
    _rewrite_metadata(broker, log, end)
    _rewrite_topics(broker, end)
    _rewrite_dedup(broker, log, end, min(BATCH_BYTES, limit_bytes // 2))
    log.sync()
    log.trim(end)
    broker.counters.copied_bytes += copied
    broker.counters.dropped_segments += 1
    logger.info("compacted the log up to %#x: %d bytes were still live", end, copied)
    return True


def _holds_any_before(broker: Broker, end: Position) -> bool:
    """Return whether the entry of any message lies before ``end``."""
    with broker.locked() as (state, _, _):
        numbers = state.queue_numbers()
    for portion in _portions_of(numbers):
        with broker.locked() as (state, _, _):
            if any(queue.messages.any_before(end) for queue in filter(None, map(state.find, portion))):
                return True
    return False


class _Entries:
    """Entries of one queue in a batch of records."""

    def __init__(self) -> None:
        self.runs: record.Runs = []
        self.places = array("Q")  # position of the entry of each message in the runs
        self.lengths: list[int] = []
        self.data: list[bytes] = []  # the entries, in the same order

    def add(self, runs: record.Runs, place: Position, lengths: Sequence[int], data: bytes) -> None:
        if self.runs and self.runs[-2] + self.runs[-1] == runs[0]:
            self.runs[-1] += runs[1]
            self.runs += runs[2:]
        else:
            self.runs += runs
        self.places.extend(accumulate(lengths[:-1], initial=place))
        self.lengths += lengths
        self.data.append(data)


class _Batch:
    """Entries of some records."""

    def __init__(self) -> None:
        self.by_queue: defaultdict[int, _Entries] = defaultdict(_Entries)
        """Entries that one queue has, by its number."""
        self.shared: list[SharedRecord] = []
        """Records of published messages, which several queues may have."""


def _batches(records: Iterator[tuple[Position, bytes | memoryview]], batch_bytes: int) -> Iterator[_Batch]:
    """Yield the entries of records in batches."""
    batch, size = _Batch(), 0
    for position, data in records:
        read = record.decode_typed(data)
        if isinstance(read, record.Publish | record.Restate):
            batch.shared.append(SharedRecord(position + len(data) - len(read.entries), read))
        else:
            contents = record_contents.contents_of(read)
            if contents is None:
                continue
            queue, runs, lengths, entries = contents
            batch.by_queue[queue].add(runs, position + len(data) - len(entries), lengths, entries)
        size += len(data)
        if size > batch_bytes:
            yield batch
            batch, size = _Batch(), 0
    yield batch


def _copy_live(broker: Broker, batch: _Batch, limit_bytes: int) -> Iterator[int]:
    """Rewrite the messages whose current entries are those in ``batch``; yield the bytes after each turn."""
    yield _copy_of_queues(broker, batch, limit_bytes)
    for shared in batch.shared:
        yield from rewrite(broker, shared, limit_bytes, _MESSAGE_OVERHEAD_BYTES + _NAME_BYTES)


def _copy_of_queues(broker: Broker, batch: _Batch, limit_bytes: int) -> int:
    """Rewrite the messages of a batch that are in one queue only; return their bytes."""
    copied = 0
    with broker.locked() as (state, append_and_apply, now_ms):
        for number, part in batch.by_queue.items():
            queue = state.find(number)
            stretches = queue.messages.find_at_positions(part.runs, part.places) if queue else ()
            found = sorted((sequence, count, index) for index, sequence, count in stretches)
            if queue is None or not found:
                continue
            overhead_bytes = _MESSAGE_OVERHEAD_BYTES + (_NAME_BYTES if queue.messages.claim_names.by_token else 0)
            for runs, lengths, entries in _portions(part, found, limit_bytes, overhead_bytes):
                produced_ms, claims = queue.messages.rewrite_fields(runs)
                fields = record.Update(record.UPDATE, now_ms, number, (), runs, produced_ms, lengths, claims, entries)
                append_and_apply(fields, leave=COMPACTION_LEAVES)
                copied += len(entries)
    return copied


def _portions(
    part: _Entries, found: Sequence[tuple[int, int, int]], limit_bytes: int, overhead_bytes: int
) -> Iterator[tuple[record.Runs, list[int], bytes]]:
    """Yield live messages, given as (sequence, count, index in ``part``), in portions that each fit into one record.

    A rewritten message takes more space than it did when it was produced in a batch.
    """
    data, offsets = b"".join(part.data), list(accumulate(part.lengths, initial=0))

    def size(stretch: tuple[int, int, int]) -> int:
        _, count, index = stretch
        return offsets[index + count] - offsets[index] + overhead_bytes * count

    if sum(map(size, found)) > limit_bytes:
        found = [(first + at, 1, index + at) for first, count, index in found for at in range(count)]
    at = 0
    while at < len(found):
        stop, room = at + 1, limit_bytes - size(found[at])
        while stop < len(found) and size(found[stop]) <= room:
            room -= size(found[stop])
            stop += 1
        portion = found[at:stop]
        runs = [number for first, count, _ in portion for number in (first, count)]
        lengths = [length for _, count, index in portion for length in part.lengths[index : index + count]]
        yield runs, lengths, b"".join(data[offsets[index] : offsets[index + count]] for _, count, index in portion)
        at = stop


def _rewrite_queues(broker: Broker, end: Position) -> None:
    """Rewrite the records of the identity and of the queues that lie before ``end``, in portions."""
    with broker.locked() as (state, append_and_apply, now_ms):
        if state.identity_at <= end:
            append_and_apply(record.Identity(record.IDENTITY, now_ms, state.key or b"", state.next_queue))
        numbers = state.queue_numbers()
    for portion in _portions_of(numbers):
        with broker.locked() as (state, append_and_apply, now_ms):
            for queue in filter(None, map(state.find, portion)):
                if queue.record_position <= end:
                    append_and_apply(queue_record(queue, queue.settings, now_ms))


def _rewrite_metadata(broker: Broker, log: Log, end: Position) -> None:
    """Rewrite the records of metadata that lie before ``end``, in portions."""
    unwritten = 0
    with broker.locked() as (state, _, _):
        stored = [(namespace, list(entries)) for namespace, entries in state.metadata.items()]
    for namespace, portion in ((namespace, each) for namespace, names in stored for each in _portions_of(names)):
        with broker.locked() as (state, append_and_apply, now_ms):
            for name in portion:
                each = state.metadata.get(namespace, {}).get(name)
                if each is not None and each.record_position <= end:
                    append_and_apply(record.Metadata(record.METADATA, now_ms, namespace, name, each.value))
                    unwritten += each.bytes
        if unwritten > _UNWRITTEN_BYTES:
            log.wait(log.end() - 1)
            unwritten = 0


def _rewrite_topics(broker: Broker, end: Position) -> None:
    """Rewrite the records of the topics and subscriptions that lie before ``end``, in portions."""
    with broker.locked() as (state, _, _):
        numbers = [topic.number for topic in state.all_topics()]
    for portion in _portions_of(numbers):
        with broker.locked() as (state, append_and_apply, now_ms):
            for topic in filter(None, map(state.find_topic, portion)):
                if topic.record_position <= end:
                    append_and_apply(topic_record(topic, topic.settings, now_ms))
        for number in portion:
            _rewrite_subscriptions(broker, number, end)


def _portions_of(items: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    for at in range(0, len(items), _RECORDS_OF_A_PORTION):
        yield items[at : at + _RECORDS_OF_A_PORTION]


def _rewrite_subscriptions(broker: Broker, number: int, end: Position) -> None:
    """Rewrite the records of the subscriptions of a topic that lie before ``end``, in portions."""
    with broker.locked() as (state, _, _):
        topic = state.find_topic(number)
        names = [] if topic is None else [name for name, each in topic.stored.items() if each.position <= end]
    for portion in _portions_of(names):
        with broker.locked() as (state, append_and_apply, now_ms):
            topic = state.find_topic(number)
            if topic is None:
                return
            for name in portion:
                if name in topic.stored and topic.stored[name].position <= end:
                    append_and_apply(subscription_record(topic, topic.subscriptions[name], now_ms))


def _dedup_record(state: State, number: int, end: Position, now_ms: int, most_bytes: int) -> Record | None:
    """Return the record of a portion of the dedup entries that a queue or topic has before ``end``, if it has any."""
    queue, topic = state.find(number), state.find_topic(number)
    if queue is not None:
        rows = queue.dedup.rows_before(end, now_ms, most_bytes)
        return record.Dedup(record.DEDUP, now_ms, number, rows) if rows else None
    if topic is not None:
        rows = topic.dedup.rows_before(end, now_ms, most_bytes)
        return rows_record(topic, rows, now_ms) if rows else None
    return None


def _rewrite_dedup(broker: Broker, log: Log, end: Position, most_bytes: int) -> None:
    """Rewrite dedup entries whose records lie before ``end``, in portions."""
    with broker.locked() as (state, _, _):
        holders: list[Queue | Topic] = [*state.queues.values(), *state.topics.values()]
    numbers: list[int] = []
    for portion in _portions_of(holders):
        with broker.locked():
            numbers += [each.number for each in portion if len(each.dedup)]
    unwritten = 0
    for number in numbers:
        more = True
        while more:
            with broker.locked() as (state, append_and_apply, now_ms):
                rewritten = _dedup_record(state, number, end, now_ms, most_bytes)
                if rewritten is not None:
                    append_and_apply(rewritten)
            more = rewritten is not None
            unwritten += most_bytes if more else 0
            if unwritten > _UNWRITTEN_BYTES:
                log.wait(log.end() - 1)
                unwritten = 0
