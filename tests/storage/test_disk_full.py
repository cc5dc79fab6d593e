"""A full disk is found out before anything is changed, and is no end: room that comes back is used."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.disks import FaultyDisk, SmallDisk
from tests.support.folders import open_log, records_in, segment_files, snapshot
from tests.support.waiting import PATIENCE_S
from wonderq_storage import DiskFullError, FileLog, SyncPolicy

NO_ROOM = [errno.ENOSPC, errno.EDQUOT, errno.EFBIG]


def fill(log: FileLog, *, leave_bytes: int = 0, length: int = 500) -> list[bytes]:
    """Append until the disk is full; returns what went in."""
    records: list[bytes] = []
    while True:
        record = f"{len(records)}".encode().ljust(length, b"-")
        try:
            log.wait(log.append(record, leave_bytes=leave_bytes))
        except DiskFullError:
            return records
        records.append(record)
        assert len(records) < 1000, "the disk was to be full"


def full_log(folder: Path, code: int = errno.ENOSPC, *, on: str = "allocate") -> tuple[FileLog, FaultyDisk]:
    """A log that has no room for a second segment, and writes nothing on its own."""
    disk = FaultyDisk()
    log, _ = open_log(folder, disk=disk, sync=SyncPolicy("os"))
    disk.fail(on, code, on=".tmp")
    return log, disk


@pytest.mark.parametrize("code", NO_ROOM, ids=errno.errorcode.get)
@pytest.mark.parametrize("on", ["create", "allocate", "write"])
def test_a_full_disk_is_an_error_that_changes_nothing(tmp_path: Path, on: str, code: int) -> None:
    log, _ = full_log(tmp_path, code, on=on)
    records = fill(log)
    assert records
    end, before = log.end(), snapshot(tmp_path)
    for _ in range(3):
        with pytest.raises(DiskFullError, match="no room for another log segment"):
            log.append(bytes(500))
    assert log.end() == end
    assert snapshot(tmp_path) == before, "nothing is written, and nothing left behind"
    assert log.failure is None
    log.close()
    assert records_in(tmp_path) == records


def test_a_reserve_is_left_for_small_records(tmp_path: Path) -> None:
    log, _ = full_log(tmp_path)
    records = fill(log, leave_bytes=1000)
    reserve: list[bytes] = []
    while len(reserve) < 50:
        try:
            log.wait(log.append(b"delete"))
        except DiskFullError:
            break
        reserve.append(b"delete")
    # Each took a group of its own: 40 bytes of header, 8 of frame, 6 of record.
    assert 1000 // 54 <= len(reserve) < 50
    with pytest.raises(DiskFullError):
        log.append(bytes(500), leave_bytes=1000)
    log.close()
    assert records_in(tmp_path) == records + reserve


@pytest.mark.parametrize("leave_bytes", [0, 1000])
def test_appending_goes_on_when_there_is_room_again(tmp_path: Path, leave_bytes: int) -> None:
    log, disk = full_log(tmp_path)
    records = fill(log, leave_bytes=leave_bytes)
    disk.mend()
    for number in range(20):
        records.append(f"later {number}".encode() * 50)
        log.wait(log.append(records[-1], leave_bytes=leave_bytes))
    log.close()
    assert records_in(tmp_path) == records


def test_records_gathered_before_the_disk_was_full_are_kept(tmp_path: Path) -> None:
    """The next append is refused before any thread waits for them."""
    log, _ = full_log(tmp_path)
    records: list[bytes] = []
    full = False
    while not full:
        record = f"{len(records)}".encode() * 100
        try:
            position = log.append(record)
            records.append(record)
        except DiskFullError:
            full = True
    log.wait(position)
    log.close()
    assert len(records) > 5
    assert records_in(tmp_path) == records


@pytest.mark.parametrize("code", NO_ROOM, ids=errno.errorcode.get)
@pytest.mark.parametrize("on", ["create", "allocate", "write"])
def test_no_room_for_the_first_segment(tmp_path: Path, on: str, code: int) -> None:
    disk = FaultyDisk()
    disk.fail(on, code)
    log = FileLog(tmp_path, disk=disk, segment_bytes=4096)
    assert list(log.replay()) == []
    with pytest.raises(DiskFullError):
        log.start()
    assert list(tmp_path.iterdir()) == []
    disk.mend()
    log.start()
    log.wait(log.append(b"room"))
    log.close()
    assert records_in(tmp_path) == [b"room"]


def test_no_room_to_set_a_torn_tail_aside(tmp_path: Path) -> None:
    log, _ = open_log(tmp_path)
    log.wait(log.append(b"acked"))
    log.close()
    segment = tmp_path / "0000000001.wal"
    torn = bytearray(segment.read_bytes())
    torn[1000:1010] = b"torn bytes"
    segment.write_bytes(torn)
    for on in ("create", "write", "sync"):
        disk = FaultyDisk()
        disk.fail(on, errno.ENOSPC)
        with pytest.raises(DiskFullError):
            open_log(tmp_path, disk=disk)
        assert segment.read_bytes() == torn
    log, held = open_log(tmp_path)
    log.close()
    assert held == [b"acked"]


LIMITED = """
import resource, sys
from pathlib import Path
from wonderq_storage import DiskFullError, FileLog
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
log = FileLog(Path(sys.argv[1]), segment_bytes=1 << 21)  # not even a smaller segment is within the limit
list(log.replay())
appended = 0
try:
    log.start()
    while True:
        log.wait(log.append(bytes(500)))
        appended += 1
