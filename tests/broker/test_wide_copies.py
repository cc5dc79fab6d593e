"""Compaction of messages that many queues share: one copy for all, made in turns, and right at every moment."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.clock import FakeClock
from tests.support.memory_log import MemoryLog
from tests.support.states import state_view
from wonderq.broker import shared_compaction, wide_copies
from wonderq.broker.broker import Broker
from wonderq.broker.compaction import compact_oldest
from wonderq.broker.core import Locked
from wonderq.model.errors import BrokerError
from wonderq.model.messages import Change, NewMessage, Target
from wonderq.model.topics import Publication
from wonderq.state.arrivals import Arrivals
from wonderq.state.columns import Columns
from wonderq.state.replay import replay_log
from wonderq.state.state import State
from wonderq_storage import FileLog

MANY = 20


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a turn be about four queues."""
    monkeypatch.setattr(shared_compaction, "_QUEUES", 4)
    monkeypatch.setattr(wide_copies, "_QUEUES", 4)
    monkeypatch.setattr(wide_copies, "_MOST_QUEUES_BESIDES", 2)


@pytest.fixture
def broker(few: None) -> Iterator[Broker]:
    broker = Broker(MemoryLog(), clock=FakeClock())
    subscribe(broker)
    yield broker
    broker.close()


def names() -> list[str]:
    return [*(f"q{number}" for number in range(MANY - 1)), "line.fifo"]


def subscribe(broker: Broker) -> None:
    broker.topics.put("orders")
    for number, name in enumerate(names()):
        broker.put_queue(name)
        broker.topics.subscribe("orders", name.removesuffix(".fifo"), queue=name, raw=bool(number % 3))


def publish(broker: Broker, *bodies: str) -> None:
    broker.topics.publish("orders", [Publication(NewMessage(body, group="g")) for body in bodies])


def compact(broker: Broker) -> int:
    """Drop every part of the log, once what it holds is written again; return the bytes that were written."""
    log = broker.core.log
    end = log.rotate()
    log.sync()
    begin = log.end()
    while (oldest := log.oldest()) and oldest[0] <= end:
        assert compact_oldest(broker, log)
    return log.end() - begin


def without_places(view: Any) -> Any:
    """Return a state's view without what a compaction changes: places, what is shared, and the last record's time."""
    queues = {
        name: {**queue, "messages": [message._replace(position=0) for message in queue["messages"]]}
        for name, queue in view["queues"].items()
    }
    return {**view, "last_ms": 0, "saved": 0, "queues": queues}


def contents(broker: Broker) -> Any:
    return without_places(state_view(broker.core.state, broker.core.clock.now_ms()))


def check(broker: Broker, expected: Any, *, is_durable: bool = True) -> None:
    """Check what the state holds, and that a restart would find the same; at the same places, if all is durable."""
    log, now_ms = broker.core.log, broker.core.clock.now_ms()
    assert isinstance(log, MemoryLog)
    view = state_view(broker.core.state, now_ms)
    assert without_places(view) == expected
    state, _ = replay_log(log.after_crash())
    replayed = state_view(state, now_ms)
    assert without_places(replayed) == expected
    assert replayed == view or not is_durable
    for name in broker.queue_names(limit=100):
        for _ in broker.messages(name):  # each entry verifies
            pass


def contents_of_a_restart(broker: Broker) -> Any:
    log = broker.core.log
    assert isinstance(log, MemoryLog)
    state, _ = replay_log(log.after_crash())
    return without_places(state_view(state, broker.core.clock.now_ms()))


Interrupt = Callable[[Callable[[int], object]], list[int]]


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Interrupt:
    """Have something called between the turns of a copy, with the number of the pause; return these numbers."""

    def set_up(act: Callable[[int], object]) -> list[int]:
        pauses: list[int] = []

        def pause() -> None:
            pauses.append(len(pauses) + 1)
            act(pauses[-1])

        monkeypatch.setattr(wide_copies, "_pause", pause)
        return pauses

    return set_up


def test_500_queues_share_one_copy(tmp_path: Path) -> None:
    """With the bounds of production. The rest of the log is the records of 500 queues, subscriptions and messages."""
    log = FileLog(tmp_path, segment_bytes=8 << 20)
    broker = Broker(log)
    broker.topics.put("orders")
    for number in range(500):
        broker.put_queue(f"q{number}")
        broker.topics.subscribe("orders", f"s{number}", queue=f"q{number}")
    publish(broker, "b" * 400_000)
    for _ in range(2):
        assert 400_000 < compact(broker) < 700_000
    before = contents(broker)
    broker.close()
    broker = Broker(FileLog(tmp_path, segment_bytes=8 << 20))
    assert contents(broker) == before
    assert {len(each.body) for number in range(500) for each in broker.messages(f"q{number}")} == {400_000}
    broker.close()


def test_a_copy_is_shared_by_those_who_still_need_it(broker: Broker) -> None:
    publish(broker, *(f"{number}" + "b" * 3_000 for number in range(3)))
    for name in names()[:6]:
        broker.purge(name)
    for name in names()[6:9]:
        [claimed] = broker.claim(name, limit=1)
        broker.delete(name, Target(claimed.id, claimed.receipt))
    before = contents(broker)
    assert compact(broker) < 3 * 3_000 + 10_000
    check(broker, before)
    for name in names():
        broker.purge(name)
    assert (broker.core.state.shared.saved_bytes, len(broker.core.state.shared)) == (0, 0)


