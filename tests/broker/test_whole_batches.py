"""A batch is one record, so that a crash leaves all of it or nothing, and so does a full disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.folders import groups_in, segment_files
from tests.support.memory_log import MemoryLog
from wonderq.broker.broker import Broker
from wonderq.model.errors import QueueNotFoundError
from wonderq.model.messages import Change, Message, Target
from wonderq.state import record
from wonderq_storage import DiskFullError
from wonderq_storage.file_log import MIN_SEGMENT_BYTES, FileLog

Batch = Callable[[Broker, list[Message]], object]


def targets(messages: list[Message]) -> list[Target]:
    return [Target(message.id, message.receipt) for message in messages]


BATCHES: dict[str, Batch] = {
    "produce": lambda broker, _: broker.produce("default", ["x", "y", "z"]),
    "produce with delays": lambda broker, _: broker.produce("default", ["x", "y", "z"], [1, None, 9]),
    "claim": lambda broker, _: broker.claim("default"),
    "delete": lambda broker, messages: broker.delete_batch("default", targets(messages)),
    "delete some": lambda broker, messages: broker.delete_batch("default", [*targets(messages), Target(id="none")]),
    "renew": lambda broker, messages: broker.update_batch("default", [(each, Change()) for each in targets(messages)]),
    "update": lambda broker, messages: broker.update_batch(
        "default",
        [
            (each, change)
            for each, change in zip(
                targets(messages),
                [Change(body="new"), Change(delay_ms=9), Change(visibility_timeout_ms=0)],
                strict=True,
            )
        ],
    ),
    "purge": lambda broker, _: broker.purge("default"),
    "drop": lambda broker, _: broker.drop_queue("other"),
}


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
def broker(log: MemoryLog) -> Broker:
    return Broker(log)


def three_claimed_and_three_waiting(broker: Broker) -> list[Message]:
    broker.produce("default", ["a", "b", "c", "d", "e", "f"])
    broker.produce("other", ["g", "h"])
    return broker.claim("default", limit=3)


def seen(broker: Broker) -> list[Message]:
    return [message for queue in ("default", "other") for message in broker.messages(queue)]


@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES.keys())
def test_a_batch_is_one_record(broker: Broker, log: MemoryLog, batch: Batch) -> None:
    claimed = three_claimed_and_three_waiting(broker)
    before = len(log.records)
    batch(broker, claimed)
    assert len(log.records) == before + 1


@pytest.mark.parametrize("room_bytes", [0, 20, 50])
@pytest.mark.parametrize("name", ["produce", "produce with delays", "claim", "renew", "update"])
def test_a_batch_without_room_changes_nothing(broker: Broker, log: MemoryLog, name: str, room_bytes: int) -> None:
    claimed = three_claimed_and_three_waiting(broker)
    before, records = seen(broker), len(log.records)
    log.room_bytes = room_bytes
    with pytest.raises(DiskFullError):
        BATCHES[name](broker, claimed)
    log.room_bytes = 1 << 40
    assert (seen(broker), len(log.records)) == (before, records)


def test_a_dropped_queue_is_gone(broker: Broker) -> None:
    three_claimed_and_three_waiting(broker)
    broker.drop_queue("other")
    assert [info.name for info in broker.queues()] == ["default"]
    with pytest.raises(QueueNotFoundError):
        broker.messages("other")


@pytest.mark.parametrize("left_bytes", range(150, 450, 25))
def test_a_crash_leaves_a_new_queue_with_its_first_messages_or_neither(tmp_path: Path, left_bytes: int) -> None:
    """They are in one group, which counts whole or not at all, also where a segment has room for the first of them only."""
    broker = Broker(FileLog(tmp_path, segment_bytes=MIN_SEGMENT_BYTES))
    broker.produce("default", ["x" * (MIN_SEGMENT_BYTES - 500 - left_bytes)])
    broker.produce("new", ["y" * 200])
    found = [records for path in segment_files(tmp_path) for _, records in groups_in(path) if records]
    assert [record.decode(data)[0] for data in found[-1]] == [record.QUEUE, record.PRODUCE]
    broker.close()
