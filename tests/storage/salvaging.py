"""Small damaged logs, and what `wonderq_storage.salvage` finds in them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tests.support.folders import Builder, records_in, snapshot
from wonderq.state import record
from wonderq_storage import CorruptLogError, frame
from wonderq_storage.salvage import Problem, Salvage, SegmentSummary, Span
from wonderq_storage.segment import file_name

CAPACITY = 512
NO_HEADER = "the segment header does not verify"
NOTHING = f"{NO_HEADER}, and no group in it does"
MISSING = "the segment is missing"


def a_record(number: int) -> bytes:
    return record.encode((record.DELETE, 1_700_000_000_000, number, [number, 1]))


#: Size of one of them in a segment, alone in its group.
GROUP = frame.GROUP_HEADER_BYTES + frame.FRAME_BYTES + len(a_record(0))
HEADER = frame.SEGMENT_HEADER_BYTES

RECORDS = [a_record(number) for number in range(8)]


class Reading(NamedTuple):
    """Result of a salvage."""

    records: list[bytes]
    problems: list[Problem]
    torn: Problem | None
    segments: list[SegmentSummary]
    missing_front: bool

    @property
    def told(self) -> list[tuple[str, int, str]]:
        return [(Path(each.file).name, each.offset, each.reason) for each in self.problems]

    @property
    def lost(self) -> list[list[Span]]:
        return [each.lost for each in self.problems]

    @property
    def missing(self) -> list[int]:
        return [each.missing for each in self.problems]

    @property
    def states(self) -> list[str]:
        return [each.state for each in self.segments]


def read(folder: Path) -> Reading:
    before = snapshot(folder)
    reading = Salvage(folder)
    try:
        records = []
        for found in reading.records():
            data = bytes(found.data)
            assert found.path.read_bytes()[found.offset : found.offset + len(data)] == data
            assert found.position == found.segment << 32 | found.offset
            records.append(data)
    finally:
        reading.close()
    assert snapshot(folder) == before
    return Reading(records, reading.problems, reading.torn, reading.segments, reading.missing_front)


def start_stops_at(folder: Path) -> tuple[str, int] | None:
    """Return the place where a start refuses the log; None if it accepts it."""
    try:
        records_in(folder)
    except CorruptLogError as error:
        return error.file, error.offset
    return None


def write(folder: Path, *, log_id: bytes = b"log of the tests", capacity: int = CAPACITY) -> Builder:
    """Four segments of two records each; the last is not sealed, and a closing group ends it."""
    builder = Builder(folder, log_id=log_id, capacity=capacity)
    for number in range(0, 8, 2):
        builder.open().group(RECORDS[number]).group(RECORDS[number + 1])
        if number < 6:
            builder.seal()
    builder.group()
    return builder


def path_of(folder: Path, number: int) -> Path:
    return folder / file_name(number)


def change(folder: Path, number: int, offset: int, data: bytes) -> None:
    path = path_of(folder, number)
    whole = bytearray(path.read_bytes())
    whole[offset : offset + len(data)] = data
    path.write_bytes(whole)


def flip(folder: Path, number: int, offset: int) -> None:
    change(folder, number, offset, bytes([path_of(folder, number).read_bytes()[offset] ^ 0x40]))


def without(*lost: int) -> list[bytes]:
    return [each for number, each in enumerate(RECORDS) if number not in lost]
