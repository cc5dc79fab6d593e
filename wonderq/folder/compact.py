"""`wonderq folder compact`: shrink a stopped broker's folder to its live messages.

The log continues in a new segment, and each older segment is compacted into it with the code of the running broker
(`wonderq.broker.compaction`). So a crash at any moment is as harmless as there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from wonderq.broker.broker import Broker
from wonderq.broker.compaction import compact_oldest
from wonderq.broker.maintenance import WORTH_A_CHECKPOINT_BYTES, checkpoint
from wonderq.folder.lock import locked
from wonderq.folder.replay import explain_unreadable
from wonderq.runtime.clock import Clock
from wonderq.state import record
from wonderq.state.replay import replay_log
from wonderq.state.state import State, queue_record
from wonderq.state.topics import subscription_record, topic_record
from wonderq_storage import DEFAULT_SEGMENT_BYTES, CorruptLogError, FileCheckpoints, FileLog, frame

#: Segments are allocated as a whole, so small segments waste little space. But each is an open file, so a large log
#: gets larger ones. Half of a segment has room for any record.
_SMALLEST_NEW_SEGMENT_BYTES = 4 << 20
_SEGMENTS = 64

#: More than the bytes of a record besides the contents of its message.
_RECORD_OVERHEAD_BYTES = 4096

#: Smallest share of the folder's size that is worth a compaction.
_WORTH_IT = 0.01

#: Messages per step of an estimate.
_CHUNK_MESSAGES = 4096


class _ClockOfTheLog(Clock):
    """A clock that stands still at the newest time in the log.

    The system's clock may be wrong, and the broker's clock never starts below a time that is in its log.
    """

    def __init__(self) -> None:
        super().__init__()
        self._newest_ms = 0

    def raise_floor(self, floor_ms: int) -> None:
        self._newest_ms = floor_ms

    def now_ms(self) -> int:
        return self._newest_ms


@dataclass(frozen=True)
class Size:
    """Size of a folder."""

    disk_bytes: int
    """Disk space of its files, with reserved space and checkpoints."""
    log_bytes: int
    """Size of the log, without reserved space."""


@dataclass(frozen=True)
class Outcome:
    """Result of a compaction, or an estimate of it."""

    before: Size
    after: Size
    messages: int
    segments: int
    """Number of compacted segments; 0 if a compaction is not worth it."""

    @property
    def worth_it(self) -> bool:
        return self.after.disk_bytes < (1 - _WORTH_IT) * self.before.disk_bytes


def disk_bytes(folder: Path) -> int:
    """Return the disk space of a folder's files."""
    return sum(each.stat().st_blocks * 512 for each in folder.rglob("*") if each.is_file())


def estimate(folder: Path) -> Outcome:
    """Estimate the folder's size after a compaction. Nothing is changed.

    Raises: as `compact`.
    """
    return _estimate(folder)[0]


