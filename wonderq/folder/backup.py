"""`wonderq folder backup`: copy the log of a running or stopped broker into another folder, segment by segment.

The source is neither locked nor changed. Segments are read oldest first. Compaction may drop a segment meanwhile, but
it has copied the live messages to a later segment, which is still to be read. The last segment is the one in use; it is
copied up to its newest complete group.

The destination changes only after everything is copied, and after the copies are known to continue the last backup.
From then on it can be opened at any moment, because a segment that is about to be sealed gets a blank successor first.
There is one exception: if the source has dropped segments that the destination lacks, and the destination is to be
replaced, it has a gap for a moment.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from wonderq.folder.lock import FolderError, NoLogError, check_outside, resolve, segment_numbers
from wonderq.state.replay import replay_log
from wonderq_storage import CorruptLogError, FileCheckpoints, FileLog, Position, frame, segment
from wonderq_storage.disk import Disk, DiskFile, no_room_is_disk_full
from wonderq_storage.segment import Segment, SegmentReader

_CHUNK_BYTES = 1 << 20
_BLANK_SUFFIX = ".blank.tmp"

Progress = Callable[[int], object]
"""Callback that receives the number of bytes copied since its last call."""


class BackupError(FolderError):
    """The source does not match the backup in the destination. Nothing was changed."""


@dataclass(frozen=True)
class Backup:
    """Result of a backup."""

    copied: list[str]
    """Names of the segments that were copied."""
    copied_bytes: int
    reused: list[str]
    """Names of the segments that an earlier backup had copied."""
    removed: list[str]
    """Names of the segments that were removed from the destination."""
    end: Position
    """Position after the newest record."""
    newest_ms: int
    """Time of the newest record, in ms since 1970."""
    messages: int
    """Number of messages in the destination."""


class _Part(NamedTuple):
    """A segment of the backup: copied now, still under its unfinished name, or copied earlier."""

    number: int
    end: int
    """Offset after its last group."""
    sealed: bool
    copied: bool


def backup(source: Path, destination: Path, *, prune: bool = False, progress: Progress = lambda _: None) -> Backup:
    """Update the destination to the state of the source. It then contains everything acknowledged before the call.

    Segments that the source has dropped stay in the destination, so that `restore` can return to earlier times.
    ``prune`` removes the ones that the newest state does not need. If the source has dropped segments that the
    destination lacks, ``prune`` removes all old ones.

    Raises:
        NoLogError: the source contains no log.
        BackupError: the source does not continue the backup in the destination. Nothing was changed.
        FolderLockedError: another process uses the destination.
        CorruptLogError, UnsupportedFormatError: the source or the copy does not verify.
        DiskFullError: the destination has no room. Nothing in it was changed.
        OSError: a folder cannot be read or written.
    """
    destination = resolve(destination)  # a link may lead to a folder that is still to be made
    check_outside(source, destination)
    if not segment_numbers(source):
        raise NoLogError(source)
    if destination.exists() and not destination.is_dir():
        raise BackupError(f"{destination} is not a folder.")
    disk = Disk()
    with _folder_for(disk, destination, like=source):
        parts = _copy_new(disk, source, destination, progress)
        continues = _continues(disk, source, destination, parts[0])
        if not continues and not prune:
            raise BackupError(
                f"{source} now begins with {segment.file_name(parts[0].number)}, and the backup in {destination} ends "
                "before that. Choose another folder and keep this one for 'wonderq folder restore --until', or replace "
                "its contents with --prune."
            )
        _publish(disk, destination, parts)
        removed = [] if continues else _remove_below(disk, destination, parts[0].number)
    log = FileLog(destination)
    try:
        state, _ = replay_log(log)
        base = log.base
    finally:
        log.close()
    if prune:
        removed += _remove_below(disk, destination, base)
    return Backup(
        [segment.file_name(part.number) for part in parts if part.copied],
        sum(part.end for part in parts if part.copied),
        [segment.file_name(part.number) for part in parts if not part.copied],
        removed,
        segment.pack_position(parts[-1].number, parts[-1].end),
        state.last_ms,
        sum(len(queue.messages) for queue in state.queues.values()),
    )


def write_copy(
    disk: Disk,
    source: DiskFile,
    path: Path,
    length: int,
    size: int,
    progress: Progress = lambda _: None,
    *,
    reserve: bool = False,
) -> None:
    """Copy the first ``length`` bytes of a file to a new one of ``size`` bytes, padded with zeros, and sync it.

    The caller syncs the new file's folder. ``reserve`` allocates all its disk space first.
    """
    with no_room_is_disk_full(f"no room for {path}"), closing(disk.create(path)) as file:
        if reserve:
            file.allocate(size)
        for at in range(0, length, _CHUNK_BYTES):
            data = source.read(min(_CHUNK_BYTES, length - at), at)
            file.write(data, at)
            progress(len(data))
        file.truncate(size)
        file.sync()


@contextmanager
def _folder_for(disk: Disk, destination: Path, *, like: Path) -> Iterator[None]:
    """Create and lock the destination. If root creates it, it belongs to the owner of ``like``.

    Unfinished copies are removed before and after. Folders created here are removed again if they remain empty.
    """
    made = [each for each in (destination, *destination.parents) if not each.exists()]
    disk.make_folder(destination, like)
    lock = disk.lock(destination)
    try:
        _remove_unfinished(disk, destination)
        yield
    finally:
        with contextlib.suppress(OSError):
            _remove_unfinished(disk, destination)
            for each in made:
                each.rmdir()  # fails, and is suppressed, if the folder is not empty
        disk.unlock(lock)


def _remove_unfinished(disk: Disk, destination: Path) -> None:
    for name in disk.list(destination):
        for suffix in (segment.UNFINISHED_SUFFIX, _BLANK_SUFFIX):
            if segment.file_number(name.removesuffix(suffix) + segment.SUFFIX) is not None and name.endswith(suffix):
                disk.remove(destination / name)


def _unfinished(destination: Path, number: int) -> Path:
    return destination / f"{number:010d}{segment.UNFINISHED_SUFFIX}"


def _copy_new(disk: Disk, source: Path, destination: Path, progress: Progress) -> list[_Part]:
    """Copy the segments that the destination lacks under unfinished names; return all segments of the backup."""
    there = segment_numbers(destination)
    known = None
    if there:
        with closing(segment.open_segment(disk, destination / segment.file_name(there[0])).file) as file:
            known = _header(file).log_id
    number = segment_numbers(source)[0]
    parts: list[_Part] = []
    while not parts or parts[-1].sealed:
        try:
            current = segment.open_segment(disk, source / segment.file_name(number))
        except FileNotFoundError as error:
            oldest = min(segment_numbers(source), default=0)
            if oldest <= number:
                raise CorruptLogError(str(source / segment.file_name(number)), 0, "the segment is missing") from error
            # Compaction dropped it and all before it. Their live messages are copied to segments still to be read.
            parts = []
            number = oldest
            continue
        with closing(current.file):
            if known not in (None, current.header.log_id):
                raise BackupError(f"{destination} contains another log than {source}. Choose another folder.")
            parts.append(_copy_segment(disk, current, destination, progress))
        number += 1
    if there and there[-1] > parts[-1].number:
        raise _has_more(destination / segment.file_name(there[-1]), source)
    return parts


def _has_more(copy: Path, source: Path) -> BackupError:
    return BackupError(
        f"{copy} contains records that {source} does not have: the source is older than its backup, or a broker has "
        "run on the backup, or the two have diverged. Choose another folder."
    )


def _copy_segment(disk: Disk, current: Segment, destination: Path, progress: Progress) -> _Part:
    number, file = current.number, current.file
    end = _copied_before(disk, current, destination / current.path.name)
    if end:
        return _Part(number, end, sealed=True, copied=False)
    # The broker may be writing. So first find out how far the copy must reach at least, and read after that.
    durable = segment.newest_durable(current)
    following = current.path.with_name(segment.file_name(number + 1))
    has_ended = file.size() < current.header.capacity or _is_used(disk, following)
    reader = SegmentReader(current, None, None)
    for _ in reader:
        pass
    if not reader.sealed and (has_ended or (reader.number or 0) < durable + bool(durable)):
        reason = reader.problem or "durable bytes are missing here"
        raise CorruptLogError(str(current.path), reader.offset, reason)
    _check_continues(disk, current, reader.offset, destination / current.path.name)
    size = reader.offset if reader.sealed else current.header.capacity
    write_copy(disk, file, _unfinished(destination, number), reader.offset, size, progress)
    return _Part(number, reader.offset, reader.sealed, copied=True)


def _copied_before(disk: Disk, current: Segment, copy: Path) -> int:
    """Return the size of the copy if it is complete up to the seal, or 0.

    A seal is chained to everything before it, so two segments with the same seal are equal.
    """
    try:
        file = disk.open(copy)
    except FileNotFoundError:
        return 0
    header_bytes, seal_bytes = frame.SEGMENT_HEADER_BYTES, frame.GROUP_HEADER_BYTES
    with closing(file):
        size = file.size()
        at = size - seal_bytes
        same = (
            at >= header_bytes
            and file.read(header_bytes, 0) == current.file.read(header_bytes, 0)
            and file.read(seal_bytes, at) == current.file.read(seal_bytes, at)
        )
        return size if same and _seal(file, current.header.crc) else 0


def _check_continues(disk: Disk, current: Segment, end: int, copy: Path) -> None:
    """Check that a segment contains, before ``end``, everything in its copy from an earlier backup.

    The copy's last complete group is chained to everything before it. So it is enough to compare that group, including
    its records, to which nothing is chained. A torn tail after it was never acknowledged.

    Raises:
        BackupError: the copy has groups that the segment lacks.
        CorruptLogError: the copy is damaged, so the bytes after the damage are unknown.
    """
    try:
        there = segment.open_segment(disk, copy)
    except FileNotFoundError:
        return
    with closing(there.file):
        start, stop, reader = _last_group(there)
        if segment.read_tail(there, stop, reader.number or 1).proof:
            raise CorruptLogError(str(copy), stop, reader.problem or "durable bytes are missing here")
        if stop > end or there.file.read(stop - start, start) != current.file.read(stop - start, start):
            raise _has_more(copy, current.path)


def _last_group(current: Segment) -> tuple[int, int, SegmentReader]:
    """Return the start and the end of a segment's last complete group, and the reader that found it.

    Without a group, both are the end of the segment's header.
    """
    reader = SegmentReader(current, None, None)
    start = stop = reader.offset
    for _ in reader:
        start, stop = stop, reader.offset
    return start, stop, reader


def _seal(file: DiskFile, seed: int) -> frame.GroupHeader | None:
    """Return the seal at the end of a file, or None."""
    at = max(file.size() - frame.GROUP_HEADER_BYTES, 0)
    header = frame.unpack_group_header(file.read(frame.GROUP_HEADER_BYTES, at), 0, seed)
    return header if header is not None and header.kind == frame.SEAL and header.offset == at else None


def _is_used(disk: Disk, path: Path) -> bool:
    try:
        file = disk.open(path)
    except FileNotFoundError:
        return False
    with closing(file):
        return any(file.read(frame.GROUP_HEADER_BYTES, frame.SEGMENT_HEADER_BYTES))


def _continues(disk: Disk, source: Path, destination: Path, first: _Part) -> bool:
    """Return whether the destination's older segments lead up to segment ``first`` without a gap.

    Raises:
        BackupError: they belong to another history of the log.
    """
    below = [number for number in segment_numbers(destination) if number < first.number]
    if not below:
        return True
    path = _unfinished(destination, first.number) if first.copied else destination / segment.file_name(first.number)
    with closing(disk.open(path)) as file:
        data = file.read(frame.GROUP_HEADER_BYTES, frame.SEGMENT_HEADER_BYTES)
        group = frame.unpack_group_header(data, 0, _header(file).crc)
    if group is None:
        return False
    copy = destination / segment.file_name(below[-1])
    previous = segment.open_segment(disk, copy)
    with closing(previous.file):
        seal = _seal(previous.file, previous.header.crc)
        if seal is not None and (seal.number + 1, seal.crc) == (group.number, group.chain):
            return below == list(range(below[0], first.number))
        newest = seal.number if seal is not None else (_last_group(previous)[2].number or 1) - 1
    if newest >= group.number - 1:
        raise _has_more(copy, source)
    return False


def _publish(disk: Disk, destination: Path, parts: list[_Part]) -> None:
    """Rename the copies to their final names."""
    FileCheckpoints(destination, disk).remove_before(1 << 80)  # all: a broker that ran on the backup wrote them
    for part, following in zip(parts, [*parts[1:], None], strict=True):
        if not part.copied:
            continue
        if following is not None and not (destination / segment.file_name(following.number)).exists():
            _put_blank(disk, destination, following.number)
        disk.rename(_unfinished(destination, part.number), destination / segment.file_name(part.number))
        disk.sync_folder(destination)


def _header(file: DiskFile) -> frame.SegmentHeader:
    header = frame.unpack_segment_header(file.read(frame.SEGMENT_HEADER_BYTES, 0))
    assert header is not None, "the header was verified when it was copied"
    return header


def _put_blank(disk: Disk, destination: Path, number: int) -> None:
    with closing(disk.open(_unfinished(destination, number))) as file:
        path = destination / f"{number:010d}{_BLANK_SUFFIX}"
        write_copy(disk, file, path, frame.SEGMENT_HEADER_BYTES, _header(file).capacity)
    disk.rename(path, destination / segment.file_name(number))
    disk.sync_folder(destination)


def _remove_below(disk: Disk, destination: Path, number: int) -> list[str]:
    removed = [segment.file_name(each) for each in segment_numbers(destination) if each < number]
    for name in removed:
        disk.remove(destination / name)
        disk.sync_folder(destination)
    return removed
