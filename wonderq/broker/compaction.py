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
from functools import partial
from itertools import accumulate
from typing import TypeVar

from wonderq.broker.broker import Broker
from wonderq.broker.core import COMPACTION_LEAVES, DELETE_LEAVES
from wonderq.broker.shared_compaction import SharedRecord, rewrite
from wonderq.model.bounds import MAX_CONSUMER_CHARACTERS
from wonderq.state import record, record_contents
from wonderq.state.record import Record
from wonderq.state.state import Queue, State, queue_record
from wonderq.state.topics import Topic, rows_record, subscription_record, topic_record
from wonderq_storage import CorruptLogError, DiskFullError, Log, Position

_Item = TypeVar("_Item")

logger = logging.getLogger("wonderq.maintenance")

#: Bytes of log to inspect at a time: calmly, and when garbage exceeds its allowance by a quarter.
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

#: Queues, topics, subscriptions or other things whose records are rewritten while the lock is held, most messages that
#: are looked up and copied meanwhile, and the bytes of all that after which the lock is given up.
_RECORDS_OF_A_PORTION = 100
_MESSAGES_OF_A_PORTION = 400
_BYTES_OF_A_PORTION = 256 << 10

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
    rewriter = _Rewriter(broker, log, end)
    try:
        for batch in _batches(records, batch_bytes or BATCH_BYTES):
            for size in _copy_live(broker, batch, limit_bytes):
                copied += size
                rewriter.count(size)
                if rest(time.monotonic() - began):
                    return False
                began = time.monotonic()
    except CorruptLogError as error:
        if _holds_any_before(broker, end):
            raise
        logger.warning("%s. The segment holds nothing live, and is dropped", error)
    rewriter.run()
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

    def pieces(self) -> Iterator[_Entries]:
        """Yield parts of the entries, each with few enough messages and bytes for one hold of the lock."""
        if len(self.lengths) <= _MESSAGES_OF_A_PORTION and sum(self.lengths) <= _BYTES_OF_A_PORTION:
            yield self
            return
        data, sequences = b"".join(self.data), list(record.from_runs(self.runs))
        at = begin = 0
        while at < len(sequences):
            stop, end = at + 1, begin + self.lengths[at]
            most = min(at + _MESSAGES_OF_A_PORTION, len(sequences))
            while stop < most and end + self.lengths[stop] - begin <= _BYTES_OF_A_PORTION:
                end += self.lengths[stop]
                stop += 1
            piece = _Entries()
            piece.runs = record.to_runs(sequences[at:stop])
            piece.places, piece.lengths, piece.data = self.places[at:stop], self.lengths[at:stop], [data[begin:end]]
            yield piece
            at, begin = stop, end


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
    for some in _of_queues(batch):
        yield _copy_of_queues(broker, some, limit_bytes)
    for shared in batch.shared:
        yield from rewrite(broker, shared, limit_bytes, _MESSAGE_OVERHEAD_BYTES + _NAME_BYTES)


def _of_queues(batch: _Batch) -> Iterator[Sequence[tuple[int, _Entries]]]:
    """Yield the entries of a batch that are in one queue only, with the number of the queue, for one hold at a time."""
    some: list[tuple[int, _Entries]] = []
    messages = size = 0
    for number, part in batch.by_queue.items():
        for piece in part.pieces():
            messages += len(piece.lengths)
            size += sum(piece.lengths)
            is_full = messages > _MESSAGES_OF_A_PORTION or size > _BYTES_OF_A_PORTION
            if some and (is_full or len(some) == _RECORDS_OF_A_PORTION):
                yield some
                some, messages, size = [], len(piece.lengths), sum(piece.lengths)
            some.append((number, piece))
    if some:
        yield some


def _copy_of_queues(broker: Broker, parts: Sequence[tuple[int, _Entries]], limit_bytes: int) -> int:
    """Rewrite the messages of some entries in one hold of the lock; return their bytes."""
    copied = 0
    with broker.locked() as (state, append_and_apply, now_ms):
        for number, part in parts:
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


