"""One process locks a folder; a second one exits without writing a byte."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.disks import FaultyDisk
from tests.support.folders import open_log, records_in, snapshot, write_log
from tests.support.waiting import PATIENCE_S, eventually
from wonderq_storage import CorruptLogError, DiskFullError, FileLog, FolderLockedError, StorageError, SyncPolicy
from wonderq_storage.disk import Disk, DiskFile

HOLDER = """
import sys
from pathlib import Path
from wonderq_storage import FileLog
log = FileLog(Path(sys.argv[1]), segment_bytes=4096)
list(log.replay())
log.start()
log.wait(log.append(b"from the holder"))
print("held", flush=True)
sys.stdin.read()
log.close()
print("released", flush=True)
"""

SECOND = """
import sys
from pathlib import Path
from wonderq_storage import FileLog, FolderLockedError
try:
    FileLog(Path(sys.argv[1]))
except FolderLockedError as error:
    print(error)
    sys.exit(3)
"""


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process with the folder open."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_a_second_process_leaves_without_having_written_anything(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    log, _ = open_log(folder, sync=SyncPolicy("os"))  # it writes nothing on its own
    log.wait(log.append(b"record"))
    (folder / "0000000002.wal.tmp").write_bytes(b"a start would remove this")
    before = snapshot(folder)
    done = subprocess.run(
        [sys.executable, "-c", SECOND, str(folder)], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.startswith(f"{folder} is in use by another process.")
    assert snapshot(folder) == before
    log.close()


def test_a_second_log_in_the_same_process_is_refused(tmp_path: Path) -> None:
    first = FileLog(tmp_path)
    for _ in range(3):
        with pytest.raises(FolderLockedError):
            FileLog(tmp_path)
    first.close()
    FileLog(tmp_path).close()


def test_the_lock_is_taken_before_anything_is_read_or_started(tmp_path: Path) -> None:
    """Damage is not the business of the one who comes second."""
    folder = tmp_path / "log"
    with holder(folder):
        (folder / "0000000007.wal").write_bytes(b"not a segment")
        with pytest.raises(FolderLockedError):
            FileLog(folder)


def test_the_lock_is_free_after_close(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        with pytest.raises(FolderLockedError):
            FileLog(tmp_path)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        assert process.stdout.readline() == "released\n"
        # It is still running, perhaps, and holds nothing any more.
        assert records_in(tmp_path) == [b"from the holder"]


def test_the_lock_is_free_after_sigkill(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        assert process.wait(timeout=PATIENCE_S) == -signal.SIGKILL
        assert records_in(tmp_path) == [b"from the holder"]


def is_locked(folder: Path) -> bool:
    try:
        FileLog(folder).close()
    except FolderLockedError:
        return True
    return False


def test_a_child_does_not_inherit_the_lock(tmp_path: Path) -> None:
    """A program started by the broker must not keep the folder locked when the broker is gone."""
    log, _ = open_log(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, close_fds=False
    ) as child:
        log.close()
        # A process that another thread starts holds copies of all descriptors until it runs its program.
        eventually(lambda: not is_locked(tmp_path), "the folder to be free")
        child.kill()


def test_the_lock_is_free_after_a_start_that_was_refused(tmp_path: Path) -> None:
    write_log(tmp_path, [b"record"])
    segment = tmp_path / "0000000001.wal"
    data = segment.read_bytes()
    segment.write_bytes(b"x" + data[1:])
    with pytest.raises(CorruptLogError):
        FileLog(tmp_path)
    segment.write_bytes(data)
    assert records_in(tmp_path) == [b"record"]


def test_the_lock_is_free_after_a_start_that_failed(tmp_path: Path) -> None:
    disk = FaultyDisk()
    disk.fail("allocate", errno.ENOSPC)
    with pytest.raises(DiskFullError):
        open_log(tmp_path, disk=disk)
    assert records_in(tmp_path) == []


def open_files() -> list[str]:
    links = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{fd}"))
        except FileNotFoundError:  # the listing's own
            continue
    return links


def error_of_appending(log: FileLog, *, wait_for_each: bool) -> StorageError:
    """Append until it fails, which it must."""
    try:
        for _ in range(5):
            position = log.append(bytes(1500))
            if wait_for_each:
                log.wait(position)
        log.wait(position)
    except StorageError as error:
        return error
    raise AssertionError("it did not fail")


@pytest.mark.parametrize(
    "ending", ["clean", "failed", "failed before a rotation", "disk full", "refused", "not started"]
)
def test_close_leaves_no_file_open(tmp_path: Path, ending: str) -> None:
    folder = tmp_path / "log"
    write_log(folder, [bytes(1500)] * 6)
    disk = FaultyDisk()
    if ending == "refused":
        (folder / "0000000002.wal").unlink()
        with pytest.raises(CorruptLogError):
            FileLog(folder, disk=disk)
    elif ending == "not started":
        log = FileLog(folder, disk=disk)
        next(log.replay())
        log.close()
    else:
        log, _ = open_log(folder, disk=disk)
        for _ in range(5):
            log.wait(log.append(bytes(1500)))
        if ending != "clean":
            if ending == "disk full":
                disk.fail("allocate", errno.ENOSPC)
            else:
                disk.fail("write", errno.ENOSPC, on=".wal")
            error = error_of_appending(log, wait_for_each=ending != "failed before a rotation")
            assert "No space left on device" in str(error)
        log.close()
    assert [path for path in open_files() if path.startswith(str(folder))] == []


def test_the_folder_is_made_with_those_above_it(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b" / "c"
    disk = FaultyDisk()
    FileLog(folder, disk=disk).close()
    assert [each.target for each in disk.operations if each.name == "sync_folder"] == [tmp_path.name, "a", "b"]
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_file_in_place_of_the_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"")
    with pytest.raises(OSError):
        FileLog(tmp_path / "log", disk=Disk())
    assert (tmp_path / "log").read_bytes() == b""


def test_a_file_that_cannot_be_closed_does_not_keep_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, _ = open_log(tmp_path)
    log.wait(log.append(b"record"))

    close = DiskFile.close

    def fail(file: DiskFile) -> None:
        # Files of earlier tests close too, whenever the garbage collector finds them.
        close(file)
        if tmp_path in file.path.parents:
            raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(DiskFile, "close", fail)
        with pytest.raises(OSError, match="Input/output error"):
            log.close()
    again, records = open_log(tmp_path)
    again.close()
    assert records == [b"record"]
