"""`wonderq folder compact`: a stopped folder shrinks to what is live in it, and says the same as before."""

from __future__ import annotations

import json
import logging
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.broker_process import RunningBroker
from tests.support.clock import FakeClock
from tests.support.commands import clean_environment, run
from tests.support.folders import segment_files, snapshot, write_checkpoint
from tests.support.queue_client import QueueClient
from tests.support.random_life import live_a_random_life
from tests.tools.copies import CrashError, bodies_in, compact_anyhow, crash_at, names, opened, state_view_in
from tests.tools.folders import broker_on, flip, live_a_little
from wonderq.cli.main import main
from wonderq.folder.compact import Outcome, compact, disk_bytes, estimate
from wonderq.model.messages import Target
from wonderq.runtime.time_evidence import CLOCK_FILE
from wonderq_storage import LogFailedError, frame
from wonderq_storage.disk import Disk
from wonderq_storage.errors import FolderLockedError
from wonderq_storage.segment import open_segment, publish, reserve

TOOL = Path(__file__).parents[2] / "tools" / "compact.py"
NOW_MS = 1_700_000_000_000
LATE_MS = 4_000_000_000_000


def fill(folder: Path, *, steps: int = 400, seed: int = 1) -> int:
    """Live a random life in many small segments; returns a time at which all that is soon forgotten is.

    It is in the future, whatever the time of this machine is: a broker on the folder goes by the newest time in the log.
    """
    clock = FakeClock(LATE_MS)
    with opened(folder, clock=clock) as broker:
        live_a_random_life(broker, clock, random.Random(seed), steps)
    return clock.ms + 6_000


def test_ninety_nine_percent_deleted_shrinks_by_ninety_five(tmp_path: Path) -> None:
    body, clock = "b" * 30_000, FakeClock()
    with opened(tmp_path, segment_bytes=32 << 20, clock=clock) as broker:
        for batch in range(6):
            ids = broker.produce("default", [f"{batch}-{number} {body}" for number in range(500)])
            clock.ms += 1000
            broker.claim("default", limit=500, visibility_timeout_ms=[0, 1000, 3_600_000][batch % 3])
            broker.delete_batch("default", [Target(id=each) for number, each in enumerate(ids) if number % 100])
    now_ms = clock.ms
    before, size = state_view_in(tmp_path, now_ms), disk_bytes(tmp_path)
    bodies = bodies_in(tmp_path)
    assert len(bodies) == 30
    assert size > 85 << 20
    expected = estimate(tmp_path)
    done = compact_anyhow(tmp_path)
    assert (done.messages, done.before.disk_bytes) == (30, size)
    assert done.after.disk_bytes == disk_bytes(tmp_path) <= size * 0.05
    assert abs(expected.after.disk_bytes - done.after.disk_bytes) <= 1 << 20
    assert abs(expected.after.log_bytes - done.after.log_bytes) <= 1 << 16
    assert expected.before == done.before
    assert state_view_in(tmp_path, now_ms) == before
    assert bodies_in(tmp_path) == bodies


@pytest.mark.parametrize("seed", range(6))
def test_nothing_but_the_size_changes(tmp_path: Path, seed: int) -> None:
    now_ms = fill(tmp_path, seed=seed)
    before = state_view_in(tmp_path, now_ms)
    segments = len(segment_files(tmp_path))
    assert segments > 3
    done = compact_anyhow(tmp_path)
    assert done.segments == segments
    assert len(segment_files(tmp_path)) == 1
    assert state_view_in(tmp_path, now_ms) == before
    again = compact_anyhow(tmp_path)
    assert again.after.disk_bytes == done.after.disk_bytes
    assert again.after.log_bytes <= done.after.log_bytes
    assert state_view_in(tmp_path, now_ms) == before


def test_a_crash_at_any_step_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logging.getLogger("wonderq").setLevel(logging.CRITICAL + 1)
    try:
        now_ms = fill(tmp_path / "whole", steps=150)
        before = state_view_in(tmp_path / "whole", now_ms)
        folder = tmp_path / "crashed"
        for step in range(1, 1000, 3):
            shutil.copytree(tmp_path / "whole", folder)
            try:
                with crash_at(step, monkeypatch, ("pwrite", "fdatasync", "rename", "unlink", "ftruncate")):
                    compact_anyhow(folder)
                break
            except (CrashError, LogFailedError):
                assert state_view_in(folder, now_ms) == before
                compact_anyhow(folder)
                assert state_view_in(folder, now_ms) == before
            shutil.rmtree(folder)
        assert step > 30
    finally:
        logging.getLogger("wonderq").setLevel(logging.NOTSET)


