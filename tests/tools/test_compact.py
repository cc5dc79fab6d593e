"""`wonderq compact`: a stopped folder shrinks to what is live in it, and says the same as before."""

from __future__ import annotations

import json
import logging
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from storage import LogFailedError, frame
from storage.disk import Disk
from storage.errors import FolderLockedError
from storage.segment import open_segment, publish, reserve
from tests.broker.fake_clock import FakeClock
from tests.broker.random_life import live_a_random_life
from tests.cli.helpers import clean_environment, run
from tests.running import RunningBroker
from tests.storage.folders import segment_files, snapshot
from tests.tools.copies import CrashError, bodies_in, crash_at, names, opened, said_in
from wonderq.client import Client
from wonderq.compact import compact, disk_bytes, estimate
from wonderq.model import Target

TOOL = Path(__file__).parents[2] / "tools" / "compact.py"
NOW_MS = 1_700_000_000_000


def fill(folder: Path, *, steps: int = 400, seed: int = 1) -> int:
    """Live a random life in many small segments; returns when it ended."""
    clock = FakeClock()
    with opened(folder, clock=clock) as broker:
        live_a_random_life(broker, clock, random.Random(seed), steps)
    return clock.ms


def test_ninety_nine_percent_deleted_shrinks_by_ninety_five(tmp_path: Path) -> None:
    body, clock = "b" * 30_000, FakeClock()
    with opened(tmp_path, segment_bytes=32 << 20, clock=clock) as broker:
        for batch in range(6):
            ids = broker.produce("default", [f"{batch}-{number} {body}" for number in range(500)])
            clock.ms += 1000
            broker.claim("default", limit=500, visibility_timeout_ms=[0, 1000, 3_600_000][batch % 3])
            broker.delete_batch("default", [Target(id=each) for number, each in enumerate(ids) if number % 100])
    now_ms = clock.ms
    before, size = said_in(tmp_path, now_ms), disk_bytes(tmp_path)
    bodies = bodies_in(tmp_path)
    assert len(bodies) == 30
    assert size > 85 << 20
    expected = estimate(tmp_path)
    done = compact(tmp_path)
    assert (done.messages, done.before.disk_bytes) == (30, size)
    assert done.after.disk_bytes == disk_bytes(tmp_path) <= size * 0.05
    assert abs(expected.after.disk_bytes - done.after.disk_bytes) <= 1 << 20
    assert abs(expected.after.log_bytes - done.after.log_bytes) <= 1 << 16
    assert expected.before == done.before
    assert said_in(tmp_path, now_ms) == before
    assert bodies_in(tmp_path) == bodies


@pytest.mark.parametrize("seed", range(6))
def test_nothing_but_the_size_changes(tmp_path: Path, seed: int) -> None:
    now_ms = fill(tmp_path, seed=seed)
    before = said_in(tmp_path, now_ms)
    segments = len(segment_files(tmp_path))
    assert segments > 3
    done = compact(tmp_path)
    assert done.segments == segments
    assert len(segment_files(tmp_path)) == 1
    assert said_in(tmp_path, now_ms) == before
    again = compact(tmp_path)
    assert again.after.disk_bytes == done.after.disk_bytes
    assert again.after.log_bytes <= done.after.log_bytes
    assert said_in(tmp_path, now_ms) == before


def test_a_crash_at_any_step_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logging.getLogger("wonderq").setLevel(logging.CRITICAL + 1)
    try:
        now_ms = fill(tmp_path / "whole", steps=150)
        before = said_in(tmp_path / "whole", now_ms)
        folder = tmp_path / "crashed"
        for step in range(1, 1000, 3):
            shutil.copytree(tmp_path / "whole", folder)
            try:
                with crash_at(step, monkeypatch, ("pwrite", "fdatasync", "rename", "unlink", "ftruncate")):
                    compact(folder)
                break
            except (CrashError, LogFailedError):
                assert said_in(folder, now_ms) == before
                compact(folder)
                assert said_in(folder, now_ms) == before
            shutil.rmtree(folder)
        assert step > 30
    finally:
        logging.getLogger("wonderq").setLevel(logging.NOTSET)


