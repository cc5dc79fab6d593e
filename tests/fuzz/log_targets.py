"""Readers of the log, which must recognize every foreign byte: records, entries, segments, a whole folder."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import msgpack

from tests.fuzz.target import Target
from tests.support.folders import groups_of
from tests.support.forgetful_disk import FOLDER, ForgetfulDisk
from tests.support.small_folder import SmallFolder, open_log, quietly, write
from wonderq.state import record
from wonderq.state.replay import replay_log
from wonderq_storage import CorruptLogError, FileCheckpoints, StorageError, frame
from wonderq_storage.disk import DiskFile
from wonderq_storage.segment import Segment, SegmentReader, is_blank, newest_durable, open_segment, read_tail


@cache
def folders() -> dict[str, SmallFolder]:
    return write(7)


def _segments() -> list[bytes]:
    return [data for folder in folders().values() for name, data in folder.files.items() if name.endswith(".wal")]


def _records() -> list[bytes]:
    return list({each for data in _segments() for _, records in groups_of(data) for each in records})


_PLAIN = (int, str, bytes, bool, type(None))
_DEPTH = 8  # no record is half as deep


def _is_plain(value: Any, depth: int = _DEPTH) -> bool:
    """Tell whether a value is like those that records are made of."""
    if isinstance(value, list):
        return depth > 0 and all(_is_plain(each, depth - 1) for each in value)
    if isinstance(value, dict):
        return depth > 0 and all(isinstance(key, str) and _is_plain(each, depth - 1) for key, each in value.items())
    return type(value) in _PLAIN


def check_record(data: bytes) -> str:
    try:
        fields = record.decode(data)
    except ValueError:
        return "refused"
    assert isinstance(fields, list)
    assert len(fields) >= 2
    assert record.decode(memoryview(data)) == fields or not _is_plain(fields)
    if not _is_plain(fields):
        return "of other types"
    again = record.encode(fields)
    assert again == msgpack.packb(fields), "it is promised that both write the same"
    assert record.decode(again) == fields
    return "read"


def check_entry(data: bytes) -> str:
    """The same bytes as they are, and with the checksum made right."""
    try:
        read = record.decode_entry(data)
    except ValueError:
        read = None
    if read is not None:
        assert crc32(data[4:]) == int.from_bytes(data[:4], "little")
    value = data[4:]
    try:
        body, headers = record.decode_entry(crc32(value).to_bytes(4, "little") + value)
    except ValueError:
        return "refused"
    if not isinstance(body, str):
        return "no text"
    if _is_plain(headers):
        assert record.decode_entry(record.encode_entry(body, headers)) == (body, headers)
    return "read"


def check_runs(data: bytes) -> str:
    """Ascending numbers, made of the distances that the bytes say, are the same after they were runs."""
    sequences = []
    at = -1
    for each in data:
        at += 1 + each // 16
        sequences.append(at)
    runs = record.to_runs(sequences)
    assert list(record.from_runs(runs)) == sequences
    assert len(runs) <= 2 * len(sequences)
    assert all(first + count < after for first, count, after in zip(runs[::2], runs[1::2], runs[2::2], strict=False))
    return "read"


class _MemoryFile(DiskFile):
    """Bytes that are read like a file."""

    def __init__(self, path: Path, data: bytes) -> None:
        self.path = path
        self._fd = -1
        self._data = data

    def read(self, length: int, offset: int) -> bytes:
        return self._data[offset : offset + length]

    def size(self) -> int:
        return len(self._data)

    def close(self) -> None:
        pass


class _OneFile:
    """A disk with one file."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def open(self, path: Path) -> DiskFile:
        return _MemoryFile(path, self._data)


@cache
def _written() -> dict[int, list[list[tuple[int, bytes]]]]:
    """The groups of each sample, as records with their offsets, by the checksum of its header."""
    return {int.from_bytes(data[60:64], "little"): [each for each, _ in _walk(data)] for data in _segments()}


