"""FileLog keeps the contract of a log under every sync policy, in one segment and in very many."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.storage.log_contract import LogContract, OpenLog, Surroundings
from tests.support.disks import FaultyDisk, Operation, RecordingDisk, SmallDisk
from tests.support.folders import open_log as open_file_log
from tests.support.folders import records_in, segment_files
from wonderq_storage import FileLog, LogFailedError, LogFiles, SyncPolicy, file_log
from wonderq_storage.file_log import MIN_SEGMENT_BYTES


@pytest.fixture(params=["always", "interval:1", "interval:500", "os"])
def policy(request: pytest.FixtureRequest) -> SyncPolicy:
    return SyncPolicy.parse(request.param)


@pytest.fixture(params=[MIN_SEGMENT_BYTES, 1 << 20], ids=["small segments", "one segment"])
def segment_bytes(request: pytest.FixtureRequest) -> int:
    size: int = request.param
    return size


class DiskOfLog(SmallDisk):
    """A large disk that a test makes small, or breaks."""

    def __init__(self, segment_bytes: int) -> None:
        super().__init__(1 << 40)
        self._segment_bytes = segment_bytes

    def limit_room(self, parts: int) -> None:
        self.size_bytes = parts * self._segment_bytes

    def fail_writes(self) -> None:
        self.fail("write", errno.EIO)

    def work_again(self) -> None:
        self.size_bytes = 1 << 40
        self.mend()


class TestFileLog(LogContract):
    @pytest.fixture
    def disk(self, segment_bytes: int) -> DiskOfLog:
        return DiskOfLog(segment_bytes)

    @pytest.fixture
    def surroundings(self, disk: DiskOfLog) -> Surroundings:
        return disk

    @pytest.fixture
    def open_log(self, tmp_path: Path, policy: SyncPolicy, segment_bytes: int, disk: DiskOfLog) -> Iterator[OpenLog]:
        yield from _opener(tmp_path / "log", policy, segment_bytes, disk)

    @pytest.fixture
    def open_other_log(self, tmp_path: Path, policy: SyncPolicy, segment_bytes: int) -> Iterator[OpenLog]:
        yield from _opener(tmp_path / "other log", policy, segment_bytes, DiskOfLog(segment_bytes))


def _opener(folder: Path, policy: SyncPolicy, segment_bytes: int, disk: DiskOfLog) -> Iterator[OpenLog]:
    opened: list[FileLog] = []

    def open_log() -> FileLog:
        opened.append(FileLog(folder, sync=policy, segment_bytes=segment_bytes, disk=disk))
        return opened[-1]

    yield open_log
    disk.work_again()
    for log in opened:
        log.close()


@pytest.mark.parametrize("policy", ["always", "interval:60000", "os"])
def test_sync_makes_durable_whatever_the_policy(tmp_path: Path, policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_log, "_PAUSE_S", 3600)  # no closing group in between
    disk = RecordingDisk()
    log, _ = open_file_log(tmp_path, disk=disk, sync=SyncPolicy.parse(policy))
    for waited in (True, False):
        position = log.append(bytes(900))
        if waited:
            log.wait(position)
        log.sync()
        operations = list(disk.operations)
        assert operations.count(Operation("write", "0000000001.wal")) > 0
        last_write = max(at for at, each in enumerate(operations) if each.name == "write")
        assert Operation("sync", operations[last_write].target) in operations[last_write:]
        before = disk.count("sync")
        log.sync()
        assert disk.count("sync") == before, "there was nothing to sync"
        assert records_in_copy(tmp_path) == [bytes(900)] * (1 if waited else 2)
    log.close()


@pytest.mark.parametrize("policy", ["always", "interval:60000", "os"])
def test_sync_says_that_it_failed(tmp_path: Path, policy: str) -> None:
    disk = FaultyDisk()
    log, _ = open_file_log(tmp_path, disk=disk, sync=SyncPolicy.parse(policy))
    log.append(b"record")
    disk.fail("sync", errno.EIO)
    for _ in range(2):
        with pytest.raises(LogFailedError):
            log.sync()
    log.close()


def records_in_copy(folder: Path) -> list[bytes]:
    copy = folder.with_name(folder.name + " copy")
    shutil.copytree(folder, copy)
    found = records_in(copy)
    shutil.rmtree(copy)
    return found


def test_small_segments_rotate(tmp_path: Path) -> None:
    log, _ = open_file_log(tmp_path, segment_bytes=MIN_SEGMENT_BYTES)
    positions = [log.append(bytes(1000)) for _ in range(10)]
    log.wait(positions[-1])
    assert len(segment_files(tmp_path)) == 4
    assert [position >> 32 for position in positions] == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4]
    log.close()


def test_a_segment_reserved_in_vain_is_given_back(tmp_path: Path) -> None:
    log, _ = open_file_log(tmp_path)
    log.wait(log.append(b"record", leave_bytes=MIN_SEGMENT_BYTES))
    names = {"0000000001.wal", "0000000002.wal.tmp"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert log.files == LogFiles(segments=1, disk_bytes=MIN_SEGMENT_BYTES)
    log.close()
    assert [path.name for path in tmp_path.iterdir()] == ["0000000001.wal"]


def test_segments_of_several_sizes_make_one_log(tmp_path: Path) -> None:
    """The size is a setting, so it may change from one start to the next."""
    written: list[bytes] = []
    for size in (4096, 1 << 20, 8192, 4096, 1 << 16):
        log, held = open_file_log(tmp_path, segment_bytes=size)
        assert held == written
        for record in (b"small", bytes(log.max_record_bytes), b"x" * 3000):
            written.append(record)
            log.wait(log.append(record))
        log.close()


@pytest.mark.parametrize("text", ["", "always ", "ALWAYS", "interval", "interval:", "interval:0", "interval:60001",
                                  "interval:-1", "interval:1.5", "interval:²", "os:5"])  # fmt: skip
def test_a_policy_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="use always, os, or interval:MS"):
        SyncPolicy.parse(text)


@pytest.mark.parametrize("text", ["always", "interval:1", "interval:60000", "os"])
def test_a_policy_is_written_as_it_is_read(text: str) -> None:
    assert str(SyncPolicy.parse(text)) == text


def test_segments_that_are_too_small_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 4096"):
        FileLog(tmp_path / "log", segment_bytes=4095)
    assert not (tmp_path / "log").exists()
