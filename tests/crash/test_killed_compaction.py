"""`wonderq folder compact`, killed at each of its operations on the disk, leaves a folder that opens to the same state."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from tests.support.clock import FakeClock
from tests.support.disks import UnsyncedDisk
from tests.support.folders import segment_files
from tests.support.waiting import PATIENCE_S
from wonderq.broker.broker import Broker
from wonderq.broker.compaction import compact_oldest
from wonderq.broker.maintenance import checkpoint
from wonderq.model.messages import Change, Message, NewMessage, Target
from wonderq.model.topics import Publication
from wonderq_storage import FileCheckpoints, FileLog

HOUR_MS = 3_600_000


def write_folder(folder: Path) -> dict[str, list[Message]]:
    """A folder with live and dead messages of every state in each segment, and a checkpoint; returns what it shows."""
    # Compacting goes by the real time, so deadlines have to be in the future.
    clock = FakeClock(time.time_ns() // 1_000_000)
    log = FileLog(folder, disk=UnsyncedDisk(), segment_bytes=4096)
    broker = Broker(log, clock=clock)
    broker.put_queue("orders", visibility_timeout_ms=777)
    broker.topics.put("events")
    for queue in ("orders", "mail", "wrapped"):
        broker.put_queue(queue)
        broker.topics.subscribe("events", queue, queue=queue, raw=queue != "wrapped")
    for step in range(30):
        ids = broker.produce("default", [f"{step} {part} ".ljust(250, "x") for part in range(4)])
        broker.produce("orders", [f"order {step}"], [HOUR_MS if step % 2 else None])
        broker.topics.publish(
            "events", [Publication(NewMessage(f"event {step} {part}".ljust(99))) for part in range(2)]
        )
        for queue in ("mail", "wrapped") if step % 3 else ():
            [taken] = broker.claim(queue, limit=1, visibility_timeout_ms=HOUR_MS)
            broker.delete(queue, Target(taken.id, taken.receipt))
        first, second = broker.claim("default", limit=2, visibility_timeout_ms=HOUR_MS)
        broker.delete_batch("default", [Target(receipt=first.receipt), Target(id=ids[3])])
        if step % 3:
            broker.delete("default", Target(receipt=second.receipt))
        if step % 4 == 0:
            broker.update("default", Target(id=ids[2]), Change(body=f"restated {step}"))
        if step == 15:
            checkpoint(broker, log, FileCheckpoints(folder))
        clock.ms += 10
    broker.close()
    return messages_in(folder, checkpoints=False)


def opened(folder: Path, *, checkpoints: bool) -> tuple[FileLog, Broker]:
    log = FileLog(folder, disk=UnsyncedDisk(), segment_bytes=4096)
    try:
        return log, Broker(log, clock=FakeClock(), checkpoints=FileCheckpoints(folder) if checkpoints else None)
    except BaseException:
        log.close()
        raise


def messages_in(folder: Path, *, checkpoints: bool) -> dict[str, list[Message]]:
    _, broker = opened(folder, checkpoints=checkpoints)
    try:
        return {info.name: list(broker.messages(info.name)) for info in broker.queues()}
    finally:
        broker.close()


def test_a_kill_at_any_operation_changes_nothing(tmp_path: Path) -> None:
    expected = write_folder(tmp_path / "data")
    assert {each.status for each in expected["default"]} == {"processing", "unprocessed"}
    assert len(segment_files(tmp_path / "data")) > 8
    copies = tmp_path / "copies"
    copies.mkdir()
    subprocess.run(
        [sys.executable, "-m", "tests.crash.die_compacting", str(tmp_path / "data"), str(copies)],
        cwd=Path(__file__).parents[2],
        check=True,
        timeout=PATIENCE_S,
    )
    numbers = sorted(int(path.name) for path in copies.iterdir())
    assert len(numbers) > 60
    killed_late = 0
    for number in numbers:
        folder = copies / str(number)
        left = len(segment_files(folder))
        killed_late += left < len(segment_files(tmp_path / "data"))
        assert messages_in(folder, checkpoints=number % 2 == 0) == expected, number
        assert messages_in(folder, checkpoints=number % 2 == 1) == expected, number
        # And the compaction can be taken up where it was.
        log, broker = opened(folder, checkpoints=True)
        compact_oldest(broker, log)
        broker.close()
        assert messages_in(folder, checkpoints=True) == expected, number
    assert killed_late > 10, "it was never killed after a segment was removed"
    done = copies / str(numbers[-1])
    assert sum(path.stat().st_size for path in segment_files(done)) < 0.8 * sum(
        path.stat().st_size for path in segment_files(tmp_path / "data")
    )
