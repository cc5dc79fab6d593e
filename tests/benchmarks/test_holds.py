"""The benchmark of holds: it sees a hold, of the thread and of the lock, and all its situations can be made."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import UserDict
from collections.abc import ItemsView
from pathlib import Path

import pytest

from benchmarks.holds.__main__ import measure
from benchmarks.holds.instruments import Meter, MeteredLock, MeteredPoll, describe
from benchmarks.holds.measured import Hold, running
from benchmarks.holds.situations import AT_REST, Situation, all_situations, nothing
from wonderq.model.settings import check_tags

SCALE = 0.0005
HOLD_S = 0.05


def work() -> None:
    """Use the processor."""
    end_s = time.thread_time() + HOLD_S
    while time.thread_time() < end_s:
        pass


class FakePoll:
    closed = False

    def poll(self, timeout_s: float) -> list[float]:
        return [timeout_s]

    def close(self) -> None:
        self.closed = True


def test_a_hold_of_a_lock_is_measured_on_any_thread() -> None:
    meter = Meter()
    lock = MeteredLock(meter)

    def hold() -> None:
        with lock:
            assert lock.locked()
            assert not lock.acquire(blocking=False)
            work()

    thread = threading.Thread(target=hold)
    thread.start()
    thread.join()
    with lock:
        pass
    assert not lock.locked()
    assert meter.longest_s >= HOLD_S
    meter.reset()
    assert meter.longest_s == 0


def test_a_turn_is_the_time_between_two_polls() -> None:
    meter, real = Meter(), FakePoll()
    poll = MeteredPoll(real, meter)
    work()
    assert poll.poll(1) == [1]
    assert meter.longest_s >= HOLD_S
    poll.close()
    assert real.closed


class Watched(UserDict[str, str]):
    """Tags that describe the stack of the function that reads them."""

    stack = ""

    def items(self) -> ItemsView[str, str]:
        self.stack = describe(sys._getframe())
        return super().items()


def test_a_stack_is_described_by_functions_of_the_product() -> None:
    tags = Watched({"a": "b"})
    check_tags(tags)
    assert tags.stack.startswith("settings.check_tags < ")
    assert describe(sys._getframe()) == ""
    assert describe(None) == ""


@pytest.mark.parametrize(
    ("held", "longest_ms"),
    [
        (Hold(gap_ms=90, turn_ms=30, lock_ms=10, collection_ms=0, delay_ms=5, place=""), 65),
        (Hold(gap_ms=90, turn_ms=30, lock_ms=10, collection_ms=0, delay_ms=80, place=""), 30),
        (Hold(gap_ms=0, turn_ms=3, lock_ms=10, collection_ms=0, delay_ms=0, place=""), 10),
    ],
)
def test_a_gap_counts_without_what_the_machine_explains(held: Hold, longest_ms: float) -> None:
    assert held.longest_ms(noise_ms=20) == longest_ms


@pytest.mark.slow
def test_a_stopped_broker_is_a_gap(tmp_path: Path) -> None:
    with running(tmp_path / "data") as broker:
        with broker.measuring() as held:
            os.kill(broker.pid, signal.SIGSTOP)
            time.sleep(HOLD_S)
            os.kill(broker.pid, signal.SIGCONT)
        assert held[0].gap_ms >= 1000 * HOLD_S / 2
        assert broker.ask("GET", "/nothing").status == 404


@pytest.mark.slow
@pytest.mark.parametrize("situation", all_situations(SCALE), ids=lambda each: each.name)
def test_every_situation_can_be_measured(situation: Situation, capsys: pytest.CaptureFixture[str]) -> None:
    measure(situation, noise_ms=0)
    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("    above")]
    assert lines[:2] == ["", situation.name]
    assert len(lines) == 2 + len(situation.steps)
    for line, step in zip(lines[2:], situation.steps, strict=True):
        assert line.split("  ")[1].startswith(step.name[:20])
        assert "not finished" not in line
        assert situation.fill is not nothing or "closed after" not in line


@pytest.mark.slow
def test_a_hold_above_its_bound_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    situation = Situation("planted", nothing, [AT_REST._replace(bound_ms=-1e9)])
    assert not measure(situation, noise_ms=0)
    assert "above the bound" in capsys.readouterr().out
    assert measure(situation._replace(steps=[AT_REST._replace(bound_ms=1e9)]), noise_ms=0)
