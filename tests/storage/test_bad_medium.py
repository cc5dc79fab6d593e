"""Reading a log of which the medium has lost parts, or in which names lead to no files."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path

import pytest

from tests.storage.salvaging import CAPACITY, GROUP, HEADER, RECORDS, Reading, change, path_of, read, write
from wonderq_storage import FileLog, bad_medium
from wonderq_storage.bad_medium import BadMediumDisk
from wonderq_storage.salvage import Salvage, Span
from wonderq_storage.segment import file_name

BLOCK = 16


class Medium:
    """A medium that has lost some bytes of one file, and says so when they are read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path: Path | None = None
        self.lost = range(0)
        self.codes: Iterator[int] = repeat(errno.EIO)
        self.failures: list[tuple[int, int]] = []
        """Offset and length of each read that failed."""
        pread = os.pread

        def read_medium(fd: int, length: int, offset: int) -> bytes:
            is_lost = max(offset, self.lost.start) < min(offset + length, self.lost.stop)
            if is_lost and self.path is not None and os.path.samestat(os.fstat(fd), self.path.stat()):
                self.failures.append((offset, length))
                code = next(self.codes)
                raise OSError(code, os.strerror(code))
            return pread(fd, length, offset)

        monkeypatch.setattr(os, "pread", read_medium)

    def lose(self, folder: Path, number: int, lost: range) -> None:
        self.path, self.lost = path_of(folder, number), lost


@pytest.fixture
def medium(monkeypatch: pytest.MonkeyPatch) -> Medium:
    monkeypatch.setattr(bad_medium, "_BLOCK_BYTES", BLOCK)
    return Medium(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "d")
    return tmp_path / "d"


def lost_of(found: Reading, number: int) -> set[int]:
    spans = [span for each in found.problems if Path(each.file).name == file_name(number) for span in each.lost]
    return {at for span in spans for at in range(span.offset, span.end)}


@pytest.mark.parametrize("number", [1, 2, 4])
def test_only_what_is_in_an_unreadable_block_is_lost(folder: Path, tmp_path: Path, medium: Medium, number: int) -> None:
    size = path_of(folder, number).stat().st_size
    for at in range(0, size, BLOCK):
        medium.lose(folder, number, range(at + 3, at + 4))
        found = read(folder)
        zeros = tmp_path / "zeros"
        shutil.copytree(folder, zeros)
        change(zeros, number, at, bytes(min(BLOCK, size - at)))
        medium.path = None
        with_zeros = read(zeros).records
        shutil.rmtree(zeros)
        assert [each for each in found.records if each in with_zeros] == with_zeros, "it costs no more than zeros do"
        assert set(found.records) <= set(RECORDS)
        assert lost_of(found, number).issuperset(range(at, min(at + BLOCK, size))), at
        assert found.torn is None
        assert any("cannot read" in each.reason for each in found.problems), at


def test_each_lost_byte_is_counted_once(folder: Path, medium: Medium) -> None:
    """The block has the end of a record and the beginning of the next group, whose damage is reported besides."""
    medium.lose(folder, 2, range(HEADER + GROUP, HEADER + GROUP + 1))
    found = read(folder)
    spans = [span for each in found.problems for span in each.lost]
    assert sum(span.length for span in spans) == len(lost_of(found, 2))
    [about] = [each for each in found.problems if "cannot read" in each.reason]
    assert about.reason == "the disk cannot read 16 bytes of this file"
    assert about.offset == (HEADER + GROUP) // BLOCK * BLOCK


def test_a_lost_place_that_is_reported_already_is_named_again_with_its_reason(folder: Path, medium: Medium) -> None:
    medium.lose(folder, 2, range(HEADER, HEADER + 2 * BLOCK))
    found = read(folder)
    about = found.problems[-1]
    assert (about.offset, about.reason) == (HEADER, "the disk cannot read 32 bytes of this file")
    assert about.lost == []


def test_space_that_was_not_written_yet_counts_as_lost(folder: Path, medium: Medium) -> None:
    """Nobody knows whether there was anything."""
    medium.lose(folder, 4, range(CAPACITY - 1, CAPACITY))
    found = read(folder)
    assert found.records == RECORDS
    assert found.lost == [[Span(CAPACITY - BLOCK, BLOCK)]]


def test_a_file_of_which_nothing_can_be_used_has_the_reason(folder: Path, medium: Medium) -> None:
    medium.lose(folder, 2, range(CAPACITY))
    found = read(folder)
    size = path_of(folder, 2).stat().st_size
    assert found.records == RECORDS[:2] + RECORDS[4:]
    [reason] = [each.reason for each in found.problems if each.lost]
    assert reason.endswith(f"no group in it does; the disk cannot read {size} bytes of this file")


def test_a_block_that_cannot_be_read_is_asked_for_once(folder: Path, medium: Medium) -> None:
    """A failing disk takes seconds for each attempt, and may get worse by it."""
    medium.lose(folder, 2, range(HEADER, HEADER + 1))
    read(folder)
    assert medium.failures.count((HEADER, BLOCK)) == 1
    assert len(medium.failures) == 2


@pytest.mark.parametrize("at", [HEADER, HEADER + 1])
def test_other_errors_are_not_of_the_medium(folder: Path, medium: Medium, at: int) -> None:
    medium.lose(folder, 2, range(at, at + 1))
    medium.codes = repeat(errno.ENOMEM)
    with pytest.raises(OSError, match="Cannot allocate memory"):
        read(folder)


def test_an_error_of_another_kind_among_the_blocks_ends_the_reading(folder: Path, medium: Medium) -> None:
    file = BadMediumDisk().open(path_of(folder, 1))
    medium.lose(folder, 1, range(1))
    medium.codes = iter([errno.EIO, errno.ENOMEM])
    with pytest.raises(OSError, match="Cannot allocate memory"):
        file.read(64, 0)
    file.close()


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        os.chdir(path.parent)
        listening.bind(path.name)


KINDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "folder": (Path.mkdir, "this is not a file"),
    "pipe": (os.mkfifo, "this is not a file"),
    "socket": (make_socket, "this is not a file"),
    "link to nothing": (lambda path: path.symlink_to("nothing"), "cannot be opened: No such file"),
    "link to itself": (lambda path: path.symlink_to(path.name), "cannot be opened: Too many levels"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.chdir(folder)
    path_of(folder, 2).unlink()
    make, reason = KINDS[kind]
    make(path_of(folder, 2))
    salvage = Salvage(folder)
    assert [bytes(found.data) for found in salvage.records()] == RECORDS[:2] + RECORDS[4:]
    salvage.close()
    [problem] = [each for each in salvage.problems if Path(each.file) == path_of(folder, 2)]
    assert reason in problem.reason
    assert (problem.lost, problem.missing) == ([], CAPACITY)


def test_a_file_whose_place_is_lost_is_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def open_medium(path: Path, flags: int, *more: int) -> int:
        if str(path).endswith(file_name(2)):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(path, flags, *more)

    monkeypatch.setattr(os, "open", open_medium)
    salvage = Salvage(folder)
    assert [bytes(found.data) for found in salvage.records()] == RECORDS[:2] + RECORDS[4:]
    salvage.close()
    assert "this cannot be opened: Input/output error" in [each.reason for each in salvage.problems]


def test_a_file_that_may_not_be_opened_is_no_damage(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError):
        Salvage(folder)


def test_a_start_does_not_wait_for_the_writer_of_a_pipe(folder: Path) -> None:
    path_of(folder, 2).unlink()
    os.mkfifo(path_of(folder, 2))
    with pytest.raises(OSError, match="Illegal seek"):
        FileLog(folder)
