"""A reader of WonderQ's log, written from docs/FORMAT.md alone: it shares no code with the broker."""

import struct
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import Any
from zlib import crc32

import msgpack

RECORDS, SEAL = 0x50524751, 0x4C455351
FIELDS = (4, 7, 7, 6, 4, 9, 4, 3, 8, 4, 5, 7, 7, 5, 11, 7)  # how many a record has, by its kind


def check(holds: bool, path: Path, offset: int, why: str) -> None:
    """Raise an error with file and offset unless the condition holds."""
    if not holds:
        raise ValueError(f"{path}, offset {offset}: {why}")


def header_at(data: bytes, at: int) -> tuple[int, ...]:
    """A group header's fields from its crc to its chain if it verifies by itself, else nothing."""
    crc, kind, offset, *_ = header = struct.unpack("<5I2QI", data[at : at + 40].ljust(40, b"\0"))
    plausible = kind in (RECORDS, SEAL) and offset == at
    return header if plausible and crc == crc32(data[at + 4 : at + 40], crc32(data[:60])) else ()


def frames(data: bytes, at: int, end: int, crc: int) -> Iterator[tuple[int, int, bytes]]:
    """The end, crc and payload of each record of a group, up to the first that does not verify."""
    while at < end:
        stored, length = struct.unpack("<II", data[at : at + 8].ljust(8, b"\0"))
        if stored != (crc := crc32(data[at + 4 : at + 8 + length], crc)):
            return
        at += 8 + length
        yield at, crc, data[at - length : at]


def records(folder: Path) -> Iterator[tuple[Path, int, list[Any]]]:
    """Every record of the log, with its file and where it ends in it. A torn tail is the end of the log."""
    expected, chain, oldest, sealed, paths = 1, 0, 1, True, sorted(folder.glob("[0-9]" * 10 + ".wal"))
    for number, path in enumerate(paths, start=int(paths[0].stem) if paths else 1):
        data, at, log_id = path.read_bytes(), 64, paths[0].read_bytes()[16:32]
        version = data[8] if data[8:12] in (b"\1\0\0\0", b"\2\0\0\0") else 0
        header = struct.pack("<8sII16s", b"WonderQ\0", version, number, log_id)
        check(data[:8] == header[:8] and crc32(data[:60]).to_bytes(4, "little") == data[60:64], path, 0, "no header")
        check(version > 0, path, 8, "unknown format version")
        check(data[:32] == header and path.stem == f"{number:010}", path, 12, "a gap, or another number or log id")
        check(sealed or not any(data[64:]), path, 64, "the segment before this one is damaged, or its seal is missing")
        sealed = False
        while not sealed and (group := header_at(data, at)):
            crc, kind, _, length, base, this, _, before = group
            if at == 64 and path == paths[0] and number > 1:
                expected, chain = this, before
            good = [(at + 40, crc, b""), *frames(data, at + 40, at + 40 + length, crc)]
            if (this, before, at + 40 + length) != (expected, chain, good[-1][0]) or (kind == SEAL and length):
                break
            for end, _, payload in good[1:]:
                record = msgpack.unpackb(payload)
                check(
                    record[0] in range(8 if version == 1 else 16) and len(record) == FIELDS[record[0]],
                    path,
                    end,
                    "unknown record",
                )
                yield path, end, record
            (at, chain, _), expected, oldest, sealed = good[-1], expected + 1, base, kind == SEAL
        check(not sealed or (path != paths[-1] and not any(data[at:])), path, at, "bytes or no segment behind a seal")
        check(sealed or len(data) == int.from_bytes(data[32:40], "little"), path, len(data), "not its original size")
        later = map(header_at, repeat(data), range(at, len(data)) if any(data[at:]) else ())
        check(not any(group and group[6] >= expected for group in later), path, at, "durable bytes were lost")
    check(not paths or oldest >= int(paths[0].stem), folder, 0, "segments before the lowest one are missing")
