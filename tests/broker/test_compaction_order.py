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
from wonderq.broker.core import COMPACTION_LEAVES, PRODUCE_LEAVES, Locked
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


def fill_the_log(broker: Broker, kind: str) -> Callable[[], object]:
    """Add 2 MB of something that is not a message, and return what deletes it."""
    names = [f"name{number}" for number in range(130)]
    if kind == "queues":
        for name in names:
            broker.put_queue(name, tags={str(at): "t" * 250 for at in range(50)})
        return lambda: [broker.drop_queue(name) for name in names]
    if kind == "schedules":
        for name in names:
            broker.schedules.put(name, cron="0 0 1 1 *", queue="default", body="x" * 16_000)
        return lambda: [broker.schedules.delete(name) for name in names]
    if kind == "subscriptions":
        broker.topics.put("topic")
        for name in names:
            broker.put_queue(name)
            broker.topics.subscribe("topic", name, queue=name, filter={"a": ["x" * 100 + str(at) for at in range(150)]})
        return lambda: [broker.topics.unsubscribe("topic", name) for name in names]
    assert kind == "topics"
    for name in names:
        broker.topics.put(name, tags={str(at): "t" * 250 for at in range(50)})
    return lambda: [broker.topics.delete(name) for name in names]


@pytest.mark.parametrize("kind", ["queues", "topics", "subscriptions", "schedules"])
def test_what_is_not_of_messages_is_not_rewritten_into_the_room_of_deletions(kind: str) -> None:
    log = StrictLog(max_record_bytes=1 << 20)
    broker = Broker(log)
    delete = fill_the_log(broker, kind)
    [ids, _] = broker.produce("default", ["a", "b"]), log.rotate()
    log.room_bytes = (1 << 20) // PRODUCE_LEAVES
    with pytest.raises(DiskFullError):
        compact_everything(broker, log)
    assert log.room_bytes >= (1 << 20) // COMPACTION_LEAVES
    broker.delete("default", Target(id=ids[0]))
    delete()
    assert compact_oldest(broker, log)
    broker.close()


def holds_of(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> list[list[Record]]:
    """Return the records that each hold of the lock appends from now on."""
    holds: list[list[Record]] = []
    locked = broker.locked

    @contextmanager
    def noted() -> Iterator[Locked]:
        with locked() as (state, append_and_apply, now_ms):
            holds.append([])

            def append(*records: Record, leave: int | None = None) -> Position:
                holds[-1] += records
                return append_and_apply(*records, leave=leave)

            yield Locked(state, append, now_ms)

    monkeypatch.setattr(broker, "locked", noted)
    return holds


@pytest.mark.parametrize("queues", [1, 300])
def test_small_messages_are_copied_some_at_a_time(queues: int, monkeypatch: pytest.MonkeyPatch) -> None:
    log = MemoryLog()
    broker = Broker(log)
    for number in range(queues):
        for _ in range(3000 // queues // 10):
            broker.produce(f"queue-{number}", ["x"] * 10)
    claimed = broker.claim("queue-0", limit=7)
    log.rotate()
    holds = holds_of(broker, monkeypatch)
    assert compact_oldest(broker, log)
    copies = [[each for each in hold if isinstance(each, record.Update)] for hold in holds]
    messages = [sum(len(each.lengths) for each in hold) for hold in copies]
    assert sum(messages) == 3000
    assert max(messages) <= 400
    assert max(map(len, copies)) <= 100
    again = Broker(log.after_crash())
    found = [message for number in range(queues) for message in again.messages(f"queue-{number}")]
    assert len(found) == 3000
    assert [message.id for message in found if message.status == "processing"] == [each.id for each in claimed]


def test_large_records_are_rewritten_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    log = MemoryLog()
    broker = Broker(log)
    fill_the_log(broker, "schedules")
    fill_the_log(broker, "subscriptions")
    log.rotate()
    holds = holds_of(broker, monkeypatch)
    assert compact_oldest(broker, log)
    sizes = [sum(len(record.encode(each)) for each in hold) for hold in holds]
    assert sum(sizes) > 4_000_000
    assert max(sizes) < 300_000


def test_no_portion_of_the_rewriting_holds_the_lock_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = FileLog(tmp_path, sync=SyncPolicy("os"))
    broker = Broker(log)
    for number in range(350):
        broker.put_queue(f"queue-{number}")
        broker.schedules.put(f"schedule-{number}", cron="0 0 1 1 *", queue="default", body="x")
    log.rotate()
    log.sync()
    holds = holds_of(broker, monkeypatch)
    assert compact_oldest(broker, log)
    counts = [len(hold) for hold in holds]
    assert sum(counts) >= 700
    assert max(counts) <= 101, "a hundred records take about two milliseconds"
    assert broker.schedules.count == 350
    broker.close()
