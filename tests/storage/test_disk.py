"""The seam to the operating system keeps its word: what the system does in part is done whole, and syncs are real ones."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.disks import FaultyDisk
from tests.support.folders import open_log
from tests.support.needs import needs, path_of
from wonderq_storage import CorruptLogError, LogFailedError
from wonderq_storage.disk import Disk, DiskFile
from wonderq_storage.errors import remedy

needs_cached_reads = needs(os, "preadv", "RWF_NOWAIT")
syncs_with_fsync = pytest.mark.skipif(hasattr(fcntl, "F_FULLFSYNC"), reason="this system syncs with fcntl.F_FULLFSYNC")


class Calls:
    """Notes calls of functions of `os`, with the path that a file descriptor stands for, and makes them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        self.made: list[tuple[str, Path]] = []
        for name in names:
            monkeypatch.setattr(os, name, self._noting(name, getattr(os, name)))

    def _noting(self, name: str, function: Any) -> Any:
        def noted(fd: int, *rest: Any) -> Any:
            self.made.append((name, path_of(fd)))
            return function(fd, *rest)

        return noted


@needs(os, "fdatasync")
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


@syncs_with_fsync
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


@needs_cached_reads
def test_what_is_in_memory_is_read_without_waiting(tmp_path: Path) -> None:
    file = Disk().create(tmp_path / "file")
    file.write(b"something", 0)
    assert file.read_cached(4, 4) == b"thin"
    with pytest.raises(BlockingIOError):
        file.read_cached(6, 4)
    file.close()


@needs_cached_reads
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


@needs_cached_reads
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


# Errors, and the owner of what root creates


@needs_cached_reads
@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_where_the_cache_alone_cannot_be_read_the_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """A filter of system calls that does not know `preadv2` answers EPERM or ENOSYS."""

    def refused(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    file = Disk().create(tmp_path / "file")
    file.write(b"something", 0)
    monkeypatch.setattr(os, "preadv", refused)
    assert file.read_cached(4, 2) == b"meth"


@pytest.mark.parametrize(
    ("call", "use"),
    [
        ("pread", lambda file: file.read(1, 0)),
        ("pwrite", lambda file: file.write(b"x", 0)),
        pytest.param("fdatasync", lambda file: file.sync(), marks=needs(os, "fdatasync")),
        ("ftruncate", lambda file: file.truncate(0)),
        pytest.param("posix_fallocate", lambda file: file.allocate(1), marks=needs(os, "posix_fallocate")),
        pytest.param("fsync", lambda file: Disk().sync_folder(file.path), marks=syncs_with_fsync),
    ],
)
def test_an_error_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, use: Any) -> None:
    def failing(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    file = Disk().create(tmp_path / "file")
    monkeypatch.setattr(os, call, failing)
    if call == "fsync":
        file.path = tmp_path
    with pytest.raises(OSError, match="Input/output error") as caught:
        use(file)
    assert caught.value.filename == str(file.path)


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", failing)
    calls = Calls(monkeypatch, "close")
    with pytest.raises(OSError, match="No locks available") as caught:
        Disk().lock(tmp_path)
    assert caught.value.filename == str(tmp_path)
    assert ("close", tmp_path) in calls.made
    assert "local file system" in remedy(caught.value)


def test_reads_that_the_medium_did_not_fail_are_not_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, _ = open_log(tmp_path / "d")
    position = log.append(b"record")
    log.wait(position)
    for code, expected in ((errno.EPERM, LogFailedError), (errno.ENOMEM, LogFailedError), (errno.EIO, CorruptLogError)):
        with monkeypatch.context() as patch:

            def failing(*_: object, code: int = code) -> None:
                raise OSError(code, os.strerror(code))

            patch.setattr(os, "pread", failing)
            with pytest.raises(expected, match="cannot be read: ") as caught:
                log.read([(position, 6)])
            assert str(tmp_path / "d") in str(caught.value)
    assert log.failure is None
    log.close()


@pytest.mark.parametrize(
    ("code", "advice"),
    [(errno.EMFILE, "Raise the limit on open files"), (errno.EROFS, "read-only"), (errno.EIO, "Fix the disk")],
)
def test_a_failed_rotation_says_what_to_do(tmp_path: Path, code: int, advice: str) -> None:
    disk = FaultyDisk()
    log, _ = open_log(tmp_path / "d", disk=disk)
    disk.fail("sync_folder", code)
    log.rotate()
    with pytest.raises(LogFailedError) as caught:
        log.sync()
    assert advice in str(caught.value)
    assert ("Fix the disk" in str(caught.value)) == (code == errno.EIO)
    log.close()


def test_a_segment_that_cannot_be_created_says_what_to_do(tmp_path: Path) -> None:
    disk = FaultyDisk()
    log, _ = open_log(tmp_path / "d", disk=disk)
    disk.fail("create", errno.EMFILE)
    with pytest.raises(LogFailedError, match="Raise the limit on open files"):
        log.rotate()
    disk.mend()
    log.rotate()
    log.close()


def test_what_root_creates_belongs_to_the_owner_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owners = {tmp_path: (1001, 1002), tmp_path / "source": (1003, 1004)}
    given: dict[Path, tuple[int, int]] = {}
    stat = os.stat

    def fake_stat(path: Any, **options: Any) -> os.stat_result:
        found = stat(path, **options)
        uid, gid = given.get(path) or owners.get(path) or found[4:6]
        return os.stat_result((*found[:4], uid, gid, *found[6:]))

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "stat", fake_stat)
    monkeypatch.setattr(os, "fchown", lambda fd, uid, gid: given.update({path_of(fd): (uid, gid)}))
    monkeypatch.setattr(os, "chown", lambda path, uid, gid, **_: given.update({path: (uid, gid)}))
    Disk().create(tmp_path / "file").close()
    Disk().make_folder(tmp_path / "a" / "b")
    Disk().create(tmp_path / "a" / "b" / "file").close()
    (tmp_path / "source").mkdir()
    Disk().make_folder(tmp_path / "copy", like=tmp_path / "source")
    Disk().create(tmp_path / "copy" / "file").close()
    assert given == {
        **dict.fromkeys([tmp_path / "file", tmp_path / "a", tmp_path / "a" / "b", tmp_path / "a/b/file"], (1001, 1002)),
        **dict.fromkeys([tmp_path / "copy", tmp_path / "copy" / "file"], (1003, 1004)),
    }
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    Disk().create(tmp_path / "other").close()
    assert tmp_path / "other" not in given


def test_root_follows_no_link_of_the_folders_owner(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret", encoding="utf-8")
    (tmp_path / "file").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="symbolic links"):
        Disk().create(tmp_path / "file")
    assert (tmp_path / "secret").read_text(encoding="utf-8") == "secret"
