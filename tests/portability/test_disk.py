"""Disks of systems that lack calls of Linux: what is synced is synced to the medium, and space is real."""

from __future__ import annotations

import errno
import fcntl
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.folders import open_log
from tests.support.needs import path_of
from wonderq.auth import keys
from wonderq.sns.signing import Signer
from wonderq_storage import DiskFullError, LogFailedError, disk, segment
from wonderq_storage.disk import Disk

FULL_SYNC = 51

#: A mebibyte and something, in blocks: the pieces in which space is allocated are not those of the file.
SIZE = (1 << 20) + 5 * 4096 + 123


class Syncs:
    """Notes each sync, with the file or folder, and makes it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, full_sync: Callable[[int], None] = os.fsync) -> None:
        self.made: list[tuple[str, str]] = []
        sync, control = os.fsync, fcntl.fcntl

        def noted_fsync(fd: int) -> None:
            self.made.append(("fsync", path_of(fd).name))
            sync(fd)

        def noted_fcntl(fd: int, command: int, *rest: Any) -> Any:
            if command != FULL_SYNC:
                return control(fd, command, *rest)
            self.made.append(("full sync", path_of(fd).name))
            full_sync(fd)
            return 0

        monkeypatch.setattr(disk, "_FULL_SYNC", FULL_SYNC)
        monkeypatch.setattr(os, "fsync", noted_fsync)
        monkeypatch.setattr(fcntl, "fcntl", noted_fcntl)


def failing(code: int) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


# Syncs


def test_on_macos_files_and_folders_are_flushed_out_of_the_drive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs = Syncs(monkeypatch)
    file = Disk().create(tmp_path / "file")
    file.sync()
    file.close()
    Disk().make_folder(tmp_path / "a" / "b")
    Disk().sync_folder(tmp_path / "a" / "b")
    above = tmp_path.name
    assert syncs.made == [("full sync", each) for each in ("file", above, "a", "b")]


def test_on_macos_keys_are_flushed_out_of_the_drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs = Syncs(monkeypatch)
    keys.create(tmp_path / "keys.json", name="x", roles=["admin"], queues=["*"])
    Signer(tmp_path / "sns.pem")._publish(b"key")
    assert ("full sync", "keys.json.tmp") in syncs.made
    assert any(name.startswith("sns.pem.") for _, name in syncs.made)
    assert {how for how, _ in syncs.made} == {"full sync"}


@pytest.mark.parametrize("code", [errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL])
def test_a_file_system_of_macos_without_the_full_sync_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    syncs = Syncs(monkeypatch, failing(code))
    file = Disk().create(tmp_path / "file")
    file.sync()
    file.close()
    assert syncs.made == [("full sync", "file"), ("fsync", "file")]


def test_a_full_sync_that_failed_is_not_tried_in_another_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failed sync the system may hold the pages for clean, and a second one would succeed for nothing."""
    log, _ = open_log(tmp_path / "d")
    syncs = Syncs(monkeypatch, failing(errno.EIO))
    position = log.append(b"record")
    with pytest.raises(LogFailedError, match=r"\.wal"):
        log.wait(position)
    assert [how for how, _ in syncs.made] == ["full sync"]
    assert log.failure is not None
    log.close()


def test_without_fdatasync_everything_of_the_file_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs = Syncs(monkeypatch)
    monkeypatch.setattr(disk, "_FULL_SYNC", None)
    monkeypatch.delattr(os, "fdatasync", raising=False)
    file = Disk().create(tmp_path / "file")
    file.sync()
    file.close()
    assert syncs.made == [("fsync", "file")]


# Space


@pytest.fixture(params=["no call", errno.EINVAL, errno.EOPNOTSUPP])
def no_fallocate(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system, or a file system, that cannot allocate space."""
    if request.param == "no call":
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    else:
        monkeypatch.setattr(os, "posix_fallocate", failing(request.param), raising=False)


@pytest.mark.usefixtures("no_fallocate")
def test_space_is_allocated_by_writing_zeros(tmp_path: Path) -> None:
    file = Disk().create(tmp_path / "file")
    file.allocate(SIZE)
    assert file.size() == SIZE
    assert (tmp_path / "file").stat().st_blocks * 512 >= SIZE
    assert file.read(SIZE, 0) == bytes(SIZE)
    file.close()


@pytest.mark.usefixtures("no_fallocate")
@pytest.mark.parametrize("length", [SIZE, SIZE - 5000, 3])
@pytest.mark.parametrize("read_bytes", [None, 5000])
def test_holes_are_filled_and_content_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int, read_bytes: int | None
) -> None:
    chosen = random.Random(length)
    path = tmp_path / "file"
    with path.open("wb") as writing:
        writing.truncate(length)
        for _ in range(20):
            writing.seek(chosen.randrange(length))
            writing.write(bytes(chosen.choices(range(256), k=chosen.randrange(1, 9000)))[: length - writing.tell()])
        writing.truncate(length)
    content = path.read_bytes()
    if read_bytes is not None:
        whole = os.pread
        monkeypatch.setattr(os, "pread", lambda fd, count, offset: whole(fd, min(count, read_bytes), offset))
    file = Disk().open(path, write=True)
    file.allocate(SIZE)
    file.close()
    assert path.read_bytes() == content + bytes(SIZE - length)
    assert path.stat().st_blocks * 512 >= SIZE


@pytest.mark.usefixtures("no_fallocate")
def test_space_that_is_allocated_is_not_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = Disk().create(tmp_path / "file")
    file.allocate(SIZE)
    monkeypatch.setattr(os, "pwrite", failing(errno.EIO))
    file.allocate(SIZE)
    file.close()


@pytest.mark.usefixtures("no_fallocate")
def test_a_disk_that_is_full_midway_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, written = os.pwrite, 0

    def into_little_room(fd: int, data: Any, offset: int) -> int:
        nonlocal written
        if written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = write(fd, data, offset)
        return written

    monkeypatch.setattr(os, "pwrite", into_little_room)
    with pytest.raises(DiskFullError, match="no room for another log segment"):
        segment.reserve(Disk(), tmp_path, 1, bytes(16), 4 << 20, 0)
    assert written
    assert os.listdir(tmp_path) == []


def test_an_error_while_space_is_allocated_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "posix_fallocate", failing(errno.EIO), raising=False)
    file = Disk().create(tmp_path / "file")
    with pytest.raises(OSError, match="Input/output error") as caught:
        file.allocate(10)
    assert caught.value.filename == str(tmp_path / "file")
    file.close()


# Reads


def test_without_reads_of_the_cache_alone_the_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "_CACHED_ONLY", None)
    monkeypatch.delattr(os, "preadv", raising=False)
    file = Disk().create(tmp_path / "file")
    file.write(b"something", 0)
    assert file.read_cached(4, 2) == b"meth"
    file.close()
