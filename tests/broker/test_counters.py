"""Counters of operations, and of the ages of messages."""

from __future__ import annotations

from array import array
from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.clock import FakeClock
from tests.support.memory_log import MemoryLog
from wonderq.broker.broker import Broker
from wonderq.broker.counters import NAMED_QUEUES, OTHER_QUEUES, BrokerCounters, QueueCounters
from wonderq.model.errors import BrokerError
from wonderq.model.messages import Change, Target
from wonderq.runtime.histogram import Histogram
from wonderq.state import record

BOUNDS = (5, 10, 100)


@given(st.lists(st.integers(0, 200)))
def test_a_value_is_counted_under_the_first_bound_that_is_not_below_it(values: list[int]) -> None:
    histogram = Histogram(BOUNDS)
    for value in values:
        histogram.observe(value)
    at_most = [sum(value <= bound for value in values) for bound in (*BOUNDS, 1000)]
    assert [sum(histogram.counts[: index + 1]) for index in range(4)] == at_most
    assert histogram.total == sum(values)


@given(st.lists(st.integers(800, 1000), min_size=1).map(sorted))
def test_ages_of_a_batch_are_counted_as_one_by_one(since_ms: list[int]) -> None:
    together, alone = Histogram(BOUNDS), Histogram(BOUNDS)
    together.observe_ages(1000, array("q", since_ms))
    for each in since_ms:
        alone.observe(1000 - each)
    assert (together.counts, together.total) == (alone.counts, alone.total)


# Counters in a broker


@pytest.fixture
def broker(clock: FakeClock) -> Broker:
    return Broker(MemoryLog(), clock=clock)


def counted(broker: Broker, queue: str = "default") -> dict[str, tuple[int, int]]:
    found = broker.counters.by_queue[queue]
    kinds = {"produce": record.PRODUCE, "claim": record.CLAIM, "delete": record.DELETE}
    kinds |= {"update": record.UPDATE, "purge": record.PURGE}
    counts = {name: (found.calls[kind], found.messages[kind]) for name, kind in kinds.items()}
    return {name: count for name, count in counts.items() if count != (0, 0)}


def ages(histogram: Histogram) -> dict[float, int]:
    """Return the numbers of observations, by upper bound."""
    bounds = [*histogram.bounds, float("inf")]
    return {bound: count for bound, count in zip(bounds, histogram.counts, strict=True) if count}


def test_what_was_done_is_counted_by_operation_and_message(broker: Broker) -> None:
    broker.produce("default", ["a", "b", "c", "d"])
    broker.produce("default", ["e"])
    first, second, *_ = broker.claim("default", limit=4)
    assert broker.update_batch("default", [(Target(id=first.id), Change()), (Target(id="nothing"), Change())])[1]
    assert broker.delete_batch("default", [Target(id=first.id), Target(id=second.id), Target(id=first.id)])[2]
    broker.purge("default")
    broker.purge("default")
    assert counted(broker) == {"produce": (2, 5), "claim": (1, 4), "update": (1, 1), "delete": (1, 2), "purge": (1, 3)}


def test_what_changes_nothing_is_not_counted(broker: Broker) -> None:
    assert broker.claim("default") == []
    for refused in (
        lambda: broker.delete("default", Target(id="nothing")),
        lambda: broker.update("default", Target(id="nothing"), Change()),
        lambda: broker.produce("default", []),
        lambda: broker.claim("nowhere"),
    ):
        with pytest.raises(BrokerError):
            refused()
    assert counted(broker) == {}
    assert list(broker.counters.by_queue) == ["default"]


