"""The seam to the operating system keeps its word: what the system does in part is done whole, and syncs are real ones."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.folders import open_log
from wonderq_storage.disk import Disk, DiskFile


class Calls:
    """Notes calls of functions of `os`, with the path that a file descriptor stands for, and makes them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        self.made: list[tuple[str, Path]] = []
        for name in names:
            monkeypatch.setattr(os, name, self._noting(name, getattr(os, name)))

    def _noting(self, name: str, function: Any) -> Any:
        def noted(fd: int, *rest: Any) -> Any:
            self.made.append((name, Path(os.readlink(f"/proc/self/fd/{fd}"))))
            return function(fd, *rest)

        return noted


def test_a_sync_is_asked_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch, "fsync", "fdatasync")
    file = Disk().create(tmp_path / "file")
    file.write(b"something", 0)
    assert calls.made == []
    file.sync()
    assert calls.made == [("fdatasync", tmp_path / "file")]
    file.close()
    Disk().sync_folder(tmp_path)
    assert calls.made[1:] == [("fsync", tmp_path)]


def test_each_folder_that_is_made_is_made_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch, "fsync")
    Disk().make_folder(tmp_path / "a" / "b")
    assert calls.made == [("fsync", tmp_path), ("fsync", tmp_path / "a")]
    Disk().make_folder(tmp_path / "a" / "b")
    assert len(calls.made) == 2


@pytest.mark.parametrize("step", [1, 7, 4096])
def test_what_the_system_writes_in_part_is_written_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: whole(fd, bytes(data)[:step], offset))
    data = bytes(range(256)) * 2
    file = Disk().create(tmp_path / "file")
    file.write(data, 10)
    file.write(b"", 0)
    file.close()
    assert (tmp_path / "file").read_bytes() == bytes(10) + data


@pytest.mark.parametrize("step", [1, 7, 4096])
def test_what_the_system_reads_in_part_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    data = bytes(range(256)) * 2
    (tmp_path / "file").write_bytes(data)
    whole = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, length, offset: whole(fd, min(length, step), offset))
    file = Disk().open(tmp_path / "file")
    assert file.read(300, 5) == data[5:305]
    assert file.read(1000, 500) == data[500:], "less only at the end of the file"
    assert file.read(10, 9999) == b""
    file.close()


def test_allocated_space_is_real_and_reads_as_zeros(tmp_path: Path) -> None:
    file = Disk().create(tmp_path / "file")
    file.allocate(100_000)
    assert file.size() == 100_000
    assert (tmp_path / "file").stat().st_blocks * 512 >= 100_000, "no hole, for which there may be no room later"
    assert file.read(100_000, 0) == bytes(100_000)
    file.close()


def test_what_is_in_memory_is_read_without_waiting(tmp_path: Path) -> None:
    file = Disk().create(tmp_path / "file")
    file.write(b"something", 0)
    assert file.read_cached(4, 4) == b"thin"
    with pytest.raises(BlockingIOError):
        file.read_cached(6, 4)
    file.close()


@pytest.mark.parametrize("answer", [BlockingIOError(errno.EAGAIN, "wait"), 3])
def test_what_is_not_in_memory_is_said_to_be_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: OSError | int
) -> None:
    def preadv(*_: Any) -> int:
        if isinstance(answer, OSError):
            raise answer
        return answer

    file = Disk().create(tmp_path / "file")
    file.write(b"something", 0)
    monkeypatch.setattr(os, "preadv", preadv)
    with pytest.raises(BlockingIOError):
        file.read_cached(4, 4)
    file.close()


def test_a_file_system_that_cannot_tell_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def preadv(*_: Any) -> int:
        raise OSError(failure, os.strerror(failure))

    file = Disk().create(tmp_path / "file")
    file.write(b"something", 0)
    monkeypatch.setattr(os, "preadv", preadv)
    failure = errno.EOPNOTSUPP
    assert file.read_cached(4, 4) == b"thin"
    failure = errno.EIO
    with pytest.raises(OSError, match="Input/output"):
        file.read_cached(4, 4)
    file.close()


def test_a_log_tells_what_is_not_in_memory_from_what_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_in_memory(*_: Any) -> bytes:
        raise BlockingIOError(errno.EAGAIN, "wait")

    log, _ = open_log(tmp_path)
    position = log.append(b"record")
    log.wait(position)
    monkeypatch.setattr(DiskFile, "read_cached", not_in_memory)
    with pytest.raises(BlockingIOError):
        log.read([(position, 6)], block=False)
    assert log.read([(position, 6)]) == [b"record"]
    log.close()
