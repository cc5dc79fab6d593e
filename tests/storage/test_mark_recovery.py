"""Opening a log from a mark: what is read then, what is judged, and what the mark itself vouches for."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.disks import RecordingDisk
from tests.support.folders import groups_in, open_log, segment_files, snapshot
from tests.support.waiting import PATIENCE_S
from wonderq_storage import CorruptLogError, FileLog, LogClosedError, Mark, Position, SyncPolicy, frame
from wonderq_storage.file_log import MIN_SEGMENT_BYTES

Placed = list[tuple[Position, bytes]]


def replay(folder: Path, mark: Mark | None) -> Placed:
    log = FileLog(folder, segment_bytes=MIN_SEGMENT_BYTES)
    try:
        return [(position, bytes(record)) for position, record in log.replay(mark)]
    finally:
        log.close()


def restart(folder: Path, mark: Mark | None) -> Placed:
    """Replay from the mark, start, append one record, stop; then return all that the log holds."""
    log = FileLog(folder, segment_bytes=MIN_SEGMENT_BYTES)
    try:
        for _ in log.replay(mark):
            pass
        log.start()
        log.wait(log.append(b"after the restart"))
    finally:
        log.close()
    return replay(folder, None)


class Written:
    """A log of some segments with a mark after each record, closed cleanly."""

    def __init__(self, folder: Path, *, count: int = 10, length: int = 1000, clean: bool = True) -> None:
        self.folder = folder
        self.placed: Placed = []
        log, _ = open_log(folder, segment_bytes=MIN_SEGMENT_BYTES)
        self.marks = [log.mark()]
        for number in range(count):
            record = b"%d " % number + bytes([65 + number]) * length
            position = log.append(record)
            log.wait(position)
            self.placed.append((position, record))
            self.marks.append(log.mark())
        log.sync()
        if not clean:
            # The state after a kill, without a closing group.
            shutil.copytree(folder, folder.with_name("killed"))
        log.close()
        if not clean:
            shutil.rmtree(folder)
            folder.with_name("killed").rename(folder)

    def behind(self, mark: Mark) -> Placed:
        return [pair for pair in self.placed if pair[0] >= mark.end]


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def zero(path: Path, offset: int) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:offset].ljust(len(data), b"\0"))


def test_a_mark_at_every_place_is_good_also_where_its_segment_was_sealed_later(tmp_path: Path) -> None:
    written = Written(tmp_path / "log")
    assert len(segment_files(written.folder)) == 4
    last_number = segment_files(written.folder)[-1].stem
    sealed = [mark for mark in written.marks if mark.end >> 32 < int(last_number)]
    assert len(sealed) == 10
    for number, mark in enumerate(written.marks):
        assert replay(written.folder, mark) == written.behind(mark) == written.placed[number:]


def test_a_mark_at_the_very_end_gives_nothing_and_the_log_goes_on(tmp_path: Path) -> None:
    written = Written(tmp_path / "log")
    found = restart(written.folder, written.marks[-1])
    assert [record for _, record in found] == [record for _, record in written.placed] + [b"after the restart"]


@pytest.mark.parametrize("full", [True, False], ids=["no room left for a seal's neighbour", "room left"])
def test_a_mark_at_a_segment_border(tmp_path: Path, full: bool) -> None:
    folder = tmp_path / "log"
    log, _ = open_log(folder, segment_bytes=MIN_SEGMENT_BYTES)
    record = b"b" * (log.max_record_bytes if full else log.max_record_bytes - 100)
    placed = [(log.append(record), record)]
    log.wait(placed[0][0])
    before = log.mark()
    position = log.append(b"c" * 200)
    gathering = log.mark()
    log.wait(position)
    placed.append((position, b"c" * 200))
    behind = log.mark()
    log.close()
    assert [position >> 32 for position, _ in placed] == [1, 2]
    assert replay(folder, before) == placed[1:]
    assert replay(folder, gathering) == replay(folder, behind) == []
    assert [record for _, record in restart(folder, gathering)] == [record, b"c" * 200, b"after the restart"]


def test_a_mark_taken_while_records_gather_stands_behind_them(tmp_path: Path) -> None:
    log, _ = open_log(tmp_path, segment_bytes=MIN_SEGMENT_BYTES)
    log.wait(log.append(b"first"))
    log.append(b"gathering")
    mark = log.mark()
    later = log.append(b"later")
    log.sync()
    log.close()
    assert replay(tmp_path, mark) == [(later, b"later")]


# Guarantees of a mark


Cut = Callable[[Path, int], None]


def shorten(path: Path, offset: int) -> None:
    path.write_bytes(path.read_bytes()[:offset])


@pytest.mark.parametrize("cut", [zero, shorten])
def test_a_log_that_ends_before_a_mark_is_refused_with_file_and_offset(tmp_path: Path, cut: Cut) -> None:
    """Without the mark, zeros would be an end like any other."""
    written = Written(tmp_path / "log", count=2, length=500, clean=False)
    (path,) = segment_files(written.folder)
    groups = groups_in(path)
    assert len(groups) == 2
    for end in (groups[1][0].offset, groups[0][0].offset):
        cut(path, end)
        before = snapshot(written.folder)
        for mark in written.marks[-1:]:
            with pytest.raises(CorruptLogError) as refused:
                replay(written.folder, mark)
            assert refused.value.file == str(path)
            # The refusal is at the mark: nothing before it was read.
            assert end <= refused.value.offset <= mark.end & 0xFFFF_FFFF
        assert snapshot(written.folder) == before
    if cut is zero:
        assert replay(written.folder, None) == []


def test_a_log_that_lost_the_end_that_a_mark_was_still_gathering_is_refused(tmp_path: Path) -> None:
    """The mark's place is before its end, so what lies between is read, and missed."""
    log, _ = open_log(tmp_path / "log", segment_bytes=MIN_SEGMENT_BYTES)
    log.wait(log.append(b"first"))
    log.append(b"gathering")
    mark = log.mark()
    log.sync()
    shutil.copytree(tmp_path / "log", tmp_path / "killed")
    log.close()
    (path,) = segment_files(tmp_path / "killed")
    last = groups_in(path)[-1][0].offset
    zero(path, last)
    with pytest.raises(CorruptLogError, match="a checkpoint records that it reached") as refused:
        replay(tmp_path / "killed", mark)
    assert (refused.value.file, refused.value.offset) == (str(path), last)
    assert [record for _, record in replay(tmp_path / "killed", None)] == [b"first"]