def test_no_turn_is_about_more_than_a_portion_of_the_queues(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(broker, "x", "y")
    holds = [0]
    locked = broker.locked

    @contextmanager
    def counted() -> Iterator[Locked]:
        with locked() as held:
            holds.append(0)
            yield held

    def count(name: str) -> None:
        real = getattr(Columns, name)

        def counting(*given: Any) -> Any:
            holds[-1] += 1
            return real(*given)

        monkeypatch.setattr(Columns, name, counting)

    monkeypatch.setattr(broker, "locked", counted)
    count("find_at_positions")
    count("rewrite_at")
    compact(broker)
    assert sum(holds) == 2 * 2 * MANY, "each is found once, and rewritten once"
    assert max(holds) <= 4


def act_at_random(broker: Broker, chance: random.Random) -> None:
    """Do something to a queue that the copy may be about."""
    name = chance.choice([each for each in names() if each in broker.queue_names(limit=100)])
    with suppress(BrokerError):
        match chance.randrange(8):
            case 0 | 1:
                broker.claim(name, limit=2)
            case 2:
                for each in broker.claim(name):
                    broker.delete(name, Target(each.id, each.receipt))
            case 3:
                for each in broker.claim(name):
                    broker.update(name, Target(each.id, each.receipt), Change(body="changed", delay_ms=500))
            case 4:
                broker.send(name, ["sent"])
            case 5:
                broker.purge(name)
            case 6:
                publish(broker, "published")
            case _:
                broker.drop_queue(name)


@pytest.mark.parametrize("seed", range(12))
def test_what_others_do_meanwhile_lasts(broker: Broker, interrupt: Interrupt, seed: int) -> None:
    chance = random.Random(seed)
    publish(broker, "x" * 500, "y" * 500, "z")
    for name in names()[:8]:
        broker.claim(name)
    expected = [contents(broker)]

    def act(_pause: int) -> None:
        if chance.random() < 0.4:
            if chance.random() < 0.3:  # to look at all queues voids all that is collected
                check(broker, expected[0], is_durable=False)
            act_at_random(broker, chance)
            expected[0] = contents_of_a_restart(broker)  # which voids nothing here

    pauses = interrupt(act)
    compact(broker)
    check(broker, expected[0])
    assert len(pauses) > 10


def test_queues_that_are_always_busy_get_copies_in_the_end(broker: Broker, interrupt: Interrupt) -> None:
    publish(broker, "x" * 3_000)
    before = contents(broker)

    def use_all(_pause: int) -> None:
        for queue in broker.core.state.queues.values():
            queue.settle()

    interrupt(use_all)
    assert compact(broker) < (1 + MANY // 4) * 3_100 + 10_000
    check(broker, before)


def test_few_busy_queues_do_not_keep_the_others_from_sharing(broker: Broker, interrupt: Interrupt) -> None:
    publish(broker, "x" * 3_000)
    before = contents(broker)
    interrupt(lambda _: [broker.core.state.queues[name].settle() for name in ("q1", "q7")])
    assert compact(broker) < 2 * 3_100 + 10_000
    check(broker, before)


def test_a_publish_that_is_being_decided_is_left_alone(broker: Broker, interrupt: Interrupt) -> None:
    publish(broker, "x")
    before = contents(broker)
    others: Arrivals[Any] = Arrivals()
    queues = [broker.core.state.queues[name] for name in names()]

    def act(pause: int) -> None:
        if pause < 8:
            assert others.used == []
        elif pause == 8:
            for queue in queues:
                queue.settle()

    for queue in queues:
        queue.expect(others)
    pauses = interrupt(act)
    compact(broker)
    assert len(pauses) >= 8
    check(broker, before)


def test_a_snapshot_is_of_its_moment(broker: Broker, interrupt: Interrupt) -> None:
    publish(broker, "x")
    before = contents(broker)
    snapshots: list[Any] = []

    def act(pause: int) -> None:
        if pause == 3:
            snapshots.append(broker.core.state.begin_snapshot())

    interrupt(act)
    compact(broker)
    [snapshot] = snapshots
    while snapshot.freeze_more():
        pass
    loaded = State.load(iter(list(snapshot.chunks(0))))
    snapshot.release()
    assert without_places(state_view(loaded, broker.core.clock.now_ms())) == before
    check(broker, before)


def test_parts_that_do_not_fit_into_one_record_are_in_several(tmp_path: Path, few: None) -> None:
    log = FileLog(tmp_path, segment_bytes=8192)
    broker = Broker(log)
    subscribe(broker)
    publish(broker, "b" * 2_000)
    for name in names():
        broker.claim(name, consumer="c" * 64)
    before = contents(broker)
    for _ in range(2):
        compact(broker)
    assert contents(broker) == before
    broker.close()
    broker = Broker(FileLog(tmp_path, segment_bytes=8192))
    assert contents(broker) == before
    broker.close()


def test_a_copy_that_is_given_up_leaves_no_queue_waiting(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(broker, "x")
    before = contents(broker)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no room")

    log = broker.core.log
    log.rotate()
    log.sync()
    with monkeypatch.context() as patch:
        patch.setattr(wide_copies.WideCopy, "_append", fail)
        with pytest.raises(OSError, match="no room"):
            compact_oldest(broker, log)
    assert not any(queue._expected for queue in broker.core.state.queues.values())
    compact(broker)
    check(broker, before)
