"""`wonderq folder restore`: create a folder from a backup, up to a point in time. The backup is only read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wonderq.folder.backup import Progress, write_copy
from wonderq.folder.lock import FolderError, check_outside, locked, resolve
from wonderq.model.times import iso_time
from wonderq.state import record
from wonderq.state.record import Record
from wonderq.state.state import State, UnreadableRecordError
from wonderq_storage import FileLog, Position, frame, segment
from wonderq_storage.disk import Disk
from wonderq_storage.recovery import Recovery
from wonderq_storage.segment import Segment, SegmentReader


class RestoreError(FolderError):
    """The backup cannot be restored with these arguments. Nothing was written."""


@dataclass(frozen=True)
class Restored:
    """Contents of the new folder."""

    records: int
    messages: int
    newest_ms: int
    """Time of the newest record, in ms since 1970."""
    end: Position
    """Position after the newest record."""


def restore(backup: Path, new: Path, *, until_ms: int | None = None, progress: Progress = lambda _: None) -> Restored:
    """Copy the log into a new folder: all of it, or the groups before the first record later than ``until_ms``.

    Raises:
        NoLogError: the backup contains no log.
        RestoreError: the new folder is not empty, or the backup does not reach back to that time.
        FolderLockedError: another process uses the backup.
        CorruptLogError, UnsupportedFormatError, UnreadableRecordError: the part to be restored does not verify.
        DiskFullError: the disk has no room.
    """
    new = resolve(new)  # a link may lead to a folder that is still to be made
    check_outside(backup, new)
    if new.exists() and any(new.iterdir()):
        raise RestoreError(f"{new} is not empty. Choose a new folder.")
    disk = Disk()
    with locked(backup):
        recovery = Recovery(disk, backup)
        try:
            number, end = _find_end(recovery, until_ms)
            disk.make_folder(new, like=backup)
            # A log without its last segment is refused, so an interrupted restore cannot pass for a complete one.
            for each in recovery.segments:
                if each.number < number:
                    size = each.file.size()
                    _copy(disk, each, new, size, size, progress)
                elif each.number == number:
                    # The segment in use gets all its space, so that a full disk is noticed now.
                    _copy(disk, each, new, end, each.header.capacity, progress, reserve=True)
        finally:
            recovery.close()
    state, records = State(), 0
    log = FileLog(new)
    try:
        for position, data in log.replay():
            state.apply(_read(position, data), position, len(data))
            records += 1
    finally:
        log.close()
    state.check_complete()
    messages = sum(len(queue.messages) for queue in state.queues.values())
    return Restored(records, messages, state.last_ms, segment.pack_position(number, end))


def _copy(
    disk: Disk, source: Segment, new: Path, length: int, size: int, progress: Progress, *, reserve: bool = False
) -> None:
    path = new / source.path.name
    unfinished = path.with_suffix(segment.UNFINISHED_SUFFIX)
    write_copy(disk, source.file, unfinished, length, size, progress, reserve=reserve)
    disk.rename(unfinished, path)
    disk.sync_folder(new)


def _find_end(recovery: Recovery, until_ms: int | None) -> tuple[int, int]:
    """Return the segment and the offset at which the restored log ends."""
    for position, data in recovery.replay():
        if until_ms is not None and _time(position, data) > until_ms:
            number, end, base = _group_before(recovery, position)
            break
    else:
        assert recovery.active is not None
        return recovery.active.number, recovery.offset
    oldest = recovery.segments[0].number
    if base < oldest or (number, end) == (oldest, frame.SEGMENT_HEADER_BYTES):
        earliest_ms = next(_complete_from(recovery.segments), None)
        since = f". The earliest possible time is {iso_time(earliest_ms)}" if earliest_ms is not None else ""
        raise RestoreError(f"the backup does not reach back to {iso_time(until_ms or 0)}{since}.")
    return number, end


def _group_before(recovery: Recovery, position: Position) -> tuple[int, int, int]:
    """Return the segment and offset at which the group of a record begins, and the base before that group."""
    number, offset = segment.unpack_position(position)
    [current] = [each for each in recovery.segments if each.number == number]
    reader = SegmentReader(current, None, None)
    end, base = reader.offset, recovery.base
    for records in reader:
        if records and records[-1][0] >= offset:
            break
        end, base = reader.offset, reader.base
    return number, end, base


def _complete_from(segments: list[Segment]) -> Iterator[int]:
    """Yield the times at which the log could end without needing a segment that the backup lacks."""
    newest_ms = 0
    for each in segments:
        reader = SegmentReader(each, None, None)
        for records in reader:
            times = [_time(segment.pack_position(each.number, offset), data) for offset, data in records]
            newest_ms = max([newest_ms, *times])
            if newest_ms and reader.base >= segments[0].number:
                yield newest_ms


def _time(position: Position, data: bytes | memoryview) -> int:
    return _read(position, data).at_ms


def _read(position: Position, data: bytes | memoryview) -> Record:
    try:
        return record.decode_typed(data)
    except ValueError as error:
        raise UnreadableRecordError(f"the record at position {position:#x}: {error}") from error
