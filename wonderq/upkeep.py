"""What a broker does for its folder beside its work: checkpoints, and compaction.

**Compaction** copies what is still live out of the oldest segment to the end of the log, and drops the segment. Because it
only ever drops from the front, nothing that a record takes back can outlive the record: there are no rules for merging.
A segment with nothing live in it is just dropped. Copying begins when what is garbage outweighs what is live, so each byte
is copied about once for each time the log turns over, and the folder stays below about twice its live bytes.

A crash at any moment is harmless: until the segment is dropped, the log has the copies and the originals, and says of both
the same.
"""

from __future__ import annotations

import logging
import threading
import time
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

from storage import Checkpoints, CorruptLogError, DiskFullError, Log, LogClosedError, LogFailedError, Position, record
from wonderq.broker import Broker
from wonderq.core import COMPACTION_LEAVES
from wonderq.state import State, queue_record

logger = logging.getLogger("wonderq.upkeep")

#: How often it is looked whether something is due.
TICK_S = 0.5

#: A checkpoint is due after so much log, or after so many times what the last one took, whichever is more.
CHECKPOINT_EVERY_BYTES = 64 << 20
_CHECKPOINT_EVERY_TIMES = 4

#: A stop leaves a checkpoint if the next start would otherwise read more than this: some tenths of a second. What is read
#: is also verified, so a small log is better read.
WORTH_A_CHECKPOINT_BYTES = 8 << 20

#: How much of the log is looked through, and copied where it is live, while the broker's lock is held: calmly, and when
#: there is a quarter more garbage than there should be, so that those who produce it wait a little.
_BATCH_BYTES = 64 << 10
_URGENT_BATCH_BYTES = 1 << 20

#: Copies that nobody waits for gather in memory up to here.
_UNWRITTEN_BYTES = 4 << 20

#: What a message takes in the log besides its entry: its share of a record, of a claim and of a deletion.
_MESSAGE_OVERHEAD_BYTES = 64

#: What a queue takes in the log besides its messages, mostly: the record of its name.
_QUEUE_BYTES = 256

#: What something takes that a queue remembers, mostly, and a note besides its value.
_REMEMBERED_BYTES = 64
_NOTE_BYTES = 128

#: On a disk without room for another segment, this part of a segment is as much garbage as is left in peace.
_CRAMPED = 8

#: For each second of calm copying, so many seconds of rest; none when it is urgent.
_REST = 1.0


def checkpoint(broker: Broker, log: Log, checkpoints: Checkpoints) -> int:
    """Write down the state as it is now, while the broker goes on; returns how many bytes that took.

    Raises:
        DiskFullError: there is no room for it. Nothing is lost: it is a cache.
        LogFailedError: the log behind it cannot be made durable.
    """
    with broker.locked() as (state, _, _):
        snapshot, mark = state.freeze(), log.mark()
    try:
        log.sync()
        return checkpoints.write(mark, snapshot.chunks())
    finally:
        with broker.locked():
            snapshot.release()


def live_bytes(broker: Broker) -> int:
    """Return about how much of the log is needed for the queues and messages there are."""
    with broker.locked() as (state, _, _):
        return needed_bytes(state)


def needed_bytes(state: State) -> int:
    columns = [queue.messages for queue in state.queues.values()]
    messages_bytes = sum(messages.bytes + _MESSAGE_OVERHEAD_BYTES * len(messages) for messages in columns)
    notes_bytes = state.note_bytes + _NOTE_BYTES * sum(map(len, state.metadata.values()))
    return messages_bytes + _QUEUE_BYTES * len(columns) + _REMEMBERED_BYTES * state.dedup_entries + notes_bytes


def compact_oldest(
    broker: Broker, log: Log, rest: Callable[[float], bool] = lambda _: False, *, batch_bytes: int | None = None
) -> bool:
    """Copy what is live out of the oldest part of the log, and drop it; returns whether one was dropped.

    ``rest`` is called between batches with the seconds that the last one took; it may say that there is to be no next.

    Raises:
        DiskFullError: there is no room for the copies. Nothing was dropped.
        CorruptLogError: the part does not verify any more, and something in it is live. Nothing was dropped.
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
        for batch in _batches(records, batch_bytes or _BATCH_BYTES):
            size = _copy_live(broker, batch, limit_bytes)
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
        logger.warning("%s. Nothing that was there is needed any more, and it is dropped", error)
    _rewrite_metadata(broker, end)
    _rewrite_dedup(broker, log, end, min(_BATCH_BYTES, limit_bytes // 2))
    log.sync()
    log.trim(end)
    broker.counters.copied_bytes += copied
    broker.counters.dropped_segments += 1
    logger.info("compacted the log up to %#x: %d bytes were still live", end, copied)
    return True


def _holds_any_before(broker: Broker, end: Position) -> bool:
    """Tell whether a message's entry lies before ``end``."""
    with broker.locked() as (state, _, _):
        return any(queue.messages.any_before(end) for queue in state.queues.values())


