"""Unacknowledged records that a crash leaves are cut off and set aside, and do no harm."""

from __future__ import annotations

import errno
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from tests.support.disks import FaultyDisk, RecordingDisk, UnsyncedDisk
from tests.support.folders import Builder, end_of_groups, groups_in, open_log, records_in, segment_files, snapshot
from wonderq_storage import CorruptLogError, SyncPolicy
from wonderq_storage.disk import Disk
from wonderq_storage.recovery import TORN_FOLDER

ACKED = [b"first acked", b"second acked", b"third acked"]
SEGMENT = "0000000001.wal"


class Torn:
    """A segment of which the groups behind ``start`` were written and never acknowledged."""

    def __init__(self, acked: bytes, written: bytes, groups: list[tuple[int, list[bytes]]]) -> None:
        self.start = end_of_groups(acked)
        self.end = len(written.rstrip(b"\0"))
        self.acked = acked
        self.written = written
        self.groups = groups
        """End of each unacknowledged group, and its records."""

    def whole(self, intact_to: int) -> list[bytes]:
        """The records that have to come back when every byte before ``intact_to`` is as written."""
        return ACKED + [record for end, records in self.groups if end <= intact_to for record in records]


@pytest.fixture(scope="module")
def torn(tmp_path_factory: pytest.TempPathFactory) -> Torn:
    """A realistic torn log: the acknowledged part is a clean log, the rest its next run, captured before its sync."""
    folder = tmp_path_factory.mktemp("torn")
    log, _ = open_log(folder)
    for record in ACKED:
        log.wait(log.append(record))
    log.close()
    acked = (folder / SEGMENT).read_bytes()
    log, _ = open_log(folder, sync=SyncPolicy("os"))
    written = [[b"never acked", b"nor this", b""], [b"and a second group"]]
    groups = []
    for records in written:
        position = [log.append(record) for record in records][-1]
        log.wait(position)
        groups.append(((position & 0xFFFFFFFF) + len(records[-1]), records))
    data = (folder / SEGMENT).read_bytes()
    log.close()
    assert groups[-1][0] == len(data.rstrip(b"\0"))
    return Torn(acked, data, groups)


