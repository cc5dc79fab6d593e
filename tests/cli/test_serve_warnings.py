"""A start states what an operator must know, and works."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.broker_process import RunningBroker
from tests.support.clock import FakeClock
from tests.support.http_client import Wire
from wonderq.broker.broker import Broker
from wonderq.runtime.time_evidence import CLOCK_FILE, TimeEvidence
from wonderq_storage import FileLog, SyncPolicy

DAY_MS = 86_400_000


@pytest.fixture
def old_folder(tmp_path: Path) -> Path:
    """A folder that was last used two days ago, with a message that is kept for a day."""
    folder = tmp_path / "data"
    clock = FakeClock(time.time_ns() // 1_000_000 - 2 * DAY_MS)
    broker = Broker(FileLog(folder, sync=SyncPolicy("os")), clock=clock)
    broker.put_queue("q", retention_ms=DAY_MS)
    broker.produce("q", ["kept for a day"])
    broker.close()
    return folder


def messages(wire: Wire) -> int:
    count: int = wire("GET", "/queues/q/dev/messages/count?status=unprocessed").json["count"]
    return count


@pytest.mark.slow
def test_a_start_with_a_doubtful_clock_keeps_everything_and_says_so(old_folder: Path) -> None:
    if TimeEvidence(old_folder).is_synchronised():
        pytest.skip("the clock of this machine is confirmed by a time service")
    with RunningBroker(old_folder) as broker:
        wire = Wire(broker.host, broker.port)
        assert messages(wire) == 1
        [warning] = wire("GET", "/readyz").json["warnings"]
        assert "2 days, 0:00:" in warning
        assert b"\nwonderq_clock_held 1.0\n" in wire("GET", "/metrics").content
        assert broker.terminate() == 0
        assert warning in broker.log()
    with RunningBroker(old_folder, "--accept-clock") as broker:
        wire = Wire(broker.host, broker.port)
        assert messages(wire) == 0
        assert wire("GET", "/readyz").json == {"status": "ready"}
        assert broker.terminate() == 0
    assert (old_folder / CLOCK_FILE).exists()
    with RunningBroker(old_folder) as broker:
        assert Wire(broker.host, broker.port)("GET", "/readyz").json == {"status": "ready"}


def test_a_larger_jump_can_be_permitted(old_folder: Path) -> None:
    with RunningBroker(old_folder, "--max-clock-jump", "1000000") as broker:
        assert messages(Wire(broker.host, broker.port)) == 0


def test_a_folder_that_every_user_can_change_gets_a_warning(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for mode, warned in ((0o777, True), (0o755, False)):
        folder.chmod(mode)
        stderr = tmp_path / f"{mode:o}"
        with RunningBroker(folder, stderr=stderr) as broker:
            assert broker.terminate() == 0
            assert ("every user of this machine can change" in broker.log()) is warned