except DiskFullError:
    print("full", appended, log.failure)
log.close()
"""


@pytest.fixture
def fill_with_limit(tmp_path: Path) -> Callable[[], str]:
    """Fill the log from a process that may write no file beyond 64 KiB, as `ulimit -f` and quotas have it."""

    def run() -> str:
        done = subprocess.run(
            [sys.executable, "-c", LIMITED, str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


def test_a_file_size_limit_is_a_full_disk(tmp_path: Path, fill_with_limit: Callable[[], str]) -> None:
    log, _ = open_log(tmp_path)
    log.wait(log.append(b"before"))
    log.close()
    said, appended, failure = fill_with_limit().split()
    assert said == "full"
    assert int(appended) > 3
    assert failure == "None"
    assert [path.name for path in tmp_path.iterdir()] == ["0000000001.wal"]
    assert records_in(tmp_path) == [b"before"] + [bytes(500)] * int(appended)


def test_a_file_size_limit_at_the_first_segment(tmp_path: Path, fill_with_limit: Callable[[], str]) -> None:
    assert fill_with_limit() == "full 0 None"
    assert list(tmp_path.iterdir()) == []


def test_a_smaller_segment_is_taken_where_a_whole_one_has_no_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Else a folder whose only segment is full of garbage could not go over to another one, and never drop it."""
    disk = SmallDisk(65536 + 20_000)
    log, _ = open_log(tmp_path, disk=disk, segment_bytes=65536)
    records = [b"%d" % number + bytes(2000) for number in range(36)]
    for record in records:
        log.wait(log.append(record))
    for length, leave_bytes in ((20_000, 0), (2000, 20_000)):
        with pytest.raises(DiskFullError):
            log.append(bytes(length), leave_bytes=leave_bytes)
    disk.size_bytes = 1 << 20
    for length in (30_000, 2000):
        records.append(bytes(length))
        log.wait(log.append(records[-1], leave_bytes=20_000))
    log.close()
    assert records_in(tmp_path) == records
    assert [path.stat().st_size > 16384 for path in segment_files(tmp_path)] == [True, False, True]
    told = [each.message for each in caplog.records if "disk of" in each.message]
    assert ["is full" in message for message in told] == [True, False]


def log_with_a_small_spare(folder: Path) -> tuple[FileLog, SmallDisk, list[bytes]]:
    """A log whose segment is nearly full, with its records; there was no room for a whole one to come after it."""
    disk = SmallDisk(65536 + 20_000)
    log, _ = open_log(folder, disk=disk, segment_bytes=65536)
    records = [b"%d" % number + bytes(2000) for number in range(31)]
    for record in records:
        log.wait(log.append(record))
    records.append(b"delete")
    log.wait(log.append(records[-1], leave_bytes=2000))
    [reserved] = folder.glob("*.tmp")
    assert reserved.stat().st_size == 16384
    return log, disk, records


def test_a_small_segment_in_reserve_is_not_room_for_those_who_leave_more(tmp_path: Path) -> None:
    log, disk, records = log_with_a_small_spare(tmp_path)
    for length, leave_bytes in ((500, 20_000), (20_000, 0)):
        with pytest.raises(DiskFullError):
            log.append(bytes(length), leave_bytes=leave_bytes)
    disk.size_bytes = 1 << 20
    position = log.append(bytes(500), leave_bytes=20_000)
    log.wait(position)
    assert position >> 32 == 1
    [reserved] = tmp_path.glob("*.tmp")
    assert reserved.stat().st_size == 65536
    log.close()
    assert records_in(tmp_path) == [*records, bytes(500)]


