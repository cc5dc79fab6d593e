"""Reading a log of which files are damaged, missing or under other names: what is reported, and what is still read."""

from __future__ import annotations

import shutil
from pathlib import Path
from zlib import crc32

import pytest

from tests.storage.salvaging import (
    CAPACITY,
    GROUP,
    HEADER,
    MISSING,
    NO_HEADER,
    NOTHING,
    RECORDS,
    change,
    flip,
    path_of,
    read,
    without,
    write,
)
from tests.support.folders import Builder, records_in
from wonderq_storage import UnsupportedFormatError, frame
from wonderq_storage.salvage import Problem, Salvage, Span
from wonderq_storage.segment import file_name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "d")
    return tmp_path / "d"


def test_a_whole_log_is_read_whole(folder: Path) -> None:
    found = read(folder)
    assert found.records == RECORDS == records_in(folder)
    assert (found.problems, found.torn, found.missing_front) == ([], None, False)
    assert found.states == ["sealed", "sealed", "sealed", "active"]
    assert [each.records for each in found.segments] == [2, 2, 2, 2]
    assert [each.groups for each in found.segments] == [3, 3, 3, 3]
    assert {each.used_bytes for each in found.segments} == {HEADER + 2 * GROUP + frame.GROUP_HEADER_BYTES}


def test_a_folder_without_segments_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("of somebody")
    reading = Salvage(tmp_path)
    assert (list(reading.records()), reading.problems, reading.oldest, reading.capacity) == ([], [], None, 0)


def test_a_folder_of_a_newer_format_is_not_touched(folder: Path) -> None:
    data = bytearray(path_of(folder, 3).read_bytes())
    data[8] = 3
    data[60:64] = crc32(data[:60]).to_bytes(4, "little")
    path_of(folder, 3).write_bytes(data)
    with pytest.raises(UnsupportedFormatError, match="has format version 3"):
        Salvage(folder)


def test_a_problem_names_its_file_its_byte_and_what_is_unreadable() -> None:
    assert str(Problem("d/1.wal", 7, "why")) == "d/1.wal, byte 7: why"
    lost = [Span(7, 3), Span(20, 1)]
    assert str(Problem("d/1.wal", 7, "why", lost)) == "d/1.wal, byte 7: why (unreadable: bytes 7 to 9, bytes 20 to 20)"


# Files under other names, and other files


def test_a_segment_under_another_name_is_read_where_it_belongs(folder: Path) -> None:
    path_of(folder, 2).rename(path_of(folder, 9))
    found = read(folder)
    assert found.records == RECORDS
    assert found.told == [(file_name(9), 0, "the file holds segment 2, which is not its name")]
    assert (found.lost, found.missing) == ([[]], [0])


def test_two_segments_that_changed_names_are_both_reported_and_both_read(folder: Path) -> None:
    for old, new in ((2, 9), (3, 2), (9, 3)):
        path_of(folder, old).rename(path_of(folder, new))
    found = read(folder)
    assert found.records == RECORDS
    assert found.told == [
        (file_name(3), 0, "the file holds segment 2, which is not its name"),
        (file_name(2), 0, "the file holds segment 3, which is not its name"),
    ]


@pytest.mark.parametrize("name", [0, 2, 9])
def test_of_two_files_for_a_segment_the_one_with_its_name_counts(folder: Path, tmp_path: Path, name: int) -> None:
    """The other may be an older copy."""
    older = Builder(tmp_path / "older")
    older.open().seal().open().seal()
    older.open().group(RECORDS[4])
    shutil.copy(older.path, path_of(folder, name))
    found = read(folder)
    assert found.records == without(*((2, 3) if name == 2 else ()))
    assert sorted(found.told) == sorted(
        [
            (file_name(name), 0, "the file holds segment 3, which is not its name"),
            (file_name(name), 0, "this is segment 3, which another file holds already"),
        ]
    )
    assert sorted(found.lost) == [[], [Span(0, CAPACITY)]]


def test_a_segment_that_another_one_overwrote_is_missing(folder: Path) -> None:
    path_of(folder, 2).rename(path_of(folder, 3))
    found = read(folder)
    assert found.records == without(4, 5)
    assert found.told == [
        (file_name(3), 0, "the file holds segment 2, which is not its name"),
        (file_name(3), 0, MISSING),
    ]
    assert found.missing == [0, CAPACITY]


def test_the_newest_segment_is_missing_also_if_another_has_its_name(folder: Path) -> None:
    path_of(folder, 3).rename(path_of(folder, 4))
    found = read(folder)
    assert found.records == without(6, 7)
    assert found.told[1:] == [(file_name(4), 0, f"{MISSING}, but {file_name(4)} is sealed")]
    assert found.missing == [0, CAPACITY]


