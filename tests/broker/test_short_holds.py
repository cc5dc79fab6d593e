"""No request and no step in the background holds the lock or the thread for long, however much a broker has.

A stopwatch would say so only on a machine that does nothing else. So the tests count the lines of Python that run in one
hold of the lock, and in one turn of a fiber.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from random import Random
from typing import Any

import pytest

from tests.broker.conftest import Lasting
from tests.support.clock import FakeClock
from tests.support.effort import Effort
from tests.support.memory_log import MemoryLog
from tests.support.turns import Turns
from wonderq.broker import compaction, core, overview, redrive, schedules
from wonderq.broker.broker import Broker
from wonderq.broker.consumers import CallingWaiter
from wonderq.cluster.crossing_metrics import CrossingCollector
from wonderq.model.messages import NewMessage, Target
from wonderq.model.push import Push
from wonderq.model.settings import QueueSettings
from wonderq.model.topics import Publication, Subscription
from wonderq.runtime.fibers import sorted_in_turns
from wonderq.state import record
from wonderq.state.record import Record
from wonderq.state.state import Queue, queue_record

#: Queues, outboxes, subscriptions, schedules and redrives of the broker.
MANY = 8000

#: Most lines in one hold or turn: far fewer than one for each of `MANY` things. They take about 2 ms.
FEW = 7000


def append(broker: Broker, records: Iterable[Record]) -> None:
    left = iter(records)
    with broker.locked() as (_, append_and_apply, _):
        while some := list(islice(left, 500)):
            append_and_apply(*some)


def add_queues(broker: Broker, names: Iterable[str], settings: QueueSettings) -> None:
    first = broker.core.state.next_queue
    append(broker, (queue_record(Queue(first + at, name, 0), settings, 0) for at, name in enumerate(names)))


def add_subscriptions(broker: Broker, topic: str, push: Push | None = None) -> None:
    broker.topics.put(topic)
    number = broker.core.state.topics[topic].number
    new = [Subscription(f"s{queue}", queue, 0, push=push) for queue in broker.core.state.queue_numbers()[:MANY]]
    append(broker, (record.Subscribe(record.SUBSCRIPTION, 0, number, each.name, each.to_record()) for each in new))


def add_entries(broker: Broker, namespace: str, value: dict[str, Any]) -> None:
    entries = ((f"{namespace[:1]}{number}", value | {"started_ms": number}) for number in range(MANY))
    append(broker, (record.Metadata(record.METADATA, 0, namespace, name, each) for name, each in entries))


@pytest.fixture(scope="module")
def large() -> Iterator[Broker]:
    """A broker with very much of everything."""
    broker = Broker(MemoryLog(), clock=FakeClock(), has_name=lambda name: not name.startswith("outbox"))
    names = [f"q{number:05}" for number in range(MANY)]
    Random(1).shuffle(names)
    add_queues(broker, names, QueueSettings(paused=True))
    outboxes = [f"outbox{number}" for number in range(MANY)]
    add_queues(broker, outboxes, QueueSettings())
    broker.core.outboxes.update(outboxes)
    for name in outboxes:
        broker.counters.crossed[name] = 1
    add_subscriptions(broker, "queues")
    add_subscriptions(broker, "endpoints", Push("http://endpoint/", "sns", confirmed=False))
    broker.schedules.put("daily", cron="0 0 * * *", queue="q", body="x")
    daily = dict(broker.core.state.metadata[schedules.NAMESPACE]["daily"].value)
    add_entries(broker, schedules.NAMESPACE, daily | {"failure": "no room"})
    broker.redrives.start("default", "q00001")
    [started] = broker.core.state.metadata[redrive.NAMESPACE].values()
    add_entries(broker, redrive.NAMESPACE, {**started.value, "status": "failed", "ended_ms": 0, "queue_number": 2})
    yield broker
    broker.close()


CALLS: dict[str, Callable[[Broker], object]] = {
    "names of queues": lambda broker: broker.queue_names(),
    "page of names": lambda broker: broker.queue_names(prefix="q", after="q00100", limit=10, matches=bool),
    "sources": lambda broker: broker.sources_of("none"),
    "queues": lambda broker: list(broker.queues()),
    "statistics": lambda broker: list(broker.queue_stats()),
    "messages of all queues": lambda broker: list(broker.messages_of_all()),
    "overview": lambda broker: broker.overview._gather(),
    "overview of another shard": lambda broker: broker.overview.sources_of_others(lambda _: True),
    "ranking": lambda broker: broker.overview.largest("bytes", 10, lambda _: True),
    "outboxes with messages": lambda broker: broker.outboxes.filled(CallingWaiter(lambda: None)),
    "figures of outboxes": lambda broker: broker.outboxes.waiting(),
    "metrics of outboxes": lambda broker: list(CrossingCollector(broker).collect()),
    "uses of an outbox": lambda broker: broker.outboxes._is_used("none"),
    "redrives": lambda broker: broker.redrives.list_all(),
    "redrives of a queue": lambda broker: broker.redrives.list("default"),
    "garbage collection": lambda broker: broker.long_lived_objects,
}


def rewriter(broker: Broker) -> compaction._Rewriter:
    return compaction._Rewriter(broker, broker.core.log, 0)


IN_THE_BACKGROUND: dict[str, Callable[[Broker], object]] = {
    "endpoints": lambda broker: broker.pushes.keys(),
    "damage": lambda broker: compaction._holds_any_before(broker, broker.core.log.end()),
    "records of queues": lambda broker: rewriter(broker).rewrite_queues(),
    "records of metadata": lambda broker: rewriter(broker).rewrite_metadata(),
    "records of keys": lambda broker: rewriter(broker).rewrite_dedup(),
}


@pytest.mark.parametrize("name", [*CALLS, *IN_THE_BACKGROUND])
def test_a_hold_is_short(large: Broker, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    effort = Effort(large, monkeypatch)
    effort.of(lambda: (CALLS | IN_THE_BACKGROUND)[name](large))
    assert effort.in_a_hold <= FEW
    assert name in IN_THE_BACKGROUND or effort.in_a_turn <= FEW


def test_outboxes_are_passed_over_and_end_nothing(large: Broker) -> None:
    assert large.queue_names() == ["default", *(f"q{number:05}" for number in range(MANY))]
    assert len(large.core.own_queues()) == MANY + 1


# Changes between two portions


@pytest.fixture
def small(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Broker:
    """A broker with ten queues, of whose names three are read at a time."""
    monkeypatch.setattr(core, "_NAMES", 3)
    for number in range(10):
        broker.put_queue(f"q{number}")
    return broker


def test_names_are_in_order_and_once_whatever_comes_and_goes(small: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    changes: Iterator[Callable[[], object]] = iter(
        [lambda: small.drop_queue("q2"), lambda: small.put_queue("q55"), lambda: small.drop_queue("q9")]
    )
    monkeypatch.setattr(core, "yield_to_others", lambda: next(changes, bool)())
    assert small.queue_names(prefix="q") == ["q0", "q1", "q2", "q3", "q4", "q5", "q55", "q6", "q7", "q8"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"prefix": "q", "after": "q7"}, ["q8", "q9"]),
        ({"prefix": "q4"}, ["q4"]),
        ({"prefix": "z"}, []),
        ({"after": "q9"}, []),
        ({"contains": "5"}, ["q5"]),
        ({"after": "a", "limit": 2}, ["default", "q0"]),
        ({"prefix": "q", "matches": lambda name: int(name[1]) % 4 == 3}, ["q3", "q7"]),
        ({}, ["default", *(f"q{number}" for number in range(10))]),
    ],
)
def test_names_are_found(small: Broker, given: dict[str, Any], expected: list[str]) -> None:
    assert small.queue_names(**given) == expected


def test_names_follow_the_queues(lasting: Lasting) -> None:
    for name in ("b", "c", "a"):
        lasting.broker.put_queue(name)
    lasting.broker.put_queue("b", paused=True)
    lasting.broker.drop_queue("c")
    lasting.again()
    assert lasting.broker.queue_names() == ["a", "b", "default"]
    lasting.broker.put_queue("c")
    lasting.broker.drop_queue("a")
    assert lasting.broker.queue_names() == ["b", "c", "default"]
    assert lasting.broker.core.state.names == sorted(lasting.broker.core.state.queues)


def test_the_overview_leaves_out_a_queue_that_is_deleted_meanwhile(
    small: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "_QUEUES_PER_STEP", 2)
    changes: Iterator[Callable[[], object]] = iter([lambda: small.drop_queue("q2"), lambda: small.put_queue("q1a")])
    monkeypatch.setattr(overview, "yield_to_others", lambda: next(changes, bool)())
    names = [each.name for each in small.overview._gather().queues]
    assert names == sorted(names)
    assert {"q1", "q3", "q9"} <= set(names) <= {"default", "q1a", *(f"q{number}" for number in range(10))}
    assert len(names) in (10, 11)


@pytest.mark.parametrize("reverse", [False, True])
def test_values_are_sorted_in_turns_as_at_once(monkeypatch: pytest.MonkeyPatch, reverse: bool) -> None:
    turns = Turns(monkeypatch)
    values = Random(3).choices(range(5000), k=9000)

    def key(place: int) -> int:
        turns.count()
        return values[place]

    found = turns.run(lambda: list(sorted_in_turns(range(9000), key, reverse=reverse)))
    assert found == sorted(range(9000), key=values.__getitem__, reverse=reverse)
    assert max(turns.counts) <= 2600
    assert list(sorted_in_turns((), key)) == []


def test_a_redrive_is_found_by_its_queue_after_a_start_too(lasting: Lasting) -> None:
    for name in ("a", "b"):
        lasting.broker.put_queue(name)
    ids = {name: [lasting.broker.redrives.start(name, "default")] for name in ("a", "b")}
    lasting.broker.redrives.run()
    lasting.again()
    lasting.clock.advance(1)
    ids["a"].insert(0, lasting.broker.redrives.start("a", "default"))
    for name, expected in ids.items():
        assert [each.id for each in lasting.broker.redrives.list(name)] == expected
    lasting.broker.drop_queue("a")
    lasting.broker.put_queue("a")
    assert list(lasting.broker.redrives.list("a")) == []
    assert len(lasting.broker.redrives.list_all()) == 1


def test_lanes_are_counted_through_everything(lasting: Lasting) -> None:
    def check(count: int) -> None:
        state = lasting.broker.core.state
        assert state.lane_count.lanes == count == sum(len(q.messages.lanes.by_number) for q in state.queues.values())

    lasting.broker.put_queue("q")
    lasting.broker.topics.put("t")
    lasting.broker.topics.subscribe("t", "s", queue="q")
    lasting.broker.send("q", [NewMessage("x", group=f"g{number}") for number in range(10)])
    lasting.broker.send("p", [NewMessage("x", priority=2)])
    lasting.broker.topics.publish("t", [Publication(NewMessage("x", group="published"))])
    assert [each.body for each in lasting.broker.messages("q")] == ["x"] * 11
    check(12)
    lasting.again()
    check(12)
    [claimed] = lasting.broker.claim("q", limit=1)
    lasting.broker.delete("q", Target(receipt=claimed.receipt))
    check(11)
    lasting.broker.drop_queue("q")
    lasting.broker.upkeep()
    check(1)
