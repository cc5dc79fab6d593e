"""Model of a crash: the disk against the real one, and the fates of single changes."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tests.forgetful.choosing import choose, ways
from tests.forgetful.fates import LOST, WHOLE
from tests.forgetful.medium import Contents, Medium
from tests.support.forgetful_disk import FOLDER, ForgetfulDisk
from wonderq_storage.disk import Disk
from wonderq_storage.errors import FolderLockedError


def folders(disk: ForgetfulDisk, files: dict[str, bytes] | None = None) -> list[dict[str, bytes]]:
    """Every folder that a crash can leave now, torn changes included."""
    contents = Contents()
    medium = Medium(files or {}, contents)
    for operation in disk.operations:
        medium.take(operation)
    counts = [change.fates for change in medium.pending]
    keys = {medium.key(fates) for fates in choose(counts, ways(counts), random.Random(0))}
    return [contents.folder(key) for key in keys]


def exercise(disk: Disk, folder: Path) -> dict[str, Any]:
    """A bit of everything, and what can be seen of it."""
    disk.make_folder(folder / "torn")
    file = disk.create(folder / "a.tmp")
    file.allocate(20)
    file.write(b"hello", 3)
    file.write(b"beyond the end", 15)
    file.sync()
    disk.rename(folder / "a.tmp", folder / "a")
    disk.sync_folder(folder)
    other = disk.create(folder / "torn" / "b")
    other.write(b"x" * 10, 0)
    other.truncate(4)
    removed = disk.create(folder / "c")
    removed.write(b"still readable", 0)
    disk.remove(folder / "c")
    again = disk.create(folder / "torn" / "b")
    again.write(b"new", 1)
    with pytest.raises(FileNotFoundError):
        disk.open(folder / "c")
    lock = disk.lock(folder)
    with pytest.raises(FolderLockedError):
        disk.lock(folder)
    disk.unlock(lock)
    seen = {
        "names": (sorted(disk.list(folder)), disk.list(folder / "torn")),
        "contents": [disk.open(folder / name).read(100, 2) for name in ("a", "torn/b")],
        "sizes": (file.size(), other.size(), again.size(), removed.size()),
        "removed": removed.read(5, 6),
    }
    for each in (file, other, removed, again):
        each.close()
    return seen


def test_it_behaves_as_the_real_disk_does(tmp_path: Path) -> None:
    assert exercise(ForgetfulDisk({}), FOLDER) == exercise(Disk(), tmp_path)


def test_what_was_synced_stays() -> None:
    disk = ForgetfulDisk({})
    file = disk.create(FOLDER / "a")
    file.write(b"abc", 0)
    file.sync()
    disk.sync_folder(FOLDER)
    assert folders(disk) == [{"a": b"abc"}]


def test_a_name_and_its_bytes_are_lost_independently() -> None:
    disk = ForgetfulDisk({})
    file = disk.create(FOLDER / "a")
    file.write(b"ab", 0)
    left = folders(disk)
    for each in ({}, {"a": b""}, {"a": b"ab"}, {"a": b"\0\0"}, {"a": b"a\0"}, {"a": b"\0b"}, {"a": b"a"}):
        assert each in left
    disk.sync_folder(FOLDER)
    assert {} not in folders(disk)
    file.sync()
    assert folders(disk) == [{"a": b"ab"}]


def test_a_rename_happens_or_not() -> None:
    disk = ForgetfulDisk({"a": b"old", "b": b"new"})
    disk.rename(FOLDER / "b", FOLDER / "a")
    left = folders(disk, {"a": b"old", "b": b"new"})
    assert sorted(map(sorted, left)) == [["a"], ["a", "b"]]
    assert {"a": b"new"} in left


def test_a_removed_file_may_come_back() -> None:
    disk = ForgetfulDisk({"a": b"1", "b": b"2"})
    disk.remove(FOLDER / "a")
    disk.remove(FOLDER / "b")
    left = folders(disk, {"a": b"1", "b": b"2"})
    assert len(left) == 4
    disk.sync_folder(FOLDER)
    assert folders(disk, {"a": b"1", "b": b"2"}) == [{}]


def test_a_folder_that_is_lost_takes_its_files_along() -> None:
    disk = ForgetfulDisk({})
    disk.sync_folder = lambda folder: None  # type: ignore[method-assign]
    disk.make_folder(FOLDER / "torn")
    file = disk.create(FOLDER / "torn" / "a")
    file.write(b"1", 0)
    file.sync()
    assert sorted(map(len, folders(disk))) == [0, 1]


def test_later_writes_survive_without_earlier_ones_and_holes_keep_what_was_there() -> None:
    before = b"o" * 1600
    disk = ForgetfulDisk({"a": before})
    file = disk.open(FOLDER / "a", write=True)
    file.write(b"1" * 1200, 200)
    file.write(b"22", 1500)
    left = [each["a"] for each in folders(disk, {"a": before})]
    assert before[:1500] + b"22" + before[1502:] in left
    assert before[:200] + b"1" * 312 + b"o" * 512 + b"1" * 376 + before[1400:] in left  # a sector is missing
    assert before[:200] + b"1" * 777 + before[977:] in left
    assert before[:623] + b"1" * 777 + before[1400:] in left
    assert all(len(each) == 1600 for each in left)


def test_writing_what_is_there_already_is_no_change() -> None:
    disk = ForgetfulDisk({"a": b"same"})
    disk.open(FOLDER / "a", write=True).write(b"am", 1)
    assert folders(disk, {"a": b"same"}) == [{"a": b"same"}]


def test_choices_are_different_and_complete_or_go_through_the_orders() -> None:
    counts = [2, 5, 2]
    everything = list(choose(counts, ways(counts), random.Random(1)))
    assert len(set(everything)) == len(everything) == ways(counts) == 8 + 3 * 4
    counts = [2, 300, 2, 300, 2, 2, 2]
    some = list(choose(counts, 200, random.Random(1)))
    assert len(set(some)) == len(some) == 200
    for done in range(8):
        assert (WHOLE,) * done + (LOST,) * (7 - done) in some
        assert (LOST,) * done + (WHOLE,) * (7 - done) in some
