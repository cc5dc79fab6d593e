"""`wonderq backup`: copy the log of a running or stopped broker into another folder, segment by segment.

Nothing of the source is locked or changed. Segments are read oldest first, so what compaction drops meanwhile was written
again into one that is still to be read; the last is the one in use, up to the newest group that is whole. In the
destination nothing changes before everything is copied and known to go on where the last backup ended, and then it can be
opened at every moment: a segment that is about to be sealed gets a blank successor first. Only where the source has dropped
segments that would follow, and the destination is to be replaced, is there a gap for a moment.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from wonderq.folder.lock import FolderError, NoLogError, check_outside, segment_numbers
from wonderq.state.replay import rebuild
from wonderq_storage import Checkpoints, CorruptLogError, FileLog, Position, frame, segment
from wonderq_storage.disk import Disk, DiskFile, no_room_is_disk_full
from wonderq_storage.segment import Segment, SegmentReader

_CHUNK_BYTES = 1 << 20
_BLANK_SUFFIX = ".blank.tmp"

Progress = Callable[[int], object]
"""Told how many bytes more were copied."""


class BackupError(FolderError):
    """The two folders do not go together. Nothing was changed."""


@dataclass(frozen=True)
class Backup:
    """What was done, and what the destination holds now."""

    copied: list[str]
    copied_bytes: int
    reused: list[str]
    removed: list[str]
    end: Position
    """Behind the newest record."""
    newest_ms: int
    """The time of the newest record."""
    messages: int


class _Part(NamedTuple):
    """A segment of the backup: under its unfinished name if it was copied, or there already."""

    number: int
    end: int
    """Offset behind its last group."""
    sealed: bool
    copied: bool


def backup(source: Path, destination: Path, *, prune: bool = False, progress: Progress = lambda _: None) -> Backup:
    """Bring the destination up to what the source holds; what was acknowledged before the call is in it.

    Segments that the source has dropped stay: `restore` can go back to them. ``prune`` removes those that the log does not
    need, and all of them where the source has dropped what would follow.

    Raises:
        NoLogError: there is no log in the source.
        BackupError: the source does not go on where the destination ends. Nothing was changed.
        FolderLockedError: somebody uses the destination.
        CorruptLogError, UnsupportedFormatError: the source, or the copy, does not verify.
        DiskFullError: the destination has no room. Nothing in it was changed.
        OSError: a folder cannot be read or written.
    """
    check_outside(source, destination)
    if not segment_numbers(source):
        raise NoLogError(source)
    if destination.exists() and not destination.is_dir():
        raise BackupError(f"{destination} is not a folder.")
    disk = Disk()
    with _folder_for(disk, destination):
        parts = _copy_new(disk, source, destination, progress)
        goes_on = _goes_on(disk, source, destination, parts[0])
        if not goes_on and not prune:
            raise BackupError(
                f"{source} begins with {segment.file_name(parts[0].number)} by now, and what {destination} has from before "
                "does not lead up to that. Give another folder and keep this one for 'wonderq restore --until', or replace "
                "what is in it with --prune."
            )
        _publish(disk, destination, parts)
        removed = [] if goes_on else _remove_below(disk, destination, parts[0].number)
    log = FileLog(destination)
    try:
        state, _ = rebuild(log)
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
    """Write a file's first bytes into a new one with zeros behind them, durably but for its name."""
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
def _folder_for(disk: Disk, destination: Path) -> Iterator[None]:
    """Hold the destination, which is free of unfinished copies before and after, and gone if nothing came into it."""
    made = [each for each in (destination, *destination.parents) if not each.exists()]
    disk.make_folder(destination)
    lock = disk.lock(destination)
    try:
        _remove_unfinished(disk, destination)
        yield
    finally:
        with contextlib.suppress(OSError):
            _remove_unfinished(disk, destination)
            for each in made:
                each.rmdir()  # an error if there is something in it
        disk.unlock(lock)


def _remove_unfinished(disk: Disk, destination: Path) -> None:
    for name in disk.list(destination):
        for suffix in (segment.UNFINISHED_SUFFIX, _BLANK_SUFFIX):
            if segment.file_number(name.removesuffix(suffix) + segment.SUFFIX) is not None and name.endswith(suffix):
                disk.remove(destination / name)


def _unfinished(destination: Path, number: int) -> Path:
    return destination / f"{number:010d}{segment.UNFINISHED_SUFFIX}"


