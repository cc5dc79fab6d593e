"""The thread that writes checkpoints and compacts the log: when it works, and what stops it."""

from __future__ import annotations

import errno
import logging
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.disks import FaultyDisk, SmallDisk
from tests.support.states import state_view
from tests.support.threads import Call
from tests.support.waiting import PATIENCE_S, eventually
from wonderq.broker import compaction, maintenance
from wonderq.broker.broker import Broker
from wonderq.broker.compaction import compact_oldest, live_bytes
from wonderq.broker.maintenance import LogMaintenance
from wonderq.model.messages import Target
from wonderq.state.replay import replay_log
from wonderq_storage import CorruptLogError, DiskFullError, FileCheckpoints, FileLog, Mark, Position, SyncPolicy

NEVER = 1 << 60
HOUR_MS = 3_600_000


class WatchedLog(FileLog):
    """Counts how often something was dropped from it, and lets a test in before it is appended to."""

    trims = 0
    on_append: Callable[[], None] = staticmethod(lambda: None)

    def trim(self, end: Position) -> None:
        self.trims += 1
        super().trim(end)

    def append_together(self, records: Sequence[bytes], *, leave_bytes: int = 0) -> list[Position]:
        self.on_append()
        return super().append_together(records, leave_bytes=leave_bytes)


class WatchedCheckpoints(FileCheckpoints):
    """Keeps the size of each that was written."""

    def __init__(self, folder: Path, disk: FaultyDisk) -> None:
        super().__init__(folder, disk)
        self.sizes: list[int] = []

    def write(self, mark: Mark, chunks: Iterable[bytes]) -> int:
        size = super().write(mark, chunks)
        self.sizes.append(size)
        return size


class WatchedMaintenance(LogMaintenance):
    """Counts how often it looked whether it should compact, and found that it need not."""

    looks = 0
    rests = 0

    def _pressure(self) -> float:
        found = super()._pressure()
        self.looks += 1
        self.rests += found <= 1
        return found


class Kept:
    """A broker and its maintenance."""

    def __init__(
        self,
        folder: Path,
        *,
        segment_bytes: int = 4096,
        slack_bytes: int | None = None,
        every_bytes: int = NEVER,
        disk: FaultyDisk | None = None,
    ) -> None:
        self.folder = folder
        self.disk = disk or FaultyDisk()
        self.log = WatchedLog(folder, sync=SyncPolicy("os"), segment_bytes=segment_bytes, disk=self.disk)
        self.checkpoints = WatchedCheckpoints(folder, self.disk)
        self.broker = Broker(self.log, checkpoints=self.checkpoints)
        self.maintenance = WatchedMaintenance(
            self.broker,
            self.log,
            self.checkpoints,
            slack_bytes=segment_bytes if slack_bytes is None else slack_bytes,
            checkpoint_every_bytes=every_bytes,
            tick_s=0.003,
        )

    def close(self) -> None:
        self.disk.mend()
        self.maintenance.stop()
        self.broker.close()

    @property
    def running(self) -> bool:
        return self.maintenance._thread.is_alive()

    def look_again(self) -> None:
        """Wait until maintenance has seen all changes made so far."""
        looks = self.maintenance.looks
        eventually(lambda: self.maintenance.looks >= looks + 3 or not self.running, "maintenance's next look")
        assert self.running

    def rest_again(self) -> None:
        """Wait until maintenance has done all that is to be done after what was done so far."""
        rests = self.maintenance.rests
        eventually(lambda: self.maintenance.rests >= rests + 2 or not self.running, "maintenance's next rest")
        assert self.running

    @property
    def segments(self) -> list[str]:
        """The names of all segments, also of one that is reserved but not in use yet."""
        return sorted(path.name for path in self.folder.iterdir() if ".wal" in path.name)

    @property
    def used_segments(self) -> list[str]:
        return [name for name in self.segments if name.endswith(".wal")]

    @property
    def too_much(self) -> bool:
        return self.log.used_bytes() > 2 * live_bytes(self.broker) + self.maintenance._slack_bytes

    def produce(self, count: int, size: int = 100, queue: str = "default") -> list[str]:
        ids: list[str] = []
        while len(ids) < count:
            ids += self.broker.produce(
                queue, [f"{len(ids) + n} ".ljust(size) for n in range(min(10, count - len(ids)))]
            )
        return ids

    def delete(self, ids: list[str], queue: str = "default") -> None:
        for start in range(0, len(ids), 1000):
            targets = [Target(id=message_id) for message_id in ids[start : start + 1000]]
            assert self.broker.delete_batch(queue, targets) == [None] * len(targets)

    def pass_through(self, count: int, size: int = 100, queue: str = "default") -> None:
        """Produce messages, then claim and delete the same number of the oldest."""
        self.produce(count, size, queue)
        while count:
            claimed = self.broker.claim(queue, limit=min(count, 100), visibility_timeout_ms=HOUR_MS)
            assert claimed
            results = self.broker.delete_batch(queue, [Target(receipt=message.receipt) for message in claimed])
            assert results == [None] * len(claimed)
            count -= len(claimed)


