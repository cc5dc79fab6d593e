"""The threads on which the background work of several brokers runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from tests.support.memory_log import MemoryLog
from tests.support.threads import Call
from tests.support.waiting import eventually
from wonderq.broker.background import BackgroundLoop, Rounds
from wonderq.broker.broker import Broker
from wonderq.broker.housekeeping import Housekeeper

_NEVER_S = 3600.0


class Loop(BackgroundLoop):
    """A loop that counts its turns."""

    def __init__(self, broker: Broker, wait_s: float = 0.001, work: Callable[[], None] = lambda: None) -> None:
        super().__init__(broker, "test", 1)
        self.turns = 0
        self.ends = 0
        self._wait_s = wait_s
        self._work = work

    def turn(self) -> float:
        self.turns += 1
        self._work()
        return self._wait_s

    def end(self) -> None:
        self.ends += 1


@pytest.fixture
def broker() -> Iterator[Broker]:
    broker = Broker(MemoryLog())
    yield broker
    broker.close()


@pytest.fixture
def rounds() -> Iterator[Rounds]:
    rounds = Rounds(4)
    yield rounds
    rounds.close()


def test_each_loop_has_its_turns(rounds: Rounds, broker: Broker) -> None:
    loops = [Loop(broker) for _ in range(10)]
    for each in loops:
        each.start(rounds)
    eventually(lambda: all(each.turns > 3 for each in loops))
    for each in loops:
        each.stop()
    turns = [each.turns for each in loops]
    assert [each.ends for each in loops] == [1] * 10
    another = Loop(broker)
    another.start(rounds)
    eventually(lambda: another.turns > 10)
    another.stop()
    assert [each.turns for each in loops] == turns, "none has a turn after its end"


def test_a_loop_that_waits_ends_at_once(rounds: Rounds, broker: Broker) -> None:
    loop = Loop(broker, _NEVER_S)
    loop.start(rounds)
    eventually(lambda: loop.turns)
    loop.stop()
    assert (loop.turns, loop.ends) == (1, 1)


def test_a_loop_that_is_held_up_does_not_hold_up_the_others(rounds: Rounds, broker: Broker) -> None:
    gate = threading.Event()
    slow, quick = Loop(broker, work=gate.wait), Loop(broker)  # type: ignore[arg-type]
    slow.start(rounds)
    eventually(lambda: slow.turns)
    quick.start(rounds)
    try:
        eventually(lambda: quick.turns > 3)
        stopping = Call(slow.stop)
        quick.stop()
        assert slow.ends == 0, "it waits for its turn"
    finally:
        gate.set()
    stopping.result()
    assert slow.ends == 1


def test_a_loop_that_fails_ends_alone(rounds: Rounds, broker: Broker) -> None:
    def fail() -> None:
        raise ValueError("a bug")

    failing, other = Loop(broker, work=fail), Loop(broker)
    failing.start(rounds)
    other.start(rounds)
    eventually(lambda: failing.ends)
    turns = other.turns
    eventually(lambda: other.turns > turns)
    failing.stop()
    other.stop()


def test_a_housekeeper_runs_on_shared_threads(rounds: Rounds, broker: Broker) -> None:
    housekeeper = Housekeeper(broker)
    housekeeper.start(rounds)
    assert broker.counters.housekeeper_runs
    housekeeper.stop()
    assert not broker.counters.housekeeper_runs