def _copy_new(disk: Disk, source: Path, destination: Path, progress: Progress) -> list[_Part]:
    """Copy what the destination does not have, under unfinished names; returns the segments of the whole backup."""
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
            # Dropped meanwhile, and all before it: whatever was live in them has been written again further on.
            parts = []
            number = oldest
            continue
        with closing(current.file):
            if known not in (None, current.header.log_id):
                raise BackupError(f"{destination} holds another log than {source}: give another folder.")
            parts.append(_copy_segment(disk, current, destination, progress))
        number += 1
    if there and there[-1] > parts[-1].number:
        raise _has_more(destination / segment.file_name(there[-1]), source)
    return parts


def _has_more(copy: Path, source: Path) -> BackupError:
    return BackupError(
        f"{copy} has something that {source} does not have: the source is older than its backup, or went another way since, "
        "or a broker has run on the backup. Give another folder."
    )


def _copy_segment(disk: Disk, current: Segment, destination: Path, progress: Progress) -> _Part:
    number, file = current.number, current.file
    end = _copied_before(disk, current, destination / current.path.name)
    if end:
        return _Part(number, end, sealed=True, copied=False)
    # The broker may be writing, so first comes what the reading has to reach, and then the reading.
    durable = segment.newest_durable(current)
    following = current.path.with_name(segment.file_name(number + 1))
    has_ended = file.size() < current.header.capacity or _is_used(disk, following)
    reader = SegmentReader(current, None, None)
    for _ in reader:
        pass
    if not reader.sealed and (has_ended or (reader.number or 0) < durable + bool(durable)):
        reason = reader.problem or "something that was durable is missing here"
        raise CorruptLogError(str(current.path), reader.offset, reason)
    _check_goes_on(disk, current, reader.offset, destination / current.path.name)
    size = reader.offset if reader.sealed else current.header.capacity
    write_copy(disk, file, _unfinished(destination, number), reader.offset, size, progress)
    return _Part(number, reader.offset, reader.sealed, copied=True)


def _copied_before(disk: Disk, current: Segment, copy: Path) -> int:
    """Return the size of a copy that has the segment up to the seal, or 0.

    A seal is chained to everything that stands before it, so two segments with the same one are the same.
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


def _check_goes_on(disk: Disk, current: Segment, end: int, copy: Path) -> None:
    """Check that a segment has, up to ``end``, all that its copy from an earlier backup has.

    The last whole group is chained to everything that stands before it, so it is enough that the same one stands here, its
    records included: those of the last one are chained to by nothing. A torn tail behind it was never acknowledged.

    Raises:
        BackupError: it has not.
        CorruptLogError: the copy is damaged, so what stands behind the damage cannot be told.
    """
    try:
        there = segment.open_segment(disk, copy)
    except FileNotFoundError:
        return
    with closing(there.file):
        start, stop, reader = _last_group(there)
        if segment.read_tail(there, stop, reader.number or 1).proof:
            raise CorruptLogError(str(copy), stop, reader.problem or "something that was durable is missing here")
        if stop > end or there.file.read(stop - start, start) != current.file.read(stop - start, start):
            raise _has_more(copy, current.path)


def _last_group(current: Segment) -> tuple[int, int, SegmentReader]:
    """Return where the last whole group of a segment begins and ends, and the reader that found it.

    Both are the end of the segment's header if there is none.
    """
    reader = SegmentReader(current, None, None)
    start = stop = reader.offset
    for _ in reader:
        start, stop = stop, reader.offset
    return start, stop, reader


def _seal(file: DiskFile, seed: int) -> frame.GroupHeader | None:
    """Return the seal that a file ends with."""
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


def _goes_on(disk: Disk, source: Path, destination: Path, first: _Part) -> bool:
    """Tell whether what the destination has before the first segment leads up to it without a gap.

    Raises:
        BackupError: it leads elsewhere.
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
    """Give the copies their names."""
    Checkpoints(destination, disk).remove_before(1 << 80)  # of whoever opened the backup: they are of what it was
    for part, following in zip(parts, [*parts[1:], None], strict=True):
        if not part.copied:
            continue
        if following is not None and not (destination / segment.file_name(following.number)).exists():
            _put_blank(disk, destination, following.number)
        disk.rename(_unfinished(destination, part.number), destination / segment.file_name(part.number))
        disk.sync_folder(destination)


def _header(file: DiskFile) -> frame.SegmentHeader:
    header = frame.unpack_segment_header(file.read(frame.SEGMENT_HEADER_BYTES, 0))
    assert header is not None, "it was checked when it was copied"
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
