"""Reading past damaged groups and segments' ends: what is reported and lost, and every record that still verifies."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.storage.salvaging import (
    CAPACITY,
    GROUP,
    HEADER,
    RECORDS,
    change,
    flip,
    path_of,
    read,
    start_stops_at,
    without,
    write,
)
from tests.support.folders import Builder, groups_in, records_in
from wonderq.state import record
from wonderq_storage import FileLog, frame, salvage
from wonderq_storage.salvage import Problem, Span
from wonderq_storage.segment import file_name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "d")
    return tmp_path / "d"


# Groups and records


BEHIND = record.encode((record.DELETE, 0, "the group behind"))


def write_group(folder: Path, *records: bytes) -> list[int]:
    """Write a group of several records and one more behind it; gives where in the file each frame begins."""
    Builder(folder, capacity=4096).open().group(*records).group(BEHIND)
    at, starts = HEADER + frame.GROUP_HEADER_BYTES, []
    for each in records:
        starts.append(at)
        at += frame.FRAME_BYTES + len(each)
    return starts


def test_a_record_whose_end_cannot_be_told_takes_along_the_rest_of_its_group(tmp_path: Path) -> None:
    """Only the next group shows where the next one begins."""
    starts = write_group(tmp_path, *RECORDS[:4])
    change(tmp_path, 1, starts[1], b"\xff" * 9)
    found = read(tmp_path)
    assert found.records == [RECORDS[0], BEHIND]
    end = starts[3] + frame.FRAME_BYTES + len(RECORDS[3])
    assert found.told == [(file_name(1), HEADER, "a record of group 1 does not verify")]
    assert (found.lost, found.missing) == ([[Span(starts[1], end - starts[1])]], [0])


def test_a_damaged_record_before_one_that_cannot_be_told_from_the_rest_is_lost_with_it(tmp_path: Path) -> None:
    starts = write_group(tmp_path, *RECORDS[:4])
    flip(tmp_path, 1, starts[1] + frame.FRAME_BYTES + 2)
    change(tmp_path, 1, starts[2], b"\xff" * 9)
    found = read(tmp_path)
    assert found.records == [RECORDS[0], BEHIND]
    end = starts[3] + frame.FRAME_BYTES + len(RECORDS[3])
    assert found.lost == [[Span(starts[1], end - starts[1])]]


def test_damaged_records_that_are_apart_are_lost_apart(tmp_path: Path) -> None:
    starts = write_group(tmp_path, *RECORDS[:6])
    size = frame.FRAME_BYTES + len(RECORDS[0])
    for index in (1, 3, 4):
        flip(tmp_path, 1, starts[index] + frame.FRAME_BYTES + 2)
    found = read(tmp_path)
    assert found.records == [RECORDS[0], RECORDS[2], RECORDS[5], BEHIND]
    assert found.lost == [[Span(starts[1], size), Span(starts[3], 2 * size)]]


@pytest.mark.parametrize("byte", range(8))
@pytest.mark.parametrize("index", [0, 2, 3])
def test_a_damaged_length_or_checksum_of_a_record_costs_nothing(tmp_path: Path, byte: int, index: int) -> None:
    starts = write_group(tmp_path, *RECORDS[:4])
    flip(tmp_path, 1, starts[index] + byte)
    found = read(tmp_path)
    assert found.records == [*RECORDS[:4], BEHIND]
    assert found.told == [(file_name(1), HEADER, "a record of group 1 does not verify")]
    assert found.lost == [[]]


@pytest.mark.parametrize("byte", range(40))
def test_a_damaged_group_header_costs_itself_alone(folder: Path, byte: int) -> None:
    flip(folder, 2, HEADER + byte)
    found = read(folder)
    assert found.records == RECORDS
    assert found.told == [(file_name(2), HEADER, "no group header verifies here")]
    assert (found.lost, found.missing) == ([[Span(HEADER, frame.GROUP_HEADER_BYTES)]], [0])
    assert found.states == ["sealed", "sealed", "sealed", "active"]


def test_a_group_longer_than_its_file_is_read_as_far_as_it_goes(folder: Path) -> None:
    """A copy that stopped in the middle leaves such a file."""
    [_, (header, _), _] = groups_in(path_of(folder, 1))
    size = header.offset + GROUP - 1
    with path_of(folder, 1).open("r+b") as file:
        file.truncate(size)
    found = read(folder)
    assert found.records == without(1)
    assert found.told == [
        (
            file_name(1),
            header.offset,
            f"group 2 is longer than the file; the file is {size} bytes long, was created with {CAPACITY}, and has no seal",
        )
    ]
    at = header.offset + frame.GROUP_HEADER_BYTES
    assert found.lost == [[Span(at, size - at)]]
    assert found.missing == [CAPACITY - size]


@pytest.mark.parametrize("last", [1, 3])
def test_damage_up_to_the_end_leaves_the_next_segment_readable(folder: Path, last: int) -> None:
    end = path_of(folder, last).stat().st_size
    change(folder, last, HEADER + GROUP, b"\xff" * (end - HEADER - GROUP))
    found = read(folder)
    assert found.records == without(2 * last - 1)
    assert [each[:2] for each in found.told] == [(file_name(last), HEADER + GROUP)]
    assert found.lost == [[Span(HEADER + GROUP, end - HEADER - GROUP)]]
    assert found.missing == [CAPACITY - end]


def test_a_group_that_is_not_the_one_expected_is_reported_and_read(folder: Path, tmp_path: Path) -> None:
    """Segment 2 of another life of the same log, as an old backup has it."""
    other = Builder(tmp_path / "other")
    other.open().group(b"\x92\x00\x00").group(RECORDS[1]).seal()
    other.open().group(b"\x92\x01\x01").group(RECORDS[3]).seal()
    shutil.copy(path_of(other.folder, 2), path_of(folder, 2))
    found = read(folder)
    assert found.records == [*RECORDS[:2], b"\x92\x01\x01", *RECORDS[3:]]
    assert found.told == [
        (file_name(2), HEADER, "group 4 does not follow from the one before it"),
        (file_name(3), HEADER, "group 7 does not follow from the one before it"),
    ]
    assert found.lost == [[], []]


def test_a_group_with_another_number_is_reported_and_read(folder: Path, tmp_path: Path) -> None:
    other = Builder(tmp_path / "other")
    other.open().group(RECORDS[0]).seal().open().group(RECORDS[2]).group(RECORDS[3]).seal()
    shutil.copy(path_of(other.folder, 2), path_of(folder, 2))
    found = read(folder)
    assert found.records == RECORDS
    assert found.told == [
        (file_name(2), HEADER, "expected group 4, found group 3"),
        (file_name(3), HEADER, "expected group 6, found group 7"),
    ]


# The ends of segments


def test_bytes_behind_a_seal_are_reported_and_left(folder: Path) -> None:
    end = path_of(folder, 2).stat().st_size
    with path_of(folder, 2).open("ab") as file:
        file.write(b"\0more\0")
    found = read(folder)
    assert found.records == RECORDS
    assert found.told == [(file_name(2), end, "there are bytes behind the seal")]
    assert found.lost == [[Span(end, 5)]]


def test_a_torn_tail_is_no_problem(tmp_path: Path) -> None:
    builder = Builder(tmp_path)
    builder.open().group(RECORDS[0]).group(RECORDS[1])
    flip(tmp_path, 1, HEADER + 2 * GROUP - 1)
    found = read(tmp_path)
    assert (found.records, found.problems) == (RECORDS[:1], [])
    expected = "a torn tail, which was never acknowledged"
    assert found.torn == Problem(str(builder.path), HEADER + GROUP, expected, [Span(HEADER + GROUP, GROUP)])
    builder.open()
    assert read(tmp_path).torn == found.torn, "a spare behind it tells of nothing"


def test_an_unsealed_segment_that_was_cut_may_have_lost_all_that_is_not_there(folder: Path) -> None:
    [(_, _), (second, _), _] = groups_in(path_of(folder, 4))
    with path_of(folder, 4).open("r+b") as file:
        file.truncate(second.offset)
    found = read(folder)
    assert found.records == without(7)
    reason = f"the file is {second.offset} bytes long, was created with {CAPACITY}, and has no seal"
    assert found.told == [(file_name(4), second.offset, reason)]
    assert (found.lost, found.missing) == ([[]], [CAPACITY - second.offset])


def test_a_blank_segment_that_was_cut_is_blank_and_reported(folder: Path) -> None:
    with path_of(folder, 4).open("r+b") as file:
        file.truncate(HEADER)
    found = read(folder)
    assert found.states[-1] == "blank"
    assert found.told == [
        (file_name(4), HEADER, f"the file is {HEADER} bytes long, was created with {CAPACITY}, and has no seal")
    ]
    assert found.missing == [CAPACITY - HEADER]


@pytest.mark.parametrize("more", [b"\0", b"\1"])
def test_an_unsealed_segment_that_grew_is_no_torn_tail(folder: Path, more: bytes) -> None:
    """A start refuses it, so this must not pass it over."""
    with path_of(folder, 4).open("ab") as file:
        file.write(more)
    found = read(folder)
    assert (found.records, found.torn) == (RECORDS, None)
    reason = f"the file is {CAPACITY + 1} bytes long, was created with {CAPACITY}, and has no seal"
    assert found.told == [(file_name(4), CAPACITY, reason)]


def test_the_zeros_of_a_hole_at_the_end_of_a_sealed_segment_may_have_been_groups(folder: Path) -> None:
    path = path_of(folder, 2)
    path.write_bytes(path.read_bytes()[: HEADER + GROUP].ljust(CAPACITY, b"\0"))
    found = read(folder)
    assert found.records == without(3)
    assert found.told == [(file_name(2), HEADER + GROUP, "the seal of this segment is missing")]
    assert (found.lost, found.missing) == ([[]], [CAPACITY - HEADER - GROUP])


@pytest.mark.parametrize("number", [2, 4])
def test_a_hole_is_reported_where_it_begins(folder: Path, number: int) -> None:
    """A sealed segment's file is shorter than it was created, which must not be taken for the reason."""
    change(folder, number, HEADER + GROUP, bytes(GROUP))
    found = read(folder)
    assert found.records == without(2 * number - 1)
    assert found.told == [(file_name(number), HEADER + GROUP, f"group {3 * number - 1} is missing here")]
    assert found.lost == [[Span(HEADER + GROUP, GROUP)]]
    assert start_stops_at(folder) == (str(path_of(folder, number)), HEADER + GROUP)