Keep = Callable[..., Kept]


@pytest.fixture
def keep(tmp_path: Path) -> Iterator[Keep]:
    """Make a broker whose maintenance is in a hurry."""
    made: list[Kept] = []

    def make(**kwargs: Any) -> Kept:
        made.append(Kept(tmp_path / "data", **kwargs))
        return made[-1]

    yield make
    for kept in made:
        kept.close()


def ended(kept: Kept) -> bool:
    return not kept.running


# Triggers


def test_a_checkpoint_is_due_after_so_much_log(keep: Keep) -> None:
    kept = keep(segment_bytes=1 << 20, every_bytes=20_000)
    kept.maintenance.start()
    kept.produce(100)
    kept.rest_again()
    assert kept.checkpoints.sizes == []
    kept.produce(100)
    eventually(lambda: kept.checkpoints.sizes, "a checkpoint")
    kept.rest_again()
    assert len(kept.checkpoints.sizes) == 1
    kept.produce(210)
    eventually(lambda: len(kept.checkpoints.sizes) == 2, "another checkpoint")


def test_the_next_one_waits_for_four_times_as_much_log_as_the_last_one_took(keep: Keep) -> None:
    kept = keep(segment_bytes=1 << 20, every_bytes=1_000)
    kept.produce(3_000, 1)
    kept.maintenance.start()
    eventually(lambda: kept.checkpoints.sizes, "a checkpoint")
    (size,) = kept.checkpoints.sizes
    assert size > 60_000
    kept.produce(1_800)
    kept.rest_again()
    assert kept.checkpoints.sizes == [size]
    kept.produce(1_200)
    eventually(lambda: len(kept.checkpoints.sizes) == 2, "another checkpoint")


