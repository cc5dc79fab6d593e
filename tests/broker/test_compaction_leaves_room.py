"""On a full disk compaction does not use up the room that claiming and deleting need."""

from __future__ import annotations

import pytest

from storage import DiskFullError
from tests.broker.memory_log import MemoryLog
from wonderq.broker import CLAIM_LEAVES, Broker
from wonderq.upkeep import compact_oldest


def test_the_room_of_those_who_make_room_stays() -> None:
    log = MemoryLog()
    broker = Broker(log)
    for number in range(10):
        broker.produce("default", [f"{number} ".ljust(100)])
    records = len(log.records)
    log.room_bytes = log.max_record_bytes // CLAIM_LEAVES + 50
    with pytest.raises(DiskFullError):
        compact_oldest(broker, log)
    assert len(log.records) == records
    log.room_bytes += 10_000
    assert compact_oldest(broker, log)
    assert len(list(broker.messages("default"))) == 10