@pytest.mark.parametrize("fill", [b"\0", b"\1", b"\xff"])
def test_a_long_hole_is_not_gone_through_byte_by_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fill: bytes
) -> None:
    """Each step scans all following bytes, which would take days for some megabytes."""
    size = 1 << 18
    big = record.encode((record.DELETE, 0, b"x" * size))
    builder = Builder(tmp_path, capacity=1 << 20)
    builder.open().group(*RECORDS[:3]).group(big).group(RECORDS[3])
    change(tmp_path, 1, HEADER + frame.GROUP_HEADER_BYTES + frame.FRAME_BYTES + 4, fill * size)
    steps = []
    lengths = salvage._possible_ends
    monkeypatch.setattr(salvage, "_possible_ends", lambda data, at: steps.append(at) or lengths(data, at))
    assert read(tmp_path).records == [RECORDS[3]]
    assert len(steps) < 100


# Agreement with a start


def agrees(folder: Path) -> None:
    """Check that a salvage has a problem where a start refuses the log, and else the same records and no problem."""
    found = read(folder)
    refused = start_stops_at(folder)
    assert refused == ((found.problems[0].file, found.problems[0].offset) if found.problems else None)
    if refused is None:
        assert found.records == records_in(folder)
        log = FileLog(folder)
        assert len(list(log.replay())) == len(found.records)
        assert log.torn_bytes == (found.torn.lost[0].length if found.torn else 0)
        log.close()


