"""One sync serves many waiters, no waiter returns too early, and a failed write or sync ends writing."""

from __future__ import annotations

import errno
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.disks import FaultyDisk, GatedDisk, RecordingDisk
from tests.support.folders import groups_in, open_log, records_in, segment_files
from tests.support.waiting import PATIENCE_S, eventually
from wonderq_storage import FileLog, LogFailedError, SyncPolicy, file_log

ALWAYS = SyncPolicy()
INTERVAL = SyncPolicy("interval", 20)
OS = SyncPolicy("os")


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """No closing groups but the one at the end, so that syncs can be counted."""
    monkeypatch.setattr(file_log, "_PAUSE_S", 3600)


@pytest.fixture
def held(tmp_path: Path, no_pause: None) -> Iterator[tuple[FileLog, GatedDisk]]:
    """A log whose syncs wait to be let through."""
    disk = GatedDisk()
    log, _ = open_log(tmp_path, disk=disk, segment_bytes=1 << 16)
    disk.hold()
    yield log, disk
    disk.let_all_through()
    log.close()


class Waiter(threading.Thread):
    """Appends a record and waits for it."""

    def __init__(self, log: FileLog, record: bytes) -> None:
        super().__init__(daemon=True)
        self._log = log
        self._record = record
        self.appended = threading.Event()
        self.acked = threading.Event()
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            position = self._log.append(self._record)
            self.appended.set()
            self._log.wait(position)
            self.acked.set()
        except Exception as error:
            self.error = error

    def end(self) -> None:
        self.join(timeout=PATIENCE_S)
        assert not self.is_alive()


def waiters(log: FileLog, count: int) -> list[Waiter]:
    started = [Waiter(log, f"record {number}".encode()) for number in range(count)]
    assert all(each.appended.wait(PATIENCE_S) for each in started)
    return started


def test_one_sync_serves_all_who_came_during_the_one_before(held: tuple[FileLog, GatedDisk]) -> None:
    log, disk = held
    before = disk.count("sync")
    first = Waiter(log, b"first")
    assert disk.await_sync()
    others = waiters(log, 40)
    disk.let_all_through()
    for each in (first, *others):
        each.end()
        assert each.acked.is_set()
    assert disk.count("sync") - before == 2
    assert [len(records) for _, records in groups_in(segment_files(log.folder)[0])] == [1, 40]


def test_a_wait_does_not_end_with_a_sync_that_began_before_the_append(held: tuple[FileLog, GatedDisk]) -> None:
    log, disk = held
    early = Waiter(log, b"early")
    assert disk.await_sync()
    late = Waiter(log, b"late")
    assert late.appended.wait(PATIENCE_S)
    disk.let_one_through()
    early.end()
    assert early.acked.is_set()
    assert disk.await_sync(), "the late record needs a sync of its own"
    # Had the first sync been enough for it, its waiter would be through by now or never have come this far.
    assert not late.acked.wait(0.1)
    disk.let_one_through()
    late.end()
    assert late.acked.is_set()


def test_traffic_does_not_keep_a_sync_waiting(held: tuple[FileLog, GatedDisk]) -> None:
    """Compaction syncs: it must not have to wait for a pause."""
    log, disk = held
    traffic = [Waiter(log, b"first")]
    assert disk.await_sync()
    syncing = threading.Thread(target=log.sync, daemon=True)
    syncing.start()
    eventually(lambda: log._sync_due)
    for record in (b"second", b"third"):
        traffic.append(Waiter(log, record))
        assert traffic[-1].appended.wait(PATIENCE_S)
        disk.let_one_through()
        assert disk.await_sync(), "somebody leads at every moment"
    syncing.join(PATIENCE_S)
    assert not syncing.is_alive()
    assert not traffic[-1].acked.is_set()