def test_a_large_spare_segment_does_not_keep_its_space(tmp_path: Path) -> None:
    now_ms = fill(tmp_path)
    before = said_in(tmp_path, now_ms)
    last = segment_files(tmp_path)[-1]
    header = frame.unpack_segment_header(last.read_bytes())
    assert header is not None
    publish(Disk(), reserve(Disk(), tmp_path, header.number + 1, header.log_id, 64 << 20, 0)).file.close()
    done = compact(tmp_path)
    assert done.after.disk_bytes < 5 << 20
    assert said_in(tmp_path, now_ms) == before


def test_a_broker_goes_on_with_its_usual_segments(tmp_path: Path) -> None:
    fill(tmp_path)
    compact(tmp_path)
    last = open_segment(Disk(), segment_files(tmp_path)[-1])
    last.file.close()
    assert last.header.capacity == 4 << 20
    publish(Disk(), reserve(Disk(), tmp_path, last.number + 1, last.header.log_id, 4 << 20, 0)).file.close()
    kept = bodies_in(tmp_path)
    large = ["l" * (1 << 20)] * 14  # one record, larger than the small segments
    with opened(tmp_path, segment_bytes=32 << 20) as broker:
        broker.produce("default", large)
    assert bodies_in(tmp_path) == kept + large


def test_old_checkpoints_go_and_a_needed_one_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    with RunningBroker(folder) as broker:
        with Client(broker.url) as client:
            for _ in range(20):
                client.produce_batch(["m" * 500_000] * 2)
        assert broker.terminate() == 0
    assert [name for name in names(folder) if name.endswith(".ckpt")]
    before = said_in(folder)
    compact(folder)
    [checkpoint] = [name for name in names(folder) if name.endswith(".ckpt")]
    assert int(checkpoint[:10]) >= int(segment_files(folder)[0].stem)
    assert said_in(folder) == said_in(folder, with_checkpoints=True) == before
    with opened(folder, segment_bytes=32 << 20) as inner:
        inner.purge("default")
    compact(folder)
    assert len(names(folder)) == 1


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    fill(tmp_path)
    before = snapshot(tmp_path)
    done = run("compact", str(tmp_path), "--dry-run")
    assert (done.code, done.error, done.lines[-1]) == (0, "", "nothing was changed")
    done = run("compact", str(tmp_path), "--dry-run", "--json")
    found = json.loads(done.out)
    assert found["dry_run"] is True
    assert found["before"]["disk_bytes"] == disk_bytes(tmp_path)
    assert snapshot(tmp_path) == before


def test_the_command_and_the_tool_say_what_they_did(tmp_path: Path) -> None:
    fill(tmp_path)
    done = run("compact", str(tmp_path))
    assert (done.code, done.error, done.lines[-1]) == (0, "", "ok")
    tool = subprocess.run(
        [sys.executable, TOOL, tmp_path, "--json"], capture_output=True, env=clean_environment(), check=True, timeout=60
    )
    found = json.loads(tool.stdout)
    assert found["segments"] == 1
    assert found["after"]["disk_bytes"] == disk_bytes(tmp_path)


def test_a_folder_in_use_or_without_a_log_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "d")
    before = snapshot(tmp_path / "d")
    with opened(tmp_path / "d"):
        done = run("compact", str(tmp_path / "d"))
        with pytest.raises(FolderLockedError):
            estimate(tmp_path / "d")
    assert done.code == 1
    assert "is in use by another process" in done.error
    assert before.keys() == snapshot(tmp_path / "d").keys()
    (tmp_path / "empty").mkdir()
    done = run("compact", str(tmp_path / "empty"))
    assert (done.code, names(tmp_path / "empty")) == (1, [])
    assert "holds no log" in done.error
