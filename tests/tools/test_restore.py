"""`wonderq folder restore`: a new folder that says what the log said, now or at an earlier time. The backup is only read."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from tests.support.clock import FakeClock
from tests.support.commands import clean_environment, run
from tests.support.folders import groups_in, segment_files, snapshot
from tests.support.random_life import live_a_random_life
from tests.support.waiting import PATIENCE_S
from tests.tools.copies import compact_anyhow, crash_at, names, opened, says, state_view_in
from wonderq.broker.broker import Broker
from wonderq.broker.compaction import compact_oldest
from wonderq.folder.backup import backup
from wonderq.folder.lock import NoLogError
from wonderq.folder.restore import RestoreError, restore
from wonderq.model.messages import Target
from wonderq.model.times import iso_time
from wonderq_storage import CorruptLogError, FileLog, frame

TOOL = Path(__file__).parents[2] / "tools" / "restore.py"


def live(folder: Path, seed: int, rounds: int = 15) -> list[tuple[int, dict[str, Any]]]:
    """Live a random life; returns what was said at some times of it. At those times the clock stood still."""
    clock, chance = FakeClock(), random.Random(seed)
    said: list[tuple[int, dict[str, Any]]] = []
    with opened(folder, clock=clock) as broker:
        for _ in range(rounds):
            live_a_random_life(broker, clock, chance, 12)
            with broker.locked() as (state, _, now_ms):
                said.append((now_ms, says(state, now_ms)))
            clock.ms += 1 + chance.randrange(3000)
    return said


@pytest.mark.parametrize("seed", range(8))
def test_until_a_time_gives_what_was_there_then(tmp_path: Path, seed: int) -> None:
    said = live(tmp_path / "d", seed)
    backup(tmp_path / "d", tmp_path / "copy")
    before = snapshot(tmp_path / "copy")
    assert len(segment_files(tmp_path / "copy")) > 3
    for index, (time_ms, then) in enumerate(said):
        new = tmp_path / f"new {index}"
        done = restore(tmp_path / "copy", new, until_ms=time_ms)
        assert state_view_in(new, time_ms) == then
        assert done.newest_ms <= time_ms
        assert done.messages == sum(sum(queue["counts"]) for queue in then["queues"].values())
        with opened(new) as broker:  # it can be used
            broker.put_queue("default", draining=False, max_messages=0)
            broker.produce("default", ["new"])
    assert snapshot(tmp_path / "copy") == before


def test_each_moment_of_a_log(tmp_path: Path) -> None:
    """One record per group and millisecond, so the cut falls on every group, also at the borders of segments."""
    clock = FakeClock()
    times: list[int] = []
    with opened(tmp_path / "d", clock=clock) as broker:
        for number in range(40):
            times.append(clock.ms)
            broker.produce("default", [f"{number}".ljust(600)])
            clock.ms += 1
    assert len(segment_files(tmp_path / "d")) > 5
    cut = set()
    for number, time_ms in enumerate(times):
        new = tmp_path / "new"
        done = restore(tmp_path / "d", new, until_ms=time_ms)
        assert (done.messages, done.newest_ms, done.records) == (number + 1, time_ms, number + 3)
        assert names(new) == names(tmp_path / "d")[: len(names(new))]
        last = segment_files(new)[-1]
        assert last.stat().st_size == 4096
        assert done.end == int(last.stem) << 32 | done.end & 0xFFFF_FFFF
        assert not any(last.read_bytes()[done.end & 0xFFFF_FFFF :])
        cut.add(done.end & 0xFFFF_FFFF)
        log = FileLog(new)
        assert len(list(log.replay())) == done.records
        assert log.torn_bytes == 0
        log.close()
        shutil.rmtree(new)
    assert frame.SEGMENT_HEADER_BYTES in cut, "some end with a segment that has nothing in it yet"


def test_without_a_time_all_is_restored(tmp_path: Path) -> None:
    said = live(tmp_path / "d", 20)
    backup(tmp_path / "d", tmp_path / "copy")
    restore(tmp_path / "copy", tmp_path / "new")
    assert state_view_in(tmp_path / "new") == state_view_in(tmp_path / "d")
    restore(tmp_path / "copy", tmp_path / "later", until_ms=said[-1][0] + 1)
    assert snapshot(tmp_path / "later").keys() == snapshot(tmp_path / "new").keys()
    assert [each.read_bytes() for each in segment_files(tmp_path / "later")] == [
        each.read_bytes() for each in segment_files(tmp_path / "new")
    ]
    last = segment_files(tmp_path / "new")[-1]
    assert last.stat().st_blocks * 512 >= last.stat().st_size, "the segment in use has its space"


def test_a_time_from_before_a_compaction_needs_what_it_dropped(tmp_path: Path) -> None:
    source, copy = tmp_path / "d", tmp_path / "copy"
    clock = FakeClock()
    with opened(source, clock=clock) as broker:
        ids = broker.produce("default", [f"{number}".ljust(500) for number in range(6)])
        for _ in range(10):
            clock.ms += 10
            broker.produce("default", ["garbage".ljust(900)] * 3)
        then_ms = clock.ms
    then = state_view_in(source, then_ms)
    backup(source, copy)
    clock.ms += 1000
    log = FileLog(source, segment_bytes=4096)
    broker = Broker(log, clock=clock)
    broker.delete("default", Target(id=ids[3]))
    clock.ms += 1000
    assert compact_oldest(broker, log)
    assert compact_oldest(broker, log)
    log.close()
    with pytest.raises(RestoreError, match="does not reach back to") as error:
        restore(source, tmp_path / "new", until_ms=then_ms)
    assert iso_time(clock.ms) in str(error.value), "from when on it does is said"
    assert not (tmp_path / "new").exists()
    restore(source, tmp_path / "new", until_ms=clock.ms)
    assert state_view_in(tmp_path / "new", clock.ms) == state_view_in(source, clock.ms)
    # The backup has kept the old segments.
    backup(source, copy)
    restore(copy, tmp_path / "earlier", until_ms=then_ms)
    assert state_view_in(tmp_path / "earlier", then_ms) == then


def test_a_time_before_everything_is_refused(tmp_path: Path) -> None:
    said = live(tmp_path / "d", 21)
    done = run("folder", "restore", str(tmp_path / "d"), str(tmp_path / "new"), "--until", "2001-01-01")
    assert done.code == 1
    assert "2001-01-01T00:00:00.000Z" in done.error
    assert not (tmp_path / "new").exists()
    assert said


def test_damage_matters_only_in_what_is_kept(tmp_path: Path) -> None:
    said = live(tmp_path / "d", 22)
    path = segment_files(tmp_path / "d")[-2]
    header, _ = groups_in(path)[0]
    data = bytearray(path.read_bytes())
    data[header.offset + frame.GROUP_HEADER_BYTES + 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptLogError) as found:
        restore(tmp_path / "d", tmp_path / "new")
    assert (found.value.file, found.value.offset) == (str(path), header.offset)
    assert not (tmp_path / "new").exists()
    restore(tmp_path / "d", tmp_path / "new", until_ms=said[1][0])
    assert state_view_in(tmp_path / "new", said[1][0]) == said[1][1]


def test_what_an_interruption_leaves_is_not_taken_for_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live(tmp_path / "d", 23)
    before = snapshot(tmp_path / "d")
    whole = state_view_in(tmp_path / "d")
    opens = 0
    for step in range(1, 1000):
        new = tmp_path / f"new {step}"
        try:
            with crash_at(step, monkeypatch, ("pwrite", "fdatasync", "fsync", "rename")):
                restore(tmp_path / "d", new)
            break
        except OSError:
            if any(new.glob("*.wal")):
                try:
                    assert state_view_in(new) == whole
                    opens += 1
                except CorruptLogError:
                    pass
        if new.exists() and any(new.iterdir()):
            with pytest.raises(RestoreError, match="is not empty"):
                restore(tmp_path / "d", new)
    assert step > 10
    assert opens <= 2, "all was there but for the last sync of the folder"
    assert snapshot(tmp_path / "d") == before


def test_a_folder_that_is_not_empty_or_has_no_log_is_refused(tmp_path: Path) -> None:
    live(tmp_path / "d", 24)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "mine").touch()
    done = run("folder", "restore", str(tmp_path / "d"), str(tmp_path / "new"))
    assert (done.code, names(tmp_path / "new")) == (1, ["mine"])
    assert "is not empty" in done.error
    with pytest.raises(NoLogError):
        restore(tmp_path / "new", tmp_path / "other")
    with opened(tmp_path / "d"):
        done = run("folder", "restore", str(tmp_path / "d"), str(tmp_path / "other"))
    assert done.code == 1
    assert "in use by another process" in done.error
    assert not (tmp_path / "other").exists()


def test_a_year_has_four_digits(tmp_path: Path) -> None:
    live(tmp_path / "d", 26)
    done = run("folder", "restore", str(tmp_path / "d"), str(tmp_path / "new"), "--until", "0001-01-01")
    assert done.code == 1
    assert "does not reach back to 0001-01-01T00:00:00.000Z" in done.error


def test_the_command_and_the_tool(tmp_path: Path) -> None:
    said = live(tmp_path / "d", 25)
    compact_anyhow(tmp_path / "d")
    (tmp_path / "new").mkdir()  # an empty folder is as good as none
    done = run("folder", "restore", str(tmp_path / "d"), str(tmp_path / "new"))
    assert (done.code, done.error) == (0, "")
    assert done.lines[-1] == f"ok        start a broker on it: wonderq serve --data {tmp_path}/new"
    tool = subprocess.run(
        [sys.executable, TOOL, tmp_path / "d", tmp_path / "other"],
        capture_output=True,
        env=clean_environment(),
        check=False,
        timeout=PATIENCE_S,
    )
    assert tool.returncode == 0
    assert tool.stdout.decode().splitlines()[:3] == done.lines[:3]
    assert state_view_in(tmp_path / "other") == state_view_in(tmp_path / "new")
    assert said


def test_times_are_read_with_their_zone_or_as_utc(tmp_path: Path) -> None:
    clock = FakeClock()
    with opened(tmp_path / "d", clock=clock) as broker:
        broker.produce("default", ["before"])
        time = datetime.fromtimestamp(clock.ms / 1000, UTC)
        clock.ms += 1
        broker.produce("default", ["after"])
    east = timezone(timedelta(hours=5, minutes=30))
    texts = [time.isoformat(), time.astimezone(east).isoformat(), time.replace(tzinfo=None).isoformat()]
    for index, text in enumerate(texts):
        done = run("folder", "restore", str(tmp_path / "d"), str(tmp_path / f"new {index}"), "--until", text)
        assert (done.code, done.lines[1]) == (0, "messages  1"), text
    done = run("folder", "restore", str(tmp_path / "d"), str(tmp_path / "new"), "--until", "yesterday")
    assert done.code == 2
    assert "is not a time in ISO 8601" in done.error
