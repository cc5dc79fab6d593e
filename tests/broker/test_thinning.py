"""Thinning in the background and in a replay: pages with few messages are found, a bounded portion at a time."""

from __future__ import annotations

import pytest

from tests.support.clock import FakeClock
from tests.support.memory_log import MemoryLog
from tests.support.states import state_view
from wonderq.broker.broker import Broker
from wonderq.broker.housekeeping import Housekeeper
from wonderq.broker.thinning import Thinner
from wonderq.model.limits import Limits
from wonderq.model.messages import Target
from wonderq.state import columns, replay, thinning
from wonderq.state.columns import Columns
from wonderq.state.page import PAGE_MESSAGES, Page
from wonderq.state.replay import replay_log
from wonderq.state.thinning import Thinning


def leave_some(broker: Broker, queue: str, pages: int, left_per_page: int) -> None:
    """Leave the first messages of each page."""
    for _ in range(pages):
        ids = broker.produce(queue, ["x"] * PAGE_MESSAGES)
        broker.delete_batch(queue, [Target(id=each) for each in ids[left_per_page:]])


def pages_of(broker: Broker, queue: str) -> list[Page]:
    return list(broker.core.state.queues[queue].messages._pages.values())


@pytest.fixture
def broker() -> Broker:
    return Broker(MemoryLog(), clock=FakeClock(), limits=Limits(batch_messages=PAGE_MESSAGES))


def test_a_pass_puts_what_is_left_together_and_nobody_sees_a_difference(broker: Broker) -> None:
    leave_some(broker, "a", 3, 2)
    leave_some(broker, "b", 2, 1)
    before = state_view(broker.core.state, 1)
    thinner = Thinner(broker, pass_every_s=0)
    thinner.run()
    thinner.run()
    assert [len(page.status) for page in pages_of(broker, "a")] == [6]
    assert [len(page.status) for page in pages_of(broker, "b")] == [2]
    assert state_view(broker.core.state, 1) == before


def test_there_is_no_pass_without_changes(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = 0
    step = Thinning.step

    def counted(each: Thinning) -> bool:
        nonlocal steps
        steps += 1
        return step(each)

    monkeypatch.setattr(Thinning, "step", counted)
    thinner = Thinner(broker, pass_every_s=0)
    for _ in range(5):
        thinner.run()
    assert steps == 2, "the second pass is for pages that were in use during the first"
    broker.produce("default", ["x"])
    for _ in range(5):
        thinner.run()
    assert steps == 4
    calm = Thinner(broker)
    for _ in range(5):
        broker.produce("default", ["x"])
        calm.run()
    assert steps == 5, "one pass in five seconds"


def test_housekeeping_thins(broker: Broker) -> None:
    leave_some(broker, "a", 3, 2)
    Housekeeper(broker).turn()
    assert [page.sequences is None for page in pages_of(broker, "a")] == [False, True], "the last one was in use"


def test_a_step_is_bounded_however_many_queues_and_pages_there_are(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = broker.core.state
    for number in range(2, 50):
        broker.create_queue(f"queue-{number}")
    leave_some(broker, "default", 5, 1)
    monkeypatch.setattr(thinning, "_STEP_WORK", 20)
    inspected: list[object] = []
    thin, is_wasteful = Columns.thin, Columns._is_wasteful

    def seen(messages: Columns, page: Page) -> bool:
        inspected.append(page)
        return is_wasteful(messages, page)

    def visited(messages: Columns, start: int, work: int) -> tuple[int | None, int]:
        inspected.append(messages)
        return thin(messages, start, work)

    monkeypatch.setattr(Columns, "thin", visited)
    monkeypatch.setattr(Columns, "_is_wasteful", seen)
    some, more, steps = Thinning(state), True, 0
    while more:
        more = some.step()
        steps += 1
        replaced = sum(PAGE_MESSAGES // columns._ROWS_OF_A_UNIT for each in inspected if isinstance(each, Page))
        assert len(inspected) <= 22
        assert replaced <= 2 * PAGE_MESSAGES // columns._ROWS_OF_A_UNIT
        inspected.clear()
    assert 5 <= steps <= 20


def test_a_replay_thins_too(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_some(broker, "a", 5, 1)
    log = broker.core.log
    assert len(list(replay_log(log)[0].queues["a"].messages._pages)) == 5, "few records"
    monkeypatch.setattr(replay, "_THIN_EVERY_RECORDS", 1)
    state, _ = replay_log(log)
    assert len(state.queues["a"].messages._pages) <= 2
    assert state_view(state, 1) == state_view(broker.core.state, 1)


def test_a_queue_may_be_dropped_between_two_steps(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_some(broker, "a", 5, 1)
    monkeypatch.setattr(thinning, "_STEP_WORK", 2)
    some = Thinning(broker.core.state)
    assert some.step()
    broker.drop_queue("a")
    leave_some(broker, "b", 3, 1)
    while some.step():
        pass
    while some.step():
        pass
    assert len(pages_of(broker, "b")) <= 2
