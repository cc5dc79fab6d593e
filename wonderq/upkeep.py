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
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from storage import Checkpoints, DiskFullError, Log, LogClosedError, LogFailedError, Position, StorageError, record
from wonderq.broker import DISK_RESERVE_BYTES, Broker
from wonderq.state import queue_record

logger = logging.getLogger("wonderq.upkeep")

_TICK_S = 0.5

#: A checkpoint is due after so much log, or after as much as the last one took, whichever is more.
CHECKPOINT_EVERY_BYTES = 64 << 20

#: A stop leaves a checkpoint if the next start would otherwise read more than this: some tenths of a second. What is read
#: is also verified, so a small log is better read.
_WORTH_A_CHECKPOINT_BYTES = 8 << 20

#: How much of the log is looked through, and copied where it is live, while the broker's lock is held.
_BATCH_BYTES = 64 << 10

#: What a message takes in the log besides its entry: its share of a record, of a claim and of a deletion.
_MESSAGE_OVERHEAD_BYTES = 64

#: For each second of copying, so many seconds of rest.
_REST = 1.0


def checkpoint(broker: Broker, log: Log, checkpoints: Checkpoints) -> int:
    """Write down the state as it is now, while the broker goes on; returns how many bytes that took.

    Raises:
        DiskFullError: there is no room for it. Nothing is lost: it is a cache.
        LogFailedError: the log behind it cannot be made durable.
    """
    with broker.exclusively() as (state, _, _):
        snapshot, mark = state.freeze(), log.mark()
    try:
        log.sync()
        return checkpoints.write(mark, snapshot.chunks())
    finally:
        with broker.exclusively():
            snapshot.release()


def live_bytes(broker: Broker) -> int:
    """Return about how much of the log is needed for the messages there are."""
    with broker.exclusively() as (state, _, _):
        columns = [queue.messages for queue in state.queues.values()]
        return sum(messages.bytes + _MESSAGE_OVERHEAD_BYTES * len(messages) for messages in columns)


def compact_oldest(broker: Broker, log: Log, rest: Callable[[float], object] = lambda _: None) -> bool:
    """Copy what is live out of the oldest part of the log, and drop it; returns whether there was one to drop.

    ``rest`` is called between batches with the seconds that the last one took.

    Raises:
        DiskFullError: there is no room for the copies. Nothing was dropped.
        CorruptLogError: the part does not verify any more. Nothing was dropped.
    """
    found = log.oldest()
    if found is None:
        return False
    end, records = found
    copied = 0
    began = time.monotonic()
    for batch in _batches(records):
        copied += _copy_live(broker, batch)
        rest(time.monotonic() - began)
        began = time.monotonic()
    _restate_names(broker, end)
    log.sync()
    dropped = log.trim(end)
    if dropped:
        logger.info("compacted the log up to %#x: %d bytes were still live", end, copied)
    return dropped


class _Entries(NamedTuple):
    """The entries that one record has."""

    queue: int
    sequences: Sequence[int]
    lengths: Sequence[int]
    position: int
    """Where the first of them begins."""
    data: bytes


def _batches(records: Iterator[tuple[Position, bytes | memoryview]]) -> Iterator[list[_Entries]]:
    batch: list[_Entries] = []
    size = 0
    for position, data in records:
        fields = record.decode(data)
        if fields[0] == record.PRODUCE:
            _, _, queue, first, _, lengths, entries = fields
            sequences: Sequence[int] = range(first, first + len(lengths))
        elif fields[0] == record.UPDATE and fields[4]:
            _, _, queue, _, restated, entries = fields
            sequences, lengths = [each[0] for each in restated], [each[-1] for each in restated]
        else:
            continue
        batch.append(_Entries(queue, sequences, lengths, position + len(data) - len(entries), entries))
        size += len(data)
        if size > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    yield batch


def _copy_live(broker: Broker, batch: Sequence[_Entries]) -> int:
    """Restate at the end of the log those messages whose entries are still the ones in ``batch``."""
    copied = 0
    with broker.exclusively() as (state, commit, now_ms):
        for number, parts in groupby(batch, key=lambda part: part.queue):
            queue = state.find(number)
            if queue is None:
                continue
            restated: list[tuple[int, ...]] = []
            entries: list[bytes] = []
            for part in parts:
                at = 0
                for sequence, length in zip(part.sequences, part.lengths, strict=True):
                    if queue.messages.position(sequence) == part.position + at:
                        restated += (view.restated(length) for view in queue.messages.views([sequence, 1]))
                        entries.append(part.data[at : at + length])
                    at += length
            if restated:
                fields = (record.UPDATE, now_ms, number, (), restated, b"".join(entries))
                commit(fields, leave_bytes=DISK_RESERVE_BYTES)
                copied += sum(map(len, entries))
    return copied


def _restate_names(broker: Broker, end: Position) -> None:
    """Write again what names the log and its queues, as far as that stands before ``end``."""
    with broker.exclusively() as (state, commit, now_ms):
        if state.identity_at < end:
            commit((record.IDENTITY, now_ms, state.key, state.next_queue))
        for queue in state.queues.values():
            if queue.stated_at < end:
                commit(queue_record(queue, queue.settings, now_ms))


class Upkeep:
    """Does both in a thread of its own, when they are due."""

    def __init__(
        self,
        broker: Broker,
        log: Log,
        checkpoints: Checkpoints,
        *,
        slack_bytes: int,
        checkpoint_every_bytes: int = CHECKPOINT_EVERY_BYTES,
    ) -> None:
        """``slack_bytes`` of garbage are always tolerated: less than a segment cannot be dropped anyway."""
        self._broker = broker
        self._log = log
        self._checkpoints = checkpoints
        self._slack_bytes = slack_bytes
        self._checkpoint_every_bytes = checkpoint_every_bytes
        self._checkpoint_bytes = 0  # size of the last one
        self._checkpointed = 0  # the broker's `log_bytes` as of the last one
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wonderq-upkeep", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and write a last checkpoint for the next start."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._broker.log_bytes - self._checkpointed > _WORTH_A_CHECKPOINT_BYTES and self._log.failure is None:
            self._try(self._checkpoint)

    def _run(self) -> None:
        while not self._stop.wait(_TICK_S):
            if self._checkpoint_is_due():
                self._try(self._checkpoint)
            while self._garbage_outweighs() and not self._stop.is_set() and self._try(self._compact):
                pass

    def _try(self, work: Callable[[], bool]) -> bool:
        try:
            return work()
        except DiskFullError as error:
            logger.warning("upkeep is put off: %s", error)
            self._stop.wait(10 * _TICK_S)
        except (LogFailedError, LogClosedError):
            self._stop.set()
        except (StorageError, OSError):
            logger.exception("upkeep ends until the broker is restarted")
            self._stop.set()
        return False

    def _checkpoint_is_due(self) -> bool:
        appended = self._broker.log_bytes - self._checkpointed
        return appended > max(self._checkpoint_every_bytes, self._checkpoint_bytes)

    def _checkpoint(self) -> bool:
        began = time.monotonic()
        appended = self._broker.log_bytes
        self._checkpoint_bytes = checkpoint(self._broker, self._log, self._checkpoints)
        self._checkpointed = appended
        logger.info("checkpoint of %d bytes in %.2f s", self._checkpoint_bytes, time.monotonic() - began)
        return True

    def _garbage_outweighs(self) -> bool:
        return self._log.used_bytes() > 2 * live_bytes(self._broker) + self._slack_bytes

    def _compact(self) -> bool:
        return compact_oldest(self._broker, self._log, lambda took_s: self._stop.wait(took_s * _REST))
