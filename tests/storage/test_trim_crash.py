"""A crash at any moment while the oldest part of a log is dropped loses nothing that was kept."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.crash_disk import CrashDisk, Files, Moment, files_of, lay_out
from tests.support.disks import FaultyDisk, UnsyncedDisk
from tests.support.folders import groups_in, open_log, records_in, segment_files, snapshot
from tests.support.independent_state import live_messages
from tests.support.needs import needs_path
from wonderq.broker.broker import Broker
from wonderq.broker.compaction import compact_oldest
from wonderq.broker.maintenance import checkpoint
from wonderq.model.messages import Change, Message, Target
from wonderq_storage import (
    CorruptLogError,
    DiskFullError,
    FileCheckpoints,
    FileLog,
    LogFailedError,
    Position,
    SyncPolicy,
    file_log,
)
from wonderq_storage.file_log import MIN_SEGMENT_BYTES

Placed = list[tuple[Position, bytes]]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """No closing groups from another thread in between."""
    monkeypatch.setattr(file_log, "_PAUSE_S", 3600)


def replay(folder: Path) -> Placed:
    log = FileLog(folder, disk=UnsyncedDisk(), segment_bytes=MIN_SEGMENT_BYTES)
    try:
        return [(position, bytes(record)) for position, record in log.replay()]
    finally:
        log.close()


def restart(folder: Path) -> list[str]:
    """Start the log and stop it; returns the segments that are left."""
    log, _ = open_log(folder, disk=UnsyncedDisk())
    log.close()
    return [path.name for path in segment_files(folder)]


def outcomes(moments: list[Moment]) -> Iterator[tuple[str, Files]]:
    """Yield the folders that kills and power cuts leave at each moment, each folder once."""
    seen: list[Files] = []
    for moment in moments:
        for files in (moment.visible, *moment.after_power_cut()):
            if files not in seen:
                seen.append(files)
                yield moment.next, files


def write_parts(log: FileLog, parts: int) -> Placed:
    placed = []
    for number in range(3 * parts + 1):
        record = b"%d " % number + bytes([65 + number]) * 1000
        placed.append((log.append(record), record))
        log.wait(placed[-1][0])
    log.sync()
    return placed


def base_of(folder: Path) -> int:
    return max(group.base for path in segment_files(folder) for group, _ in groups_in(path))


@pytest.mark.parametrize("policy", ["always", "os"])
@pytest.mark.parametrize("at_once", [1, 3], ids=["one by one", "three segments at once"])
def test_a_crash_while_trimming_leaves_all_that_was_kept(tmp_path: Path, policy: str, at_once: int) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    disk = CrashDisk(folder)
    log, _ = open_log(folder, disk=disk, sync=SyncPolicy.parse(policy))
    placed = write_parts(log, 4)
    disk.moments.clear()
    for number in range(1 + at_once, 5, at_once):
        log.trim(number << 32)
    disk.note("done")
    last = max(log._files.published)
    log.close()
    removed = [each.target for each in disk.operations if each.name == "remove"]
    assert removed == [f"{number:010d}.wal" for number in range(1, 4)]
    count = 0
    for moment, files in outcomes(disk.moments):
        crashed = lay_out(tmp_path / "crashed", files)
        found = replay(crashed)
        assert found == placed[len(placed) - len(found) :], moment
        base = base_of(crashed)
        assert {position >> 32 for position, _ in found} >= set(range(base, last + 1)), moment
        left = restart(crashed)
        # Each removal is durable before the next, so at most one segment from before the base can be found.
        assert [int(name[:10]) for name in left if int(name[:10]) < base] == [], moment
        kept = [pair for pair in placed if pair[0] >= base << 32]
        assert replay(crashed) == kept, moment
        count += 1
    assert count >= 8


def test_a_kill_while_trimming_and_a_power_cut_while_starting_again_lose_nothing(tmp_path: Path) -> None:
    """A start may read records from the page cache alone; it must not remove a segment because of them."""
    folder = tmp_path / "log"
    folder.mkdir()
    disk = CrashDisk(folder)
    log, _ = open_log(folder, disk=disk)
    placed = write_parts(log, 2)
    disk.moments.clear()
    log.trim(2 << 32)
    disk.note("done")
    log.close()
    starts = 0
    for killed in disk.moments:
        again = lay_out(tmp_path / "again", killed.visible)
        starting = CrashDisk(again, killed.durable)
        restarted, _ = open_log(again, disk=starting)
        starting.note("started")
        restarted.close()
        for moment, files in outcomes(starting.moments):
            crashed = lay_out(tmp_path / "crashed", files)
            found = replay(crashed)
            assert found == placed[len(placed) - len(found) :], (killed.next, moment)
            assert {position >> 32 for position, _ in found} >= {2, 3}, (killed.next, moment)
            starts += 1
    assert starts > 10


# Leftovers from before the base


def trimmed(folder: Path) -> tuple[dict[int, bytes], Placed]:
    """A log of five segments whose first three were dropped; returns those, and what it holds."""
    log, _ = open_log(folder)
    placed = write_parts(log, 4)
    dropped = {int(path.stem): path.read_bytes() for path in segment_files(folder)[:3]}
    log.trim(4 << 32)
    log.close()
    return dropped, [pair for pair in placed if pair[0] >= 4 << 32]


def test_a_leftover_next_to_the_rest_is_harmless_and_goes_at_the_start(tmp_path: Path) -> None:
    dropped, kept = trimmed(tmp_path)
    names = [path.name for path in segment_files(tmp_path)]
    for first in (3, 2, 1):
        for number in range(first, 4):
            (tmp_path / f"{number:010d}.wal").write_bytes(dropped[number])
        before = snapshot(tmp_path)
        found = replay(tmp_path)
        assert found[-len(kept) :] == kept
        assert found[0][0] >> 32 == first
        assert snapshot(tmp_path) == before
        assert restart(tmp_path) == names
        assert replay(tmp_path) == kept


@pytest.mark.parametrize("numbers", [(1,), (2,), (1, 2), (1, 3)])
def test_a_leftover_with_a_gap_behind_it_is_refused(tmp_path: Path, numbers: tuple[int, ...]) -> None:
    dropped, _ = trimmed(tmp_path)
    for number in numbers:
        (tmp_path / f"{number:010d}.wal").write_bytes(dropped[number])
    before = snapshot(tmp_path)
    missing = next(number for number in range(numbers[0], 4) if number not in numbers)
    with pytest.raises(CorruptLogError, match="the segment is missing") as refused:
        replay(tmp_path)
    assert refused.value.file == str(tmp_path / f"{missing:010d}.wal")
    assert snapshot(tmp_path) == before


def test_a_missing_segment_from_the_base_on_is_refused(tmp_path: Path) -> None:
    trimmed(tmp_path)
    (tmp_path / "0000000004.wal").unlink()
    with pytest.raises(CorruptLogError, match="the segment is missing") as refused:
        replay(tmp_path)
    assert refused.value.file == str(tmp_path / "0000000004.wal")


# Trims that cannot be recorded


@pytest.mark.parametrize("reopened", [False, True], ids=["as it was written", "reopened"])
def test_without_room_to_say_that_a_segment_goes_it_stays(tmp_path: Path, reopened: bool) -> None:
    folder = tmp_path / "log"
    disk = FaultyDisk()
    log, _ = open_log(folder, disk=disk)
    placed = write_parts(log, 1)
    room = MIN_SEGMENT_BYTES - log._writer.written - 4 * 40 - 8
    record = b"to the brim".ljust(room, b".")
    placed.append((log.append(record), record))
    log.wait(placed[-1][0])
    log._lead_alone(log._put_closing_group)
    if reopened:
        log.close()
        disk.fail("create", errno.ENOSPC, on=".tmp")
        log, _ = open_log(folder, disk=disk)
    log._lead_alone(log._put_base)  # as an earlier trim did; its room was taken by another program
    names = [path.name for path in segment_files(folder)]
    assert len(names) == 2
    before = log.mark()
    disk.fail("allocate", errno.ENOSPC)
    with pytest.raises(DiskFullError):
        log.trim(2 << 32)
    disk.mend()
    after = log.mark()
    assert [path.name for path in segment_files(folder)] == names
    log.sync()
    # A base that is not in the log must not get there by a mark: once the segment is removed and the checkpoint is lost,
    # nothing would say that the log begins later.
    for mark in (before, after):
        killed = Path(shutil.copytree(folder, tmp_path / "killed"))
        restarted = FileLog(killed, segment_bytes=MIN_SEGMENT_BYTES)
        assert list(restarted.replay(mark)) == []
        restarted.start()
        restarted.close()
        assert replay(killed) == placed
        shutil.rmtree(killed)
    log.trim(2 << 32)
    assert [path.name for path in segment_files(folder)] == ["0000000002.wal", "0000000003.wal"]
    placed.append((log.append(b"room again"), b"room again"))
    log.close()
    assert replay(folder) == [pair for pair in placed if pair[0] >= 2 << 32]


@needs_path("/proc/self/fd")
def test_what_was_dropped_is_let_go_also_of_a_log_that_was_opened_with_it(tmp_path: Path) -> None:
    """A file that is removed but still open goes on filling the disk."""
    log, _ = open_log(tmp_path)
    write_parts(log, 4)
    log.close()
    log, _ = open_log(tmp_path)
    log.wait(log.append(b"and on" * 500))
    log.trim(6 << 32)
    names = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_open(fd)]
    held = [name for name in names if name.startswith(str(tmp_path)) and name.endswith("(deleted)")]
    assert held == []
    log.close()


def _is_open(fd: str) -> bool:
    return Path(f"/proc/self/fd/{fd}").is_symlink()


def test_a_log_that_fails_while_it_is_trimmed_keeps_everything(tmp_path: Path) -> None:
    for number, operation in enumerate(("write", "sync")):
        folder = tmp_path / str(number)
        disk = FaultyDisk()
        log, _ = open_log(folder, disk=disk)
        placed = write_parts(log, 2)
        names = [path.name for path in segment_files(folder)]
        disk.fail(operation, errno.EIO)
        with pytest.raises(LogFailedError):
            log.trim(2 << 32)
        with pytest.raises(LogFailedError):
            log.trim(2 << 32)
        assert [path.name for path in segment_files(folder)] == names
        log.close()
        assert replay(folder) == placed


def test_a_segment_that_cannot_be_removed_keeps_the_next_from_going_before_it(tmp_path: Path) -> None:
    disk = FaultyDisk()
    log, _ = open_log(tmp_path, disk=disk)
    placed = write_parts(log, 4)
    disk.fail("remove", errno.EIO)
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output error"):
            log.trim(3 << 32)
    disk.mend()
    log.wait(log.append(b"and on"))
    assert len(segment_files(tmp_path)) == 5
    log.trim(3 << 32)
    log.close()
    assert replay(tmp_path)[:-1] == [pair for pair in placed if pair[0] >= 3 << 32]


# Compaction, with a checkpoint


def open_broker(folder: Path, *, checkpoints: bool) -> tuple[FileLog, Broker]:
    disk = UnsyncedDisk()
    log = FileLog(folder, disk=disk, segment_bytes=MIN_SEGMENT_BYTES)
    try:
        return log, Broker(log, checkpoints=FileCheckpoints(folder, disk) if checkpoints else None)
    except BaseException:
        log.close()
        raise


def messages_of(broker: Broker) -> dict[str, list[Message]]:
    return {info.name: list(broker.messages(info.name)) for info in broker.queues()}


def fill(broker: Broker) -> None:
    """Some segments, with live messages of every state and dead ones in each, and restated ones."""
    broker.put_queue("orders", visibility_timeout_ms=600_000)
    for number in range(12):
        ids = broker.produce("default", [f"message {number} {part} " + "x" * 300 for part in range(3)])
        broker.produce("orders", [f"order {number}"], [3_600_000 if number % 3 == 0 else None])
        [claimed, _] = broker.claim("default", limit=2, visibility_timeout_ms=3_600_000)
        if number % 4:
            broker.delete("default", Target(receipt=claimed.receipt))
        broker.delete("default", Target(id=ids[1]))
        if number % 5 == 0:
            broker.update("default", Target(id=ids[2]), Change(body=f"restated {number}"))


def test_a_crash_in_a_compaction_or_a_checkpoint_changes_nothing_that_a_client_sees(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    disk = CrashDisk(folder)
    log = FileLog(folder, disk=disk, segment_bytes=MIN_SEGMENT_BYTES)
    checkpoints = FileCheckpoints(folder, disk)
    broker = Broker(log)
    fill(broker)
    expected = messages_of(broker)
    assert len(segment_files(folder)) >= 4
    disk.moments.clear()
    for _ in range(3):
        assert compact_oldest(broker, log)
        checkpoint(broker, log, checkpoints)
    disk.note("done")
    broker.close()
    assert messages_in(folder, checkpoints=False) == expected
    count = 0
    for moment, files in outcomes(disk.moments):
        for used in (True, False):
            crashed = lay_out(tmp_path / "crashed", files)
            assert messages_in(crashed, checkpoints=used) == expected, (moment, used)
            # And once more, from what that start has left.
            assert messages_in(crashed, checkpoints=not used) == expected, (moment, used)
        found = live_messages(lay_out(tmp_path / "crashed", files))
        assert {name: [each["body"] for each in queue.values()] for name, queue in found.items()} == {
            name: [message.body for message in messages] for name, messages in expected.items()
        }, moment
        count += 1
    assert count > 40


def messages_in(folder: Path, *, checkpoints: bool) -> dict[str, list[Message]]:
    _, broker = open_broker(folder, checkpoints=checkpoints)
    try:
        return messages_of(broker)
    finally:
        broker.close()


def test_the_folder_is_left_as_it_was_by_a_start_that_is_refused(tmp_path: Path) -> None:
    dropped, _ = trimmed(tmp_path)
    (tmp_path / "0000000003.wal").write_bytes(dropped[3])
    last = segment_files(tmp_path)[-1]
    data = bytearray(last.read_bytes())
    data[64 + 40 + 8 + 5] ^= 1
    last.write_bytes(data)
    before = files_of(tmp_path)
    with pytest.raises(CorruptLogError):
        open_log(tmp_path)
    with pytest.raises(CorruptLogError):
        records_in(tmp_path)
    assert files_of(tmp_path) == before