@pytest.mark.parametrize("number", [1, 4])
def test_each_damaged_byte_is_found_where_a_start_finds_it(folder: Path, number: int) -> None:
    whole = path_of(folder, number).read_bytes()
    for at in range(len(whole)):
        flip(folder, number, at)
        agrees(folder)
        path_of(folder, number).write_bytes(whole)


@pytest.mark.parametrize("number", [1, 4])
def test_a_file_of_any_length_is_judged_as_by_a_start(folder: Path, number: int) -> None:
    whole = path_of(folder, number).read_bytes()
    for length in range(len(whole)):
        path_of(folder, number).write_bytes(whole[:length])
        agrees(folder)
    for more in (b"\0", b"\1", bytes(CAPACITY), bytes(CAPACITY) + b"\1"):
        path_of(folder, number).write_bytes(whole + more)
        agrees(folder)


@pytest.mark.parametrize("number", [1, 4])
def test_a_hole_anywhere_is_found_where_a_start_finds_it(folder: Path, number: int) -> None:
    whole = path_of(folder, number).read_bytes()
    for at in range(0, len(whole), 7):
        for size in (8, 40, GROUP, 2 * GROUP, CAPACITY):
            change(folder, number, at, bytes(min(size, len(whole) - at)))
            agrees(folder)
            path_of(folder, number).write_bytes(whole)