def test_no_wait_ends_without_a_sync_since_its_append(tmp_path: Path) -> None:
    disk = RecordingDisk()
    log, _ = open_log(tmp_path, disk=disk, segment_bytes=1 << 16)
    early: list[int] = []

    def work() -> None:
        for _ in range(100):
            begun = disk.count("sync")
            log.wait(log.append(b"x" * 100))
            if disk.count("sync") == begun:
                early.append(begun)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=PATIENCE_S)
    log.close()
    assert early == []
    assert len(records_in(tmp_path)) == 600


def test_a_lone_client_needs_one_sync_a_record(tmp_path: Path, no_pause: None) -> None:
    disk = RecordingDisk()
    log, _ = open_log(tmp_path, disk=disk, segment_bytes=1 << 16)
    before = len(disk.operations)
    for _ in range(10):
        log.wait(log.append(b"record"))
    assert [each.name for each in disk.operations[before:]] == ["write", "sync"] * 10
    log.close()


def test_a_segment_is_sealed_and_synced_before_the_next_is_written(tmp_path: Path, no_pause: None) -> None:
    disk = RecordingDisk()
    log, _ = open_log(tmp_path, disk=disk)
    log.wait(log.append(bytes(3000)))
    before = len(disk.operations)
    log.wait(log.append(bytes(3000)))
    one, two, new = "0000000001.wal", "0000000002.wal", "0000000002.wal.tmp"
    assert [tuple(each) for each in disk.operations[before:]] == [
        ("create", new),
        ("allocate", new),
        ("write", new),
        ("sync", new),
        ("rename", new),
        ("sync_folder", tmp_path.name),
        ("write", one),
        ("sync", one),
        ("truncate", one),
        ("write", two),
        ("sync", two),
    ]
    log.close()


@pytest.mark.parametrize("operation", ["sync", "write"])
def test_a_failure_under_many_waiters_reaches_every_one_of_them(
    held: tuple[FileLog, GatedDisk], operation: str
) -> None:
    log, disk = held
    acked = Waiter(log, b"acked")
    assert disk.await_sync()
    in_flight = waiters(log, 10)
    disk.let_one_through()
    acked.end()
    assert disk.await_sync()
    gathering = waiters(log, 10)
    disk.fail(operation, errno.EIO)
    # The group in flight is written already: a failing sync meets it, a failing write those who come after it.
    disk.let_all_through()
    for each in (*in_flight, *gathering):
        each.end()
    assert acked.acked.is_set()
    failed = [*in_flight, *gathering] if operation == "sync" else gathering
    assert all(isinstance(each.error, LogFailedError) and not each.acked.is_set() for each in failed)
    assert all(each.acked.is_set() for each in in_flight if each not in failed)
    assert log.failure is not None
    assert "Input/output error" in log.failure


FAULTS = {
    "sync": ("sync", errno.EIO, "", False),
    "write": ("write", errno.EIO, ".wal", False),
    "write, half of it done": ("write", errno.EIO, ".wal", True),
    "write, no space": ("write", errno.ENOSPC, ".wal", True),
    "rename": ("rename", errno.EIO, "", False),
    "sync_folder": ("sync_folder", errno.EIO, "", False),
    "truncate": ("truncate", errno.EIO, "", False),
}


@pytest.mark.parametrize("policy", [ALWAYS, INTERVAL, OS], ids=str)
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_failure_is_the_end_of_writing(
    tmp_path: Path, fault: tuple[str, int, str, bool], policy: SyncPolicy, no_pause: None
) -> None:
    """Each step of starting another segment can fail as well, so the records are large."""
    name, code, on, torn = fault
    disk = FaultyDisk()
    log, _ = open_log(tmp_path, disk=disk, sync=policy)
    acked, tried = [], []
    for number in range(20):
        if number == 4:
            disk.fail(name, code, on=on, torn=torn)
        tried.append(f"{number}".encode() * 900)
        try:
            log.wait(log.append(tried[-1]))
        except LogFailedError:
            break
        acked.append(tried[-1])
    # Under the weaker policies a failing sync shows when there is one: at the next rotation at the latest.
    assert 4 <= len(acked) < 20
    assert log.failure is not None
    operations = list(disk.operations)
    disk.mend()
    with pytest.raises(LogFailedError):
        log.append(b"later")
    with pytest.raises(LogFailedError):
        log.wait(log.end())
    log.close()
    assert [each for each in disk.operations[len(operations) :] if each.name != "remove"] == [], "nothing is retried"

    log, held = open_log(tmp_path)
    assert held[: len(acked)] == acked
    assert held == tried[: len(held)]
    log.wait(log.append(b"again"))
    log.close()
    assert records_in(tmp_path) == [*held, b"again"]