def test_a_small_segment_in_reserve_makes_way_for_a_larger_one(tmp_path: Path) -> None:
    """Kept beside it, it would take the room that the larger one needs: nobody could produce any more."""
    log, disk, records = log_with_a_small_spare(tmp_path)
    disk.size_bytes = 2 * 65536 + 4096
    log.wait(log.append(bytes(500), leave_bytes=40_000))
    [reserved] = tmp_path.glob("*.tmp")
    assert reserved.stat().st_size == 65536
    records += [bytes(500), bytes(30_000)]
    log.wait(log.append(bytes(30_000)))
    log.close()
    assert records_in(tmp_path) == records


def test_what_is_left_free_may_be_in_two_segments(tmp_path: Path) -> None:
    """If all segments are small, no single one has that much room, and no message could be produced any more."""
    disk = SmallDisk(65536 + 40_000)
    log, _ = open_log(tmp_path, disk=disk, segment_bytes=65536)
    records = [bytes(60_000), b"in a smaller one" * 400]
    for record in records:
        log.wait(log.append(record))
    assert [path.stat().st_size for path in segment_files(tmp_path)][-1] == 32768
    disk.size_bytes += 10_000
    records.append(bytes(500))
    log.wait(log.append(bytes(500), leave_bytes=32_000))
    with pytest.raises(DiskFullError):
        log.append(bytes(500), leave_bytes=60_000)
    log.close()
    assert records_in(tmp_path) == records


@pytest.mark.parametrize("killed", [False, True])
def test_a_start_takes_the_reserve_again_that_was_given_up(tmp_path: Path, killed: bool) -> None:
    disk = SmallDisk(3 * 65536)
    log, _ = open_log(tmp_path, disk=disk, segment_bytes=65536)
    log.wait(log.append(bytes(50_000), leave_bytes=30_000))
    if killed:
        folder = tmp_path / "killed"
        folder.mkdir()
        for path in tmp_path.glob("*.wal*"):
            shutil.copy(path, folder)
        log.close()
    else:
        folder = tmp_path
        log.close()
        assert not list(folder.glob("*.tmp"))
    disk = SmallDisk(3 * 65536)
    log, _ = open_log(folder, disk=disk, segment_bytes=65536)
    disk.size_bytes = 65536 + 4096  # others took the rest
    log.wait(log.append(bytes(30_000), leave_bytes=30_000))
    log.close()


def test_a_start_on_a_full_disk_does_without_a_reserve(tmp_path: Path) -> None:
    disk = SmallDisk(65536 + 4096)
    log, _ = open_log(tmp_path, disk=disk, segment_bytes=65536)
    log.wait(log.append(bytes(50_000)))
    log.close()
    log, _ = open_log(tmp_path, disk=disk, segment_bytes=65536)
    log.wait(log.append(bytes(5_000)))
    with pytest.raises(DiskFullError):
        log.append(bytes(30_000))
    log.close()


def test_the_oldest_segment_can_go_however_full_the_others_are(tmp_path: Path) -> None:
    """Also when the newest segment is full to the last byte, and ends with a closing group."""
    disk = SmallDisk(3 * 4096)
    log, _ = open_log(tmp_path, disk=disk, segment_bytes=4096)
    for length in range(500, 0, -1):  # the first that fits leaves no byte
        fill(log, length=length)
    log.close()
    log, _ = open_log(tmp_path, disk=disk, segment_bytes=4096)
    with pytest.raises(DiskFullError):
        log.append(b"")
    oldest = log.oldest()
    assert oldest is not None
    first = segment_files(tmp_path)[0]
    log.trim(oldest[0])
    assert not first.exists()
    log.wait(log.append(bytes(500)))
    log.close()
    assert records_in(tmp_path)[-1] == bytes(500)


def test_the_oldest_segment_can_go_while_another_thread_leads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its group may not record the new base, and there is no room for a segment whose seal could."""
    disk = SmallDisk(3 * 4096)
    log, _ = open_log(tmp_path, disk=disk, segment_bytes=4096)
    for length in range(500, 0, -1):
        fill(log, length=length)
    lead_alone = log._lead_alone
    turns = [False, False]
    monkeypatch.setattr(log, "_lead_alone", lambda work: turns.pop() if turns else lead_alone(work))
    oldest = log.oldest()
    assert oldest is not None
    first = segment_files(tmp_path)[0]
    log.trim(oldest[0])
    assert not first.exists()
    assert not turns
    log.close()