@pytest.mark.parametrize("with_checkpoint", [False, True])
def test_a_stop_gives_up_a_checkpoint_under_way_unless_it_is_to_write_one(
    keep: Keep, monkeypatch: pytest.MonkeyPatch, with_checkpoint: bool
) -> None:
    """The next owner of a shard waits for the end, and has read the log already."""
    kept = keep(segment_bytes=1 << 20, every_bytes=1_000)
    kept.produce(100)
    write, began = kept.checkpoints.write, threading.Event()

    def until_the_stop(chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            began.set()
            eventually(lambda: kept.maintenance.is_stopping, "the stop")
            yield chunk

    monkeypatch.setattr(kept.checkpoints, "write", lambda mark, chunks: write(mark, until_the_stop(chunks)))
    kept.maintenance.start()
    assert began.wait(PATIENCE_S)
    kept.maintenance.stop(with_checkpoint=with_checkpoint)
    assert len(kept.checkpoints.sizes) == kept.broker.counters.checkpoints == with_checkpoint
    assert len([each for each in kept.folder.iterdir() if ".ckpt" in each.name]) == with_checkpoint
    assert not kept.maintenance._has_failed
    kept.produce(1)


def test_a_checkpoint_that_is_given_up_before_it_is_written_leaves_nothing(keep: Keep) -> None:
    kept = keep(segment_bytes=1 << 20)
    kept.produce(10)
    kept.disk.operations.clear()
    with pytest.raises(maintenance.CheckpointEndedError):
        maintenance.checkpoint(kept.broker, kept.log, kept.checkpoints, lambda: True)
    assert kept.disk.operations == [], "a stop waits for it"
    assert kept.checkpoints.sizes == []
    maintenance.checkpoint(kept.broker, kept.log, kept.checkpoints)
    assert len(kept.checkpoints.sizes) == 1


def test_the_log_behind_a_checkpoint_is_durable_first(keep: Keep) -> None:
    kept = keep(segment_bytes=1 << 20)
    kept.produce(10)
    kept.disk.operations.clear()
    maintenance.checkpoint(kept.broker, kept.log, kept.checkpoints)
    done = [(each.name, each.target[-4:]) for each in kept.disk.operations]
    assert done.index(("sync", ".wal")) < done.index(("create", ".tmp"))
    assert done.index(("sync", ".tmp")) < done.index(("rename", ".tmp"))


def test_what_is_live_is_left_alone(keep: Keep) -> None:
    kept = keep()
    kept.produce(1_000)
    segments = kept.segments
    assert len(segments) > 20
    kept.maintenance.start()
    kept.rest_again()
    assert (kept.log.trims, kept.segments) == (0, segments)


def test_it_compacts_once_garbage_outweighs(keep: Keep) -> None:
    kept = keep()
    ids = kept.produce(1_000)
    kept.maintenance.start()
    chance = random.Random(1)
    chance.shuffle(ids)
    kept.delete(ids[:100])
    kept.rest_again()
    assert kept.log.trims == 0
    kept.delete(ids[100:900])
    assert kept.log.trims or kept.too_much
    eventually(lambda: not kept.too_much, "compaction")
    kept.rest_again()
    assert {message.id for message in kept.broker.messages("default")} == set(ids[900:])
    trims = kept.log.trims
    kept.rest_again()
    assert kept.log.trims == trims, "it should be at rest now"


def test_it_compacts_no_further_than_it_has_to(keep: Keep) -> None:
    kept = keep(slack_bytes=50_000)
    ids = kept.produce(1_000)
    kept.delete(ids[:900])
    kept.maintenance.start()
    eventually(lambda: not kept.too_much, "compaction")
    kept.rest_again()
    assert kept.log.used_bytes() > 2 * live_bytes(kept.broker) + 50_000 - 3 * 4096


def test_queues_without_messages_let_it_come_to_rest(keep: Keep) -> None:
    """Their names have to be in the log, and copying them again and again would make nothing smaller."""
    kept = keep()
    for n in range(150):
        kept.broker.put_queue(f"a-queue-with-a-long-name-{n:050d}")
    kept.delete(kept.produce(200))
    kept.maintenance.start()
    kept.rest_again()
    end = kept.log.end()
    kept.rest_again()
    assert kept.log.end() == end
    assert len(kept.broker.queue_names()) == 151


def test_a_stop_leaves_a_checkpoint_if_that_is_worth_it(keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "WORTH_A_CHECKPOINT_BYTES", 20_000)
    kept = keep(segment_bytes=1 << 20)
    kept.maintenance.start()
    kept.produce(100)
    kept.close()
    assert kept.checkpoints.sizes == []
    kept = keep(segment_bytes=1 << 20)
    assert kept.broker.log_bytes > 10_000
    kept.maintenance.start()
    kept.produce(150)
    kept.close()  # together they are worth it
    assert len(kept.checkpoints.sizes) == 1
    kept = keep(segment_bytes=1 << 20)
    assert kept.broker.log_bytes == 0
    kept.maintenance.start()
    kept.produce(100)
    kept.close()
    assert kept.checkpoints.sizes == []
    kept = keep(segment_bytes=1 << 20)
    assert len(list(kept.broker.messages("default"))) == 350


def test_a_stop_just_after_a_checkpoint_leaves_it_at_that(keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "WORTH_A_CHECKPOINT_BYTES", 5_000)
    kept = keep(segment_bytes=1 << 20, every_bytes=20_000)
    kept.produce(300)
    kept.maintenance.start()
    eventually(lambda: kept.checkpoints.sizes, "a checkpoint")
    kept.maintenance.stop()
    assert len(kept.checkpoints.sizes) == 1


def test_stopping_what_never_started(keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "WORTH_A_CHECKPOINT_BYTES", 5_000)
    kept = keep(segment_bytes=1 << 20)
    kept.produce(100)
    kept.maintenance.stop()
    assert len(kept.checkpoints.sizes) == 1


# Size of the folder


def test_a_steady_queue_never_holds_more_than_four_segments(keep: Keep) -> None:
    kept = keep(segment_bytes=1 << 18, every_bytes=1 << 19)
    kept.produce(1_000)
    kept.maintenance.start()
    for _ in range(80):
        kept.pass_through(200)
        kept.rest_again()
        assert len(kept.segments) <= 4
        assert len(list(kept.broker.messages("default", limit=2_000))) == 1_000
    assert kept.log.trims >= 4
    assert len(kept.checkpoints.sizes) > 1


def test_a_cold_queue_beside_a_hot_one(keep: Keep) -> None:
    kept = keep(segment_bytes=1 << 16)
    cold = kept.produce(2_000, 300, "cold")
    kept.produce(100, 300)
    before = kept.broker.log_bytes
    kept.maintenance.start()
    most = 0.0
    for _ in range(60):
        kept.pass_through(100, 300)
        most = max(most, kept.log.used_bytes() / (2 * live_bytes(kept.broker) + 4 * (1 << 16)))
        kept.rest_again()
        assert not kept.too_much
    assert kept.log.trims > 5, "the cold messages were never in the way"
    assert most <= 1
    produced = 60 * 100 * 300
    assert kept.broker.log_bytes - before < 3 * produced
    assert [message.id for message in kept.broker.messages("cold")] == cold


# Obstacles


def fill_up(kept: Kept, count: int = 300) -> list[str]:
    """Leave one message in five of many segments, and no room on the disk; returns the ids that are left."""
    kept.produce(count)
    ids = [message.id for message in kept.broker.messages("default")]
    kept.delete([message_id for n, message_id in enumerate(ids) if n % 5])
    kept.disk.fail("allocate", errno.ENOSPC)
    left = ids[::5]
    with suppress(DiskFullError):
        while True:
            left += kept.broker.produce("default", ["until it is full"])
    with suppress(DiskFullError):
        while True:  # what is kept for those who make room
            kept.broker.claim("default", limit=1, visibility_timeout_ms=0)
    assert kept.too_much
    return left


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.message for each in caplog.records if each.name == "wonderq.maintenance"]