def _walk(data: bytes) -> list[tuple[list[tuple[int, bytes]], SegmentReader]]:
    header = frame.unpack_segment_header(data)
    assert header is not None
    reader = SegmentReader(Segment(_MemoryFile(Path("x"), data), header), None, None)
    return [([(offset, bytes(each)) for offset, each in records], reader) for records in reader]


def check_segment(data: bytes) -> str:
    header = frame.unpack_segment_header(data)
    disk: Any = _OneFile(data)
    if header is None:
        try:
            open_segment(disk, Path("0000000001.wal"))
        except CorruptLogError:
            return "refused"
        raise AssertionError("a header that does not verify was accepted")
    segment = Segment(_MemoryFile(Path("x"), data), header)
    reader = SegmentReader(segment, None, None)
    groups = []
    for records in reader:
        for offset, each in records:
            assert frame.SEGMENT_HEADER_BYTES < offset <= offset + len(each) <= reader.offset <= len(data)
            assert data[offset : offset + len(each)] == each
        groups.append([(offset, bytes(each)) for offset, each in records])
    assert frame.SEGMENT_HEADER_BYTES <= reader.unproven <= reader.offset
    written = _written().get(header.crc)
    if written is not None:
        assert groups == written[: len(groups)], "a record verifies that was never written there"
    number = reader.number or 0
    tail = read_tail(segment, reader.offset, number)
    assert tail.end >= reader.offset or tail.end <= len(data)
    assert tail.end <= max(len(data), reader.offset)
    assert tail.proof is None or tail.proof.durable >= number
    assert newest_durable(segment) >= 0
    if is_blank(segment):
        assert groups == []
        assert not data[frame.SEGMENT_HEADER_BYTES :].strip(b"\0")
    return "read in part" if reader.problem else "read"


@cache
def _held(kind: str) -> list[tuple[int, bytes]]:
    """The records of a whole folder, with their positions."""
    return _replayed(ForgetfulDisk(folders()[kind].files))


def _replayed(disk: ForgetfulDisk) -> list[tuple[int, bytes]]:
    log = open_log(disk)
    try:
        return [(position, bytes(data)) for position, data in log.replay()]
    finally:
        log.close()


def check_folder(data: bytes) -> str:
    """A start on a folder in which one file, which the first byte names, holds the other bytes."""
    kind = "killed" if data[:1] < b"\x80" else "stopped"
    folder = folders()[kind]
    names = sorted(folder.files)
    name = names[data[0] % len(names)] if data else names[0]
    files = {**folder.files, name: data[1:]}
    disk = ForgetfulDisk(files)
    try:
        held = _replayed(disk)
        log = open_log(disk)
        try:
            with quietly():
                replay_log(log, FileCheckpoints(FOLDER, disk))
        finally:
            log.close()
    except StorageError:
        return "refused"
    finally:
        assert disk.files() == files, "to look at a folder changes nothing"
    assert held == _held(kind)[: len(held)], "the log has something that was never written"
    if len(held) < len(_held(kind)):
        assert name == folder.segments[-1], "only the newest segment can have a torn tail"
        return "read in part"
    return "read"


def _folder_samples() -> list[bytes]:
    samples = []
    for first, folder in ((0, folders()["killed"]), (0x80, folders()["stopped"])):
        names = sorted(folder.files)
        place = {first + number: names[(first + number) % len(names)] for number in range(len(names))}
        samples += [bytes([number]) + folder.files[name] for number, name in place.items()]
    return samples


def targets() -> list[Target]:
    entries = [record.encode_entry(text) for text in ("", "a", "é" * 20, "x" * 300, "\0\u2028😀")]
    return [
        Target("record", check_record, _records()),
        Target("entry", check_entry, entries),
        Target("runs", check_runs, [bytes(range(256)), b"\0\0\0\x10\0\0"], cost=5),
        Target("segment", check_segment, _segments(), cost=20),
        Target("folder", check_folder, _folder_samples(), cost=100),
    ]