def test_a_log_whose_end_was_lost_with_its_segments_is_refused(tmp_path: Path) -> None:
    written = Written(tmp_path / "log", clean=False)
    last = segment_files(written.folder)[-1]
    last.unlink()
    for mark in (written.marks[-1], None):
        with pytest.raises(CorruptLogError) as refused:
            replay(written.folder, mark)
        assert (refused.value.file, refused.value.offset) == (str(last), 0)


# Damage before and behind


def test_damage_before_a_mark_is_not_read_and_shows_without_it(tmp_path: Path) -> None:
    written = Written(tmp_path / "log")
    position, _ = written.placed[1]
    path = segment_files(written.folder)[(position >> 32) - 1]
    flip(path, (position & 0xFFFF_FFFF) + 10)
    for number in (3, 5, len(written.marks) - 1):
        assert replay(written.folder, written.marks[number]) == written.placed[number:]
    # The newest group before the mark is read too.
    for mark in (None, *written.marks[:3]):
        with pytest.raises(CorruptLogError) as refused:
            replay(written.folder, mark)
        assert refused.value.file == str(path)
        assert refused.value.offset < position & 0xFFFF_FFFF


def test_damage_to_a_header_before_the_mark_shows_all_the_same(tmp_path: Path) -> None:
    written = Written(tmp_path / "log")
    path = segment_files(written.folder)[0]
    flip(path, 20)
    with pytest.raises(CorruptLogError) as refused:
        replay(written.folder, written.marks[-1])
    assert (refused.value.file, refused.value.offset) == (str(path), 0)


def test_damage_behind_a_mark_is_judged_as_ever(tmp_path: Path) -> None:
    written = Written(tmp_path / "log")
    whole = tmp_path / "whole"
    shutil.copytree(written.folder, whole)
    for number, (position, _) in enumerate(written.placed):
        shutil.rmtree(written.folder)
        shutil.copytree(whole, written.folder)
        path = segment_files(written.folder)[(position >> 32) - 1]
        flip(path, (position & 0xFFFF_FFFF) + 10)
        places = []
        for mark in (None, written.marks[0], written.marks[number]):
            with pytest.raises(CorruptLogError) as refused:
                replay(written.folder, mark)
            places.append((refused.value.file, refused.value.offset))
        assert places == [(str(path), (position & 0xFFFF_FFFF) - frame.FRAME_BYTES - frame.GROUP_HEADER_BYTES)] * 3


