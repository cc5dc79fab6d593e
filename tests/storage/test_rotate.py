"""Rotate to a fresh segment: on request, and through one that is too small for what comes."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.support.disks import GatedDisk, Operation, RecordingDisk, SmallDisk
from tests.support.folders import groups_in, open_log, records_in, segment_files
from tests.support.threads import Call
from wonderq_storage import DiskFullError, FileLog, LogClosedError, SyncPolicy, file_log, frame
from wonderq_storage.disk import Disk
from wonderq_storage.segment import Segment, publish, reserve

SMALL, LARGE = 4096, 1 << 16


def capacities(folder: Path) -> list[int]:
    headers = [frame.unpack_segment_header(path.read_bytes()) for path in segment_files(folder)]
    return [header.capacity for header in headers if header is not None]


def kinds(path: Path) -> list[tuple[int, int]]:
    return [(header.kind, len(records)) for header, records in groups_in(path)]


def put(log: FileLog, record: bytes) -> bytes:
    log.wait(log.append(record))
    return record


def add_spare(folder: Path, capacity: int) -> Segment:
    """Reserve and publish a next segment, as a process does that is killed before it uses it."""
    first = frame.unpack_segment_header(segment_files(folder)[0].read_bytes())
    assert first is not None
    new = reserve(Disk(), folder, len(segment_files(folder)) + 1, first.log_id, capacity, 0)
    return publish(Disk(), new)


@pytest.mark.parametrize("policy", ["always", "interval:1000", "os"])
def test_what_comes_after_a_rotation_is_in_the_next_segment(tmp_path: Path, policy: str) -> None:
    log, _ = open_log(tmp_path, sync=SyncPolicy.parse(policy))
    written = [put(log, b"before")]
    log.append(b"nobody waits for this one")
    end = log.rotate()
    log.sync()
    assert end == log.end() == 2 << 32 | frame.SEGMENT_HEADER_BYTES
    assert segment_files(tmp_path)[0].stat().st_size < SMALL, "the sealed segment is cut behind its seal"
    oldest = log.oldest()
    assert oldest is not None
    assert oldest[0] <= end
    assert [bytes(record) for _, record in oldest[1]] == [*written, b"nobody waits for this one"]
    position = log.append(b"after")
    assert position >> 32 == 2
    log.wait(position)
    log.close()
    assert records_in(tmp_path) == [*written, b"nobody waits for this one", b"after"]


@pytest.mark.parametrize("policy", ["always", "interval:60000", "os"])
def test_a_rotation_writes_and_syncs_nothing_of_the_log(
    tmp_path: Path, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_log, "_PAUSE_S", 3600)  # no closing group in between
    disk = RecordingDisk()
    log, _ = open_log(tmp_path, disk=disk, sync=SyncPolicy.parse(policy))
    written = [put(log, b"before")]
    disk.operations.clear()
    log.append(b"nobody waits for this one")
    log.rotate()
    assert {each.name for each in disk.operations} <= {"create", "allocate", "write"}
    assert {each.target for each in disk.operations} <= {"0000000002.wal.tmp"}, "space is reserved, and nothing else"
    log.sync()
    assert Operation("sync", "0000000001.wal") in disk.operations
    log.close()
    assert records_in(tmp_path) == [*written, b"nobody waits for this one"]


def test_a_rotation_does_not_wait_for_a_sync_that_is_under_way(tmp_path: Path) -> None:
    disk = GatedDisk()
    log, _ = open_log(tmp_path, disk=disk)
    disk.hold()
    before = Call(put, log, b"before")
    assert disk.await_sync()
    assert log.rotate() == log.end() == 2 << 32 | frame.SEGMENT_HEADER_BYTES
    assert log.append(b"after") >> 32 == 2
    assert not before.done
    disk.let_all_through()
    before.result()
    log.close()
    assert records_in(tmp_path) == [b"before", b"after"]


def test_a_log_can_be_trimmed_up_to_a_rotation(tmp_path: Path) -> None:
    log, _ = open_log(tmp_path)
    for number in range(10):
        put(log, bytes([number]) * 1000)
    end = log.rotate()
    log.sync()
    put(log, b"after")
    while (oldest := log.oldest()) and oldest[0] <= end:
        log.trim(oldest[0])
    assert [path.name for path in segment_files(tmp_path)] == [f"{end >> 32:010d}.wal"]
    log.close()
    assert records_in(tmp_path) == [b"after"]


def test_rotations_one_after_the_other_leave_empty_segments(tmp_path: Path) -> None:
    log, _ = open_log(tmp_path)
    written = [put(log, b"before")]
    ends = [log.rotate() >> 32 for _ in range(3)]
    written.append(put(log, b"after"))
    log.close()
    assert ends == [2, 3, 4]
    assert kinds(segment_files(tmp_path)[1]) == [(frame.SEAL, 0)]
    assert records_in(tmp_path) == written


def test_a_rotation_goes_on_in_a_segment_of_the_size_the_log_was_opened_with(tmp_path: Path) -> None:
    log, _ = open_log(tmp_path, segment_bytes=LARGE)
    written = [put(log, b"before")]
    log.close()
    add_spare(tmp_path, LARGE).file.close()
    log, _ = open_log(tmp_path, segment_bytes=SMALL)
    assert log.rotate() >> 32 == 3
    written.append(put(log, b"after"))
    log.close()
    assert capacities(tmp_path) == [LARGE, LARGE, SMALL]
    assert [path.stat().st_size for path in segment_files(tmp_path)[1:]] == [104, SMALL]
    assert records_in(tmp_path) == written


def test_a_spare_of_the_right_size_is_used(tmp_path: Path) -> None:
    log, _ = open_log(tmp_path)
    put(log, b"before")
    log.close()
    add_spare(tmp_path, SMALL).file.close()
    log, _ = open_log(tmp_path)
    assert log.rotate() >> 32 == 2
    log.close()
    assert len(segment_files(tmp_path)) == 2


def test_a_record_larger_than_the_spare_segment_passes_through_it(tmp_path: Path) -> None:
    log, _ = open_log(tmp_path)
    written = [put(log, b"before")]
    log.close()
    add_spare(tmp_path, SMALL).file.close()
    log, _ = open_log(tmp_path, segment_bytes=LARGE)
    position = log.append(bytes(log.max_record_bytes))
    assert position >> 32 == 3
    log.wait(position)
    written += [bytes(log.max_record_bytes), put(log, b"after")]
    log.close()
    assert capacities(tmp_path) == [SMALL, SMALL, LARGE, LARGE]
    assert kinds(segment_files(tmp_path)[1]) == [(frame.SEAL, 0)]
    assert records_in(tmp_path) == written


def test_a_small_spare_is_used_by_records_that_fit_it(tmp_path: Path) -> None:
    log, _ = open_log(tmp_path)
    written = [put(log, bytes(3000))]
    log.close()
    add_spare(tmp_path, SMALL).file.close()
    log, _ = open_log(tmp_path, segment_bytes=LARGE)
    places = [log.append(bytes(size)) >> 32 for size in (2000, 30_000)]
    assert places == [2, 3]
    log.close()
    assert records_in(tmp_path) == [*written, bytes(2000), bytes(30_000)]


class FullDisk(Disk):
    """Has no room for a segment any more once told so."""

    full = False

    def create(self, path: Path):  # type: ignore[no-untyped-def]
        if self.full:
            raise OSError(28, "No space left on device")
        return super().create(path)


def test_no_room_for_a_segment_leaves_all_as_it_was(tmp_path: Path) -> None:
    log, _ = open_log(tmp_path)
    written = [put(log, b"before")]
    log.close()
    add_spare(tmp_path, SMALL).file.close()
    disk = FullDisk()
    log, _ = open_log(tmp_path, disk=disk, segment_bytes=LARGE)
    disk.full = True
    end = log.end()
    with pytest.raises(DiskFullError):
        log.rotate()
    with pytest.raises(DiskFullError):
        log.append(bytes(log.max_record_bytes))
    assert log.end() == end
    written += [put(log, b"a small one"), put(log, bytes(3850))]  # the spare is still there for what fits it
    disk.full = False
    written.append(put(log, bytes(log.max_record_bytes)))
    log.close()
    assert records_in(tmp_path) == written


def test_the_room_that_a_rotation_gives_back_counts_before_it_is_there(tmp_path: Path) -> None:
    """The next segment is small: without the unused end of the one before, a record that leaves more would be refused."""
    disk = SmallDisk(LARGE + 20_000)
    log, _ = open_log(tmp_path, disk=disk, segment_bytes=LARGE)
    written = [put(log, bytes(10_000))]
    log.rotate()
    written.append(b"leaves as much as the first segment gives back")
    position = log.append(written[-1], leave_bytes=50_000)
    assert position >> 32 == 2
    with pytest.raises(DiskFullError):
        log.append(b"leaves more", leave_bytes=80_000)
    log.wait(position)
    assert capacities(tmp_path) == [LARGE, 16384]
    written.append(put(log, bytes(30_000)))  # the room is there now
    log.close()
    assert records_in(tmp_path) == written


def test_the_room_that_a_rotation_gives_back_counts_only_once(tmp_path: Path) -> None:
    disk = SmallDisk(LARGE + 20_000)
    log, _ = open_log(tmp_path, disk=disk, segment_bytes=LARGE)
    written = [put(log, bytes(10_000))]
    log.rotate()
    log.sync()
    disk.size_bytes = sum(path.stat().st_size for path in tmp_path.iterdir())  # others took what it gave back
    with pytest.raises(DiskFullError):
        log.append(b"leaves as much", leave_bytes=50_000)
    log.close()
    assert records_in(tmp_path) == written


@pytest.mark.parametrize("policy", ["always", "os"])
def test_rotating_under_traffic_keeps_every_record_in_order(tmp_path: Path, policy: str) -> None:
    log, _ = open_log(tmp_path, sync=SyncPolicy.parse(policy), segment_bytes=LARGE)
    stop = threading.Event()
    written: list[list[bytes]] = [[] for _ in range(4)]

    def produce(client: int) -> None:
        while not stop.is_set():
            written[client].append(put(log, b"%d %d" % (client, len(written[client]))))

    threads = [threading.Thread(target=produce, args=(client,)) for client in range(4)]
    for thread in threads:
        thread.start()
    ends = [log.rotate() for _ in range(40)]
    stop.set()
    for thread in threads:
        thread.join()
    log.close()
    assert ends == sorted(set(ends))
    found = records_in(tmp_path)
    for client in range(4):
        assert [record for record in found if record.startswith(b"%d " % client)] == written[client]
    assert len(found) == sum(map(len, written))


def test_a_closed_log_does_not_rotate(tmp_path: Path) -> None:
    log, _ = open_log(tmp_path)
    log.close()
    with pytest.raises(LogClosedError):
        log.rotate()


def test_used_bytes_are_known_before_the_start(tmp_path: Path) -> None:
    log, _ = open_log(tmp_path)
    for _ in range(10):
        put(log, bytes(1000))
    log.close()
    log = FileLog(tmp_path, segment_bytes=SMALL)
    list(log.replay())
    before = log.used_bytes()
    log.start()
    assert before == log.used_bytes() > 10_000
    log.close()
