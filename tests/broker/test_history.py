"""Histories: samples every ten seconds, kept for an hour and a day."""

from __future__ import annotations

from tests.support.clock import FakeClock
from tests.support.memory_log import MemoryLog
from wonderq.broker.broker import Broker
from wonderq.broker.counters import NAMED_QUEUES
from wonderq.broker.history import Points
from wonderq.model.messages import Target


def points_of(broker: Broker, queue: str | None, window: str = "1h") -> dict[str, list[int]]:
    track = broker.history.of(queue)
    assert track is not None
    return {name: list(series) for name, series in track.points[window]._asdict().items()}


def pass_time(broker: Broker, clock: FakeClock, seconds: int) -> None:
    for _ in range(seconds // 10):
        clock.advance(10)
        broker.history.run()


def test_a_sample_has_what_is_there_and_what_came_and_went_since_the_last_one(broker: Broker, clock: FakeClock) -> None:
    broker.produce("default", ["a", "b", "c"])
    [message] = broker.claim("default", limit=1)
    pass_time(broker, clock, 10)
    broker.delete("default", Target(receipt=message.receipt))
    broker.produce("default", ["d"])
    pass_time(broker, clock, 20)

    expected = {"waiting": [2, 3, 3], "in_flight": [1, 0, 0], "produced": [3, 1, 0], "deleted": [0, 1, 0]}
    assert points_of(broker, "default") == {**expected, "dead": [0, 0, 0]}
    assert points_of(broker, None) == points_of(broker, "default")


def test_a_sample_is_taken_when_it_is_due_and_not_before(broker: Broker, clock: FakeClock) -> None:
    assert broker.history.run() == 10
    clock.advance(9.5)
    assert broker.history.run() == 0.5
    assert points_of(broker, None)["waiting"] == []
    clock.advance(1)
    assert broker.history.run() == 9.5
    assert points_of(broker, None)["waiting"] == [0]


def test_points_stand_for_their_time_also_after_a_pause(broker: Broker, clock: FakeClock) -> None:
    pass_time(broker, clock, 10)
    broker.produce("default", ["a"])
    clock.advance(35)
    broker.history.run()
    assert points_of(broker, "default")["waiting"] == [0, 1, 1, 1]
    assert points_of(broker, "default")["produced"] == [0, 0, 0, 1]
    assert broker.history.sampled_ms == broker.history.began_ms + 40_000


def test_the_windows_are_bounded_and_the_long_one_has_peaks_and_sums(broker: Broker, clock: FakeClock) -> None:
    broker.produce("default", ["a"] * 5)
    pass_time(broker, clock, 10)
    broker.purge("default")
    pass_time(broker, clock, 290)
    assert points_of(broker, None, "24h")["waiting"] == [5]
    assert points_of(broker, None, "24h")["produced"] == [5]
    assert broker.history.of(None).unfinished_ms("24h") == 0  # type: ignore[union-attr]

    pass_time(broker, clock, 3610)
    assert [len(series) for series in points_of(broker, None).values()] == [360] * 5
    assert broker.history.of(None).unfinished_ms("24h") == 10_000  # type: ignore[union-attr]
    many = Points.none()
    for number in range(300):
        many.add((number,) * 5, 288)
    assert list(many.dead) == list(range(12, 300))


def test_rates_are_those_of_the_last_seconds(broker: Broker, clock: FakeClock) -> None:
    broker.produce("default", ["a"] * 60)
    pass_time(broker, clock, 60)
    clock.advance(5)
    broker.produce("default", ["a"] * 30)
    now = broker.history.per_second("default", 10_000)
    minute = broker.history.per_second("default", 60_000)
    assert now is not None
    assert minute is not None
    assert now.produced == 2
    assert round(minute.produced * 65) == 90


def test_a_queue_that_is_created_again_begins_a_new_history(broker: Broker, clock: FakeClock) -> None:
    broker.produce("mail", ["a", "b"])
    pass_time(broker, clock, 10)
    assert points_of(broker, "mail")["produced"] == [2]
    broker.drop_queue("mail")
    broker.produce("mail", ["c"])
    pass_time(broker, clock, 10)
    assert points_of(broker, "mail")["produced"] == [1]
    assert points_of(broker, None)["produced"] == [2, 0], "what left with the queue is not subtracted from others"
    broker.drop_queue("mail")
    pass_time(broker, clock, 10)
    assert broker.history.of("mail") is None


def test_only_queues_with_counters_of_their_own_have_a_history(broker: Broker, clock: FakeClock) -> None:
    for number in range(NAMED_QUEUES):
        broker.produce(f"q{number:03}", ["x"])
    pass_time(broker, clock, 10)
    assert broker.history.of(f"q{NAMED_QUEUES - 1:03}") is None
    assert broker.history.per_second(f"q{NAMED_QUEUES - 1:03}", 10_000) is None
    assert points_of(broker, None)["waiting"] == [NAMED_QUEUES]


def test_a_broker_without_queues_has_ages() -> None:
    """A shard of a young cluster has none, and the histories of all shards are joined."""
    broker = Broker(MemoryLog(), default_queue=False)
    try:
        ages = broker.history.ages(None)
        assert ages is not None
        assert [(sum(each.counts), each.total_ms, each.p50_ms) for each in ages] == [(0, 0, None)] * 2
    finally:
        broker.close()


def test_a_number_that_is_too_large_is_the_largest() -> None:
    points = Points.none()
    points.add((1 << 40, 0, 0, 0, 0), 10)
    assert points.waiting[0] == (1 << 32) - 1