def check(folder: Path, data: bytes, expected: list[bytes], cut_at: int | None) -> None:
    """Start on this segment, go on, and start again."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    segment = folder / SEGMENT
    segment.write_bytes(data)
    disk = UnsyncedDisk()
    assert records_in(folder, disk) == expected
    assert segment.read_bytes() == data, "reading changes nothing"
    log, held = open_log(folder, disk=disk)
    try:
        assert held == expected
        aside = [path.read_bytes() for path in folder.glob(f"{TORN_FOLDER}/*")]
        if cut_at is None:
            assert (log.torn_bytes, aside) == (0, [])
        else:
            tail = data[cut_at:].rstrip(b"\0")
            assert (log.torn_bytes, aside) == (len(tail), [tail])
            assert segment.read_bytes() == data[:cut_at].ljust(len(data), b"\0")
        log.wait(log.append(b"goes on"))
    finally:
        log.close()
    log, held = open_log(folder, disk=disk)
    try:
        assert held == [*expected, b"goes on"]
        assert log.torn_bytes == 0
        assert [path.read_bytes() for path in folder.glob(f"{TORN_FOLDER}/*")] == aside
    finally:
        log.close()


def cut_place(torn: Torn, data: bytes, intact_to: int) -> int | None:
    """Return the place to cut the tail: behind the last whole group, if any bytes follow it."""
    ends = [torn.start, *(end for end, _ in torn.groups if end <= intact_to)]
    return ends[-1] if data[ends[-1] :].rstrip(b"\0") else None


def first_difference(one: bytes, other: bytes) -> int:
    return next((at for at in range(len(one)) if one[at] != other[at]), len(one))


Damage = Callable[[Torn, int], bytes]


def cut(torn: Torn, at: int) -> bytes:
    """The write stopped here."""
    return torn.written[:at].ljust(len(torn.written), b"\0")


def head_missing(torn: Torn, at: int) -> bytes:
    """The bytes up to here did not make it, those behind did: writes are not in order within a sync."""
    return torn.written[: torn.start] + bytes(at - torn.start) + torn.written[at:]


def hole(torn: Torn, at: int) -> bytes:
    """A stretch in the middle did not make it."""
    return torn.written[:at] + bytes(16) + torn.written[at + 16 :]


def garbage(torn: Torn, at: int) -> bytes:
    """Replace the torn part by random bytes."""
    return torn.written[:at] + Random(at).randbytes(torn.end - at).ljust(len(torn.written) - at, b"\0")


def beyond(torn: Torn, at: int) -> bytes:
    """Bytes of a write that went further than any group whose header arrived."""
    return torn.acked[:at] + b"\xff" * 30 + torn.acked[at + 30 :]


@pytest.mark.parametrize("damage", [cut, head_missing, hole, garbage, beyond])
def test_a_torn_tail_at_every_byte(tmp_path: Path, torn: Torn, damage: Damage) -> None:
    for at in range(torn.start, torn.end + 1):
        data = damage(torn, at)
        intact_to = first_difference(data, torn.written)
        check(tmp_path / "log", data, torn.whole(intact_to), cut_place(torn, data, intact_to))


def test_a_flipped_bit_at_every_byte_of_the_unacked(tmp_path: Path, torn: Torn) -> None:
    for at in range(torn.start, torn.end):
        data = bytearray(torn.written)
        data[at] ^= 1 << at % 8
        check(tmp_path / "log", bytes(data), torn.whole(at), cut_place(torn, bytes(data), at))


def test_a_torn_tail_at_the_very_end_of_a_segment(tmp_path: Path, torn: Torn) -> None:
    data = torn.acked[:-1] + b"\1"
    check(tmp_path / "log", data, ACKED, torn.start)


def test_a_large_torn_tail(tmp_path: Path) -> None:
    """Longer than what is read at once, with all of it zeros for a long way in the middle."""
    size = 4 << 20
    log, _ = open_log(tmp_path, segment_bytes=size)
    log.wait(log.append(b"acked"))
    log.close()
    segment = tmp_path / SEGMENT
    data = bytearray(segment.read_bytes())
    start = end_of_groups(bytes(data))
    data[start + 10 : start + 20] = b"torn bytes"
    data[3 << 20 : (3 << 20) + 4] = b"more"
    segment.write_bytes(data)
    log, held = open_log(tmp_path, segment_bytes=size)
    assert held == [b"acked"]
    assert log.torn_bytes == (3 << 20) + 4 - start
    assert segment.read_bytes() == data[:start].ljust(size, b"\0")
    assert [path.read_bytes() for path in (tmp_path / TORN_FOLDER).iterdir()] == [data[start : (3 << 20) + 4]]
    log.close()


def test_the_cut_is_logged_with_file_offset_and_copy(
    tmp_path: Path, torn: Torn, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / SEGMENT).write_bytes(cut(torn, torn.start + 17))
    with caplog.at_level(logging.WARNING, logger="wonderq.storage"):
        log, _ = open_log(tmp_path)
    log.close()
    (aside,) = (tmp_path / TORN_FOLDER).iterdir()
    (message,) = [record.getMessage() for record in caplog.records]
    assert f"a torn tail of 17 bytes at {tmp_path / SEGMENT}, byte {torn.start}:" in message
    assert f"{TORN_FOLDER}/{aside.name}" in message


def test_torn_tails_of_several_crashes_are_all_kept(tmp_path: Path) -> None:
    torn: list[bytes] = []
    for run in range(4):
        log, held = open_log(tmp_path)
        assert held == [f"record {number}".encode() for number in range(run)]
        log.wait(log.append(f"record {run}".encode()))
        log.close()
        data = bytearray((tmp_path / SEGMENT).read_bytes())
        start = end_of_groups(bytes(data))
        data[start + 5 : start + 10] = b"torn!"
        torn.append(bytes(data[start : start + 10]))
        (tmp_path / SEGMENT).write_bytes(data)
    log, _ = open_log(tmp_path)
    log.close()
    assert sorted(path.read_bytes() for path in (tmp_path / TORN_FOLDER).iterdir()) == sorted(torn)


# A crash in the middle of the cutting itself.


def interrupted(folder: Path, disk: Disk) -> bool:
    try:
        log, _ = open_log(folder, disk=disk)
    except OSError:
        return True
    log.close()
    return False


def operations_of_a_start(folder: Path) -> Iterator[int]:
    disk = RecordingDisk()
    log, _ = open_log(folder, disk=disk)
    count = len(disk.operations)
    log.close()
    assert count > 6
    yield from range(1, count + 1)


@pytest.mark.parametrize("torn_writes", [False, True], ids=["before", "half-way"])
def test_a_crash_at_any_step_of_the_cutting_changes_nothing(tmp_path: Path, torn: Torn, torn_writes: bool) -> None:
    data = garbage(torn, torn.start + 20)
    rehearsal = tmp_path / "rehearsal"
    rehearsal.mkdir()
    (rehearsal / SEGMENT).write_bytes(data)
    tail = data[torn.start :].rstrip(b"\0")
    for step in operations_of_a_start(rehearsal):
        folder = tmp_path / f"step {step}"
        folder.mkdir()
        (folder / SEGMENT).write_bytes(data)
        disk = FaultyDisk()
        disk.fail("any", errno.EIO, nth=step, torn=torn_writes)
        assert interrupted(folder, disk), step
        assert records_in(folder) == ACKED
        log, held = open_log(folder)
        assert held == ACKED
        assert (folder / SEGMENT).read_bytes() == torn.acked
        log.wait(log.append(b"goes on"))
        log.close()
        assert records_in(folder) == [*ACKED, b"goes on"]
        assert tail in [path.read_bytes() for path in (folder / TORN_FOLDER).iterdir()], "the tail was set aside whole"


def test_every_half_zeroed_tail_is_cut_as_the_whole_one(tmp_path: Path, torn: Torn) -> None:
    for at in range(torn.start, torn.end):
        data = bytearray(head_missing(torn, at))
        data[torn.start + 4] = 0
        check(tmp_path / "log", bytes(data), ACKED, cut_place(torn, bytes(data), torn.start))


# Bodies that look like the log itself.


def test_copies_of_real_groups_in_a_body_prove_nothing(tmp_path: Path) -> None:
    """A record holds groups of this very log, closing groups and a seal among them, and the record is torn."""
    log, _ = open_log(tmp_path / "source")
    for record in (*ACKED, bytes(2500), bytes(2500)):
        log.wait(log.append(record))
    log.close()
    sealed, after = (path.read_bytes() for path in segment_files(tmp_path / "source"))
    copies = sealed[64:260] + sealed[-40:] + after[64:104] + after[end_of_groups(after) - 40 : end_of_groups(after)]

    folder = tmp_path / "log"
    folder.mkdir()
    end_of_acked = sealed.index(ACKED[-1]) + len(ACKED[-1])
    start = sealed[:end_of_acked].ljust(4096, b"\0")
    for at in range(end_of_acked, end_of_acked + 60):
        # The same log, with a torn group of which only the body arrived.
        data = start[:at] + copies + start[at + len(copies) :]
        check(folder, data, ACKED, end_of_acked)


def test_a_body_with_a_group_of_its_own_log_is_a_body(tmp_path: Path) -> None:
    log, _ = open_log(tmp_path)
    log.wait(log.append(b"first"))
    held = [b"first"]
    for _ in range(4):
        body = segment_files(tmp_path)[0].read_bytes().rstrip(b"\0")
        held.append(body)
        log.wait(log.append(body))
    log.close()
    assert records_in(tmp_path) == held


def test_a_header_that_knew_less_proves_nothing(tmp_path: Path) -> None:
    """The group is in the right place, but was written before the torn group's sync, so it is torn as well."""
    log = Builder(tmp_path).open().group(b"one")
    start = len(log.data)
    log.group(b"two").group(b"three", durable=1).group(b"four", durable=1)
    log.data[start] ^= 1
    log.write()
    assert records_in(tmp_path) == [b"one"]
    before = snapshot(tmp_path)
    log.group(durable=2)
    assert snapshot(tmp_path) != before
    with pytest.raises(Exception, match=f"byte {start}: .*; group 5 records that it was durable"):
        records_in(tmp_path)


