"""Order of the steps of compaction and checkpoints, independent of the log's own guarantees."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from tests.support.memory_log import MemoryLog
from wonderq.broker import maintenance
from wonderq.broker.broker import Broker
from wonderq.broker.compaction import compact_oldest
from wonderq.broker.core import COMPACTION_LEAVES
from wonderq.model.messages import Target
from wonderq.state import record
from wonderq_storage import DiskFullError, Mark, Position


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