def test_a_file_of_another_log_is_left_out(folder: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other", log_id=b"another log ....")
    shutil.copy(path_of(other.folder, 2), path_of(folder, 2))
    found = read(folder)
    assert found.records == without(2, 3)
    size = path_of(folder, 2).stat().st_size
    assert found.told == [(file_name(2), 0, "the segment belongs to another log")]
    assert (found.lost, found.missing) == ([[Span(0, size)]], [CAPACITY - size])


def test_a_file_of_another_log_does_not_take_a_segments_place(folder: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other", log_id=b"another log ....")
    shutil.copy(path_of(other.folder, 3), path_of(folder, 0))
    found = read(folder)
    assert found.records == RECORDS
    assert [(name, reason) for name, _, reason in found.told] == [
        (file_name(0), "the segment belongs to another log"),
        (file_name(0), "the file holds segment 3, which is not its name"),
    ]


# Segment headers


@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize("offset", [0, 12, 16, 40, 59, 60, 63])
def test_a_damaged_segment_header_or_checksum_costs_no_record(folder: Path, number: int, offset: int) -> None:
    flip(folder, number, offset)
    found = read(folder)
    assert found.records == RECORDS
    assert found.told == [(file_name(number), 0, NO_HEADER)]
    assert (found.lost, found.missing) == ([[Span(0, HEADER)]], [0])


def test_without_any_whole_header_every_record_is_still_read(folder: Path) -> None:
    for number in range(1, 5):
        flip(folder, number, 20)
    found = read(folder)
    assert found.records == RECORDS
    assert found.told == [(file_name(number), 0, NO_HEADER) for number in range(1, 5)]


def test_a_damaged_header_is_reported_also_where_another_file_holds_that_segment(folder: Path) -> None:
    path_of(folder, 2).rename(path_of(folder, 0))
    path_of(folder, 3).rename(path_of(folder, 2))
    flip(folder, 2, 20)
    found = read(folder)
    assert found.told[:3] == [
        (file_name(0), 0, "the file holds segment 2, which is not its name"),
        (file_name(2), 0, NO_HEADER),
        (file_name(2), 0, "this is segment 2, which another file holds already"),
    ]
    assert found.records == without(4, 5)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_file_without_header_and_checksum_is_lost_and_the_others_are_not(folder: Path, number: int) -> None:
    change(folder, number, 40, bytes(24))
    size = path_of(folder, number).stat().st_size
    found = read(folder)
    assert found.records == without(2 * number - 2, 2 * number - 1)
    assert found.told == [(file_name(number), 0, NOTHING)]
    assert (found.lost, found.missing) == ([[Span(0, size)]], [CAPACITY - size])
    assert found.missing_front == (number == 1)


@pytest.mark.parametrize("length", [0, 1, 63])
def test_of_a_file_cut_within_its_header_a_whole_segment_is_missing(folder: Path, length: int) -> None:
    with path_of(folder, 4).open("r+b") as file:
        file.truncate(length)
    found = read(folder)
    assert found.records == without(6, 7)
    assert found.told == [(file_name(4), 0, NOTHING)]
    assert found.lost == [[Span(0, length)] if length else []]
    assert found.missing == [CAPACITY - length]


def test_if_nothing_verifies_every_file_is_reported(folder: Path) -> None:
    for number in range(1, 5):
        path_of(folder, number).write_bytes(b"of somebody else")
    found = read(folder)
    assert (found.records, found.segments) == ([], [])
    assert found.told == [(file_name(number), 0, NOTHING) for number in range(1, 5)]
    assert found.lost == [[Span(0, 16)]] * 4


# Missing segments


@pytest.mark.parametrize("gone", [(2,), (3,), (2, 3)])
def test_segments_missing_in_the_middle_cost_what_they_held(folder: Path, gone: tuple[int, ...]) -> None:
    for number in gone:
        path_of(folder, number).unlink()
    found = read(folder)
    assert found.records == without(*(2 * number - 2 for number in gone), *(2 * number - 1 for number in gone))
    assert found.told == [(file_name(number), 0, MISSING) for number in gone]
    assert (found.lost, found.missing) == ([[]] * len(gone), [CAPACITY] * len(gone))
    assert not found.missing_front


@pytest.mark.parametrize("gone", [(1,), (1, 2), (1, 2, 3)])
def test_segments_missing_at_the_front_are_told_by_the_base(folder: Path, gone: tuple[int, ...]) -> None:
    for number in gone:
        path_of(folder, number).unlink()
    found = read(folder)
    assert found.records == RECORDS[2 * len(gone) :]
    assert found.told == [(file_name(number), 0, MISSING) for number in gone]
    assert found.missing == [CAPACITY] * len(gone)
    assert found.missing_front


def test_a_file_at_the_front_that_is_unreadable_is_not_also_missing(folder: Path) -> None:
    path_of(folder, 1).unlink()
    path_of(folder, 2).write_bytes(b"")
    found = read(folder)
    assert sorted(found.told) == [(file_name(1), 0, MISSING), (file_name(2), 0, NOTHING)]
    assert found.missing == [CAPACITY, CAPACITY]
    assert found.missing_front


def test_a_log_that_was_trimmed_misses_nothing(tmp_path: Path) -> None:
    builder = Builder(tmp_path)
    builder.open().group(RECORDS[0]).seal().open().group(RECORDS[1]).seal()
    builder.base = 2
    builder.open().group(RECORDS[2])
    path_of(tmp_path, 1).unlink()
    found = read(tmp_path)
    assert (found.records, found.problems, found.missing_front) == (RECORDS[1:3], [], False)


def test_behind_a_sealed_segment_another_must_come(folder: Path) -> None:
    path_of(folder, 4).unlink()
    found = read(folder)
    assert found.records == without(6, 7)
    assert found.told == [(file_name(4), 0, f"{MISSING}, but {file_name(3)} is sealed")]
    assert found.missing == [CAPACITY]
