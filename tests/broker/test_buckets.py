"""Token buckets: as many requests in a second as a key may make, and no more over any longer time."""

from __future__ import annotations

import pytest

from wonderq.runtime import token_bucket
from wonderq.runtime.token_bucket import TokenBuckets


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.mark.parametrize("rate", [1, 3, 7, 1000])
def test_a_bucket_holds_a_second(clock: Clock, rate: int) -> None:
    bucket = TokenBuckets(clock)
    for _ in range(3):
        assert [bucket.wait_s("a", rate, take=True) for _ in range(rate)] == [0] * rate
        assert bucket.wait_s("a", rate, take=True) == pytest.approx(1 / rate)
        clock.now_s += 1


def test_it_fills_as_time_goes_by_and_not_beyond(clock: Clock) -> None:
    bucket = TokenBuckets(clock)
    while not bucket.wait_s("a", 10, take=True):
        pass
    for _ in range(20):
        clock.now_s += 0.1
        assert bucket.wait_s("a", 10, take=True) == 0
        assert 0 < bucket.wait_s("a", 10, take=True) <= 0.1 + 1e-6
    clock.now_s += 3600
    assert sum(not bucket.wait_s("a", 10, take=True) for _ in range(100)) == 10


def test_looking_takes_nothing(clock: Clock) -> None:
    bucket = TokenBuckets(clock)
    assert not any(bucket.wait_s("a", 1, take=False) for _ in range(5))
    assert bucket.wait_s("a", 1, take=True) == 0
    assert bucket.wait_s("a", 1, take=False) == 1


def test_what_is_refused_takes_nothing(clock: Clock) -> None:
    bucket = TokenBuckets(clock)
    bucket.wait_s("a", 1, take=True)
    for _ in range(100):
        assert bucket.wait_s("a", 1, take=True) == 1
    clock.now_s += 1
    assert bucket.wait_s("a", 1, take=True) == 0


def test_each_key_has_its_own(clock: Clock) -> None:
    bucket = TokenBuckets(clock)
    assert [bucket.wait_s(key, 1, take=True) for key in "abab"] == [0, 0, 1, 1]


def test_full_ones_are_forgotten_when_there_are_many(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_bucket, "_MANY", 10)
    bucket = TokenBuckets(clock)
    for number in range(100):
        bucket.wait_s(str(number), 1, take=True)
        clock.now_s += 0.5
    assert len(bucket._full_s) <= 12
    assert bucket.wait_s("99", 1, take=True) > 0
