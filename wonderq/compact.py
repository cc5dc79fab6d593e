"""`wonderq compact`: shrink a stopped broker's folder to what is live in it.

The log goes over to a fresh segment, and every older one is compacted into it as the running broker does it (`upkeep`):
so a crash at any moment is as harmless here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from storage import DEFAULT_SEGMENT_BYTES, Checkpoints, FileLog
from wonderq.broker import Broker
from wonderq.folder import held
from wonderq.rebuild import rebuild
from wonderq.state import State
from wonderq.upkeep import WORTH_A_CHECKPOINT_BYTES, checkpoint, compact_oldest, needed_bytes

#: Segments are reserved whole, so small ones leave little unused; but each is an open file, so a large log has larger ones.
#: The smallest holds any message, and the space that is kept free for making room.
_MIN_SEGMENT_BYTES = 4 << 20
_SEGMENTS = 64


@dataclass(frozen=True)
class Size:
    """How large a folder is."""

    disk_bytes: int
    """What its files take on the disk, reserved space and checkpoints included."""
    log_bytes: int
    """What the log takes of it."""


@dataclass(frozen=True)
class Outcome:
    before: Size
    after: Size
    messages: int
    segments: int
    """How many were compacted."""


def disk_bytes(folder: Path) -> int:
    return sum(each.stat().st_blocks * 512 for each in folder.rglob("*") if each.is_file())


def estimate(folder: Path) -> Outcome:
    """Say about what `compact` would do, and change nothing.

    Raises: as `compact`.
    """
    segment_bytes, segments = _plan(folder)
    log = FileLog(folder)
    try:
        state, _ = rebuild(log, Checkpoints(folder))
        before = Size(disk_bytes(folder), log.used_bytes())
    finally:
        log.close()
    log_bytes = needed_bytes(state)
    after = Size(log_bytes // segment_bytes * segment_bytes + segment_bytes, log_bytes)
    return Outcome(before, after, _count(state), segments)


def compact(folder: Path, progress: Callable[[], None] = lambda: None) -> Outcome:
    """Compact everything; ``progress`` is called after each segment.

    Raises:
        NoLogError: there is no log in the folder.
        FolderLockedError: a broker is running on it.
        DiskFullError: there is no room for the copies. What was not copied is as it was.
        CorruptLogError, UnsupportedFormatError, UnreadableRecordError: as for a start. Nothing was changed.
    """
    segment_bytes, segments = _plan(folder)
    used = disk_bytes(folder)
    log = FileLog(folder, segment_bytes=segment_bytes)
    try:
        checkpoints = Checkpoints(folder)
        broker = Broker(log, checkpoints=checkpoints)
        before = Size(used, log.used_bytes())
        checkpoints.remove_unfinished()
        end = log.rotate()
        while (oldest := log.oldest()) and oldest[0] <= end:
            compact_oldest(broker, log)
            progress()
        checkpoints.remove_before(end)
        if log.used_bytes() > WORTH_A_CHECKPOINT_BYTES:
            checkpoint(broker, log, checkpoints)
        log_bytes = log.used_bytes()
        with broker.exclusively() as (state, _, _):
            messages = _count(state)
    finally:
        log.close()
    return Outcome(before, Size(disk_bytes(folder), log_bytes), messages, segments)


def _plan(folder: Path) -> tuple[int, int]:
    """Return the size for new segments, and how many there are now."""
    with held(folder) as files:
        size = sum(each.stat().st_size for each in files)
        return min(max(size // _SEGMENTS, _MIN_SEGMENT_BYTES), DEFAULT_SEGMENT_BYTES), len(files)


def _count(state: State) -> int:
    return sum(len(queue.messages) for queue in state.queues.values())
