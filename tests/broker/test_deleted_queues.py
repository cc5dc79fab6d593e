"""A deleted queue takes all that is its own with it: a broker that used it is like one that never had it."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

from tests.support.clock import FakeClock
from tests.support.memory_log import MemoryLog
from tests.support.threads import Call
from tests.support.waiting import eventually
from wonderq.broker.broker import Broker
from wonderq.broker.compaction import compact_oldest
from wonderq.broker.core import DELETE_LEAVES
from wonderq.broker.redrive import NAMESPACE, Redrive
from wonderq.metrics import BrokerCollector
from wonderq.model.errors import QueueNotFoundError, RedriveNotFoundError
from wonderq.model.messages import NewMessage, Target
from wonderq.state import record
from wonderq_storage import FileLog, SyncPolicy

#: Of these, a broker may keep what it has made.
_SHARED = (type, ModuleType, FunctionType)


def use_and_delete(broker: Broker, clock: FakeClock, names: Iterable[str]) -> None:
    """Use all that a queue has, and delete it while much of that is unfinished."""
    for name in names:
        dead = f"dead-{name}"
        broker.put_queue(dead)
        settings = {"max_receives": 1, "dead_letter_queue": dead, "max_claims_per_second": 1000, "retention_ms": 10**9}
        broker.put_queue(name, **settings, max_claims_per_second_per_group=1000, tags={"a": "b"})
        message = NewMessage("x", group="g", priority=0 if name.endswith(".fifo") else 5, key="k")
        broker.send(name, [message, "plain", NewMessage("later", delay_ms=1000)])
        [first, *_] = broker.claim(name, attempt_id="a")
        broker.delete(name, Target(receipt=first.receipt))
        clock.ms += 40_000
        assert broker.claim(name, limit=1)
        clock.ms += 40_000
        broker.claim(name)
        finished = broker.redrives.start(dead, name)
        for _ in range(3):
            broker.redrives.run()
        assert broker.redrives.get(finished).status == "completed"
        broker.redrives.start(name, dead, per_second=1)
        broker.redrives.start(dead)
        broker.schedules.put("s", cron="0 0 * * *", queue=name, body="x")
        broker.schedules.delete("s")
        broker.claim(name, attempt_id="b")
        empty = f"empty-{name}"
        broker.put_queue(empty)
        waiting = Call(broker.claim, empty, wait_s=20)
        eventually(lambda: broker.waiting_consumers == 1)
        for each in (name, dead, empty):
            broker.drop_queue(each)
        with pytest.raises(QueueNotFoundError):
            waiting.result()


def objects_of(broker: Broker) -> Counter[str]:
    """Count the objects that a broker refers to, by type, and the elements of its containers."""
    gc.collect()
    seen = {id(broker)}
    found: Counter[str] = Counter()
    todo: list[Any] = [broker]
    while todo:
        each = todo.pop()
        if not isinstance(each, FileLog | MemoryLog):
            todo += [more for more in gc.get_referents(each) if not isinstance(more, _SHARED) and id(more) not in seen]
            seen.update(map(id, todo))
        if type(each).__module__.startswith("wonderq"):
            found[type(each).__name__] += 1
        elif isinstance(each, dict | list | set | tuple):
            found[type(each).__name__] += len(each)
    return found


def series_of(broker: Broker) -> set[tuple[str, ...]]:
    """Return the time series of the broker's metrics."""
    metrics = BrokerCollector(broker).collect()
    return {(each.name, *map(str, sorted(each.labels.items()))) for metric in metrics for each in metric.samples}


NAMES = ("one", "two.fifo", "three")


def test_nothing_of_it_is_left_in_memory() -> None:
    def used(*names: str) -> Broker:
        clock = FakeClock()
        broker = Broker(MemoryLog(), clock=clock)
        use_and_delete(broker, clock, names)
        broker.upkeep()  # which frees the contents of deleted queues, in portions
        return broker

    fresh, once, often = Broker(MemoryLog(), clock=FakeClock()), used("one"), used(*NAMES, *NAMES)
    assert series_of(once) == series_of(often) == series_of(fresh)
    assert objects_of(once) == objects_of(often) == objects_of(fresh)
    for broker in (once, often):
        state = broker.core.state
        assert (state.metadata, state.metadata_bytes, state.dedup_entries, state.messages, state.bytes) == (
            {},
            0,
            0,
            0,
            0,
        )
        assert list(state.queues) == ["default"]
        assert broker.redrives.running == broker.waiting_consumers == 0