def put_off(caplog: pytest.LogCaptureFixture) -> bool:
    return any("pauses" in message for message in warnings(caplog))


def test_on_a_full_disk_nothing_is_dropped_and_it_goes_on_later(keep: Keep, caplog: pytest.LogCaptureFixture) -> None:
    kept = keep()
    left = fill_up(kept)
    segments = kept.used_segments
    with caplog.at_level(logging.WARNING):
        kept.maintenance.start()
        eventually(lambda: put_off(caplog), "the warning")
        kept.look_again()
    assert kept.log.trims == 0
    assert kept.used_segments == segments
    assert [message.id for message in kept.broker.messages("default")] == left
    assert kept.broker.unready is None
    kept.disk.mend()
    eventually(lambda: not kept.too_much, "compaction")
    assert [message.id for message in kept.broker.messages("default")] == left
    assert len(kept.used_segments) < len(segments)


def test_on_a_full_disk_deleting_makes_room(keep: Keep) -> None:
    kept = keep(segment_bytes=1 << 14)
    left = fill_up(kept, 900)
    segments = kept.segments
    kept.maintenance.start()
    kept.look_again()
    kept.delete(left)
    written = kept.broker.log_bytes
    eventually(lambda: not kept.too_much, "compaction")
    kept.look_again()
    assert len(kept.segments) <= 2 < len(segments)
    assert kept.broker.log_bytes - written < 500, "dead segments are to be dropped without copying"
    kept.disk.mend()
    kept.produce(10)