class _Rewriter:
    """Rewrites all records before ``end`` that are not of messages, and keeps copies from gathering in memory."""

    def __init__(self, broker: Broker, log: Log, end: Position) -> None:
        self._broker = broker
        self._log = log
        self._end = end
        self._unwritten = 0
        self._leave: int | None = COMPACTION_LEAVES
        self._only_measures = False

    def run(self) -> None:
        """Rewrite all records.

        On a full disk, this leaves the room that deletions need, because deletions make room again. It takes that room
        only if so little is left to rewrite that a 64th of a segment holds it: then it gives back a whole segment.

        Raises:
            DiskFullError: the disk has no room for it.
        """
        try:
            self._rewrite_all()
        except DiskFullError:
            self._only_measures = True
            if self._rewrite_all() > self._log.max_record_bytes // DELETE_LEAVES:
                raise
            self._only_measures, self._leave = False, None
            self._rewrite_all()

    def _rewrite_all(self) -> int:
        """Rewrite everything, or only measure it; return the bytes."""
        return self.rewrite_queues() + self.rewrite_metadata() + self.rewrite_topics() + self.rewrite_dedup()

    def count(self, size: int) -> None:
        """Note that copies of so many bytes were appended; wait for the log if many are not written yet."""
        self._unwritten += size
        if self._unwritten > _UNWRITTEN_BYTES:
            self._log.wait(self._log.end() - 1)
            self._unwritten = 0

    def _rewrite(self, items: Sequence[_Item], record_of: Callable[[State, _Item, int], Record | None]) -> int:
        """Append the record that ``record_of`` returns for each item, or none; return the bytes.

        Each hold of the lock appends a portion.
        """
        broker, at, written = self._broker, 0, 0
        while at < len(items):
            with broker.locked() as (state, append_and_apply, now_ms):
                size, stop = 0, at + _RECORDS_OF_A_PORTION
                while at < min(stop, len(items)) and size < _BYTES_OF_A_PORTION:
                    rewritten = record_of(state, items[at], now_ms)
                    if rewritten is not None and self._only_measures:
                        size += len(record.encode(rewritten))
                    elif rewritten is not None:
                        before = broker.log_bytes
                        append_and_apply(rewritten, leave=self._leave)
                        size += broker.log_bytes - before
                    at += 1
            if not self._only_measures:
                self.count(size)
            written += size
        return written

    def rewrite_queues(self) -> int:
        """Rewrite the records of the identity and of the queues."""
        with self._broker.locked() as (state, _, _):
            numbers = state.queue_numbers()
        return self._rewrite((None,), self._of_identity) + self._rewrite(numbers, self._of_queue)

    def _of_identity(self, state: State, _: None, now_ms: int) -> Record | None:
        if state.identity_at > self._end:
            return None
        return record.Identity(record.IDENTITY, now_ms, state.key or b"", state.next_queue)

    def _of_queue(self, state: State, number: int, now_ms: int) -> Record | None:
        queue = state.find(number)
        if queue is None or queue.record_position > self._end:
            return None
        return queue_record(queue, queue.settings, now_ms)

    def rewrite_metadata(self) -> int:
        """Rewrite the records of metadata."""
        with self._broker.locked() as (state, _, _):
            stored = [(namespace, list(entries)) for namespace, entries in state.metadata.items()]
        return sum(self._rewrite(names, partial(self._of_metadata, namespace)) for namespace, names in stored)

    def _of_metadata(self, namespace: str, state: State, name: str, now_ms: int) -> Record | None:
        each = state.metadata.get(namespace, {}).get(name)
        if each is None or each.record_position > self._end:
            return None
        return record.Metadata(record.METADATA, now_ms, namespace, name, each.value)

    def rewrite_topics(self) -> int:
        """Rewrite the records of the topics and of their subscriptions."""
        with self._broker.locked() as (state, _, _):
            numbers = [topic.number for topic in state.all_topics()]
        size = self._rewrite(numbers, self._of_topic)
        for number in numbers:
            with self._broker.locked() as (state, _, _):
                topic = state.find_topic(number)
                stored = {} if topic is None else topic.stored
                names = [name for name, each in stored.items() if each.position <= self._end]
            size += self._rewrite(names, partial(self._of_subscription, number))
        return size

    def _of_topic(self, state: State, number: int, now_ms: int) -> Record | None:
        topic = state.find_topic(number)
        if topic is None or topic.record_position > self._end:
            return None
        return topic_record(topic, topic.settings, now_ms)

    def _of_subscription(self, number: int, state: State, name: str, now_ms: int) -> Record | None:
        topic = state.find_topic(number)
        if topic is None or name not in topic.stored or topic.stored[name].position > self._end:
            return None
        return subscription_record(topic, topic.subscriptions[name], now_ms)

    def rewrite_dedup(self) -> int:
        """Rewrite dedup entries, in portions."""
        with self._broker.locked() as (state, _, _):
            holders: list[Queue | Topic] = [*state.queues.values(), *state.topics.values()]
        numbers: list[int] = []
        size = entries = 0
        for portion in _portions_of(holders):
            with self._broker.locked():
                numbers += [each.number for each in portion if len(each.dedup)]
                entries += sum(len(each.dedup) for each in portion)
        if self._only_measures:
            return _DEDUP_BYTES * entries
        most_bytes = min(BATCH_BYTES, (self._log.max_record_bytes - _MESSAGE_OVERHEAD_BYTES) // 2)
        for number in numbers:
            while written := self._rewrite((number,), partial(self._of_dedup, most_bytes)):
                size += written
        return size

    def _of_dedup(self, most_bytes: int, state: State, number: int, now_ms: int) -> Record | None:
        """Return the record of a portion of the dedup entries that a queue or topic has, if it has any."""
        queue, topic = state.find(number), state.find_topic(number)
        if queue is not None:
            rows = queue.dedup.rows_before(self._end, now_ms, most_bytes)
            return record.Dedup(record.DEDUP, now_ms, number, rows) if rows else None
        if topic is not None:
            rows = topic.dedup.rows_before(self._end, now_ms, most_bytes)
            return rows_record(topic, rows, now_ms) if rows else None
        return None


def _portions_of(items: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    for at in range(0, len(items), _RECORDS_OF_A_PORTION):
        yield items[at : at + _RECORDS_OF_A_PORTION]
