"""The broker's time advances as real time does, whatever the system clock does, also across restarts."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.system_clock import HOUR_MS, START_MS, YEAR_MS, System
from wonderq.broker.broker import Broker
from wonderq.broker.maintenance import checkpoint
from wonderq.runtime.clock import Clock
from wonderq_storage import FileCheckpoints, FileLog, SyncPolicy


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> System:
    return System(monkeypatch)


def open_broker(folder: Path) -> Broker:
    return Broker(FileLog(folder, sync=SyncPolicy("os"), segment_bytes=1 << 16))


def test_it_tells_the_wall_clock(system: System) -> None:
    clock = Clock()
    assert clock.now_ms() == START_MS
    system.passes(1234)
    assert clock.now_ms() == START_MS + 1234


def test_the_real_clock_tells_the_real_time() -> None:
    clock = Clock()
    for _ in range(3):
        before, now, after = time.time_ns() // 1_000_000, clock.now_ms(), time.time_ns() // 1_000_000
        assert before - 2000 <= now <= after + 2000
    times = [clock.now_ms() for _ in range(10_000)]
    assert times == sorted(times)


@pytest.mark.parametrize("jump_ms", [-YEAR_MS, -HOUR_MS, -1, 1, HOUR_MS, YEAR_MS])
def test_a_jump_of_the_wall_clock_is_not_seen(system: System, jump_ms: int) -> None:
    clock = Clock()
    system.wall_ms += jump_ms
    assert clock.now_ms() == START_MS
    system.passes(10)
    assert clock.now_ms() == START_MS + 10


@pytest.mark.parametrize("behind_ms", [0, 1, HOUR_MS, YEAR_MS])
def test_the_floor_raises_a_clock_that_is_behind(system: System, behind_ms: int) -> None:
    clock = Clock()
    clock.raise_floor(START_MS + behind_ms)
    assert clock.now_ms() == START_MS + behind_ms
    system.passes(7)
    assert clock.now_ms() == START_MS + behind_ms + 7


def test_the_floor_lowers_no_clock(system: System) -> None:
    clock = Clock()
    clock.raise_floor(START_MS - HOUR_MS)
    clock.raise_floor(0)
    assert clock.now_ms() == START_MS


@pytest.mark.parametrize("jump_ms", [-YEAR_MS, -5_000, 5_000, YEAR_MS])
def test_a_claim_holds_as_long_as_it_should_while_the_clock_jumps(system: System, tmp_path: Path, jump_ms: int) -> None:
    broker = open_broker(tmp_path)
    broker.produce("default", ["a"])
    [message] = broker.claim("default", visibility_timeout_ms=30_000)
    system.wall_ms += jump_ms
    system.passes(29_999)
    assert broker.claim("default") == []
    assert broker.get("default", message.id).status == "processing"
    system.wall_ms -= 3 * jump_ms
    system.passes(1)
    assert [each.id for each in broker.claim("default")] == [message.id]
    broker.close()


@pytest.mark.parametrize("back_ms", [1, 20_000, YEAR_MS])
def test_a_clock_set_back_across_a_restart_does_not_take_time_back(
    system: System, tmp_path: Path, back_ms: int
) -> None:
    broker = open_broker(tmp_path)
    broker.produce("default", ["a"])
    [message] = broker.claim("default", visibility_timeout_ms=30_000)
    system.passes(10_000)
    broker.produce("default", ["b"])
    broker.close()
    system.wall_ms -= back_ms
    system.reboots()
    broker = open_broker(tmp_path)
    assert broker.queue("default").now_ms == START_MS + 10_000, "the newest time in the log"
    system.passes(19_999)
    assert broker.get("default", message.id).status == "processing"
    system.passes(1)
    assert broker.get("default", message.id).status == "unprocessed"
    [newest] = broker.produce("default", ["c"])
    produced = [each.produced_ms for each in broker.messages("default")]
    assert produced == sorted(produced)
    assert broker.get("default", newest).produced_ms == START_MS + 30_000
    broker.close()


def test_a_start_from_a_checkpoint_does_not_take_back_what_had_ended_in_it(system: System, tmp_path: Path) -> None:
    """The end of a claim is no record, but the message counts as waiting in the checkpoint."""
    log, checkpoints = FileLog(tmp_path, sync=SyncPolicy("os"), segment_bytes=1 << 16), FileCheckpoints(tmp_path)
    broker = Broker(log)
    broker.produce("default", ["a"])
    broker.claim("default", visibility_timeout_ms=30_000)
    system.passes(40_000)
    assert broker.queue("default").counts["processing"] == 0
    checkpoint(broker, log, checkpoints)
    broker.close()
    system.wall_ms -= 39_000
    system.reboots()
    broker = Broker(FileLog(tmp_path, sync=SyncPolicy("os"), segment_bytes=1 << 16), checkpoints=checkpoints)
    [message] = broker.claim("default")
    assert message.receives == 2
    assert broker.queue("default").now_ms == START_MS + 40_000, "not earlier than the end of the claim before"
    broker.close()


def test_time_that_passed_while_it_was_down_counts(system: System, tmp_path: Path) -> None:
    broker = open_broker(tmp_path)
    broker.produce("default", ["a"])
    broker.produce("default", ["b"], [60_000])
    [message] = broker.claim("default", visibility_timeout_ms=30_000)
    broker.close()
    system.passes(29_999)
    system.reboots()
    broker = open_broker(tmp_path)
    assert broker.claim("default") == []
    system.passes(1)
    assert [each.id for each in broker.claim("default")] == [message.id]
    broker.close()
    system.passes(YEAR_MS)
    system.reboots()
    broker = open_broker(tmp_path)
    assert [each.body for each in broker.claim("default")] == ["a", "b"]
    broker.close()


def test_back_and_forth_over_many_restarts(system: System, tmp_path: Path) -> None:
    newest_ms = 0
    for jump_ms in (HOUR_MS, -2 * HOUR_MS, YEAR_MS, -YEAR_MS, -5, 5, -HOUR_MS, 0):
        broker = open_broker(tmp_path)
        now_ms = broker.queue("default").now_ms
        assert now_ms >= newest_ms
        broker.produce("default", ["a"])
        system.passes(3)
        broker.produce("default", ["b"])
        newest_ms = broker.queue("default").now_ms
        assert newest_ms == now_ms + 3
        system.wall_ms += jump_ms
        broker.close()
    broker = open_broker(tmp_path)
    produced = [message.produced_ms for message in broker.messages("default")]
    assert len(produced) == 16
    assert produced == sorted(produced)
    broker.close()
