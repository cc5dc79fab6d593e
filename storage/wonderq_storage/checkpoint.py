"""Checkpoint files: the state at one position of a log, stored so that a start reads only the records after it.

A checkpoint is a cache. If it is missing, damaged or old, the start takes longer; nothing else depends on it. The file
is named after its position in the log (`SEGMENT-OFFSET.ckpt`, in decimal)::

    header 64 | frame | frame | ... | empty frame

Frames are encoded by `wonderq_storage.frame`. The first is chained to the header's checksum and contains the log's mark
as msgpack. The caller defines the contents of the others. The empty frame marks the end of a complete file.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path

import msgpack

from wonderq_storage import frame
from wonderq_storage.checksum import crc32
from wonderq_storage.disk import Disk, DiskFile, no_room_is_disk_full
from wonderq_storage.errors import DamagedCheckpointError
from wonderq_storage.log import Mark, Position
from wonderq_storage.segment import pack_position, unpack_position

logger = logging.getLogger("wonderq.storage")

MAGIC = b"WonderQC"
VERSION = 1
SUFFIX = ".ckpt"
UNFINISHED_SUFFIX = ".ckpt.tmp"

#: Number of checkpoints kept. If the newest is damaged, the one before it still saves most of the work.
KEPT = 2

_HEADER = struct.Struct("<8sI48x")


class FileCheckpoints:
    """A `wonderq_storage.log.Checkpoints` in a log's folder, which the caller has locked."""

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        self._folder = folder
        self._disk = disk or Disk()
        self._proved: set[str] = set()
        """Names of the checkpoints that this object wrote, or that a start used."""

    def write(self, mark: Mark, chunks: Iterable[bytes]) -> int:
        """Write a checkpoint durably and return its size in bytes.

        All other checkpoints are removed, except the newest one that is proved. Everything before the mark must be
        durable in the log already.

        Raises:
            DiskFullError: the disk has no room. The unfinished file is removed.
        """
        path = self._folder / _name(mark)
        unfinished = path.with_suffix(UNFINISHED_SUFFIX)
        with no_room_is_disk_full(f"no room for a checkpoint in {self._folder}"):
            file = self._disk.create(unfinished)
            try:
                size = _write(file, mark, chunks)
                file.sync()
                self._disk.rename(unfinished, path)
            except BaseException:
                self._disk.remove(unfinished)
                raise
            finally:
                file.close()
        self._disk.sync_folder(self._folder)
        older = [name for name in self._names() if name != path.name]
        kept = [name for name in older if name in self._proved][: KEPT - 1]
        for name in older:
            if name not in kept:
                self._disk.remove(self._folder / name)
        self._proved = {path.name, *kept}
        return size

    def prove(self, mark: Mark) -> None:
        """Remember that the checkpoint with this mark is usable, which is unknown of the others."""
        self._proved.add(_name(mark))

    def newest_first(self) -> Iterator[tuple[Mark, Iterator[bytes]]]:
        """Yield the mark and the chunks of each checkpoint. One whose beginning does not verify is skipped.

        The chunks raise `DamagedCheckpointError` at the first frame that does not verify.
        """
        for path in self.paths():
            try:
                mark, chunks = self.read(path)
            except (DamagedCheckpointError, ValueError, TypeError) as error:
                logger.warning("skipping the checkpoint %s: %s", path.name, error)
                continue
            with closing(chunks):
                yield mark, chunks

    def paths(self) -> list[Path]:
        """Return the paths of all checkpoints, newest first."""
        return [self._folder / name for name in self._names()]

    def read(self, path: Path) -> tuple[Mark, Generator[bytes, None, None]]:
        """Return the mark and the chunks of one checkpoint.

        The chunks raise `DamagedCheckpointError` at the first frame that does not verify.

        Raises:
            DamagedCheckpointError, ValueError, TypeError: the header or the mark does not verify.
        """
        chunks = _read(self._disk, path)
        try:
            return Mark(*msgpack.unpackb(next(chunks, b""))), chunks
        except BaseException:
            chunks.close()
            raise

    def remove_unfinished(self) -> None:
        """Remove unfinished checkpoint files that a crash left."""
        for name in self._disk.list(self._folder):
            if name.endswith(UNFINISHED_SUFFIX) and _is_ours(name.removesuffix(UNFINISHED_SUFFIX)):
                self._disk.remove(self._folder / name)

    def remove_before(self, end: Position) -> None:
        """Remove checkpoints of earlier positions, which the log no longer contains."""
        for name in self._names():
            segment, offset = name.removesuffix(SUFFIX).split("-")
            if pack_position(int(segment), int(offset)) < end:
                self._disk.remove(self._folder / name)

    def _names(self) -> list[str]:
        """Return the names of all checkpoints, newest first."""
        names = self._disk.list(self._folder)
        return sorted(
            (name for name in names if name.endswith(SUFFIX) and _is_ours(name[: -len(SUFFIX)])), reverse=True
        )


def _name(mark: Mark) -> str:
    number, offset = unpack_position(mark.end)
    return f"{number:010d}-{offset:010d}{SUFFIX}"


def _is_ours(stem: str) -> bool:
    segment, _, offset = stem.partition("-")
    return all(len(part) == 10 and part.isascii() and part.isdigit() for part in (segment, offset))


def _write(file: DiskFile, mark: Mark, chunks: Iterable[bytes]) -> int:
    header = _HEADER.pack(MAGIC, VERSION)
    crc = crc32(header)
    file.write(header + crc.to_bytes(4, "little"), 0)
    at = frame.SEGMENT_HEADER_BYTES
    for payload in chain([msgpack.packb(mark)], chunks, [b""]):
        prefix, crc = frame.frame_prefix(payload, crc)
        file.write(prefix + payload, at)
        at += len(prefix) + len(payload)
    return at


def _read(disk: Disk, path: Path) -> Generator[bytes, None, None]:
    """Yield the payloads before the empty frame.

    Raises:
        DamagedCheckpointError: the next frame does not verify, is incomplete, or cannot be read.
    """
    try:
        file = disk.open(path)
        with closing(file):
            yield from _payloads(file)
    except OSError as error:
        raise DamagedCheckpointError(f"{path} cannot be read: {error.strerror}") from error


def _payloads(file: DiskFile) -> Iterator[bytes]:
    header = file.read(frame.SEGMENT_HEADER_BYTES, 0)
    crc = crc32(header[:-4])
    if len(header) < frame.SEGMENT_HEADER_BYTES or header[-4:] != crc.to_bytes(4, "little"):
        raise DamagedCheckpointError(f"{file.path}, byte 0: the header does not verify")
    magic, version = _HEADER.unpack(header[:-4])
    if magic != MAGIC or version != VERSION:
        raise DamagedCheckpointError(f"{file.path} has format version {version}, and this WonderQ reads {VERSION}")
    at, size = frame.SEGMENT_HEADER_BYTES, file.size()
    while True:
        prefix = file.read(frame.FRAME_BYTES, at)
        length = int.from_bytes(prefix[4:], "little")
        if len(prefix) < frame.FRAME_BYTES or length > size - at - frame.FRAME_BYTES:
            raise DamagedCheckpointError(f"{file.path}, byte {at}: the file ends too early")
        payload = file.read(length, at + frame.FRAME_BYTES)
        expected, crc = frame.frame_prefix(payload, crc)
        if expected != prefix:
            raise DamagedCheckpointError(f"{file.path}, byte {at}: a frame does not verify")
        if not payload:
            return
        yield payload
        at += frame.FRAME_BYTES + length