def test_what_was_acked_before_a_failure_stays_acked(tmp_path: Path, no_pause: None) -> None:
    disk = FaultyDisk()
    log, _ = open_log(tmp_path, disk=disk)
    position = log.append(b"acked")
    log.wait(position)
    disk.fail("sync", errno.EIO)
    with pytest.raises(LogFailedError):
        log.wait(log.append(b"lost"))
    log.wait(position)
    assert log.read([(position, 5)]) == [b"acked"]
    log.close()


@pytest.mark.parametrize("policy", [ALWAYS, INTERVAL, OS], ids=str)
def test_a_close_that_cannot_sync_says_so_and_lets_go(tmp_path: Path, policy: SyncPolicy, no_pause: None) -> None:
    disk = FaultyDisk()
    log, _ = open_log(tmp_path, disk=disk, sync=policy)
    log.append(b"record")
    disk.fail("sync", errno.EIO)
    with pytest.raises(LogFailedError):
        log.close()
    log.close()
    log, _ = open_log(tmp_path)
    log.close()


@pytest.mark.parametrize("operation", ["create", "allocate", "write"])
def test_a_segment_that_cannot_be_created_fails_the_append_and_no_more(tmp_path: Path, operation: str) -> None:
    """This happens when the process has too many open files: the log itself is whole, and may recover."""
    disk = FaultyDisk()
    log, _ = open_log(tmp_path, disk=disk)
    log.wait(log.append(bytes(3000)))
    disk.fail(operation, errno.EMFILE, on=".tmp")
    for _ in range(2):
        with pytest.raises(LogFailedError):
            log.append(bytes(3000))
        assert [path.name for path in tmp_path.iterdir()] == ["0000000001.wal"]
    assert log.failure is None
    log.wait(log.append(b"small"))
    disk.mend()
    log.wait(log.append(bytes(3000)))
    log.close()
    assert records_in(tmp_path) == [bytes(3000), b"small", bytes(3000)]


def test_a_failure_behind_the_scenes_shows(tmp_path: Path) -> None:
    """The closing group is written by nobody's request, and its failure ends the log all the same."""
    disk = FaultyDisk()
    log, _ = open_log(tmp_path, disk=disk)
    disk.fail("write", errno.EIO, nth=2)
    log.wait(log.append(b"record"))
    eventually(lambda: log.failure is not None)
    with pytest.raises(LogFailedError):
        log.append(b"later")
    log.close()


def test_os_acks_without_a_sync(tmp_path: Path) -> None:
    disk = RecordingDisk()
    log, _ = open_log(tmp_path, disk=disk, sync=OS, segment_bytes=1 << 16)
    before = disk.count("sync")
    for _ in range(50):
        log.wait(log.append(b"record"))
    assert disk.count("sync") == before
    assert records_in(copy_of(log)) == [b"record"] * 50, "acked means written"
    log.close()
    assert disk.count("sync") > before, "a clean end is synced"


def copy_of(log: FileLog) -> Path:
    """The folder as a kill at this moment would leave it."""
    return Path(shutil.copytree(log.folder, log.folder.with_name(f"copy-{time.monotonic_ns()}")))