class _Entries:
    """The entries that some records have for one queue."""

    def __init__(self) -> None:
        self.runs: record.Runs = []
        self.places = array("Q")  # where the entry of each message in the runs begins
        self.lengths: list[int] = []
        self.data: list[bytes] = []  # all entries in that order

    def add(self, runs: record.Runs, place: Position, lengths: Sequence[int], data: bytes) -> None:
        if self.runs and self.runs[-2] + self.runs[-1] == runs[0]:
            self.runs[-1] += runs[1]
            self.runs += runs[2:]
        else:
            self.runs += runs
        self.places.extend(accumulate(lengths[:-1], initial=place))
        self.lengths += lengths
        self.data.append(data)


def _batches(records: Iterator[tuple[Position, bytes | memoryview]], batch_bytes: int) -> Iterator[dict[int, _Entries]]:
    """Gather the entries of records by queue number, a little at a time."""
    batch: defaultdict[int, _Entries] = defaultdict(_Entries)
    size = 0
    for position, data in records:
        contents = record.contents(record.decode(data))
        if contents is None:
            continue
        queue, runs, lengths, entries = contents
        batch[queue].add(runs, position + len(data) - len(entries), lengths, entries)
        size += len(data)
        if size > batch_bytes:
            yield batch
            batch, size = defaultdict(_Entries), 0
    yield batch


def _copy_live(broker: Broker, batch: dict[int, _Entries], limit_bytes: int) -> int:
    """Restate at the end of the log those messages whose entries are still the ones in ``batch``."""
    copied = 0
    with broker.locked() as (state, commit, now_ms):
        for number, part in batch.items():
            queue = state.find(number)
            stretches = queue.messages.still_at(part.runs, part.places) if queue else ()
            found = sorted((sequence, count, index) for index, sequence, count in stretches)
            if queue is None or not found:
                continue
            for runs, lengths, entries in _portions(part, found, limit_bytes):
                produced_ms, claims = queue.messages.describe(runs)
                fields = (record.UPDATE, now_ms, number, (), runs, produced_ms, lengths, claims, entries)
                commit(fields, leave=COMPACTION_LEAVES)
                copied += len(entries)
    return copied


def _portions(
    part: _Entries, found: Sequence[tuple[int, int, int]], limit_bytes: int
) -> Iterator[tuple[record.Runs, list[int], bytes]]:
    """Yield the live messages, given as (sequence, count, index in ``part``), in portions that each fit into one record.

    Restated, messages take more room than they did when they were produced together.
    """
    data, offsets = b"".join(part.data), list(accumulate(part.lengths, initial=0))

    def size(stretch: tuple[int, int, int]) -> int:
        _, count, index = stretch
        return offsets[index + count] - offsets[index] + _MESSAGE_OVERHEAD_BYTES * count

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


def _rewrite_metadata(broker: Broker, end: Position) -> None:
    """Write again what names the log and its queues, and notes, as far as that stands before ``end``."""
    with broker.locked() as (state, commit, now_ms):
        if state.identity_at < end:
            commit((record.IDENTITY, now_ms, state.key, state.next_queue))
        for queue in state.queues.values():
            if queue.record_position < end:
                commit(queue_record(queue, queue.settings, now_ms))
        for space, notes in state.metadata.items():
            for name, note in list(notes.items()):
                if note.record_position < end:
                    commit((record.METADATA, now_ms, space, name, note.value))