def _estimate(folder: Path) -> tuple[Outcome, int]:
    """Return an estimate, and the size of the new segments in bytes."""
    with locked(folder) as files:
        segments, size = len(files), sum(each.stat().st_size for each in files)
    with explain_unreadable(folder):
        log = FileLog(folder)
    try:
        with explain_unreadable(folder):
            state, _ = replay_log(log, FileCheckpoints(folder))
        before = Size(disk_bytes(folder), log.used_bytes())
    finally:
        log.close()
    smallest = max(_SMALLEST_NEW_SEGMENT_BYTES, 2 * _longest_record_bytes(state))
    segment_bytes = max(min(size // _SEGMENTS, DEFAULT_SEGMENT_BYTES), smallest)
    log_bytes = frame.SEGMENT_HEADER_BYTES + _rewritten_bytes(state)
    after_bytes = log_bytes // segment_bytes * segment_bytes + segment_bytes
    if log_bytes > WORTH_A_CHECKPOINT_BYTES:
        after_bytes += sum(map(len, state.freeze().chunks(state.last_ms)))
    return Outcome(before, Size(after_bytes, log_bytes), _count(state), segments), segment_bytes


def _longest_record_bytes(state: State) -> int:
    """Return a size that no record exceeds that a compaction must write whole: that of a message, or of a queue."""
    longest = 0
    for queue in state.queues.values():
        longest = max(longest, len(record.encode(queue_record(queue, queue.settings, state.last_ms))))
        for views in queue.messages.walk(_CHUNK_MESSAGES):
            longest = max(longest, max((view.length for view in views), default=0))
    return longest + _RECORD_OVERHEAD_BYTES


def _rewritten_bytes(state: State) -> int:
    """Return the size of the records that a compaction writes for a state."""
    size = len(record.encode(record.Identity(record.IDENTITY, state.last_ms, state.key or b"", state.next_queue)))
    size -= state.shared.saved_bytes
    for topic in state.topics.values():
        size += len(record.encode(topic_record(topic, topic.settings, state.last_ms)))
        for each in topic.subscriptions.values():
            size += len(record.encode(subscription_record(topic, each, state.last_ms)))
    for queue in state.queues.values():
        size += len(record.encode(queue_record(queue, queue.settings, state.last_ms))) + queue.messages.bytes
        for views in queue.messages.walk(_CHUNK_MESSAGES):
            runs = record.to_runs(view.sequence for view in views)
            produced_ms, lengths = [view.produced_ms for view in views], [view.length for view in views]
            claims = [queue.messages.state_of(view).stored for view in views if not view.is_pristine]
            update = record.Update(
                record.UPDATE, state.last_ms, queue.number, (), runs, produced_ms, lengths, claims, b""
            )
            size += len(record.encode(update))
    return size


def compact(folder: Path, progress: Callable[[], None] = lambda: None) -> Outcome:
    """Compact all segments, if that is worth it. ``progress`` is called after each segment.

    Raises:
        NoLogError: the folder contains no log.
        FolderLockedError: a broker is running on it.
        DiskFullError: there is no room for the copies. Segments not yet compacted are unchanged.
        CorruptLogError: the log is damaged. A note describes the changes made before the damage was found.
        UnsupportedFormatError, UnusableLogError: the log cannot be opened. Nothing was changed.
    """
    expected, segment_bytes = _estimate(folder)
    if not expected.worth_it:
        return replace(expected, after=expected.before, segments=0)
    log = FileLog(folder, segment_bytes=segment_bytes)
    try:
        checkpoints = FileCheckpoints(folder)
        broker = Broker(log, checkpoints=checkpoints, clock=_ClockOfTheLog(), default_queue=False)
        checkpoints.remove_unfinished()
        end = log.rotate()
        log.sync()
        done = 0
        while (oldest := log.oldest()) and oldest[0] <= end:
            try:
                compact_oldest(broker, log)
            except CorruptLogError as error:
                error.add_note(_describe_changes(folder, done))
                raise
            done += 1
            progress()
        checkpoints.remove_before(end)
        if log.used_bytes() > WORTH_A_CHECKPOINT_BYTES:
            checkpoint(broker, log, checkpoints)
        log_bytes = log.used_bytes()
        with broker.locked() as (state, _, _):
            messages = _count(state)
    finally:
        log.close()
    return replace(expected, after=Size(disk_bytes(folder), log_bytes), messages=messages)


def _describe_changes(folder: Path, segments: int) -> str:
    removed = f"{segments:,} before it were compacted" if segments else "none was removed"
    return (
        f"The compaction lost no message: the segment is still there, {removed}, and new segments contain copies. "
        f"'wonderq folder verify {folder}' lists all damage; 'wonderq folder repair {folder} NEW' salvages the rest "
        "into a new folder"
    )


def _count(state: State) -> int:
    return sum(len(queue.messages) for queue in state.queues.values())
