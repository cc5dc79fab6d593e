"""One segment file: create it, open it, read its groups, examine its tail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from wonderq_storage import frame
from wonderq_storage.disk import Disk, DiskFile, no_room_is_disk_full
from wonderq_storage.errors import CorruptLogError, UnsupportedFormatError
from wonderq_storage.log import Position

_CHUNK_BYTES = 1 << 20
_ZEROS = bytes(_CHUNK_BYTES)

SUFFIX = ".wal"
UNFINISHED_SUFFIX = ".wal.tmp"


def file_name(number: int) -> str:
    """Return the name of a segment's file."""
    return f"{number:010d}{SUFFIX}"


def file_number(name: str) -> int | None:
    """Return the segment number in a file name, or None if it is not a segment's name."""
    stem = name.removesuffix(SUFFIX)
    return int(stem) if stem != name and len(stem) == 10 and stem.isascii() and stem.isdigit() else None


def pack_position(number: int, offset: int) -> Position:
    """Return the position of a byte: the segment number above the low 32 bits, which hold the offset."""
    return number << 32 | offset


def unpack_position(position: Position) -> tuple[int, int]:
    """Return the segment number of a position, and the offset in that segment in bytes."""
    return position >> 32, position & 0xFFFF_FFFF


class Segment(NamedTuple):
    """An open segment file and its header."""

    file: DiskFile
    header: frame.SegmentHeader

    @property
    def number(self) -> int:
        return self.header.number

    @property
    def path(self) -> Path:
        return self.file.path


def reserve(disk: Disk, folder: Path, number: int, log_id: bytes, capacity: int, created_ms: int) -> Segment:
    """Create a segment under its unfinished name and allocate all its disk space.

    Raises:
        DiskFullError: the disk has no room. The file is removed.
    """
    path = folder / (file_name(number) + UNFINISHED_SUFFIX.removeprefix(SUFFIX))
    with no_room_is_disk_full(no_room_message(folder, capacity)):
        file = disk.create(path)
        try:
            file.allocate(capacity)
            data = frame.pack_segment_header(number, log_id, capacity, created_ms)
            file.write(data, 0)
        except OSError:
            file.close()
            disk.remove(path)
            raise
    header = frame.unpack_segment_header(data)
    assert header is not None
    return Segment(file, header)


def no_room_message(folder: Path, capacity: int) -> str:
    """Return the text of the error for a segment that the disk has no space for."""
    return f"no room for another log segment of {capacity} bytes in {folder}; free some there"


def publish(disk: Disk, segment: Segment) -> Segment:
    """Make a reserved segment part of the log, durably: sync the file, rename it, sync the folder."""
    segment.file.sync()
    path = segment.path.with_name(file_name(segment.number))
    disk.rename(segment.path, path)
    disk.sync_folder(path.parent)
    segment.file.path = path
    return segment


def remove_oldest(disk: Disk, segment: Segment) -> None:
    """Remove a log's oldest segment, durably.

    Without the sync a crash could bring it back after later segments were removed.
    """
    disk.remove(segment.path)
    disk.sync_folder(segment.path.parent)


def open_segment(disk: Disk, path: Path) -> Segment:
    """Open a segment for reading and verify its header.

    Raises:
        CorruptLogError: the header does not verify, or does not match the file's name.
        UnsupportedFormatError: this program does not know the format version.
    """
    file = disk.open(path)
    try:
        header = frame.unpack_segment_header(file.read(frame.SEGMENT_HEADER_BYTES, 0))
        if header is None:
            raise CorruptLogError(str(path), 0, "the segment header does not verify")
        if not frame.OLDEST_VERSION <= header.version <= frame.VERSION:
            raise UnsupportedFormatError(
                f"{path} has format version {header.version}, and this WonderQ reads up to version {frame.VERSION}. "
                "Use the WonderQ version that wrote it, or a newer one. Nothing was changed."
            )
        if file_name(header.number) != path.name:
            raise CorruptLogError(str(path), 0, f"the file holds segment {header.number}, which is not its name")
    except BaseException:
        file.close()
        raise
    return Segment(file, header)


