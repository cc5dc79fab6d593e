"""Order of the steps of compaction and checkpoints, independent of the log's own guarantees."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.memory_log import MemoryLog
from wonderq.broker import maintenance
from wonderq.broker.broker import Broker
from wonderq.broker.compaction import compact_oldest
from wonderq.broker.core import COMPACTION_LEAVES, Locked
from wonderq.model.messages import Target
from wonderq.state import record
from wonderq.state.record import Record
from wonderq_storage import DiskFullError, FileLog, Mark, Position, SyncPolicy


class StrictLog(MemoryLog):
    """Drops nothing while something that was appended is not durable, and tells when it is asked for a mark."""

    on_mark: Callable[[], None] = staticmethod(lambda: None)

    def trim(self, end: Position) -> None:
        assert self._durable == self._end, "what is wanted of it must have been synced"
        super().trim(end)

    def mark(self) -> Mark:
        self.on_mark()
        return super().mark()


class Kept:
    """Takes a checkpoint's parts, in place of a folder."""

    def __init__(self) -> None:
        self.marks: list[Mark] = []

    def write(self, mark: Mark, chunks: Iterable[bytes]) -> int:
        self.marks.append(mark)
        return sum(map(len, chunks))


def test_the_copies_are_durable_before_the_originals_go() -> None:
    log = StrictLog()
    broker = Broker(log)
    for number in range(20):
        broker.produce("default", [f"message {number}"])
    while len(log.records) > 8 and compact_oldest(broker, log):
        pass
    assert sum(1 for data in log.records if record.decode(data)[0] == record.UPDATE) >= 1, "something was copied"
    assert [message.body for message in broker.messages("default")] == [f"message {number}" for number in range(20)]
    broker.close()


def test_a_checkpoint_s_mark_is_of_the_same_moment_as_its_contents() -> None:
    """A record between the two would be in neither, or applied twice."""
    log = StrictLog()
    broker = Broker(log)
    broker.produce("default", ["a"])
    locked: list[bool] = []
    log.on_mark = lambda: locked.append(broker.core.lock.locked())
    kept = Kept()
    maintenance.checkpoint(broker, log, kept)  # type: ignore[arg-type]
    assert locked == [True], "nothing can be appended meanwhile"
    assert kept.marks == [log.mark()]
    broker.close()


def compact_everything(broker: Broker, log: MemoryLog) -> None:
    while compact_oldest(broker, log):
        pass


def test_compaction_leaves_the_room_that_claiming_and_deleting_need() -> None:
    log = StrictLog()
    broker = Broker(log)
    ids = broker.produce("default", ["x" * 1000] * 9)
    broker.produce("default", ["y"] * 9)
    reserve_bytes = log.max_record_bytes // COMPACTION_LEAVES
    log.room_bytes = reserve_bytes + 5000
    with pytest.raises(DiskFullError):
        compact_everything(broker, log)
    assert log.room_bytes >= reserve_bytes
    assert len(list(broker.messages("default"))) == 18, "what was not copied was not dropped either"
    broker.delete("default", Target(id=ids[0]))
    broker.close()


def test_no_portion_of_the_rewriting_holds_the_lock_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = FileLog(tmp_path, sync=SyncPolicy("os"))
    broker = Broker(log)
    for number in range(350):
        broker.put_queue(f"queue-{number}")
        broker.schedules.put(f"schedule-{number}", cron="0 0 1 1 *", queue="default", body="x")
    log.rotate()
    log.sync()
    holds: list[int] = []
    locked = broker.locked

    @contextmanager
    def counted() -> Iterator[Locked]:
        with locked() as (state, append_and_apply, now_ms):
            holds.append(0)

            def append(*records: Record, leave: int | None = None) -> Position:
                holds[-1] += 1
                return append_and_apply(*records, leave=leave)

            yield Locked(state, append, now_ms)

    monkeypatch.setattr(broker, "locked", counted)
    assert compact_oldest(broker, log)
    assert sum(holds) >= 700
    assert max(holds) <= 101, "a hundred records take about two milliseconds"
    assert broker.schedules.count == 350
    broker.close()
