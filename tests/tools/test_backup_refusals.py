"""`wonderq folder backup` takes nothing from a backup that the source does not give back: it refuses, and changes nothing."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.clock import FakeClock
from tests.support.commands import run
from tests.support.folders import end_of_groups, groups_in, segment_files, snapshot
from tests.support.random_life import live_a_random_life
from tests.tools.copies import bodies_in, compact_anyhow, names, opened, state_view_in
from wonderq.broker.broker import Broker
from wonderq.broker.compaction import compact_oldest
from wonderq.folder.backup import BackupError, backup
from wonderq.folder.restore import restore
from wonderq.model.messages import Target
from wonderq_storage import CorruptLogError, FileLog, frame

SEGMENT_BYTES = 1 << 16
LONG = 9000
"""Bytes of a message of which seven fill a segment."""


def send(folder: Path, *bodies: str, clock: FakeClock | None = None, segment_bytes: int = SEGMENT_BYTES) -> None:
    with opened(folder, clock=clock, segment_bytes=segment_bytes) as broker:
        for body in bodies:
            broker.produce("default", [body])


def early_and_late(tmp_path: Path, *, late: int = 3, length: int = 10) -> tuple[Path, Path, Path]:
    """A source, its backup, and what the source was before some messages: a folder restored from the backup."""
    source, copy, old = tmp_path / "source", tmp_path / "copy", tmp_path / "old"
    clock = FakeClock()
    with opened(source, clock=clock, segment_bytes=SEGMENT_BYTES) as broker:
        for number in range(3 + late):
            broker.produce("default", [f"{number}".ljust(length)])
            clock.ms += 1000
    backup(source, copy)
    restore(copy, old, until_ms=clock.ms - late * 1000 - 500)
    assert (len(bodies_in(copy_of(copy))), len(bodies_in(copy_of(old)))) == (3 + late, 3)
    return source, copy, old


def copy_of(folder: Path) -> Path:
    """Open the folder as a broker does, which writes to it."""
    new = folder.with_name(f"{folder.name}, opened")
    shutil.copytree(folder, new, dirs_exist_ok=True)
    return new


def refused(source: Path, copy: Path, match: str, *, prune: bool = False) -> None:
    before = snapshot(copy)
    with pytest.raises(BackupError, match=match):
        backup(source, copy, prune=prune)
    assert snapshot(copy) == before


@pytest.mark.parametrize("late", [3, 8, 30], ids=["in the same segment", "in the next one", "far behind"])
def test_a_source_that_is_older_than_its_backup_is_refused(tmp_path: Path, late: int) -> None:
    source, copy, old = early_and_late(tmp_path, late=late, length=LONG)
    refused(old, copy, "older than its backup")
    done = run("folder", "backup", str(old), str(copy))
    assert (done.code, done.out) == (1, b"")
    assert f"{copy}/000000000" in done.error
    assert "Choose another folder." in done.error
    backup(source, copy)
    backup(old, tmp_path / "another")
    assert len(bodies_in(tmp_path / "another")) == 3


@pytest.mark.parametrize("more", [1, 3, 10, 40])
def test_a_source_that_went_another_way_is_refused(tmp_path: Path, more: int) -> None:
    """Also where it has more by now than the backup: as many segments, or some that the backup does not have."""
    _, copy, old = early_and_late(tmp_path, late=5, length=LONG)
    send(old, *("another".ljust(LONG) for _ in range(more)), clock=FakeClock(1_800_000_000_000))
    refused(old, copy, "contains records that")
    refused(old, copy, "contains records that", prune=True)


def test_a_backup_that_a_broker_has_worked_on_is_refused(tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    send(source, "one", "two")
    backup(source, copy)
    with opened(copy, segment_bytes=SEGMENT_BYTES) as broker:
        [message] = broker.claim("default", limit=1)
        broker.delete("default", Target(id=message.id))
    for name in [path.name for path in copy.iterdir() if path not in segment_files(copy)]:
        (copy / name).unlink()
    refused(source, copy, "a broker has run on the backup")
    send(source, "three", "four", "five")
    refused(source, copy, "a broker has run on the backup")


def test_two_that_differ_in_nothing_but_the_content_of_the_last_group_are_told_apart(tmp_path: Path) -> None:
    """Header and place of that group are the same: it must be compared to its end."""
    base, source, copy = tmp_path / "base", tmp_path / "source", tmp_path / "copy"
    send(base, "first")
    for name in ("source", "other"):
        work = tmp_path / f"work of {name}"
        shutil.copytree(base, work)
        with opened(work, segment_bytes=SEGMENT_BYTES) as broker:
            broker.produce("default", [name.ljust(10)])
            backup(work, tmp_path / name)  # before a closing group, chained to the content, tells them apart
    backup(tmp_path / "other", copy)
    assert groups_in(segment_files(source)[-1])[-1][0] == groups_in(segment_files(copy)[-1])[-1][0]
    refused(source, copy, "contains records that")


def test_what_stands_sealed_in_the_backup_and_goes_on_in_the_source_is_refused(tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    send(source, *["x".ljust(LONG)] * 6)
    backup(source, copy)
    send(copy, *["x".ljust(LONG)] * 2)
    for path in segment_files(copy)[1:]:
        path.unlink()
    refused(source, copy, "contains records that")


def test_what_was_in_use_at_the_last_backup_and_is_sealed_now_goes_on(tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    send(source, "first")
    backup(source, copy)
    for segment_bytes in (SEGMENT_BYTES, SEGMENT_BYTES // 2, SEGMENT_BYTES * 2):
        send(source, *["x".ljust(LONG)] * 20, segment_bytes=segment_bytes)
        backup(source, copy)
        assert state_view_in(copy) == state_view_in(source)
    assert len(bodies_in(copy)) == 61


def beginning_of_the_next_group(data: bytearray, end: int, source: bytes) -> None:
    following = source[end:]
    header = frame.GROUP_HEADER_BYTES
    assert any(following[:header])
    data[end : end + header + 5] = following[: header + 5]


def bytes_of_nothing(data: bytearray, end: int, _: bytes) -> None:
    data[end : end + 60] = bytes(range(1, 61))


def nothing_but_zeros(data: bytearray, _end: int, _: bytes) -> None:
    data[frame.SEGMENT_HEADER_BYTES :] = bytes(len(data) - frame.SEGMENT_HEADER_BYTES)


@pytest.mark.parametrize("tear", [beginning_of_the_next_group, bytes_of_nothing, nothing_but_zeros])
def test_a_torn_tail_of_the_backup_is_completed(tmp_path: Path, tear: Callable[[bytearray, int, bytes], None]) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    send(source, "one", "two")
    backup(source, copy)
    send(source, "three")
    path = segment_files(copy)[-1]
    data = bytearray(path.read_bytes())
    tear(data, end_of_groups(bytes(data)), segment_files(source)[-1].read_bytes())
    path.write_bytes(data)
    backup(source, copy)
    assert state_view_in(copy) == state_view_in(source)


def test_a_blank_segment_with_another_header_than_that_of_the_source_is_replaced(tmp_path: Path) -> None:
    """A segment in reserve may be made again in another size before the source goes on in it."""
    source, copy = tmp_path / "source", tmp_path / "copy"
    send(source, *["x".ljust(LONG)] * 20)
    backup(source, copy)
    path = segment_files(copy)[-1]
    header = frame.unpack_segment_header(path.read_bytes())
    assert header is not None
    blank = frame.pack_segment_header(header.number, header.log_id, SEGMENT_BYTES // 2, header.created_ms - 1)
    path.write_bytes(blank.ljust(SEGMENT_BYTES // 2, b"\0"))
    backup(source, copy)
    assert state_view_in(copy) == state_view_in(source)


def test_damage_in_the_last_segment_of_the_backup_is_named_and_not_written_over(tmp_path: Path) -> None:
    """The records behind it cannot be compared."""
    source, copy = tmp_path / "source", tmp_path / "copy"
    send(source, "one", "two", "three")
    backup(source, copy)
    path = segment_files(copy)[-1]
    data = bytearray(path.read_bytes())
    header, _ = groups_in(path)[0]
    data[header.offset + frame.GROUP_HEADER_BYTES + 3] ^= 1
    path.write_bytes(data)
    before = snapshot(copy)
    with pytest.raises(CorruptLogError) as found:
        backup(source, copy)
    assert (found.value.file, found.value.offset) == (str(path), header.offset)
    assert snapshot(copy) == before
    path.unlink()
    backup(source, copy)
    assert state_view_in(copy) == state_view_in(source)


def test_what_the_source_would_cut_as_a_torn_tail_is_not_taken_from_the_backup(tmp_path: Path) -> None:
    """The log does not record that it was durable, so the source ends there now, whatever follows."""
    source, copy = tmp_path / "source", tmp_path / "copy"
    with opened(source, segment_bytes=SEGMENT_BYTES) as broker:
        for body in ("one", "two", "three"):
            broker.produce("default", [body])
        backup(source, copy)
        shutil.copytree(source, tmp_path / "killed")
    path = segment_files(tmp_path / "killed")[0]
    *_, (before_last, _), _ = groups_in(path)
    assert before_last.durable == 0, "nothing was synced"
    data = bytearray(path.read_bytes())
    data[before_last.offset + frame.GROUP_HEADER_BYTES + 3] ^= 1
    path.write_bytes(data)
    refused(tmp_path / "killed", copy, "contains records that")


def compacted(tmp_path: Path) -> tuple[Path, Path]:
    """A source that has dropped what would follow the end of its backup."""
    source, copy = tmp_path / "source", tmp_path / "copy"
    clock, chance = FakeClock(), random.Random(4)
    for turn in range(2):
        with opened(source, clock=clock) as broker:
            live_a_random_life(broker, clock, chance, 200)
        if turn == 0:
            backup(source, copy)
    compact_anyhow(source)
    assert min(names(source)) > max(names(copy))
    return source, copy


def test_the_history_in_a_backup_stays_when_the_source_has_dropped_what_would_follow(tmp_path: Path) -> None:
    source, copy = compacted(tmp_path)
    refused(source, copy, "ends before that")
    done = run("folder", "backup", str(source), str(copy))
    assert (done.code, done.out) == (1, b"")
    assert "--prune" in done.error
    assert "another folder" in done.error


def test_prune_replaces_a_backup_to_which_the_source_has_not_what_would_follow(tmp_path: Path) -> None:
    source, copy = compacted(tmp_path)
    before = names(copy)
    done = run("folder", "backup", str(source), str(copy), "--prune")
    assert done.code == 0
    assert f"({before[0]} to {before[-1]})" in done.out.decode()
    assert names(copy) == [path.name for path in segment_files(source)]
    assert state_view_in(copy) == state_view_in(source)


def test_a_gap_between_the_old_segments_of_a_backup_is_not_kept_unsaid(tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    clock = FakeClock()
    with opened(source, clock=clock) as broker:
        live_a_random_life(broker, clock, random.Random(5), 200)
    backup(source, copy)
    log = FileLog(source, segment_bytes=4096)
    broker = Broker(log, clock=clock)
    for _ in range(3):
        assert compact_oldest(broker, log)
    log.close()
    old = [path.name for path in segment_files(copy)[:3]]
    (copy / old.pop(1)).unlink()
    refused(source, copy, "ends before that")
    assert backup(source, copy, prune=True).removed == old
    assert state_view_in(copy) == state_view_in(source)


def test_prune_does_not_replace_a_backup_that_is_newer_than_a_compacted_source(tmp_path: Path) -> None:
    """Their segments do not overlap, but the numbers of their groups do."""
    _, copy, old = early_and_late(tmp_path, late=30)
    compact_anyhow(old)
    assert min(names(old)) > max(names(copy))
    refused(old, copy, "older than its backup", prune=True)


def test_a_source_that_ends_before_a_backup_begins_is_refused(tmp_path: Path) -> None:
    source, copy, old = tmp_path / "source", tmp_path / "copy", tmp_path / "old"
    send(source, "one")
    shutil.copytree(source, old)
    compact_anyhow(source)
    backup(source, copy)
    assert max(names(old)) < min(names(copy))
    refused(old, copy, "older than its backup")
    refused(old, copy, "older than its backup", prune=True)


def test_sealed_segments_that_another_history_follows_are_refused(tmp_path: Path) -> None:
    """An interrupted backup ends with a blank segment, so nothing in the segment that both have tells them apart."""
    base, source, copy = tmp_path / "base", tmp_path / "source", tmp_path / "copy"
    send(base, "base")
    for folder, letter in ((source, "s"), (copy, "c")):
        shutil.copytree(base, folder)
        send(folder, *[letter.ljust(LONG)] * 8)
    blank = segment_files(copy)[1]
    blank.write_bytes(blank.read_bytes()[: frame.SEGMENT_HEADER_BYTES].ljust(SEGMENT_BYTES, b"\0"))
    log = FileLog(source, segment_bytes=SEGMENT_BYTES)
    assert compact_oldest(Broker(log, clock=FakeClock()), log)
    log.close()
    assert names(source)[0] == blank.name
    refused(source, copy, "contains records that")
    refused(source, copy, "contains records that", prune=True)


def test_a_destination_that_is_no_folder_is_said_to_be_none(tmp_path: Path) -> None:
    source, file = tmp_path / "source", tmp_path / "file"
    send(source, "one")
    file.write_text("mine")
    done = run("folder", "backup", str(source), str(file))
    assert (done.code, done.error) == (1, f"wonderq: {file} is not a folder.\n")
    assert file.read_text() == "mine"


def test_a_source_that_is_not_there_is_said_not_to_be(tmp_path: Path) -> None:
    source = tmp_path / "source"
    done = run("folder", "backup", str(source), str(tmp_path / "copy"))
    assert (done.code, done.error) == (
        1, f"wonderq: there is no folder {source}. Pass the folder that 'wonderq serve --data' uses.\n"
    )  # fmt: skip
    source.write_text("no folder")
    done = run("folder", "backup", str(source), str(tmp_path / "copy"))
    assert (done.code, done.error) == (1, f"wonderq: {source}: Not a directory. Choose another path.\n")
    assert not (tmp_path / "copy").exists()


def test_a_source_that_is_refused_leaves_no_new_folder(tmp_path: Path) -> None:
    source = tmp_path / "source"
    send(source, "one")
    path = segment_files(source)[0]
    path.write_bytes(b"damage" + path.read_bytes()[6:])
    (tmp_path / "mine").mkdir()
    for copy in ("made", "above/made", "mine"):
        with pytest.raises(CorruptLogError):
            backup(source, tmp_path / copy)
    assert names(tmp_path) == ["mine", "source"]
