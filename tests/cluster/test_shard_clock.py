"""A shard that is taken over with a doubtful system clock ends nothing, until another node confirms the time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.memory_log import MemoryLog
from tests.support.system_clock import DAY_MS, HOUR_MS, START_MS, System, contents, fill
from wonderq.broker.broker import Broker
from wonderq.broker.housekeeping import Housekeeper
from wonderq.runtime.time_evidence import TimeEvidence
from wonderq.serve_cluster.shard_clock import NodeEvidence, ShardClock


class OneNode:
    """A node that takes shards over, and what it hears of the others."""

    def __init__(self, folder: Path, system: System) -> None:
        self.folder, self.system = folder, system
        self.ahead_ms: int | None = None
        self.evidence = NodeEvidence(folder, lambda: self.ahead_ms)
        self.clock = self.new_clock()

    def new_clock(self, *, accept: bool = False) -> ShardClock:
        return ShardClock(self.evidence, max_jump_ms=HOUR_MS, accept=accept)

    def take(self, log: MemoryLog, *, accept: bool = False) -> Broker:
        """Take a shard over, and do the work that is due."""
        self.clock = self.new_clock(accept=accept)
        broker = Broker(log.opened_again(), clock=self.clock)
        Housekeeper(broker).turn()
        return broker


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> System:
    return System(monkeypatch)


@pytest.fixture
def node(tmp_path: Path, system: System, monkeypatch: pytest.MonkeyPatch) -> OneNode:
    monkeypatch.setattr(TimeEvidence, "is_synchronised", lambda _: False)
    monkeypatch.setattr(TimeEvidence, "boot_id", lambda _: "one")
    monkeypatch.setattr(TimeEvidence, "since_boot_ms", lambda _: system.monotonic_ms)
    return OneNode(tmp_path, system)


@pytest.fixture
def log(system: System) -> MemoryLog:
    """The log of a shard whose owner has ended."""
    log = MemoryLog(shared=True)
    fill(Broker(log))
    return log


def test_a_node_that_hears_no_other_one_does_not_trust_a_clock_far_ahead(node: OneNode, log: MemoryLog) -> None:
    node.ahead_ms = 0
    before = contents(node.take(log))
    node.ahead_ms = None
    node.system.wall_ms += DAY_MS
    broker = node.take(log)
    assert node.clock.is_held
    assert contents(broker) == before
    [warning] = broker.warnings
    assert "--accept-clock" in warning


@pytest.mark.parametrize(
    ("ahead_ms", "is_held"), [(250, False), (-250, False), (251, True), (-251, True), (None, True)]
)
def test_another_node_confirms_the_clock(node: OneNode, log: MemoryLog, ahead_ms: int | None, is_held: bool) -> None:
    node.system.wall_ms += DAY_MS
    node.ahead_ms = ahead_ms
    node.take(log)
    assert node.clock.is_held == is_held


def test_the_clock_is_followed_as_soon_as_another_node_confirms_it(node: OneNode, log: MemoryLog) -> None:
    node.system.wall_ms += DAY_MS
    broker = node.take(log)
    node.ahead_ms = 5
    Housekeeper(broker).turn()
    assert not node.clock.is_held
    assert node.clock.now_ms() == START_MS + DAY_MS
    assert broker.warnings == []


def test_the_operator_may_confirm_the_clock(node: OneNode, log: MemoryLog) -> None:
    node.system.wall_ms += DAY_MS
    node.take(log, accept=True)
    assert not node.clock.is_held


def test_the_clock_is_read_when_the_shard_is_taken_over(node: OneNode) -> None:
    clock = node.new_clock()
    node.system.wall_ms += 5000
    clock.raise_floor(START_MS)
    assert clock.now_ms() == START_MS + 5000


def test_a_shard_with_traffic_vouches_for_an_idle_one(node: OneNode, log: MemoryLog) -> None:
    node.system.passes(DAY_MS)
    busy = MemoryLog(shared=True)
    fill(Broker(busy))
    node.take(busy)
    node.take(log)
    assert not node.clock.is_held


def test_a_shard_without_messages_vouches_for_no_other(node: OneNode, log: MemoryLog) -> None:
    node.system.wall_ms += DAY_MS
    node.take(MemoryLog(shared=True))
    assert node.evidence.last_sighting() is None
    node.take(log)
    assert node.clock.is_held


def test_a_shard_with_times_of_the_future_vouches_for_no_other(node: OneNode, log: MemoryLog) -> None:
    node.system.wall_ms -= DAY_MS
    node.take(log)
    assert node.evidence.last_sighting() is None
    assert node.clock.problem is None, "the time of a log never goes back"
