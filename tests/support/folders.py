"""Log folders: their contents as seen from outside, and a builder that writes them byte by byte."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from pathlib import Path

from wonderq.broker.broker import Broker
from wonderq.broker.maintenance import checkpoint
from wonderq_storage import FileCheckpoints, FileLog, SyncPolicy, frame
from wonderq_storage.disk import Disk
from wonderq_storage.segment import file_name


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file below the folder: its bytes, and when they were last changed."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def copy_sparsely(source: Path, target: Path) -> Path:
    """Copy the files of a folder, but leave the space at the end of a segment unwritten, and return the copy."""
    target.mkdir()
    for path in source.iterdir():
        copy = target / path.name
        copy.write_bytes(path.read_bytes().rstrip(b"\0"))
        os.truncate(copy, path.stat().st_size)
    return target


def records_in(folder: Path, disk: Disk | None = None) -> list[bytes]:
    """Return the records of the log, and change nothing."""
    log = FileLog(folder, disk=disk)
    try:
        return [bytes(record) for _, record in log.replay()]
    finally:
        log.close()


def open_log(
    folder: Path, *, disk: Disk | None = None, sync: SyncPolicy | None = None, segment_bytes: int = 4096
) -> tuple[FileLog, list[bytes]]:
    """A log ready for appending, and what it held."""
    log = FileLog(folder, disk=disk, sync=sync, segment_bytes=segment_bytes)
    try:
        held = [bytes(record) for _, record in log.replay()]
        log.start()
    except BaseException:
        log.close()
        raise
    return log, held


def write_log(folder: Path, records: Iterable[bytes], *, segment_bytes: int = 4096, disk: Disk | None = None) -> None:
    """Append the records, one group each, and close cleanly."""
    log, _ = open_log(folder, segment_bytes=segment_bytes, disk=disk)
    for record in records:
        log.wait(log.append(record))
    log.close()


def segment_files(folder: Path) -> list[Path]:
    """Return the segment files of a log, oldest first."""
    return sorted(folder.glob("*.wal"))


def groups_in(path: Path) -> list[tuple[frame.GroupHeader, list[bytes]]]:
    """The groups of one segment file."""
    return groups_of(path.read_bytes())


def end_of_groups(data: bytes) -> int:
    """Return the end of the groups in the bytes of a segment file. It may lie behind the last nonzero byte, because the
    checksum of a group without records may end in zeros."""
    last, _ = groups_of(data)[-1]
    return last.offset + frame.GROUP_HEADER_BYTES + last.length


def groups_of(data: bytes) -> list[tuple[frame.GroupHeader, list[bytes]]]:
    """Return the groups in the bytes of a segment file, each with its header and its records."""
    segment_header = frame.unpack_segment_header(data)
    assert segment_header is not None
    found = []
    at = frame.SEGMENT_HEADER_BYTES
    while header := frame.unpack_group_header(data, at, segment_header.crc):
        at += frame.GROUP_HEADER_BYTES
        end = at + header.length
        records = []
        while at < end:
            (length,) = struct.unpack_from("<I", data, at + 4)
            at += frame.FRAME_BYTES
            records.append(data[at : at + length])
            at += length
        found.append((header, records))
    return found


def write_checkpoint(broker: Broker, log: FileLog, folder: Path) -> None:
    """Write a checkpoint, and keep the older ones as a broker does that wrote them itself."""
    checkpoints = FileCheckpoints(folder)
    for mark, _ in checkpoints.newest_first():
        checkpoints.prove(mark)
    checkpoint(broker, log, checkpoints)


class Builder:
    """Writes a log folder from frames, with whatever in it a test asks for.

    It keeps the numbers and the chain going; ``durable`` of a group is the number of the one before it unless given.
    """

    def __init__(
        self, folder: Path, *, capacity: int = 512, log_id: bytes = b"log of the tests", base: int = 1
    ) -> None:
        self.folder = folder
        self.capacity = capacity
        self.log_id = log_id
        self.base = base
        self.number = 1
        self.chain = 0
        self.segment = 0
        self.data = bytearray()
        self.header: frame.SegmentHeader | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def path(self) -> Path:
        return self.folder / file_name(self.segment)

    def open(self) -> Builder:
        """Go on in a new segment."""
        self.segment += 1
        self.data = bytearray(frame.pack_segment_header(self.segment, self.log_id, self.capacity, 1_700_000_000_000))
        self.header = frame.unpack_segment_header(bytes(self.data))
        return self.write()

    def write(self) -> Builder:
        self.path.write_bytes(self.data.ljust(self.capacity, b"\0"))
        return self

    def group(self, *records: bytes, kind: int = frame.GROUP, durable: int | None = None) -> Builder:
        assert self.header is not None
        data, self.chain = frame.pack_group(
            self.header.crc,
            list(records),
            kind=kind,
            offset=len(self.data),
            base=self.base,
            number=self.number,
            durable=self.number - 1 if durable is None else durable,
            chain=self.chain,
        )
        self.number += 1
        self.data += data
        return self.write()

    def seal(self) -> Builder:
        self.group(kind=frame.SEAL)
        self.path.write_bytes(self.data)
        return self