def test_a_kill_between_two_segments_leaves_a_log_that_goes_on(tmp_path: Path) -> None:
    """Fail each step of going over to the next segment in turn, as a kill there would, and start again."""
    steps = 0
    for step in range(1, 40):
        folder = tmp_path / str(step)
        disk = FaultyDisk()
        log, _ = open_log(folder, disk=disk)
        log.wait(log.append(b"acked" * 700))
        disk.fail("any", errno.EIO, nth=step, torn=step % 2 == 0)
        failed = False
        try:
            log.wait(log.append(b"not acked" * 300))
        except Exception:
            failed = True
        kill = Path(shutil.copytree(folder, tmp_path / f"{step} killed"))
        disk.mend()
        log.close()
        for place in (folder, kill):
            log, held = open_log(place)
            assert held in ([b"acked" * 700], [b"acked" * 700, b"not acked" * 300])
            for number in range(5):
                log.wait(log.append(f"{number}".encode() * 1000))
            log.close()
            assert records_in(place) == held + [f"{number}".encode() * 1000 for number in range(5)]
            assert [path.suffix for path in place.iterdir() if path.is_file()] == [".wal"] * len(segment_files(place))
            groups = [header.number for path in segment_files(place) for header, _ in groups_in(path)]
            assert groups == list(range(1, len(groups) + 1))
        if not failed:
            break
        steps += 1
    assert steps > 8


@pytest.mark.parametrize("left_bytes", range(0, 100, 4))
def test_after_a_clean_stop_damage_to_the_last_record_shows_however_full_the_segment_is(
    tmp_path: Path, left_bytes: int
) -> None:
    log, _ = open_log(tmp_path)
    room = log.max_record_bytes - left_bytes
    log.wait(log.append(b"x" * room))
    log.close()
    path = segment_files(tmp_path)[0]
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptLogError):
        open_log(tmp_path)
