"""Notifications of an observer of a log."""

from __future__ import annotations

from pathlib import Path

import pytest

from wonderq.metrics import LogCounters
from wonderq_storage import FileLog, Observer, SyncPolicy


class Recorder(Observer):
    def __init__(self) -> None:
        self.groups: list[tuple[int, int]] = []
        self.syncs: list[float] = []

    def group(self, records: int, size: int) -> None:
        self.groups.append((records, size))

    def sync(self, seconds: float) -> None:
        self.syncs.append(seconds)


@pytest.mark.parametrize("policy", ["always", "os"])
def test_each_group_and_each_sync_is_told(tmp_path: Path, policy: str) -> None:
    told = Recorder()
    log = FileLog(tmp_path, sync=SyncPolicy.parse(policy), observer=told)
    list(log.replay())
    log.start()
    log.wait(log.append(b"x" * 1000))
    log.append_together([b"y" * 10] * 3)
    log.wait(log.append(b"z"))
    assert [records for records, _ in told.groups] == [1, 4]
    assert 1000 < told.groups[0][1] < 1200
    assert 31 < told.groups[1][1] < 300
    # A closing group has no records: nobody is told of it, but its sync is one.
    assert len(told.syncs) >= 2 if policy == "always" else told.syncs == []
    assert all(each > 0 for each in told.syncs)
    assert log.files.segments == 1
    log.rotate()
    log.sync()
    assert log.files.segments == 2
    assert [records for records, _ in told.groups] == [1, 4]
    log.close()


def test_a_log_counts_what_it_is_told(tmp_path: Path) -> None:
    counters = LogCounters()
    log = FileLog(tmp_path, observer=counters)
    list(log.replay())
    log.start()
    for _ in range(5):
        log.append_together([b"x" * 100] * 3)
        log.wait(log.end() - 1)
    log.close()
    assert sum(counters.group_records.counts) == 5
    assert counters.group_records.total == 15
    assert counters.group_records.counts[2] == 5, "from 2 to 4"
    assert counters.group_bytes.total > 1500
    assert sum(counters.sync_s.counts) >= 5