def test_interval_acks_without_a_sync_and_syncs_soon(tmp_path: Path) -> None:
    disk = GatedDisk()
    log, _ = open_log(tmp_path / "log", disk=disk, sync=SyncPolicy("interval", 300), segment_bytes=1 << 16)
    disk.hold()
    log.wait(log.append(b"record"))  # a sync would hold it up
    assert records_in(copy_of(log)) == [b"record"]
    before = disk.count("sync")
    assert disk.await_sync(), "no sync followed"
    disk.let_all_through()
    eventually(lambda: disk.count("sync") > before)
    log.close()


def test_interval_syncs_under_traffic_without_a_gap(tmp_path: Path) -> None:
    """The leadership is nearly always taken here, and the sync must get its turn all the same."""

    class SlowWrites(RecordingDisk):
        def begin(self, name: str, path: Path) -> None:
            super().begin(name, path)
            if name == "write":
                time.sleep(0.01)

    disk = SlowWrites()
    log, _ = open_log(tmp_path, disk=disk, sync=SyncPolicy("interval", 10), segment_bytes=1 << 20)
    before = disk.count("sync")
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            log.wait(log.append(b"record"))

    threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    eventually(lambda: disk.count("sync") >= before + 10, "ten syncs under traffic")
    done.set()
    for thread in threads:
        thread.join(timeout=PATIENCE_S)
    log.close()


def ends_with_closing_group(folder: Path) -> bool:
    groups = groups_in(segment_files(folder)[-1])
    (header, records), (before, _) = groups[-1], groups[-2]
    return not records and header.durable == before.number


@pytest.mark.parametrize("policy", [ALWAYS, INTERVAL], ids=str)
def test_a_pause_in_traffic_writes_one_closing_group(tmp_path: Path, policy: SyncPolicy) -> None:
    log, _ = open_log(tmp_path, sync=policy)
    path = segment_files(tmp_path)[0]
    for _ in range(2):
        log.wait(log.append(b"one"))
        log.wait(log.append(b"two"))
        eventually(lambda: ends_with_closing_group(tmp_path))
        written = path.read_bytes()
        # It is not written again and again while nothing happens.
        time.sleep(0.3)
        assert path.read_bytes() == written
        assert [len(records) for _, records in groups_in(path)][-2:] == [1, 0]
    log.close()


@pytest.mark.parametrize("policy", [ALWAYS, INTERVAL, OS], ids=str)
@pytest.mark.parametrize("pick", ["waited for", "not waited for"])
def test_a_clean_close_writes_a_closing_group(tmp_path: Path, policy: SyncPolicy, pick: str, no_pause: None) -> None:
    log, _ = open_log(tmp_path, sync=policy)
    position = log.append(b"record")
    if pick == "waited for":
        log.wait(position)
    log.close()
    assert ends_with_closing_group(tmp_path)


def test_a_closing_group_comes_among_records_without_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses as short as the traffic's own gaps, so that closing groups fall between any two steps of it."""
    monkeypatch.setattr(file_log, "_PAUSE_S", 0.0001)
    log, _ = open_log(tmp_path)
    records = [f"record {number}".encode() * (number % 20) for number in range(600)]

    def placed(record: bytes) -> int:
        position = log.append(record)
        log.wait(position)
        if len(record) % 7 == 0:
            time.sleep(0.001)
        return position

    positions = [placed(record) for record in records]
    found = log.read([(position, len(record)) for position, record in zip(positions, records, strict=True)])
    log.close()
    assert found == records
    assert records_in(tmp_path) == records
    groups = [group for path in segment_files(tmp_path) for group in groups_in(path)]
    assert [header.number for header, _ in groups] == list(range(1, len(groups) + 1))
    assert sum(not records for _, records in groups) > len(segment_files(tmp_path)), "the test met no closing group"


def test_round_after_round_whoever_waits_is_woken(tmp_path: Path) -> None:
    log, _ = open_log(tmp_path)
    for _ in range(40):
        for each in waiters(log, 12):
            each.end()
            assert each.acked.is_set()
    log.close()