def test_nothing_of_it_is_left_in_the_log_once_that_is_compacted(tmp_path: Path) -> None:
    clock = FakeClock()
    log = FileLog(tmp_path, sync=SyncPolicy("os"), segment_bytes=1 << 16)
    broker = Broker(log, clock=clock)
    use_and_delete(broker, clock, NAMES)
    end = log.rotate()
    log.sync()
    while (oldest := log.oldest()) and oldest[0] <= end:
        assert compact_oldest(broker, log)
    log.rotate()
    log.sync()
    kinds = []
    while (oldest := log.oldest()) is not None:
        kinds += [record.decode_typed(data).kind for _, data in oldest[1]]
        log.trim(oldest[0])
    assert sorted(kinds) == sorted([record.IDENTITY, record.QUEUE])
    broker.close()


@pytest.mark.parametrize("which", ["running", "ended"])
def test_its_redrives_are_deleted_in_the_same_write(which: str) -> None:
    log = MemoryLog()
    broker = Broker(log, clock=FakeClock())
    broker.put_queue("q")
    broker.put_queue("other")
    redrive_id = broker.redrives.start("q", "other")
    kept = broker.redrives.start("other", "q", per_second=1)
    if which == "ended":
        broker.redrives.run()
    written = []
    append = log.append_together
    log.append_together = lambda data, **more: (written.append(len(data)), append(data, **more))[1]  # type: ignore[method-assign]
    broker.drop_queue("q")
    assert written == [2]
    for again in (broker, Broker(log.after_crash(), clock=FakeClock())):
        with pytest.raises(RedriveNotFoundError):
            again.redrives.cancel(redrive_id)
        assert again.redrives.get(kept).source == "other"


def test_many_subscriptions_of_it_end_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker(MemoryLog(), clock=FakeClock())
    broker.put_queue("fed")
    for number in range(250):
        broker.topics.put(f"topic-{number}")
        broker.topics.subscribe(f"topic-{number}", "s", queue="fed")
    writes: list[int] = []
    append = broker.core.log.append_together

    def count(records: Sequence[bytes], **named: Any) -> list[int]:
        writes.append(len(records))
        return append(records, **named)

    monkeypatch.setattr(broker.core.log, "append_together", count)
    broker.drop_queue("fed")
    assert sum(writes) == 251
    assert max(writes) <= 101
    assert broker.core.state.subscriptions == 0
    assert not broker.queue_names(prefix="fed")


def test_many_subscriptions_of_it_end_with_it_on_a_disk_that_has_room_for_little_else() -> None:
    log = MemoryLog()
    broker = Broker(log, clock=FakeClock())
    broker.put_queue("fed")
    for number in range(110):
        broker.topics.put(f"topic-{number}")
        broker.topics.subscribe(f"topic-{number}", "s", queue="fed")
    log.room_bytes = log.max_record_bytes // DELETE_LEAVES
    broker.drop_queue("fed")
    assert broker.core.state.subscriptions == 0


def test_the_redrives_of_other_queues_are_not_read_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker(MemoryLog(), clock=FakeClock())
    for number in range(50):
        broker.put_queue(f"dead-{number}")
        broker.redrives.start(f"dead-{number}", "default")
    broker.redrives.run()
    read: list[str] = []
    from_record = Redrive.from_record
    monkeypatch.setattr(Redrive, "from_record", lambda name, value: (read.append(name), from_record(name, value))[1])
    broker.redrives.start("dead-7", "default")
    assert len(broker.redrives.list("dead-7")) == 2
    broker.drop_queue("dead-7")
    assert len(read) <= 10


def test_redrives_that_an_earlier_program_left_behind_are_deleted() -> None:
    log = MemoryLog()
    broker = Broker(log, clock=FakeClock())
    broker.put_queue("q")
    for status in ("completed", "cancelled"):
        with broker.locked() as (state, append_and_apply, now_ms):
            number = state.queues["q"].number
            value = Redrive(
                id="",
                source="q",
                destination=None,
                status="cancelled" if status == "cancelled" else "completed",
                moved=0,
                skipped=0,
                total=0,
                per_second=None,
                limit=None,
                contains=None,
                attribute=None,
                dry_run=False,
                started_ms=now_ms,
                ended_ms=now_ms,
                failure=None,
                queue_number=number,
                next_sequence=0,
                end_sequence=0,
            ).to_record()
            append_and_apply(record.Metadata(record.METADATA, now_ms, NAMESPACE, status, value))
    with broker.locked() as (_, append_and_apply, now_ms):
        append_and_apply(record.Drop(record.DROP, now_ms, number))
    broker.core.wait_until_durable()
    again = Broker(log.after_crash(), clock=FakeClock())
    assert len(again.core.state.metadata[NAMESPACE]) == 2
    again.redrives.run()
    assert again.core.state.metadata == {}
    assert again.redrives.running == 0