def test_a_torn_tail_behind_a_mark_is_cut(tmp_path: Path) -> None:
    written = Written(tmp_path / "log", clean=False)
    position, _ = written.placed[-1]
    path = segment_files(written.folder)[-1]
    flip(path, (position & 0xFFFF_FFFF) + 10)
    found = restart(written.folder, written.marks[-2])
    assert [record for _, record in found] == [record for _, record in written.placed[:-1]] + [b"after the restart"]
    assert len(list((written.folder / "torn").iterdir())) == 1


def test_a_torn_tail_that_reaches_before_a_mark_is_refused(tmp_path: Path) -> None:
    """The log does not record that the last group was durable, but the mark does."""
    log, _ = open_log(tmp_path / "log", segment_bytes=MIN_SEGMENT_BYTES)
    log.wait(log.append(b"first"))
    position = log.append(b"gathering")
    mark = log.mark()
    log.sync()
    shutil.copytree(tmp_path / "log", tmp_path / "killed")
    log.close()
    (path,) = segment_files(tmp_path / "killed")
    flip(path, position & 0xFFFF_FFFF)
    before = snapshot(tmp_path / "killed")
    with pytest.raises(CorruptLogError, match="a checkpoint records that it reached") as refused:
        replay(tmp_path / "killed", mark)
    assert refused.value.file == str(path)
    assert snapshot(tmp_path / "killed") == before


def test_a_start_from_a_mark_under_weaker_policies_keeps_what_it_read(tmp_path: Path) -> None:
    for number, policy in enumerate((SyncPolicy("os"), SyncPolicy("interval", 60_000))):
        folder = tmp_path / str(number)
        log, _ = open_log(folder, sync=policy, segment_bytes=MIN_SEGMENT_BYTES)
        log.wait(log.append(b"first"))
        mark = log.mark()
        log.sync()
        positions = [log.append(bytes(900)) for _ in range(9)]
        log.wait(positions[-1])
        shutil.copytree(folder, folder.with_name(f"{number} killed"))
        log.close()
        found = restart(folder.with_name(f"{number} killed"), mark)
        assert [position for position, _ in found][1:-1] == positions


def test_a_mark_is_not_good_before_a_closing_group_is_written(tmp_path: Path) -> None:
    """The closing group has its place before it is written: a checkpoint must not vouch for bytes that are not there yet."""
    disk = _HeldDisk()
    log, _ = open_log(tmp_path, disk=disk)
    log.wait(log.append(b"record"))
    disk.hold.set()
    assert disk.held.wait(PATIENCE_S)
    mark = log.mark()
    synced = threading.Thread(target=log.sync)
    synced.start()
    synced.join(0.3)
    assert synced.is_alive()
    disk.hold.clear()
    disk.go_on.set()
    synced.join(PATIENCE_S)
    assert not synced.is_alive()
    killed = Path(shutil.copytree(tmp_path, tmp_path.with_name("killed")))
    log.close()
    again = FileLog(killed)
    assert list(again.replay(mark)) == []
    again.close()


class _HeldDisk(RecordingDisk):
    """A disk that blocks in the first write after a test asks for it."""

    def __init__(self) -> None:
        super().__init__()
        self.hold, self.held, self.go_on = threading.Event(), threading.Event(), threading.Event()

    def begin(self, name: str, path: Path) -> None:
        super().begin(name, path)
        if name == "write" and self.hold.is_set():
            self.held.set()
            self.go_on.wait(PATIENCE_S)


def test_what_cannot_be_read_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, _ = open_log(tmp_path)
    position = log.append(b"record")
    log.wait(position)

    def fail(fd: int, length: int, offset: int) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", fail)
        with pytest.raises(CorruptLogError, match="cannot be read") as refused:
            log.read([(position, 6)])
    assert (refused.value.file, refused.value.offset) == (str(segment_files(tmp_path)[0]), position & 0xFFFF_FFFF)
    log.close()
    with pytest.raises(LogClosedError):
        log.read([(position, 6)])