def test_a_large_spare_segment_does_not_keep_its_space(tmp_path: Path) -> None:
    now_ms = fill(tmp_path)
    before = state_view_in(tmp_path, now_ms)
    last = segment_files(tmp_path)[-1]
    header = frame.unpack_segment_header(last.read_bytes())
    assert header is not None
    publish(Disk(), reserve(Disk(), tmp_path, header.number + 1, header.log_id, 64 << 20, 0)).file.close()
    done = compact_anyhow(tmp_path)
    assert done.after.disk_bytes < 5 << 20
    assert state_view_in(tmp_path, now_ms) == before


def test_a_broker_goes_on_with_its_usual_segments(tmp_path: Path) -> None:
    fill(tmp_path)
    compact_anyhow(tmp_path)
    last = open_segment(Disk(), segment_files(tmp_path)[-1])
    last.file.close()
    assert last.header.capacity == 4 << 20
    publish(Disk(), reserve(Disk(), tmp_path, last.number + 1, last.header.log_id, 4 << 20, 0)).file.close()
    kept = bodies_in(tmp_path)
    large = ["l" * (1 << 20)] * 14  # one record, larger than the small segments
    with opened(tmp_path, segment_bytes=32 << 20) as broker:
        broker.produce("large", large)
        assert len(list(broker.messages("large"))) == len(large)
    assert bodies_in(tmp_path) == kept


def test_old_checkpoints_go_and_a_needed_one_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    with RunningBroker(folder) as broker:
        with QueueClient(broker.url) as client:
            for _ in range(20):
                client.produce_batch(["m" * 500_000] * 2)
        assert broker.terminate() == 0
    assert [name for name in names(folder) if name.endswith(".ckpt")]
    before = state_view_in(folder)
    compact_anyhow(folder)
    [checkpoint] = [name for name in names(folder) if name.endswith(".ckpt")]
    assert int(checkpoint[:10]) >= int(segment_files(folder)[0].stem)
    assert state_view_in(folder) == state_view_in(folder, with_checkpoints=True) == before
    with opened(folder, segment_bytes=32 << 20) as inner:
        inner.purge("default")
    compact_anyhow(folder)
    assert len(set(names(folder)) - {CLOCK_FILE}) == 1


@pytest.mark.parametrize(("body_bytes", "count"), [(5, 20_000), (250, 8000), (10_000, 400)])
@pytest.mark.parametrize("claimed", [False, True])
def test_the_estimate_is_what_comes_out(tmp_path: Path, body_bytes: int, count: int, claimed: bool) -> None:
    with opened(tmp_path, segment_bytes=32 << 20) as broker:
        for _ in range(0, count, 400):
            ids = broker.produce("default", ["b" * body_bytes] * 400)
            if claimed:
                broker.claim("default", limit=200, visibility_timeout_ms=3_600_000)
            broker.delete_batch("default", [Target(id=each) for each in ids[::3]])
    expected = estimate(tmp_path).after
    done = compact(tmp_path).after
    assert 0.9 < expected.log_bytes / done.log_bytes < 1.1
    assert 0.9 < expected.disk_bytes / done.disk_bytes < 1.1


@pytest.mark.slow
def test_the_checkpoint_of_many_small_messages_is_in_the_estimate(tmp_path: Path) -> None:
    with opened(tmp_path, segment_bytes=32 << 20) as broker:
        for _ in range(350):
            broker.produce("default", ["a small one."] * 1000)
        broker.produce("garbage", ["g" * (1 << 20)] * 14)
        broker.purge("garbage")
    expected = estimate(tmp_path).after
    done = compact_anyhow(tmp_path).after
    assert any(each.suffix == ".ckpt" for each in tmp_path.iterdir())
    assert 0.9 < expected.disk_bytes / done.disk_bytes < 1.1