def test_how_long_messages_wait_and_live(broker: Broker, clock: FakeClock) -> None:
    broker.produce("default", ["a"] * 3)
    clock.ms += 2000
    broker.produce("default", ["b"] * 2)
    clock.ms += 200
    claimed = broker.claim("default", visibility_timeout_ms=1000)
    found = broker.counters.by_queue["default"]
    assert ages(found.time_to_claim_ms) == {2500: 3, 250: 2}
    assert found.time_to_claim_ms.total == 3 * 2200 + 2 * 200
    clock.ms += 50000
    broker.delete_batch("default", [Target(id=message.id) for message in reversed(claimed[1:])])
    assert ages(found.lifetime_ms) == {60_000: 4}
    assert found.lifetime_ms.total == 2 * 52_200 + 2 * 50_200
    broker.claim("default")
    assert ages(found.time_to_claim_ms) == {2500: 3, 250: 2, 60_000: 1}


def test_messages_of_many_pages_and_with_gaps_are_all_counted(broker: Broker, clock: FakeClock) -> None:
    expected = [0] * len(broker.counters.others.time_to_claim_ms.counts)
    for _ in range(12):
        broker.produce("default", ["x"] * 900)
        clock.ms += 7000
    for message in list(broker.messages("default"))[::97]:
        broker.delete("default", Target(id=message.id))
    waiting = list(broker.messages("default"))
    while broker.claim("default", limit=1000):
        pass
    histogram = broker.counters.by_queue["default"].time_to_claim_ms
    for message in waiting:
        expected[bisect_left(histogram.bounds, clock.now_ms() - message.produced_ms)] += 1
    assert histogram.counts == expected


def test_a_claim_that_ends_by_its_deadline_is_an_expired_one(broker: Broker, clock: FakeClock) -> None:
    broker.produce("default", ["a"] * 5, [None, None, None, None, 1000])
    claimed = broker.claim("default", visibility_timeout_ms=500)
    assert len(claimed) == 4
    broker.delete("default", Target(id=claimed[0].id))
    broker.update("default", Target(id=claimed[1].id), Change(visibility_timeout_ms=0))
    clock.ms += 2000
    for _ in range(2):  # what was taken is not taken again
        assert [info.counts["unprocessed"] for info in broker.queue_stats()] == [4]
        assert broker.counters.by_queue["default"].claims_timed_out == 2


# Counters by name


def test_only_so_many_queues_are_counted_by_name_and_a_dropped_one_leaves_its_place() -> None:
    counters = BrokerCounters()
    for number in range(NAMED_QUEUES + 5):
        counters.of(f"q-{number}").count(record.PRODUCE, 1)
    assert len(counters.by_queue) == NAMED_QUEUES
    assert counters.others.messages[record.PRODUCE] == 5
    last = f"q-{NAMED_QUEUES + 4}"
    assert counters.name_of(last) == OTHER_QUEUES
    counters.forget("q-3")
    assert counters.name_of(last) == last
    assert counters.others.messages[record.PRODUCE] == 5, "a counter never goes back"
    assert counters.by_queue[last].messages[record.PRODUCE] == 0


def test_others_are_shown_once_there_are_some() -> None:
    counters = BrokerCounters()
    for number in range(NAMED_QUEUES):
        counters.of(f"q-{number}")
    assert [name for name, _ in counters.named()] == [f"q-{number}" for number in range(NAMED_QUEUES)]
    counters.of("one more")
    name, others = counters.named()[-1]
    assert name == OTHER_QUEUES
    assert isinstance(others, QueueCounters)


def test_after_a_start_the_oldest_queues_have_names() -> None:
    log = MemoryLog()
    broker = Broker(log)
    for number in range(NAMED_QUEUES + 10):
        broker.put_queue(f"q-{number}")
    expected = ["default", *(f"q-{number}" for number in range(NAMED_QUEUES - 1))]
    assert [info.name for info in broker.queue_stats()][:NAMED_QUEUES] == expected
    assert list(Broker(MemoryLog(log.records)).counters.by_queue) == expected


def test_a_dropped_queue_is_not_counted_any_more(broker: Broker) -> None:
    broker.produce("gone", ["x"])
    assert "gone" in broker.counters.by_queue
    broker.drop_queue("gone")
    assert list(broker.counters.by_queue) == ["default"]
    assert [info.name for info in broker.queue_stats()] == ["default"]
