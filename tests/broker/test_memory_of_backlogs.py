"""Memory of everything that a broker may hold very many of: what docs/LIMITS.md says, with a margin."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path

import pytest

from benchmarks.backlogs import BACKLOGS, LIMITS, Backlog
from wonderq.broker.broker import Broker
from wonderq.state.page import PAGE_MESSAGES
from wonderq_storage import FileLog, SyncPolicy

pytestmark = pytest.mark.slow

#: Most bytes of one.
BOUNDS = {
    "messages that wait": 64,
    "messages with priorities": 80,
    "messages in 1,000 groups": 100,
    "groups of one message": 1200,
    "messages with dedup keys": 400,
    "messages with one delay": 64,
    "messages with own delays": 128,
    "messages claimed by the thousand": 64,
    "messages claimed one by one": 128,
    "queues": 4000,
    "subscriptions": 1300,
    "schedules": 1500,
}

BOUNDED = [each for each in BACKLOGS if each.name in BOUNDS]


def memory(folder: Path, backlog: Backlog, amount: int) -> int:
    """Return the bytes that a broker takes for a backlog."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        broker = Broker(FileLog(folder, sync=SyncPolicy("os")), limits=LIMITS)
        backlog.fill(broker, amount)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    broker.close()
    return after - before


def test_each_backlog_has_a_bound() -> None:
    others = {each.name for each in BACKLOGS} ^ set(BOUNDS)
    assert others == {"messages left, one of 50"}, "which housekeeping moves together; see test_memory_use"


@pytest.mark.parametrize("backlog", BOUNDED, ids=lambda backlog: backlog.name)
def test_each_takes_what_the_documentation_says(tmp_path: Path, backlog: Backlog) -> None:
    amount = 1000 if backlog.amount < 1_000_000 else PAGE_MESSAGES
    few, many = (memory(tmp_path / str(times), backlog, times * amount) for times in (1, 3))
    assert (many - few) / (2 * amount) <= BOUNDS[backlog.name]
