"""Upgrade from format version 1 to 2: what an older program wrote stays as it is, and what is new stands in new segments."""

from __future__ import annotations

import errno
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.crash_disk import CrashDisk, lay_out
from tests.support.disks import FaultyDisk, SmallDisk, UnsyncedDisk
from tests.support.folders import groups_in, open_log, records_in, segment_files, snapshot, write_log
from wonderq_storage import DiskFullError, FileLog, UnsupportedFormatError, file_log, frame
from wonderq_storage.disk import Disk
from wonderq_storage.segment import publish, reserve

AsOlder = Callable[[Callable[[], object]], object]

RECORDS = [b"%d " % number + bytes([65 + number]) * 1000 for number in range(5)]
NEW = b"of the newest version"
GOLDEN = sorted(path for path in (Path(__file__).parents[1] / "golden" / "format-1").iterdir() if path.is_dir())


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """No closing groups from another thread in between."""
    monkeypatch.setattr(file_log, "_PAUSE_S", 3600)


@pytest.fixture
def as_older_program(monkeypatch: pytest.MonkeyPatch) -> AsOlder:
    """Runs something as a program does that knows version 1 alone."""

    def run(work: Callable[[], object]) -> object:
        with monkeypatch.context() as patch:
            patch.setattr(frame, "VERSION", 1)
            return work()

    return run


@pytest.fixture
def older(tmp_path: Path, as_older_program: AsOlder) -> Path:
    """Two segments of version 1; the second is in use."""
    folder = tmp_path / "older"
    as_older_program(lambda: write_log(folder, RECORDS))
    assert versions(folder) == [1, 1]
    return folder


def versions(folder: Path) -> list[int]:
    headers = [frame.unpack_segment_header(path.read_bytes()) for path in segment_files(folder)]
    return [header.version for header in headers if header is not None]


def records_by_version(folder: Path) -> dict[int, list[bytes]]:
    """Return the records in the segments of each version."""
    found: dict[int, list[bytes]] = {1: [], frame.VERSION: []}
    for version, path in zip(versions(folder), segment_files(folder), strict=True):
        found[version] += [record for _, records in groups_in(path) for record in records]
    return found


def add_blank(folder: Path, *, size: int = 4096) -> Path:
    """Add the segment that a process leaves when it is killed on the way to a next segment."""
    paths = segment_files(folder)
    first = frame.unpack_segment_header(paths[0].read_bytes())
    assert first is not None
    new = publish(Disk(), reserve(Disk(), folder, int(paths[-1].stem) + 1, first.log_id, size, 0))
    new.file.close()
    return new.path


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: path.name)
def test_what_a_release_wrote_stays_as_it_is(golden: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(golden, tmp_path / "data"))
    before = {path.name: path.read_bytes().rstrip(b"\0") for path in segment_files(folder)}
    count = len(before)
    held = records_in(folder)
    log, _ = open_log(folder)
    assert versions(folder) == [1] * count + [frame.VERSION]
    log.wait(log.append(NEW))
    log.close()
    assert records_by_version(folder) == {1: held, frame.VERSION: [NEW]}
    assert records_in(folder) == [*held, NEW]
    for path in segment_files(folder)[:count]:
        assert path.read_bytes().startswith(before[path.name])
        assert groups_in(path)[-1][0].kind == frame.SEAL


def test_the_next_start_has_nothing_to_go_over_from(older: Path) -> None:
    write_log(older, [NEW])
    write_log(older, [NEW])
    assert versions(older) == [1, 1, frame.VERSION]
    assert records_by_version(older) == {1: RECORDS, frame.VERSION: [NEW, NEW]}


def test_an_older_program_refuses_it_from_then_on(older: Path, as_older_program: AsOlder) -> None:
    as_older_program(lambda: records_in(older))
    assert records_in(older) == RECORDS
    as_older_program(lambda: records_in(older))  # reading alone changes nothing
    log, _ = open_log(older)
    log.close()
    before = snapshot(older)
    with pytest.raises(UnsupportedFormatError, match=rf"0000000003\.wal has format version {frame.VERSION}"):
        as_older_program(lambda: records_in(older))
    assert snapshot(older) == before


def test_a_segment_without_groups_is_left_too(tmp_path: Path, as_older_program: AsOlder) -> None:
    def start_and_die() -> None:
        log, _ = open_log(tmp_path / "log")
        shutil.copytree(tmp_path / "log", tmp_path / "killed")
        log.close()

    as_older_program(start_and_die)
    write_log(tmp_path / "killed", [NEW])
    assert versions(tmp_path / "killed") == [1, frame.VERSION]
    assert records_by_version(tmp_path / "killed") == {1: [], frame.VERSION: [NEW]}


def test_a_torn_tail_is_cut_before(older: Path) -> None:
    path = segment_files(older)[-1]
    end = groups_in(path)[-1][0].offset + frame.GROUP_HEADER_BYTES
    whole = path.read_bytes()
    path.write_bytes(whole[:end] + b"a group that was being written".ljust(len(whole) - end, b"\0"))
    write_log(older, [NEW])
    assert records_by_version(older) == {1: RECORDS, frame.VERSION: [NEW]}
    assert len(list(older.joinpath("torn").iterdir())) == 1


@pytest.mark.parametrize("size", [4096, 8192], ids=["of the same size", "of another size"])
def test_a_blank_segment_of_the_older_version_is_passed(older: Path, as_older_program: AsOlder, size: int) -> None:
    as_older_program(lambda: add_blank(older, size=size))
    log, _ = open_log(older)
    assert versions(older) == [1, 1, 1, frame.VERSION]
    log.wait(log.append(NEW))
    log.close()
    assert versions(older) == [1, 1, 1, frame.VERSION]
    assert [header.kind for header, _ in groups_in(segment_files(older)[2])] == [frame.SEAL]
    assert records_by_version(older) == {1: RECORDS, frame.VERSION: [NEW]}
    assert records_in(older) == [*RECORDS, NEW]