def _rewrite_dedup(broker: Broker, log: Log, end: Position, most_bytes: int) -> None:
    """Write again what queues remember, as far as that stands before ``end``, a little at a time."""
    with broker.locked() as (state, _, _):
        numbers = [queue.number for queue in state.queues.values() if len(queue.dedup)]
    unwritten = 0
    for number in numbers:
        more = True
        while more:
            with broker.locked() as (state, commit, now_ms):
                queue = state.find(number)
                memories = queue.dedup.stated_before(end, now_ms, most_bytes) if queue else []
                if memories:
                    commit((record.DEDUP, now_ms, number, memories))
            more = bool(memories)
            unwritten += most_bytes if more else 0
            if unwritten > _UNWRITTEN_BYTES:
                log.wait(log.end() - 1)
                unwritten = 0


class LogMaintenance:
    """Does both in a thread of its own, when they are due."""

    def __init__(
        self,
        broker: Broker,
        log: Log,
        checkpoints: Checkpoints,
        *,
        slack_bytes: int,
        checkpoint_every_bytes: int = CHECKPOINT_EVERY_BYTES,
        tick_s: float = TICK_S,
    ) -> None:
        """``slack_bytes`` of garbage are always tolerated: less than a segment cannot be dropped anyway."""
        self._broker = broker
        self._log = log
        self._checkpoints = checkpoints
        self._slack_bytes = slack_bytes
        self._checkpoint_every_bytes = checkpoint_every_bytes
        self._tick_s = tick_s
        self._broken = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wonderq-upkeep", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and write a last checkpoint for the next start."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._broker.checkpoint_lag_bytes > WORTH_A_CHECKPOINT_BYTES and not self._broken:
            self._try(self._checkpoint)

    def _run(self) -> None:
        while not self._stop.wait(self._tick_s):
            if self._checkpoint_is_due():
                self._try(self._checkpoint)
            while not self._stop.is_set() and self._try(self._compact):
                pass

    def _try(self, work: Callable[[], bool]) -> bool:
        try:
            return work()
        except CorruptLogError as error:
            self._broker.mark_damaged(error.file, error.offset, error.reason)
            self._end()
        except LogClosedError:
            self._end()
        except (DiskFullError, LogFailedError, OSError) as error:
            if self._log.failure is not None:
                self._end()
                return False
            logger.warning("upkeep is put off: %s", error)
            self._stop.wait(10 * self._tick_s)
        except Exception:
            logger.exception("upkeep ends until the broker is restarted")
            self._end()
        return False

    def _end(self) -> None:
        # No last checkpoint either: with one, the next start would not read what has turned out to be damaged.
        self._broken = True
        self._stop.set()

    def _checkpoint_is_due(self) -> bool:
        last_bytes = self._broker.counters.checkpoint_bytes
        due_bytes = max(self._checkpoint_every_bytes, _CHECKPOINT_EVERY_TIMES * last_bytes)
        return self._broker.checkpoint_lag_bytes > due_bytes

    def _checkpoint(self) -> bool:
        began = time.monotonic()
        appended = self._broker.log_bytes
        counters = self._broker.counters
        counters.checkpoint_bytes = checkpoint(self._broker, self._log, self._checkpoints)
        counters.checkpointed_bytes = appended
        counters.checkpoint_s = time.monotonic() - began
        counters.checkpoint_at_s = time.time()
        counters.checkpoints += 1
        logger.info("checkpoint of %d bytes in %.2f s", counters.checkpoint_bytes, counters.checkpoint_s)
        return True

    def _compact(self) -> bool:
        """Compact the oldest part of the log, if garbage takes too much; returns whether it did."""
        pressure = self._pressure()
        if pressure <= 1:
            return False
        if self._log.oldest() is None:
            # Only the sealed segment gives back what it did not need: whoever came before that would find no room.
            with self._broker.locked():
                self._log.rotate()
        calm = max(0.0, 1 - 4 * (pressure - 1))
        batch_bytes = int(_BATCH_BYTES * calm + _URGENT_BATCH_BYTES * (1 - calm))
        rest = _REST * calm
        return compact_oldest(
            self._broker, self._log, lambda took_s: self._stop.wait(took_s * rest), batch_bytes=batch_bytes
        )

    def _pressure(self) -> float:
        """How large the log is, in parts of what it may be: garbage may take as much as what is live, or is free."""
        live = live_bytes(self._broker)
        free = self._log.free_bytes()
        # Where no other segment fits, the one in use has to go: full of garbage, it would keep out every producer.
        slack = self._slack_bytes if free > self._slack_bytes else self._slack_bytes // _CRAMPED
        return self._log.used_bytes() / (live + min(live, free) + slack)