def test_a_full_disk_with_one_segment_of_garbage_heals(keep: Keep) -> None:
    """The segment is in use and has no room for a second of its size, so a smaller one replaces it."""
    kept = keep(segment_bytes=1 << 17, disk=SmallDisk((1 << 17) + 20_000))
    left: list[str] = []
    with suppress(DiskFullError):
        while True:
            left += kept.produce(10, size=1000)
    assert len(left) > 30
    kept.maintenance.start()
    kept.look_again()
    assert len(kept.used_segments) == 1
    for at in range(0, len(left), 10):
        claimed = kept.broker.claim("default", limit=10, visibility_timeout_ms=30_000)
        assert [each.id for each in claimed] == left[at : at + 10]
        kept.delete([each.id for each in claimed])
    kept.rest_again()
    for _ in range(10):
        kept.delete(kept.produce(10, size=1000))
        kept.rest_again()
    assert kept.log.trims > 0


def test_nobody_is_refused_or_waits_between_a_rotation_and_the_room_that_it_gives_back(
    keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = keep(segment_bytes=1 << 17, disk=SmallDisk((1 << 17) + 20_000))
    kept.delete(kept.produce(40, size=1000))
    rotate, sync = kept.log.rotate, kept.log.sync
    steps: list[str] = []

    def watched_rotate() -> int:
        steps.append("rotate")
        return rotate()

    def watched_sync() -> None:
        if steps == ["rotate"]:
            steps.append("sync")
            assert not kept.broker.core.lock.locked()
            kept.broker.produce("default", ["between"])
        sync()

    monkeypatch.setattr(kept.log, "rotate", watched_rotate)
    monkeypatch.setattr(kept.log, "sync", watched_sync)
    assert kept.maintenance._compact()
    assert steps == ["rotate", "sync"]
    assert [message.body for message in kept.broker.messages("default")] == ["between"]


def test_a_full_disk_puts_off_a_checkpoint(keep: Keep, caplog: pytest.LogCaptureFixture) -> None:
    kept = keep(segment_bytes=1 << 20, every_bytes=1_000)
    kept.disk.fail("write", errno.ENOSPC, on=".ckpt.tmp")
    kept.produce(100)
    with caplog.at_level(logging.WARNING):
        kept.maintenance.start()
        eventually(lambda: put_off(caplog), "the warning")
    kept.look_again()
    assert kept.checkpoints.sizes == []
    assert kept.broker.unready is None
    kept.disk.mend()
    eventually(lambda: kept.checkpoints.sizes, "a checkpoint")
    assert not list(kept.folder.glob("*.tmp.tmp")) + list(kept.folder.glob("*.ckpt.tmp"))


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_damage_ends_it_and_nothing_is_dropped(
    keep: Keep, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "WORTH_A_CHECKPOINT_BYTES", 0)
    kept = keep()
    ids = kept.produce(300)
    kept.delete(ids[5:295])
    segments = kept.segments
    damage(kept.folder / segments[0])
    with caplog.at_level(logging.WARNING):
        kept.maintenance.start()
        eventually(lambda: ended(kept), "the end of maintenance")
    assert segments[0] in caplog.text
    assert kept.broker.unready is not None
    assert segments[0] in kept.broker.unready
    with pytest.raises(CorruptLogError, match=segments[0]):
        kept.produce(1)
    assert (kept.log.trims, kept.segments[: len(segments) - 1]) == (0, segments[:-1])
    kept.close()
    assert kept.checkpoints.sizes == [], "with a checkpoint the next start would not read the damage"
    with pytest.raises(CorruptLogError, match=segments[0]):
        keep()


def test_damage_where_nothing_is_needed_any_more_is_dropped(keep: Keep, caplog: pytest.LogCaptureFixture) -> None:
    kept = keep()
    ids = kept.produce(300)
    kept.delete(ids[:290])
    segment = kept.folder / kept.segments[0]
    damage(segment)
    with caplog.at_level(logging.WARNING):
        kept.maintenance.start()
        kept.rest_again()
    assert not segment.exists()
    assert any("holds nothing live" in message for message in warnings(caplog))
    assert kept.broker.unready is None
    kept.close()
    again = keep()
    assert [message.id for message in again.broker.messages("default")] == ids[290:]


@pytest.mark.parametrize(("operation", "on"), [("write", ".ckpt.tmp"), ("sync", ".ckpt.tmp"), ("create", ".ckpt.tmp")])
def test_a_checkpoint_that_fails_is_put_off(
    keep: Keep, caplog: pytest.LogCaptureFixture, operation: str, on: str
) -> None:
    kept = keep(every_bytes=1_000)
    kept.disk.fail(operation, errno.EIO, on=on)
    ids = kept.produce(300)
    with caplog.at_level(logging.WARNING):
        kept.maintenance.start()
        eventually(lambda: put_off(caplog), "the warning")
    kept.delete(ids)
    eventually(lambda: kept.log.trims, "compaction all the same")
    kept.disk.mend()
    eventually(lambda: kept.checkpoints.sizes, "a checkpoint")


def test_copies_do_not_gather_in_memory(keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "_UNWRITTEN_BYTES", 10_000)
    monkeypatch.setattr(compaction, "BATCH_BYTES", 4096)
    kept = keep(segment_bytes=1 << 18)
    ids = kept.produce(3_000)
    kept.delete(ids[::2])
    most = 0

    def look() -> None:
        nonlocal most
        group = kept.log._open
        assert group is not None
        most = max(most, group.length)

    kept.log.on_append = look
    assert compact_oldest(kept.broker, kept.log)
    assert 4096 < most < 20_000


def test_its_work_is_counted(keep: Keep) -> None:
    kept = keep(segment_bytes=1 << 18)
    counters = kept.broker.counters
    assert counters.checkpoint_at_s is None
    began_s = time.time()
    ids = kept.produce(3_000)
    kept.delete(ids[::2])
    assert kept.broker.checkpoint_lag_bytes == kept.broker.log_bytes > 0
    kept.maintenance._checkpoint()
    assert (counters.checkpoints, counters.checkpoint_bytes) == (1, kept.checkpoints.sizes[-1])
    assert counters.checkpoint_at_s is not None
    assert began_s <= counters.checkpoint_at_s <= time.time()
    assert 0 < counters.checkpoint_s < time.time() - began_s
    assert kept.broker.checkpoint_lag_bytes == 0
    assert compact_oldest(kept.broker, kept.log)
    assert counters.dropped_segments == kept.log.trims == 1
    assert 0 < counters.copied_bytes < kept.broker.queue("default").bytes
    assert kept.broker.checkpoint_lag_bytes > counters.copied_bytes


@pytest.mark.parametrize("operation", ["write", "sync"])
def test_a_failed_log_ends_it(keep: Keep, monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    monkeypatch.setattr(maintenance, "WORTH_A_CHECKPOINT_BYTES", 0)
    kept = keep()
    ids = kept.produce(300)
    kept.delete([message_id for n, message_id in enumerate(ids) if n % 5])
    segments = set(kept.used_segments)
    kept.disk.fail(operation, errno.EIO, on=".wal")
    kept.maintenance.start()
    eventually(lambda: ended(kept), "the end of maintenance")
    assert kept.log.failure is not None
    assert segments <= set(kept.segments)
    kept.disk.mend()
    kept.maintenance.stop()
    assert kept.checkpoints.sizes == []
    with pytest.raises(Exception, match="could not be written"):
        kept.produce(1)
    kept.close()
    again = keep()
    assert [message.id for message in again.broker.messages("default")] == ids[::5]


def test_a_stop_does_not_wait_for_the_segment_to_be_copied(keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "BATCH_BYTES", 1)
    monkeypatch.setattr(maintenance, "URGENT_BATCH_BYTES", 1)
    kept = keep(segment_bytes=1 << 16)
    ids = kept.produce(3_000)
    kept.delete([message_id for n, message_id in enumerate(ids) if n % 5])
    copies = 0
    go_on = threading.Event()

    def count_and_wait() -> None:
        nonlocal copies
        copies += 1
        assert copies < 2 or go_on.wait(PATIENCE_S)

    kept.log.on_append = count_and_wait
    kept.maintenance.start()
    eventually(lambda: copies >= 2, "copying")
    stop = Call(kept.maintenance.stop)
    eventually(kept.maintenance._stop.is_set, "the request to stop")
    go_on.set()
    stop.result()
    assert copies <= 3, "there are some fifty in each segment"
    assert kept.log.trims == 0
    del kept.log.on_append
    assert [message.id for message in kept.broker.messages("default")] == ids[::5]


def test_a_stop_does_not_wait_for_the_rest_between_batches(keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "_REST", 1e9)
    kept = keep(segment_bytes=1 << 16)
    ids = kept.produce(3_000)
    kept.delete([message_id for n, message_id in enumerate(ids) if n % 5])
    written = kept.broker.log_bytes
    kept.maintenance.start()
    eventually(lambda: kept.broker.log_bytes > written, "copying")
    Call(kept.maintenance.stop).result()


def test_between_batches_it_says_how_long_the_last_one_took(keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "BATCH_BYTES", 1)
    monkeypatch.setattr(compaction, "URGENT_BATCH_BYTES", 1)
    kept = keep()
    kept.produce(100)
    kept.log.on_append = lambda: time.sleep(0.03)
    rests: list[float] = []

    def rest(took_s: float) -> bool:
        rests.append(took_s)
        time.sleep(0.1)
        return len(rests) == 3

    began = time.monotonic()
    assert not compact_oldest(kept.broker, kept.log, rest)
    assert len(rests) == 3
    assert all(took_s >= 0.03 for took_s in rests)
    assert sum(rests) < time.monotonic() - began - 0.3, "a rest is not work"


def _copied(kept: Kept, copy: Path) -> bool:
    """Copy the segments; False if the one in reserve came into use meanwhile."""
    copy.mkdir()
    for name in sorted(kept.segments):
        try:
            shutil.copyfile(kept.folder / name, copy / name)  # not copy: that opens it once more, for its mode
        except FileNotFoundError:
            if name.endswith(".tmp"):
                return False
            assert not list(copy.iterdir()), "only the oldest may go"
    return True


def test_a_folder_copied_at_any_moment_of_maintenance_says_the_same(keep: Keep, tmp_path: Path) -> None:
    """A kill between two steps of it: copies and originals, some segments dropped, checkpoints or none."""
    kept = keep(segment_bytes=8192, every_bytes=20_000)
    kept.produce(200)
    kept.maintenance.start()
    for n in range(15):
        kept.pass_through(60)
        copy = tmp_path / f"copy-{n}"
        with kept.broker.locked() as (state, _, now_ms):
            # Nobody appends meanwhile, but what was begun goes on: it is copied oldest first, so nothing can be missing.
            kept.log.sync()
            while not _copied(kept, copy):
                shutil.rmtree(copy)
            expected = state_view(state, now_ms)
        log = FileLog(copy)
        assert state_view(replay_log(log)[0], now_ms) == expected
        log.close()
        shutil.rmtree(copy)
