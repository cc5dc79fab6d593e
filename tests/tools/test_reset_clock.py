"""A log from the future continues at the right time, and loses nothing."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.clock import FakeClock
from wonderq.broker.broker import Broker
from wonderq.broker.compaction import compact_oldest
from wonderq.broker.maintenance import checkpoint
from wonderq.cli.main import main
from wonderq.folder.lock import NoLogError
from wonderq.folder.reset_clock import examine, reset_clock
from wonderq.folder.verify import verify
from wonderq.model.messages import Change, NewMessage, Target
from wonderq_storage import FileCheckpoints, FileLog, FolderLockedError, SyncPolicy

DAY_MS = 86_400_000
YEAR_MS = 365 * DAY_MS
SEGMENT_BYTES = 1 << 16


def real_ms() -> int:
    return time.time_ns() // 1_000_000


@contextmanager
def broker_at(folder: Path, clock: FakeClock) -> Iterator[Broker]:
    broker = Broker(
        FileLog(folder, sync=SyncPolicy("os"), segment_bytes=SEGMENT_BYTES),
        checkpoints=FileCheckpoints(folder),
        clock=clock,
    )
    try:
        yield broker
    finally:
        broker.close()


class Life:
    """A folder that was used for a while at the right time, and then with a clock that was ahead."""

    def __init__(self, folder: Path, ahead_ms: int) -> None:
        self.folder = folder
        start_ms = real_ms() - 60_000
        with broker_at(folder, FakeClock(start_ms)) as broker:
            for first in range(0, 1500, 300):
                broker.produce("default", [f"message {first + number}".ljust(100) for number in range(300)])
            broker.produce("default", ["delayed before"], [3_600_000])
            _, before = broker.claim("default", limit=2, visibility_timeout_ms=1_800_000)
            broker.schedules.put("nightly", cron="0 3 * * *", queue="reports", body="report")
            for name in ("keys", "others"):
                broker.put_queue(name, deduplication_window_ms=3_600_000)
            broker.send("keys", [NewMessage("once", key="before")])
        wrong = FakeClock(start_ms + ahead_ms)
        with broker_at(folder, wrong) as broker:
            broker.schedules.fire_due()
            broker.produce("default", ["delayed after"], [3_600_000])
            [released] = broker.produce("other", ["backoff"])
            [after] = broker.claim("default", limit=1, visibility_timeout_ms=1_800_000, attempt_id="attempt")
            broker.claim("other")
            broker.update("other", Target(id=released), Change(delay_ms=3_600_000))
            broker.send("others", [NewMessage("again", key="after")])
            wrong.advance(1)
            broker.produce("default", ["newest"])
        assert before.receipt is not None
        assert after.receipt is not None
        self.receipts = [before.receipt, after.receipt]
        self.contents = self.read()

    def read(self) -> list[tuple[str, str, str, int]]:
        """Return id, body, group of status and receive count of each message. Nothing is changed."""
        with broker_at(self.folder, FakeClock(0)) as broker:
            return [
                (each.id, each.body, each.queue, each.receives)
                for name in ("default", "other", "keys", "others")
                for each in broker.messages(name)
            ]


@pytest.mark.parametrize("ahead_ms", [DAY_MS, 10 * YEAR_MS])
def test_the_broker_continues_at_the_right_time_with_everything(tmp_path: Path, ahead_ms: int) -> None:
    life = Life(tmp_path, ahead_ms)
    done = reset_clock(tmp_path)
    assert ahead_ms - 120_000 < done.ahead_ms < ahead_ms
    assert life.read() == life.contents
    assert not verify(tmp_path).damage
    clock = FakeClock(real_ms())
    with broker_at(tmp_path, clock) as broker:
        assert broker.queue("default").now_ms == clock.ms, "and not in the future"
        now_ms = clock.ms
        for name in ("default", "other", "keys", "others"):
            assert broker.queue(name).created_ms <= now_ms
            for message in broker.messages(name):
                assert message.produced_ms <= now_ms
                assert message.due_ms is None or message.due_ms <= now_ms + 3_700_000, message
        [schedule] = broker.schedules.list()
        assert schedule.next_ms is not None
        assert now_ms < schedule.next_ms <= now_ms + DAY_MS
        assert schedule.created_ms <= now_ms
        assert schedule.last_ms is None or schedule.last_ms <= now_ms
        assert broker.send("keys", [NewMessage("once", key="before")]).duplicates
        assert broker.send("others", [NewMessage("again", key="after")]).duplicates
        [attempt] = broker.claim("default", limit=1, attempt_id="attempt", visibility_timeout_ms=60_000)
        assert attempt.receipt == life.receipts[1]
        clock.advance(3700)
        assert {each.body for each in broker.claim("other")} == {"backoff"}
        assert not broker.send("keys", [NewMessage("once", key="before")]).duplicates
        assert not broker.send("others", [NewMessage("again", key="after")]).duplicates


def test_receipts_and_claims_stay(tmp_path: Path) -> None:
    life = Life(tmp_path, DAY_MS)
    reset_clock(tmp_path)
    clock = FakeClock(real_ms())
    with broker_at(tmp_path, clock) as broker:
        for receipt in life.receipts:
            broker.delete("default", Target(receipt=receipt))
        bodies = [each.body for each in broker.messages("default")]
        assert bodies[0].strip() == "message 2"
        assert bodies[-1] == "newest"


def test_a_checkpoint_of_the_future_is_not_used_again(tmp_path: Path) -> None:
    Life(tmp_path, DAY_MS)
    log, checkpoints = FileLog(tmp_path, segment_bytes=SEGMENT_BYTES), FileCheckpoints(tmp_path)
    broker = Broker(log, checkpoints=checkpoints, clock=FakeClock(0))
    checkpoint(broker, log, checkpoints)
    broker.close()
    reset_clock(tmp_path)
    assert examine(tmp_path).ahead_ms <= 0


def test_a_right_log_is_left_alone(tmp_path: Path) -> None:
    with broker_at(tmp_path, FakeClock(real_ms() - 1000)) as broker:
        broker.produce("default", ["a"])
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir() if each.is_file()}
    assert reset_clock(tmp_path).ahead_ms <= 0
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir() if each.is_file()} == before


class InterruptedHereError(Exception):
    """The tool is stopped here."""


@pytest.mark.parametrize("at", [1, 2, 3])
def test_it_can_be_interrupted_and_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    life = Life(tmp_path, DAY_MS)
    calls = 0

    def until_then(broker: Broker, log: FileLog) -> bool:
        nonlocal calls
        calls += 1
        if calls == at:
            raise InterruptedHereError
        return compact_oldest(broker, log)

    with monkeypatch.context() as patched:
        patched.setattr("wonderq.folder.reset_clock.compact_oldest", until_then)
        with pytest.raises(InterruptedHereError):
            reset_clock(tmp_path)
    assert life.read() == life.contents
    reset_clock(tmp_path)
    assert examine(tmp_path).ahead_ms <= 0
    assert life.read() == life.contents


def test_it_refuses_a_folder_in_use_and_one_without_a_log(tmp_path: Path) -> None:
    with pytest.raises(NoLogError):
        reset_clock(tmp_path)
    with broker_at(tmp_path, FakeClock()), pytest.raises(FolderLockedError):
        reset_clock(tmp_path)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Life(tmp_path, DAY_MS)
    assert main(["folder", "reset-clock", str(tmp_path), "--dry-run"]) == 0
    assert re.search(r"which was 23:\d\d:\d\d ahead", out := capsys.readouterr().out)
    assert out.endswith("nothing was changed\n")
    assert main(["folder", "reset-clock", str(tmp_path)]) == 0
    assert capsys.readouterr().out.endswith("ok\n")
    assert main(["folder", "reset-clock", str(tmp_path)]) == 0
    assert "nothing to reset" in capsys.readouterr().out