@pytest.mark.parametrize("size", [4096, 8192], ids=["of the same size", "of another size"])
def test_a_blank_segment_of_this_version_is_used(older: Path, size: int) -> None:
    add_blank(older, size=size)
    write_log(older, [NEW])
    assert versions(older) == [1, 1, frame.VERSION]
    assert records_by_version(older) == {1: RECORDS, frame.VERSION: [NEW]}


@pytest.mark.parametrize("blank", [False, True], ids=["", "with a blank segment"])
def test_a_crash_on_the_way_leaves_a_log_that_starts(
    older: Path, tmp_path: Path, as_older_program: AsOlder, blank: bool
) -> None:
    if blank:
        as_older_program(lambda: add_blank(older))
    disk = CrashDisk(older)
    log, _ = open_log(older, disk=disk)
    log.wait(log.append(NEW))
    disk.note("done")
    log.close()
    seen: list[dict[str, bytes]] = []
    for moment in disk.moments:
        for files in (moment.visible, *moment.after_power_cut()):
            if files in seen:
                continue
            seen.append(files)
            crashed = lay_out(tmp_path / "crashed", files)
            held = records_in(crashed, UnsyncedDisk())
            assert held in (RECORDS, [*RECORDS, NEW]), moment.next
            again, _ = open_log(crashed, disk=UnsyncedDisk())
            again.wait(again.append(b"again"))
            again.close()
            assert records_in(crashed, UnsyncedDisk()) == [*held, b"again"], moment.next
            assert records_by_version(crashed) == {1: RECORDS, frame.VERSION: [*held[len(RECORDS) :], b"again"]}, (
                moment.next
            )
    assert records_in(lay_out(tmp_path / "crashed", disk.moments[-1].durable)) == [*RECORDS, NEW]
    assert len(seen) > 8


# Without room for another segment


@pytest.fixture
def on_a_full_disk(older: Path) -> Iterator[tuple[FileLog, FaultyDisk]]:
    disk = FaultyDisk()
    disk.fail("allocate", errno.ENOSPC, on=".tmp")
    log, held = open_log(older, disk=disk)
    assert held == RECORDS
    yield log, disk
    log.close()


def test_a_start_on_a_full_disk_reads_and_writes_nothing(
    older: Path, caplog: pytest.LogCaptureFixture, as_older_program: AsOlder
) -> None:
    before = snapshot(older).keys()
    disk = FaultyDisk()
    disk.fail("allocate", errno.ENOSPC, on=".tmp")
    with caplog.at_level(logging.WARNING):
        log, held = open_log(older, disk=disk)
    assert held == RECORDS
    assert any("has format version 1, which this WonderQ does not write" in each.message for each in caplog.records)
    for leave_bytes in (0, 1000):
        with pytest.raises(DiskFullError, match="no room for another log segment"):
            log.append(NEW, leave_bytes=leave_bytes)
    with pytest.raises(DiskFullError):
        log.append_together([NEW, NEW])
    log.sync()
    assert log.failure is None
    log.close()
    assert snapshot(older).keys() == before
    assert versions(older) == [1, 1]
    assert as_older_program(lambda: records_in(older)) == RECORDS, "so going back is still possible"


def test_it_goes_over_once_there_is_room(older: Path, on_a_full_disk: tuple[FileLog, FaultyDisk]) -> None:
    log, disk = on_a_full_disk
    with pytest.raises(DiskFullError):
        log.append(NEW)
    disk.mend()
    position = log.append(NEW)
    assert position >> 32 == 3
    log.wait(position)
    log.close()
    assert records_by_version(older) == {1: RECORDS, frame.VERSION: [NEW]}


def test_a_trim_on_a_full_disk_says_so_in_the_older_segment(
    older: Path, on_a_full_disk: tuple[FileLog, FaultyDisk]
) -> None:
    """Dropped segments make room, and an older program misreads neither a closing group nor a seal."""
    log, disk = on_a_full_disk
    log.trim(2 << 32)
    assert [path.name for path in segment_files(older)] == ["0000000002.wal"]
    kept = records_by_version(older)[1]
    disk.mend()
    log.wait(log.append(NEW))
    log.close()
    assert records_by_version(older) == {1: kept, frame.VERSION: [NEW]}
    assert records_in(older) == [*kept, NEW]


def test_a_smaller_segment_will_do(tmp_path: Path, as_older_program: AsOlder) -> None:
    folder = tmp_path / "log"
    as_older_program(lambda: write_log(folder, RECORDS, segment_bytes=65536))
    log, _ = open_log(folder, disk=SmallDisk(65536 + 10_000), segment_bytes=65536)
    log.wait(log.append(NEW))
    log.close()
    assert records_by_version(folder) == {1: RECORDS, frame.VERSION: [NEW]}
    assert segment_files(folder)[-1].stat().st_size == 8192


def test_on_a_full_disk_a_small_blank_segment_is_used(tmp_path: Path, as_older_program: AsOlder) -> None:
    folder = tmp_path / "log"
    as_older_program(lambda: write_log(folder, RECORDS, segment_bytes=65536))
    add_blank(folder, size=4096)
    log, _ = open_log(folder, disk=SmallDisk(0), segment_bytes=65536)
    log.wait(log.append(NEW))
    with pytest.raises(DiskFullError):
        log.append(bytes(20_000))
    log.close()
    assert versions(folder) == [1, frame.VERSION]
    assert records_by_version(folder) == {1: RECORDS, frame.VERSION: [NEW]}
