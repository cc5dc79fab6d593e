"""Reading much lets other requests have their turn: no turn does more than a bounded amount of work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

import pytest

from tests.support.clock import FakeClock
from wonderq.broker import queries
from wonderq.broker.broker import Broker
from wonderq.model.masks import Mask
from wonderq.model.messages import Message, NewMessage
from wonderq.rest.masks import hide
from wonderq.runtime import fibers
from wonderq_storage import FileLog, SyncPolicy

T = TypeVar("T")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(FileLog(tmp_path / "log", sync=SyncPolicy("os")), clock=FakeClock())
    yield broker
    broker.close()


class Turns:
    """Counts of something, one for each turn that a call takes on a fiber."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.counts = [0]
        monkeypatch.setattr(fibers.Fiber, "yield_to_others", lambda fiber: self._begin(fiber))

    def _begin(self, fiber: fibers.Fiber) -> None:
        fiber.steps_left = fibers._STEPS_PER_TURN
        self.counts.append(0)

    def run(self, call: Callable[[], T]) -> T:
        """Make a call on a fiber, and return its result."""
        done: Future[T] = Future()
        hub = fibers.Hub(lambda: None)

        def work() -> None:
            try:
                done.set_result(call())
            except BaseException as error:
                done.set_exception(error)

        hub.spawn(work)
        while not done.done():
            hub.run()
        return done.result()

    def count(self, amount: int = 1) -> None:
        self.counts[-1] += amount


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Turns:
    return Turns(monkeypatch)


def fill(broker: Broker, count: int, attributes: int, body: str = "x") -> None:
    given = {f"name-{number}": ("String", "v") for number in range(attributes)}
    for at in range(0, count, 100):
        broker.send("q", [NewMessage(body, attributes=given or None) for _ in range(min(100, count - at))])


@pytest.mark.parametrize(("attributes", "body"), [(0, "x"), (30, "x"), (64, "x"), (0, "x" * 50_000)])
@pytest.mark.parametrize("matches", [None, lambda message: message.body == "none has this"])
def test_a_turn_of_a_listing_has_bounded_work(
    broker: Broker, turns: Turns, attributes: int, body: str, matches: Callable[[Message], bool] | None
) -> None:
    fill(broker, 500, attributes, body)
    seen = 0

    def note(message: Message) -> bool:
        nonlocal seen
        seen += 1
        turns.count(queries._steps_of(message))
        return matches is None or matches(message)

    found = turns.run(lambda: list(broker.messages("q", matches=note)))
    assert seen == 500
    assert len(found) == (500 if matches is None else 0)
    most = max(queries._steps_of(message) for message in broker.messages("q", limit=1))
    assert max(turns.counts) <= fibers._STEPS_PER_TURN + most


def test_a_turn_of_a_list_of_queues_has_bounded_work(
    broker: Broker, turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(450):
        broker.put_queue(f"q{number}")
    info = broker.queries.info
    monkeypatch.setattr(broker.queries, "info", lambda *given: turns.count() or info(*given))
    assert len(turns.run(lambda: list(broker.queues()))) == 451
    assert max(turns.counts) <= 100
    assert len(turns.run(lambda: list(broker.queue_stats()))) == 451
    assert max(turns.counts) <= 100


def test_a_turn_matches_a_bounded_number_of_names(broker: Broker, turns: Turns) -> None:
    for number in range(450):
        broker.put_queue(f"q{number:03}", dead_letter_queue="dead" if number % 2 else "other")

    def is_wanted(name: str) -> bool:
        turns.count()
        return name.endswith("9")

    def check() -> None:
        names = broker.queue_names(prefix="q", matches=is_wanted)
        assert names == [f"q{number:03}" for number in range(9, 450, 10)]
        assert broker.queue_names(after="q300", limit=3, matches=is_wanted) == ["q309", "q319", "q329"]
        assert broker.sources_of("dead", matches=is_wanted) == names
        assert broker.sources_of("dead", after="q100", limit=2, matches=is_wanted) == ["q109", "q119"]
        assert broker.sources_of("q1") == []

    turns.run(check)
    assert sum(turns.counts) == 450 + 29 + 225 + 10
    assert max(turns.counts) <= queries._CHUNK_NAMES


def test_hiding_a_long_text_lets_others_have_their_turn(turns: Turns) -> None:
    text = "a" * 50_000
    assert turns.run(lambda: hide(Mask([r"(a+)+b"]), text)) == text
    assert len(turns.counts) > len(text) // fibers._STEPS_PER_TURN