def test_nothing_is_done_where_nothing_would_be_gained(tmp_path: Path) -> None:
    fill(tmp_path)
    before = snapshot(tmp_path)
    for flags in ([], ["--dry-run"]):
        done = run("folder", "compact", str(tmp_path), *flags)
        assert (done.code, done.error) == (0, "")
        assert done.lines[-2].startswith("nothing to compact: ")
        assert "%" not in "".join(done.lines[:-2])
        assert snapshot(tmp_path) == before
    found = json.loads(run("folder", "compact", str(tmp_path), "--json").out)
    assert (found["segments"], found["before"]) == (0, found["after"])
    with opened(tmp_path / "once", segment_bytes=32 << 20) as broker:
        broker.produce("default", ["b" * 1000])
    assert compact(tmp_path / "once").segments == 1
    before = snapshot(tmp_path / "once")
    assert compact(tmp_path / "once").segments == 0
    assert snapshot(tmp_path / "once") == before


@pytest.mark.parametrize("damaged", [1, 3])
def test_damage_before_the_checkpoint_is_told_with_what_was_changed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], damaged: int
) -> None:
    folder = tmp_path / "d"
    with broker_on(folder) as (broker, log):
        live_a_little(broker, random.Random(5), 90)
        write_checkpoint(broker, log, folder)
    flip(folder, damaged, 700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Outcome, "worth_it", True)
        code = main(["folder", "compact", str(folder)])
    err = capfd.readouterr().err
    assert code == 1
    assert f"{damaged:010d}.wal, byte " in err
    assert "Nothing was changed" not in err
    assert f"The compaction lost no message: the segment is still there, {'none was' if damaged == 1 else '2'} " in err
    assert f"'wonderq folder verify {folder}' lists all" in err
    assert f"'wonderq folder repair {folder} NEW' salvages the rest" in err
    assert min(names(folder)) == f"{damaged:010d}.wal"


def test_damage_behind_the_checkpoint_is_found_before_anything_is_changed(tmp_path: Path) -> None:
    fill(tmp_path)
    flip(tmp_path, 3, 700)
    before = snapshot(tmp_path)
    done = run("folder", "compact", str(tmp_path))
    assert done.code == 1
    assert "Nothing was changed" in done.error
    assert f"'wonderq folder repair {tmp_path} NEW' salvages" in done.error
    assert snapshot(tmp_path) == before


def large(folder: Path) -> None:
    """A folder as a broker with the smallest segments leaves it."""
    with opened(folder, segment_bytes=32 << 20) as broker:
        broker.produce("default", ["b" * 1000] * 10)


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    large(tmp_path)
    before = snapshot(tmp_path)
    done = run("folder", "compact", str(tmp_path), "--dry-run")
    assert (done.code, done.error, done.lines[-1]) == (0, "", "nothing was changed")
    assert done.lines[-2].endswith(" after (87.5% less)")
    done = run("folder", "compact", str(tmp_path), "--dry-run", "--json")
    found = json.loads(done.out)
    assert found["dry_run"] is True
    assert found["before"]["disk_bytes"] == disk_bytes(tmp_path)
    assert snapshot(tmp_path) == before


def test_the_command_and_the_tool_say_what_they_did(tmp_path: Path) -> None:
    large(tmp_path)
    done = run("folder", "compact", str(tmp_path))
    assert (done.code, done.error, done.lines[-1]) == (0, "", "ok")
    tool = subprocess.run(
        [sys.executable, TOOL, tmp_path, "--json"], capture_output=True, env=clean_environment(), check=True, timeout=60
    )
    found = json.loads(tool.stdout)
    assert found["segments"] == 0
    assert found["after"]["disk_bytes"] == disk_bytes(tmp_path)


def test_a_folder_in_use_or_without_a_log_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "d")
    before = snapshot(tmp_path / "d")
    with opened(tmp_path / "d"):
        done = run("folder", "compact", str(tmp_path / "d"))
        with pytest.raises(FolderLockedError):
            estimate(tmp_path / "d")
    assert done.code == 1
    assert "is in use by another process" in done.error
    assert before.keys() == snapshot(tmp_path / "d").keys()
    (tmp_path / "empty").mkdir()
    done = run("folder", "compact", str(tmp_path / "empty"))
    assert (done.code, names(tmp_path / "empty")) == (1, [])
    assert "holds no log" in done.error