class SegmentReader:
    """Reads a segment's groups in order and stops at the first one that does not verify.

    Iteration yields the records of each group: ``[(offset in the file, bytes), ...]``. Afterwards:

    - ``offset`` is the place after the last valid group, and ``sealed`` is whether that group is a seal.
    - ``problem`` describes the bytes at ``offset`` that do not verify, or is None.
    - ``number`` and ``chain`` are the values that the next group must have. None accepts any value, as in the oldest
      segment of a trimmed log.
    - ``base`` is the base of the last group.
    - ``unproven`` is the offset from which on no group records that the bytes were durable.
    """

    def __init__(
        self,
        segment: Segment,
        number: int | None,
        chain: int | None,
        offset: int = frame.SEGMENT_HEADER_BYTES,
    ) -> None:
        self._segment = segment
        self._size = segment.file.size()
        self._data = memoryview(b"")
        self._start = 0  # offset of the buffered data in the file
        self.offset = offset
        self.number = number
        self.chain = chain
        self.base = 0
        self.unproven = offset
        self.sealed = False
        self.problem: str | None = None

    def _fill(self, length: int) -> None:
        """Buffer at least ``length`` bytes from the current offset on, or the rest of the file."""
        size = max(min(max(length, _CHUNK_BYTES), self._size - self.offset), 0)  # a mark may lie behind the file's end
        self._data = memoryview(self._segment.file.read(size, self.offset))
        self._start = self.offset

    def __iter__(self) -> Iterator[list[tuple[int, memoryview]]]:
        seed = self._segment.header.crc
        while not self.sealed:
            if self._start + len(self._data) - self.offset < frame.GROUP_HEADER_BYTES:
                self._fill(frame.GROUP_HEADER_BYTES)
            at = self.offset - self._start
            header = frame.unpack_group_header(self._data, at, seed)
            if header is None:
                rest = self._data[at : at + frame.GROUP_HEADER_BYTES]
                if rest != _ZEROS[: len(rest)]:
                    self.problem = "no group header verifies here"
                return
            crc, kind, offset, length, base, number, durable, chain = header
            if (
                offset != self.offset
                or (number != self.number and self.number is not None)
                or (chain != self.chain and self.chain is not None)
            ):
                self.problem = self._misplaced(header)
                return
            whole = frame.GROUP_HEADER_BYTES + length
            if whole > self._size - offset:
                self.problem = f"group {number} is longer than the file"
                return
            if at + whole > len(self._data):
                self._fill(whole)
                at = 0
            found = frame.split_records(self._data, at + frame.GROUP_HEADER_BYTES, at + whole, crc, self._start)
            if found is None:
                self.problem = f"a record of group {number} does not verify"
                return
            if durable == number - 1:
                self.unproven = offset
            records, self.chain = found
            self.offset = offset + whole
            self.number = number + 1
            self.base = base
            self.sealed = kind == frame.SEAL
            yield records

    def _misplaced(self, header: frame.GroupHeader) -> str:
        if header.offset != self.offset:
            return f"the group header here was written for byte {header.offset}"
        if header.number != self.number:
            return f"expected group {self.number}, found group {header.number}"
        return f"group {header.number} does not follow from the one before it"


class Tail(NamedTuple):
    """The bytes after the last valid group of a segment."""

    end: int
    """Offset after the last byte that is not zero, or where the tail begins if all are zero."""
    proof: frame.GroupHeader | None
    """A later group header which records that the tail's first group was durable."""


def read_tail(segment: Segment, offset: int, number: int) -> Tail:
    """Examine all bytes from ``offset`` on, where group ``number`` should begin."""
    file, seed = segment.file, segment.header.crc
    end, proof = offset, None
    size = file.size()
    at = offset
    while at < size:
        # A header may straddle two chunks, so each read includes one more header's length.
        data = file.read(_CHUNK_BYTES + frame.GROUP_HEADER_BYTES, at)
        chunk = data[:_CHUNK_BYTES]
        if chunk != _ZEROS[: len(chunk)]:
            end = at + len(chunk.rstrip(b"\0"))
            if proof is None:
                proof = _find_proof(data, at, seed, number)
        at += _CHUNK_BYTES
    return Tail(end, proof)


def _find_proof(data: bytes, start: int, seed: int, number: int) -> frame.GroupHeader | None:
    return next((header for header in _headers_in(data, start, seed) if header.durable >= number), None)


def _headers_in(data: bytes, start: int, seed: int) -> Iterator[frame.GroupHeader]:
    """Yield the group headers that verify by themselves, at any offset."""
    for kind in frame.KIND_BYTES.values():
        found = data.find(kind, 4)
        while found >= 0:
            header = frame.unpack_group_header(data, found - 4, seed)
            if header is not None and header.offset == start + found - 4:
                yield header
            found = data.find(kind, found + 1)


def newest_durable(segment: Segment) -> int:
    """Return the number of the newest group that any group of the segment records as durable, or 0."""
    newest = 0
    for at in range(frame.SEGMENT_HEADER_BYTES, segment.file.size(), _CHUNK_BYTES):
        data = segment.file.read(_CHUNK_BYTES + frame.GROUP_HEADER_BYTES, at)
        newest = max(newest, *(header.durable for header in _headers_in(data, at, segment.header.crc)), 0)
    return newest


def is_blank(segment: Segment) -> bool:
    """Return whether the segment contains nothing but its header."""
    return read_tail(segment, frame.SEGMENT_HEADER_BYTES, 0).end == frame.SEGMENT_HEADER_BYTES
