"""A publish to many queues is made in turns, and is in all of its queues or in none at every moment in between."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from tests.support.clock import FakeClock
from tests.support.memory_log import MemoryLog
from tests.support.python_calls import calls_in_holds
from tests.support.states import contents_of
from tests.support.turns import Turns
from tests.support.waiting import eventually
from wonderq.broker import publish, publish_plan
from wonderq.broker.admission import Admission
from wonderq.broker.broker import Broker
from wonderq.broker.thinning import Thinner
from wonderq.metrics import BrokerCollector
from wonderq.model.attributes import Attribute
from wonderq.model.errors import (
    BrokerFullError,
    QueueDrainingError,
    QueueNotFoundError,
    SubscriptionNotFoundError,
    TopicNotFoundError,
)
from wonderq.model.limits import Limits
from wonderq.model.messages import NewMessage, Target
from wonderq.model.topics import Publication, PublishResult
from wonderq.runtime.fibers import Hub
from wonderq.state import record
from wonderq.state.arrivals import Arrivals
from wonderq.state.columns import Columns
from wonderq.state.replay import replay_log
from wonderq.state.state import Queue, Snapshot, State

MANY = 40


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """A broker with a topic of many queues, of which it decides on four in a turn."""
    monkeypatch.setattr(publish_plan, "PORTION_STEPS", 32)
    monkeypatch.setattr(publish_plan, "_MOST_STEPS_BESIDES", 8)
    monkeypatch.setattr(publish, "PORTION", 4)
    broker = Broker(MemoryLog(), clock=FakeClock())
    broker.topics.put("orders")
    for number in range(MANY):
        subscribe(broker, number)
    yield broker
    broker.close()


def subscribe(broker: Broker, number: int, **fields: Any) -> None:
    broker.put_queue(f"q{number}")
    broker.topics.subscribe("orders", f"s{number}", queue=f"q{number}", **fields)


def send(broker: Broker, *bodies: str, **fields: Any) -> list[PublishResult]:
    return broker.topics.publish("orders", [Publication(NewMessage(body, **fields)) for body in bodies])


def bodies(broker: Broker, number: int) -> list[str]:
    return [each.body for each in broker.messages(f"q{number}")]


def with_message(broker: Broker, body: str = "x") -> list[int]:
    return [number for number in range(MANY) if body in bodies(broker, number)]


def queues_expecting(broker: Broker) -> int:
    return sum(queue._expected is not None for queue in broker.core.state.queues.values())


def replayed(broker: Broker) -> Any:
    """Return the contents of the state that a restart would find."""
    log = broker.core.log
    assert isinstance(log, MemoryLog)
    state, _ = replay_log(log.after_crash())
    return contents_of(state, broker.core.clock.now_ms())


def run_until(hub: Hub, is_done: Callable[[], bool]) -> None:
    def turn() -> bool:
        hub.run()
        return is_done()

    eventually(turn)


Interrupt = Callable[[Callable[[int], object]], list[int]]


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Interrupt:
    """Have something called in each pause of the next publishes, with the number of the pause; return these numbers."""

    def set_up(act: Callable[[int], object]) -> list[int]:
        pauses: list[int] = []

        def pause() -> None:
            pauses.append(len(pauses) + 1)
            act(pauses[-1])

        monkeypatch.setattr(publish, "yield_to_others", pause)
        return pauses

    return set_up


@pytest.mark.parametrize(("owner", "name"), [(Columns, "add"), (publish_plan, "refusal_of")])
def test_no_turn_is_about_more_than_a_portion_of_the_queues(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    turns = Turns(monkeypatch)
    real = getattr(owner, name)

    def counted(*given: Any) -> Any:
        turns.count()
        return real(*given)

    monkeypatch.setattr(owner, name, counted)
    [result] = turns.run(lambda: send(broker, "x"))
    assert result.queues == MANY
    assert sum(turns.counts) == MANY
    assert max(turns.counts) <= 4
    assert with_message(broker) == list(range(MANY))
    assert queues_expecting(broker) == 0


def change_nothing(_broker: Broker, _pause: int) -> None:
    pass


def change_some(broker: Broker, pause: int) -> None:
    """Change two subscriptions, in each pause but the last ones."""
    for number in range(2 if pause < 8 else 0):
        broker.topics.subscribe("orders", f"s{number}", queue=f"q{number}", raw=bool(pause % 2))


def change_all(broker: Broker, pause: int) -> None:
    """Change all subscriptions between two turns."""
    for number in range(broker.topics.get("orders").subscriptions if pause == 3 else 0):
        broker.topics.subscribe("orders", f"s{number}", queue=f"q{number}", raw=False)


def change_places(broker: Broker, pause: int) -> None:
    """Void all decisions, once most of them are made: a message matches that no subscription has matched before."""
    if pause == broker.topics.get("orders").subscriptions // 5:
        broker.topics.subscribe("orders", "s1", filter={"kind": ["b"]})


class CountedDecision(publish_plan.Decision):
    """A decision whose end is a call."""

    def __del__(self) -> None:
        pass


@pytest.mark.parametrize(
    ("act", "delay_ms"),
    [(change_nothing, 0), (change_nothing, 5000), (change_some, 0), (change_all, 0), (change_places, 0)],
)
def test_no_hold_of_the_lock_takes_longer_with_more_queues(
    broker: Broker,
    interrupt: Interrupt,
    monkeypatch: pytest.MonkeyPatch,
    act: Callable[[Broker, int], None],
    delay_ms: int,
) -> None:
    """The record is the exception: it is encoded in one call, with a row for each queue."""
    monkeypatch.setattr(publish_plan, "Decision", CountedDecision)
    kinds: list[dict[str, Attribute]] = [{"kind": ("String", kind)} for kind in "ab"]
    batch = [Publication(NewMessage("x", attributes=each)) for each in kinds]

    def longest(queues: int) -> int:
        for number in range(queues):
            subscribe(broker, number, filter={"kind": ["a"]})
            broker.put_queue(f"q{number}", delay_ms=delay_ms and delay_ms + number)
        interrupt(partial(act, broker))
        return max(calls_in_holds(broker.core.lock, lambda: broker.topics.publish("orders", batch)))

    few = longest(MANY)
    assert longest(4 * MANY) < few + MANY


def test_a_publish_to_few_queues_is_one_turn(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    broker.topics.put("few")
    broker.topics.subscribe("few", "s", queue="q1")
    turns = Turns(monkeypatch)
    turns.run(lambda: broker.topics.publish("few", [Publication(NewMessage("x"))]))
    assert len(turns.counts) == 1


def test_it_is_in_all_queues_or_in_none_at_every_moment(broker: Broker, interrupt: Interrupt) -> None:
    chance = random.Random(7)
    seen: list[bool] = []

    def look(_: int) -> None:
        there = {"x" in bodies(broker, number) for number in chance.sample(range(MANY), 2)}
        assert len(there) == 1
        seen.append(there.pop())

    pauses = interrupt(look)
    send(broker, "x")
    assert seen == sorted(seen)
    assert set(seen) == {False, True}
    assert len(pauses) > 2 * MANY / 4
    assert contents_of(broker.core.state, 0) == replayed(broker)


def test_a_crash_between_two_turns_leaves_it_in_all_queues_or_in_none(broker: Broker, interrupt: Interrupt) -> None:
    counts: list[int] = []

    def crash(_: int) -> None:
        broker.core.wait_until_durable()
        log = broker.core.log
        assert isinstance(log, MemoryLog)
        state, _ = replay_log(log.after_crash())
        counts.append(sum(len(queue.messages) for queue in state.queues.values()))

    interrupt(crash)
    send(broker, "x")
    crash(0)
    assert set(counts) == {0, MANY}


def produce(broker: Broker, number: int) -> None:
    broker.send(f"q{number}", ["other"])


def purge(broker: Broker, number: int) -> None:
    broker.purge(f"q{number}")


def consume(broker: Broker, number: int) -> None:
    for message in broker.claim(f"q{number}", limit=10, visibility_timeout_ms=1000):
        broker.delete(f"q{number}", Target(receipt=message.receipt))


def drop(broker: Broker, number: int) -> None:
    broker.drop_queue(f"q{number}")


def recreate(broker: Broker, number: int) -> None:
    broker.drop_queue(f"q{number}")
    subscribe(broker, number)


def delay(broker: Broker, number: int) -> None:
    broker.put_queue(f"q{number}", delay_ms=5000)


def unsubscribe(broker: Broker, number: int) -> None:
    broker.topics.unsubscribe("orders", f"s{number}")


def wrap(broker: Broker, number: int) -> None:
    broker.topics.subscribe("orders", f"s{number}", queue=f"q{number}", raw=False)


def publish_elsewhere(broker: Broker, number: int) -> None:
    broker.topics.put(f"only-{number}")
    broker.topics.subscribe(f"only-{number}", "s", queue=f"q{number}")
    broker.topics.publish(f"only-{number}", [Publication(NewMessage("elsewhere"))])


ACTS = [produce, purge, consume, drop, recreate, delay, unsubscribe, wrap, publish_elsewhere]


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("number", [0, MANY - 1])
@pytest.mark.parametrize("pause", [3, 11, 13, 20])
def test_what_others_do_meanwhile_comes_before_it_or_after(
    broker: Broker, interrupt: Interrupt, act: Callable[[Broker, int], None], number: int, pause: int
) -> None:
    interrupt(lambda at: act(broker, number) if at == pause else None)
    send(broker, "x", "y")
    assert contents_of(broker.core.state, 0) == replayed(broker)
    for each in range(MANY):
        if each != number:
            assert bodies(broker, each) == ["x", "y"]
    assert queues_expecting(broker) == 0


@pytest.mark.parametrize("seed", range(5))
def test_many_others_at_work(broker: Broker, interrupt: Interrupt, seed: int) -> None:
    chance = random.Random(seed)
    quiet = set(chance.sample(range(MANY), 5))

    def act(_: int) -> None:
        for _ in range(chance.randrange(4)):
            number = chance.choice([each for each in range(MANY) if each not in quiet])
            with suppress(QueueNotFoundError, SubscriptionNotFoundError):
                chance.choice(ACTS)(broker, number)
        there = {tuple(bodies(broker, number)) for number in chance.sample(sorted(quiet), 2)}
        assert len(there) == 1

    interrupt(act)
    for body in ("x", "y", "z"):
        send(broker, body, key=body)
        assert contents_of(broker.core.state, 0) == replayed(broker)
    assert {tuple(bodies(broker, number)) for number in quiet} == {("x", "y", "z")}


READERS: dict[str, Callable[[Broker], object]] = {
    "dead letters": lambda broker: broker.remove_dead_letters(),
    "search": lambda broker: list(broker.messages_of_all()),
    "upkeep": lambda broker: broker.upkeep(),
    "queues": lambda broker: list(broker.queues([f"q{number}" for number in range(MANY)])),
    "overview": lambda broker: broker.overview.current(),
    "history": lambda broker: broker.history.run(),
    "usage": lambda broker: broker.usage(),
    "metrics": lambda broker: list(BrokerCollector(broker).collect()),
    "thinning": lambda broker: Thinner(broker).run(),
    "redrives": lambda broker: broker.redrives.run(),
    "garbage": lambda broker: broker.long_lived_objects,
}


@pytest.mark.parametrize("reader", READERS)
def test_queues_get_it_under_the_lock_whoever_uses_them_first(
    broker: Broker, interrupt: Interrupt, monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    """Without the lock, a producer could take the number of a message that is about to be added."""
    settle = Arrivals.settle

    def settle_under_lock(arrivals: Arrivals[Any], queue: int, messages: Columns) -> None:
        assert broker.core.lock.locked()
        settle(arrivals, queue, messages)

    monkeypatch.setattr(Arrivals, "settle", settle_under_lock)
    pauses = interrupt(lambda _: READERS[reader](broker))
    send(broker, "x")
    assert len(pauses) > 3
    assert len(with_message(broker)) == MANY


@pytest.mark.parametrize("pause", [2, 11, 12, 15, 20])
def test_a_snapshot_has_it_in_all_queues_or_in_none(broker: Broker, interrupt: Interrupt, pause: int) -> None:
    state = broker.core.state
    snapshots: list[Snapshot] = []
    interrupt(lambda at: snapshots.append(state.begin_snapshot()) if at == pause else None)
    send(broker, "x")
    broker.purge("q1")
    [snapshot] = snapshots
    while snapshot.freeze_more():
        pass
    loaded = State.load(iter(list(snapshot.chunks(0))))
    snapshot.release()
    assert {len(loaded.queues[f"q{number}"].messages) for number in range(MANY)} in ({0}, {1})


def test_one_refusal_leaves_it_in_no_queue(broker: Broker, interrupt: Interrupt) -> None:
    broker.put_queue(f"q{MANY - 1}", draining=True)
    interrupt(lambda _: None)
    with pytest.raises(QueueDrainingError, match=f"q{MANY - 1}"):
        send(broker, "x", key="k")
    assert queues_expecting(broker) == 0
    assert with_message(broker) == []
    broker.put_queue(f"q{MANY - 1}", draining=False)
    assert [(each.is_duplicate, each.queues) for each in send(broker, "x", key="k")] == [(False, MANY)]


def test_a_queue_that_refuses_it_in_the_last_moment_fails_it(broker: Broker, interrupt: Interrupt) -> None:
    interrupt(lambda at: broker.put_queue("q0", draining=True) if at == MANY / 4 else None)
    with pytest.raises(QueueDrainingError, match="q0"):
        send(broker, "x")
    assert with_message(broker) == []


def test_the_topic_is_deleted_meanwhile(broker: Broker, interrupt: Interrupt) -> None:
    interrupt(lambda at: broker.topics.delete("orders") if at == 5 else None)
    with pytest.raises(TopicNotFoundError):
        send(broker, "x")
    assert with_message(broker) == []
    assert queues_expecting(broker) == 0


def test_another_topic_takes_its_name_meanwhile(broker: Broker, interrupt: Interrupt) -> None:
    def replace(at: int) -> None:
        if at == 5:
            broker.topics.delete("orders")
            broker.topics.put("orders")
            subscribe(broker, 0)

    interrupt(replace)
    with pytest.raises(TopicNotFoundError):
        send(broker, "x")
    assert with_message(broker) == []


ENDS: dict[str, Callable[[Broker], object]] = {
    "queue": lambda broker: broker.drop_queue(f"q{MANY - 1}"),
    "subscription": lambda broker: broker.topics.unsubscribe("orders", f"s{MANY - 1}"),
    "topic": lambda broker: broker.topics.delete("orders"),
}


@pytest.mark.parametrize("ended", ENDS)
def test_what_is_deleted_before_its_messages_are_counted_has_no_counters(
    broker: Broker, interrupt: Interrupt, ended: str
) -> None:
    counters = broker.counters
    before = counters.of_topic("orders")
    ends = [ENDS[ended]]

    def end(_: int) -> None:
        if before.published and ends:
            ends.pop()(broker)

    interrupt(end)
    send(broker, "x")
    assert not ends
    queues = MANY - (ended == "queue")
    assert sum(counters.by_queue[f"q{number}"].messages[record.PRODUCE] for number in range(queues)) == queues
    assert (f"q{MANY - 1}" in counters.by_queue) == (ended != "queue")
    assert ("orders" in counters.by_topic) == (ended != "topic")
    if ended != "topic":
        assert set(before.delivered) == {f"s{number}" for number in range(MANY - 1)}
        assert before.deliveries == MANY, "the queue has got the message, as the answer says"


def test_queues_that_are_always_busy_do_not_keep_it_from_happening(broker: Broker, interrupt: Interrupt) -> None:
    def act(_: int) -> None:
        for number in range(MANY):
            produce(broker, number)

    pauses = interrupt(act)
    send(broker, "x")
    assert with_message(broker) == list(range(MANY))
    assert len(pauses) < 10 * MANY


def test_dead_letters_of_many_queues_are_in_one(broker: Broker, interrupt: Interrupt) -> None:
    broker.put_queue("dead")
    for number in range(MANY):
        broker.topics.subscribe("orders", f"s{number}", when_full="skip", dead_letter_queue="dead")
        if number % 2:
            broker.put_queue(f"q{number}", draining=True)
    interrupt(lambda at: broker.send("dead", ["other"]) if at == 6 else None)
    [result] = send(broker, "x")
    assert result.queues == MANY
    assert with_message(broker) == list(range(0, MANY, 2))
    assert sorted(each.body for each in broker.messages("dead")) == ["other", *["x"] * (MANY // 2)]
    assert contents_of(broker.core.state, 0) == replayed(broker)


def test_delays_count_from_the_publish(broker: Broker, interrupt: Interrupt) -> None:
    for number in range(MANY):
        delay(broker, number)
    clock = broker.core.clock
    assert isinstance(clock, FakeClock)

    def tick(_: int) -> None:
        clock.ms += 10

    interrupt(tick)
    send(broker, "x")
    [message] = broker.messages("q0")
    assert message.due_ms == message.produced_ms + 5000
    assert contents_of(broker.core.state, 0) == replayed(broker)


def test_a_waiting_consumer_of_each_queue_gets_it(broker: Broker) -> None:
    hub, found = Hub(lambda: None), list[str]()

    def receive(number: int) -> None:
        while not (claimed := broker.claim(f"q{number}", wait_s=20)):
            pass
        found.extend(each.body for each in claimed)

    for number in range(MANY):
        hub.spawn(partial(receive, number))
    hub.run()
    hub.spawn(lambda: send(broker, "x"))
    run_until(hub, lambda: len(found) == MANY)
    assert found == ["x"] * MANY


def test_publishes_at_the_same_time_are_in_the_same_order_everywhere(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, done, decided = Hub(lambda: None), list[str](), list[str]()
    refusal_of = publish_plan.refusal_of

    def noted(admission: Admission, queue: Queue, *given: Any) -> Any:
        decided.append(queue.name)
        return refusal_of(admission, queue, *given)

    monkeypatch.setattr(publish_plan, "refusal_of", noted)

    def work(body: str) -> None:
        send(broker, body, key=body[0])
        done.append(body)

    for body in ("a1", "b", "c", "a2"):
        hub.spawn(partial(work, body))
    run_until(hub, lambda: len(done) == 4)
    orders = {tuple(bodies(broker, number)) for number in range(MANY)}
    assert orders == {("a1", "b", "c")}
    assert len(decided) == 3 * MANY  # none of them has voided the decisions of another
    assert contents_of(broker.core.state, 0) == replayed(broker)


def test_a_waiting_publish_goes_on_when_the_one_before_it_fails(broker: Broker) -> None:
    hub, outcomes = Hub(lambda: None), list[str]()
    broker.put_queue("q39", draining=True)

    def work(body: str) -> None:
        try:
            send(broker, body)
            outcomes.append(body)
        except QueueDrainingError:
            outcomes.append("refused")
            broker.put_queue("q39", draining=False)

    hub.spawn(partial(work, "a"))
    hub.spawn(partial(work, "b"))
    run_until(hub, lambda: len(outcomes) == 2)
    assert outcomes == ["refused", "b"]


def test_the_limit_of_the_broker_is_checked_when_it_happens(broker: Broker, interrupt: Interrupt) -> None:
    core = broker.core
    core.admission = Admission(Limits(total_messages=MANY), core.state)
    interrupt(lambda at: produce(broker, 1) if at == 5 else None)
    with pytest.raises(BrokerFullError):
        send(broker, "x")
    assert with_message(broker) == []


@pytest.mark.parametrize("is_used", [False, True])
def test_no_hold_takes_longer_with_more_queues_that_share_a_dead_letter_queue(
    broker: Broker, interrupt: Interrupt, monkeypatch: pytest.MonkeyPatch, is_used: bool
) -> None:
    """Also if that is used when most of them have refused the message, which voids the decisions about them all."""
    monkeypatch.setattr(publish_plan, "Decision", CountedDecision)
    broker.put_queue("dead")

    def longest(queues: int) -> int:
        for number in range(queues):
            subscribe(broker, number, when_full="skip", dead_letter_queue="dead")
            broker.put_queue(f"q{number}", draining=True)
        interrupt(lambda at: broker.send("dead", ["other"]) if is_used and at == queues // 5 else None)
        return max(calls_in_holds(broker.core.lock, lambda: send(broker, "x")))

    few = longest(MANY)
    assert longest(4 * MANY) < few + MANY
    assert broker.queue("dead").counts["unprocessed"] == 5 * MANY + 2 * is_used
    assert contents_of(broker.core.state, 0) == replayed(broker)


@pytest.mark.parametrize("is_used", [False, True])
@pytest.mark.parametrize("pause", [3, 9])
def test_a_shared_dead_letter_queue_has_the_messages_of_subscriptions_that_stay(
    broker: Broker, interrupt: Interrupt, pause: int, is_used: bool
) -> None:
    """Those between which the messages of another one are missing."""
    broker.put_queue("dead")
    for number in range(MANY):
        subscribe(
            broker,
            number,
            when_full="skip",
            dead_letter_queue="dead",
            raw=bool(number % 3),
            filter={"kind": ["a", "b"][: number % 2 + 1]},
        )
        broker.put_queue(f"q{number}", draining=True)
    kinds: list[dict[str, Attribute]] = [{"kind": ("String", kind)} for kind in "ab"]

    def act(at: int) -> None:
        if at == pause:
            for number in (0, 7, 8, MANY - 1):
                unsubscribe(broker, number)
            broker.topics.subscribe("orders", "s9", raw=True)
            if is_used:
                broker.send("dead", ["other"])

    interrupt(act)
    broker.topics.publish("orders", [Publication(NewMessage("x", attributes=each)) for each in kinds])
    assert broker.queue("dead").counts["unprocessed"] == 60 - 6 + is_used
    assert contents_of(broker.core.state, 0) == replayed(broker)
    assert queues_expecting(broker) == 0
