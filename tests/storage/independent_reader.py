"""A reader of WonderQ's log, written from docs/FORMAT.md alone: it shares no code with the broker."""

import struct
from collections.abc import Iterator
from itertools import accumulate, repeat
from pathlib import Path
from typing import Any
from zlib import crc32

import msgpack

RECORDS, SEAL = 0x50524751, 0x4C455351
FIELDS = (4, 7, 7, 6, 4, 6, 4, 3)  # how many a record has, by its kind


def check(holds: bool, path: Path, offset: int, why: str) -> None:
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
    expected, chain, sealed, paths = 1, 0, True, sorted(folder.glob("[0-9]" * 10 + ".wal"))
    for number, path in enumerate(paths, start=int(paths[0].stem) if paths else 1):
        data, at, log_id = path.read_bytes(), 64, paths[0].read_bytes()[16:32]
        header = struct.pack("<8sII16s", b"WonderQ\0", 1, number, log_id)
        check(data[:8] == header[:8] and crc32(data[:60]).to_bytes(4, "little") == data[60:64], path, 0, "no header")
        check(data[8:12] == header[8:12], path, 8, "unknown format version")
        check(data[:32] == header and path.stem == f"{number:010}", path, 12, "a gap, or another number or log id")
        check(sealed or not any(data[64:]), path, 64, "the segment before this one is damaged, or its seal is missing")
        sealed = False
        while not sealed and (group := header_at(data, at)):
            crc, kind, _, length, base, this, _, before = group
            if at == 64 and path == paths[0] and number > 1:
                check(base >= number, path, at, "segments before this one are missing")
                expected, chain = this, before
            good = [(at + 40, crc, b""), *frames(data, at + 40, at + 40 + length, crc)]
            if (this, before, at + 40 + length) != (expected, chain, good[-1][0]) or (kind == SEAL and length):
                break
            for end, _, payload in good[1:]:
                record = msgpack.unpackb(payload)
                check(record[0] in range(8) and len(record) == FIELDS[record[0]], path, end, "unknown record")
                yield path, end, record
            (at, chain, _), expected, sealed = good[-1], expected + 1, kind == SEAL
        check(not sealed or (path != paths[-1] and not any(data[at:])), path, at, "bytes or no segment behind a seal")
        check(sealed or len(data) == int.from_bytes(data[32:40], "little"), path, len(data), "not its original size")
        later = map(header_at, repeat(data), range(at, len(data)) if any(data[at:]) else ())
        check(not any(group and group[6] >= expected for group in later), path, at, "durable bytes were lost")


def contents(path: Path, at: int, lengths: list[int], entries: bytes) -> Iterator[dict[str, str]]:
    check(sum(lengths) == len(entries), path, at, "the entries are not as long as their lengths say")
    for entry in (entries[end - length : end] for end, length in zip(accumulate(lengths), lengths, strict=True)):
        check(not entry or crc32(entry[4:]) == int.from_bytes(entry[:4], "little"), path, at, "a damaged entry")
        yield {"body": msgpack.unpackb(entry[4:])} if entry else {}


def spread(runs: list[int]) -> list[int]:
    return [n for first, count in zip(runs[::2], runs[1::2], strict=True) for n in range(first, first + count)]


def live_messages(folder: Path) -> dict[str, dict[int, dict[str, Any]]]:
    """By queue and sequence: body, status (1 waiting, 2 claimed, 3 delayed; of the last record), due, receives, token."""
    names: dict[int, str] = {}
    queues: dict[int, dict[int, dict[str, Any]]] = {}
    for path, at, (kind, time, queue, *fields) in records(folder):
        live = queues.setdefault(queue, {})
        if kind == 1:
            names[queue] = fields[0]
        elif kind == 2:
            first, dues, lengths, entries = fields
            for n, body in enumerate(contents(path, at, lengths, entries)):
                due = dues[n] if dues and dues[n] > time else 0
                live[first + n] = body | {"status": 3 if due else 1, "due": due, "receives": 0, "token": None}
        elif kind == 3:
            for message in map(live.__getitem__, spread(fields[0])):
                token, receives = fields[2], message["receives"] + 1
                message |= {"status": 2, "due": time + fields[1], "receives": receives, "token": token}
        elif kind == 5:
            for n, status, due, _ in fields[0]:
                live[n] |= {"status": status, "due": due} | ({} if status == 2 else {"token": None})
            bodies = contents(path, at, [length for *_, length in fields[1]], fields[2])
            for (n, _, status, due, _, receives, token, _), body in zip(fields[1], bodies, strict=True):
                live[n] = body | {"status": status, "due": due, "receives": receives, "token": token or None}
        elif kind in (4, 6):
            for n in spread(fields[0]) if kind == 4 else [n for n in live if n < fields[0]]:
                del live[n]
        elif kind == 7:
            del queues[queue], names[queue]
    return {name: dict(sorted(queues[queue].items())) for queue, name in names.items()}
