"""Messages that cross from one shard to another arrive once and in order, whatever is lost and whoever takes over."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from tests.support.two_shards import SHARDS, TwoShards, name_in, remove_dead_letters
from tests.support.waiting import PATIENCE_S, eventually
from wonderq.broker import outboxes
from wonderq.broker.background import Rounds
from wonderq.broker.broker import Broker
from wonderq.broker.consumers import CallingWaiter
from wonderq.broker.outboxes import Departure
from wonderq.broker.topics import drop_queue
from wonderq.cluster import crosser
from wonderq.cluster.applications import Outcome
from wonderq.cluster.crosser import Crosser
from wonderq.cluster.wire import ForwardedRequest
from wonderq.model.messages import NewMessage, Target
from wonderq.model.topics import Publication
from wonderq.state.record import Record

HERE, THERE = name_in(0, "orders"), name_in(1, "failed")
TOPIC = name_in(0, "news")
FIFO_TOPIC, FIFO_THERE = name_in(0, "news", ".fifo"), name_in(1, "line", ".fifo")


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tries follow each other at once."""
    monkeypatch.setattr(crosser, "_FIRST_PAUSE_S", 0.0001)
    monkeypatch.setattr(crosser, "_LONGEST_PAUSE_S", 0.001)


@pytest.fixture
def shards() -> Iterator[TwoShards]:
    shards = TwoShards()
    yield shards
    shards.close()


@pytest.fixture
def dead_letters(shards: TwoShards) -> TwoShards:
    """A queue of one shard whose dead letters go to a queue of the other one."""
    shards.broker(THERE).put_queue(THERE)
    shards.broker(HERE).put_queue(HERE, dead_letter_queue=THERE, max_receives=1)
    return shards


def publish(shards: TwoShards, topic: str, *bodies: str, **fields: Any) -> None:
    publications = [Publication(NewMessage(body, **fields)) for body in bodies]
    shards.broker(topic).topics.publish(topic, publications)


def subscribe(shards: TwoShards, topic: str, queue: str, name: str = "s") -> None:
    shards.broker(queue).put_queue(queue)
    shards.broker(topic).topics.put(topic)
    shards.broker(topic).topics.subscribe(topic, name, queue=queue)


def test_a_dead_letter_crosses_with_its_origin(dead_letters: TwoShards) -> None:
    dead_letters.kill(HERE, "x")
    assert (dead_letters.bodies(HERE), dead_letters.waiting()) == ([], {THERE: 1})
    dead_letters.cross()
    [message] = dead_letters.messages(THERE)
    assert (message.body, message.status) == ("x", "unprocessed")
    assert message.envelope is not None
    assert message.envelope.dead_letter_source is not None
    source = message.envelope.dead_letter_source
    assert (source.queue, source.receives) == (HERE, 1)


#: The fates of the calls before the last one.
FAULTS: dict[str, list[str]] = {
    "the request is lost": ["request lost"],
    "the reply is lost": ["reply lost"],
    "the reply is lost twice": ["reply lost", "reply lost"],
    "nobody owns the other shard": ["no owner", "request lost"],
    "all of them": ["no owner", "reply lost", "request lost", "reply lost"],
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_message_arrives_once_whatever_is_lost(dead_letters: TwoShards, case: str) -> None:
    dead_letters.faults = list(FAULTS[case])
    dead_letters.kill(HERE, "x", "y")
    dead_letters.cross()
    dead_letters.kill(HERE, "z")
    dead_letters.cross()
    assert dead_letters.bodies(THERE) == ["x", "y", "z"]
    assert dead_letters.faults == []


@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("fault", ["request lost", "reply lost"])
def test_a_message_arrives_once_when_a_shard_has_another_owner(dead_letters: TwoShards, shard: int, fault: str) -> None:
    dead_letters.faults = [fault]
    dead_letters.kill(HERE, "x")
    dead_letters.turn()
    dead_letters.take_over(shard)
    assert dead_letters.waiting() == {THERE: 1}, "the next owner knows it"
    dead_letters.cross()
    dead_letters.kill(HERE, "y")
    dead_letters.cross()
    assert dead_letters.bodies(THERE) == ["x", "y"]


def test_a_call_of_the_former_owner_may_arrive_after_that_of_the_next_one(dead_letters: TwoShards) -> None:
    former = dead_letters.crossers[0]
    dead_letters.kill(HERE, "x")

    def overtake() -> None:
        dead_letters.take_over(0)
        dead_letters.crossers[0].turn()

    late: list[ForwardedRequest] = []
    dead_letters.faults = [overtake]
    former.turn()
    late += dead_letters.calls[:1]
    dead_letters.kill(HERE, "y")
    dead_letters.cross()
    for each in late:
        dead_letters.call(1, each)
    assert dead_letters.bodies(THERE) == ["x", "y"]


def test_a_deletion_that_is_lost_in_a_crash_is_made_up_for(dead_letters: TwoShards) -> None:
    dead_letters.kill(HERE, "x")
    dead_letters.brokers[0].core.wait_until_durable()
    log = dead_letters.logs[0]
    log.hold()
    dead_letters.cross()
    found = log.after_crash()
    log.release()
    dead_letters.take_over(0, found)
    assert dead_letters.waiting() == {THERE: 1}
    dead_letters.cross()
    assert dead_letters.bodies(THERE) == ["x"]


def test_a_crash_before_the_arrival_is_durable_loses_nothing(dead_letters: TwoShards) -> None:
    dead_letters.kill(HERE, "x")
    before = dead_letters.logs[1].after_crash()
    dead_letters.faults = ["reply lost"]
    dead_letters.turn()
    dead_letters.take_over(1, before)
    assert dead_letters.bodies(THERE) == []
    dead_letters.cross()
    assert dead_letters.bodies(THERE) == ["x"]


def test_a_message_may_cross_again_later(dead_letters: TwoShards) -> None:
    """Its way back and forth again is not taken for a repetition."""
    dead_letters.kill(HERE, "x")
    dead_letters.cross()
    for _ in range(2):
        [message] = dead_letters.messages(THERE)
        assert dead_letters.broker(THERE).move(THERE, [message.id]) == [None]
        dead_letters.cross()
        assert (dead_letters.bodies(HERE), dead_letters.bodies(THERE)) == (["x"], [])
        dead_letters.broker(HERE).claim(HERE, visibility_timeout_ms=1000)
        dead_letters.advance(2)
        remove_dead_letters(dead_letters.broker(HERE))
        dead_letters.cross()
        assert (dead_letters.bodies(HERE), dead_letters.bodies(THERE)) == ([], ["x"])


def test_an_outbox_that_was_deleted_and_is_there_again_has_other_messages(shards: TwoShards) -> None:
    """Their numbers begin anew, and are not those of the messages before."""
    for body in ("first", "second"):
        subscribe(shards, TOPIC, THERE)
        publish(shards, TOPIC, body)
        shards.cross()
        assert shards.bodies(THERE) == [body]
        shards.broker(THERE).drop_queue(THERE)
        publish(shards, TOPIC, "nobody gets it")
        shards.cross()
        assert list(shards.broker(TOPIC).topics.subscriptions(TOPIC)) == []
    subscribe(shards, TOPIC, THERE)
    publish(shards, TOPIC, "third")
    shards.cross()
    assert shards.bodies(THERE) == ["third"]


def test_the_outbox_of_a_queue_that_stays_may_be_another_one(shards: TwoShards) -> None:
    subscribe(shards, TOPIC, THERE)
    publish(shards, TOPIC, "first", "second")
    shards.cross()
    outbox = shards.brokers[0].core.state.queues[THERE]
    position = shards.brokers[0].core.log.end()
    assert not shards.brokers[0].outboxes.end_subscriptions(Departure(THERE, "", (), outbox.number, position))
    subscribe(shards, TOPIC, THERE)
    publish(shards, TOPIC, "third")
    shards.cross()
    assert shards.bodies(THERE) == ["first", "second", "third"]


def test_a_subscription_that_is_newer_than_the_answer_stays(shards: TwoShards) -> None:
    """The queue was deleted, and is made and subscribed again while the answer that it is gone is under way."""
    subscribe(shards, TOPIC, THERE)
    shards.broker(THERE).drop_queue(THERE)
    publish(shards, TOPIC, "too early")
    outboxes = shards.brokers[0].outboxes
    departure = outboxes.departure(THERE)
    assert departure is not None
    shards.broker(TOPIC).topics.unsubscribe(TOPIC, "s")
    subscribe(shards, TOPIC, THERE, "again")
    publish(shards, TOPIC, "in time")
    assert outboxes.end_subscriptions(departure)
    shards.cross()
    assert shards.bodies(THERE)[-1] == "in time"
    assert [each.subscription.name for each in shards.broker(TOPIC).topics.subscriptions(TOPIC)] == ["again"]


def test_messages_after_an_accepted_loss_are_other_messages(dead_letters: TwoShards) -> None:
    """The log of a shard has lost its end, so numbers are used again."""
    dead_letters.kill(HERE, "x")
    dead_letters.cross()
    dead_letters.brokers[0].core.wait_until_durable()
    before = dead_letters.logs[0].after_crash()
    dead_letters.kill(HERE, "y")
    dead_letters.cross()
    dead_letters.advance(1)
    dead_letters.take_over(0, before)
    dead_letters.kill(HERE, "z")
    dead_letters.cross()
    assert dead_letters.bodies(THERE) == ["x", "y", "z"]


def test_many_messages_cross_in_portions_and_in_order(shards: TwoShards) -> None:
    subscribe(shards, TOPIC, THERE)
    bodies = [f"{number}" for number in range(700)]
    shards.faults = ["none", "reply lost", "none", "request lost"]
    publish(shards, TOPIC, *bodies)
    publish(shards, TOPIC, "large" * 100_000, "larger" * 100_000)
    shards.cross()
    assert [each[:20] for each in shards.bodies(THERE)] == [*bodies, ("large" * 4), ("larger" * 4)[:20]]
    assert len(shards.calls) < 20


def test_a_fifo_group_keeps_its_order(shards: TwoShards) -> None:
    subscribe(shards, FIFO_TOPIC, FIFO_THERE)
    shards.faults = ["reply lost", "request lost", "none", "reply lost"]
    for number in range(6):
        publish(shards, FIFO_TOPIC, f"a{number}", group="a", key=f"a{number}")
        publish(shards, FIFO_TOPIC, f"b{number}", group="b", key=f"b{number}")
        shards.turn()
        if number == 3:
            shards.take_over(0)
    shards.cross()
    found: dict[str, list[str]] = {"a": [], "b": []}
    broker = shards.broker(FIFO_THERE)
    while messages := broker.claim(FIFO_THERE, limit=1):
        for each in messages:
            assert each.envelope is not None
            found[each.envelope.group].append(each.body)
            broker.delete(FIFO_THERE, Target(receipt=each.receipt))
    assert found == {group: [f"{group}{number}" for number in range(6)] for group in "ab"}


def test_priorities_delays_and_attributes_cross(shards: TwoShards) -> None:
    subscribe(shards, TOPIC, THERE)
    publish(shards, TOPIC, "low", attributes={"a": ("String", "b")})
    publish(shards, TOPIC, "high", priority=9)
    publish(shards, TOPIC, "late", delay_ms=60_000)
    shards.cross()
    claimed = shards.broker(THERE).claim(THERE, visibility_timeout_ms=3_600_000)
    assert [each.body for each in claimed] == ["high", "low"]
    assert claimed[1].envelope is not None
    assert claimed[1].envelope.attributes == {"a": ("String", "b")}
    shards.advance(60)
    assert [each.body for each in shards.broker(THERE).claim(THERE)] == ["late"]


def test_the_pause_after_a_failure_doubles_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    line = crosser._Line()
    assert [line.fail("it is full") for _ in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    line.succeed()
    assert (line.fail("it is full again"), line.creates) == (0.1, False)


def test_a_full_queue_gets_what_fits_and_the_rest_later(shards: TwoShards) -> None:
    subscribe(shards, TOPIC, THERE)
    shards.broker(THERE).put_queue(THERE, max_messages=3)
    publish(shards, TOPIC, *"abcde")
    eventually(lambda: shards.turn() or shards.waiting() == {THERE: 2}, "three messages to cross")
    eventually(lambda: shards.turn() or shards.broker(TOPIC).counters.crossings_refused[THERE], "a refusal")
    assert shards.bodies(THERE) == ["a", "b", "c"]
    assert shards.broker(HERE).produce(HERE, ["others go on"])
    shards.broker(THERE).purge(THERE)
    shards.cross()
    assert shards.bodies(THERE) == ["d", "e"]
    assert shards.broker(TOPIC).counters.crossed == {THERE: 5}


def test_a_draining_queue_gets_its_messages_later(dead_letters: TwoShards) -> None:
    dead_letters.broker(THERE).put_queue(THERE, draining=True)
    dead_letters.kill(HERE, "x")
    eventually(lambda: dead_letters.turn() or dead_letters.broker(HERE).counters.crossings_refused[THERE])
    assert dead_letters.bodies(THERE) == []
    dead_letters.broker(THERE).put_queue(THERE, draining=False)
    dead_letters.cross()
    assert dead_letters.bodies(THERE) == ["x"]


def test_a_failing_queue_does_not_hold_up_the_others(shards: TwoShards) -> None:
    other = name_in(1, "other")
    subscribe(shards, TOPIC, THERE)
    subscribe(shards, TOPIC, other, "o")
    shards.broker(THERE).put_queue(THERE, draining=True)
    publish(shards, TOPIC, "x")
    eventually(lambda: shards.turn() or shards.waiting() == {THERE: 1}, "the other queue to have the message")
    assert (shards.bodies(THERE), shards.bodies(other)) == ([], ["x"])


def test_a_dead_letter_queue_that_was_deleted_is_created_again(dead_letters: TwoShards) -> None:
    dead_letters.broker(THERE).drop_queue(THERE)
    dead_letters.kill(HERE, "x")
    dead_letters.cross()
    assert dead_letters.bodies(THERE) == ["x"]


def test_no_queue_is_created_where_producers_may_not() -> None:
    shards = TwoShards(create_queues=False)
    shards.broker(HERE).put_queue(HERE, dead_letter_queue=THERE, max_receives=1)
    shards.kill(HERE, "x")
    eventually(lambda: shards.turn() or shards.broker(HERE).counters.crossings_refused[THERE], "a refusal")
    assert shards.waiting() == {THERE: 1}
    shards.broker(THERE).put_queue(THERE)
    shards.cross()
    assert shards.bodies(THERE) == ["x"]
    shards.close()


def test_a_subscription_ends_with_its_queue_but_a_dead_letter_stays(dead_letters: TwoShards) -> None:
    subscribe(dead_letters, TOPIC, THERE)
    dead_letters.kill(HERE, "dead")
    dead_letters.broker(THERE).drop_queue(THERE)
    dead_letters.cross()
    assert list(dead_letters.broker(TOPIC).topics.subscriptions(TOPIC)) == []
    assert dead_letters.bodies(THERE) == ["dead"]


def test_the_queue_remembers_a_message_for_two_weeks(dead_letters: TwoShards) -> None:
    dead_letters.faults = ["reply lost"]
    dead_letters.kill(HERE, "x")
    dead_letters.turn()
    dead_letters.advance(13 * 86_400)
    dead_letters.take_over(0)
    dead_letters.cross()
    assert dead_letters.bodies(THERE) == ["x"]


def test_a_purge_that_voids_the_keys_of_producers_does_not_bring_messages_back(dead_letters: TwoShards) -> None:
    dead_letters.faults = ["reply lost"]
    dead_letters.kill(HERE, "x")
    dead_letters.turn()
    dead_letters.broker(THERE).purge(THERE, void_keys=True)
    dead_letters.cross()
    assert dead_letters.bodies(THERE) == []


@pytest.mark.parametrize("seed", range(12))
def test_random_losses_and_takeovers_neither_lose_nor_double_nor_reorder(shards: TwoShards, seed: int) -> None:
    chance = random.Random(seed)
    back = name_in(1, "back")
    subscribe(shards, TOPIC, THERE)
    subscribe(shards, back, HERE)
    sent: dict[str, list[str]] = {TOPIC: [], back: []}
    for step in range(60):
        act = chance.random()
        if act < 0.4:
            topic = chance.choice([TOPIC, back])
            publish(shards, topic, f"{step}")
            sent[topic].append(f"{step}")
        elif act < 0.6:
            shards.faults.append(chance.choice(["request lost", "reply lost", "no owner", "none"]))
        elif act < 0.7:
            shards.faults.append(partial(shards.take_over, chance.choice([0, 1])))
        elif act < 0.8:
            shards.take_over(chance.choice([0, 1]))
        else:
            shards.turn()
        shards.advance(chance.choice([0, 0, 0.001, 5]))
    shards.cross()
    assert shards.bodies(THERE) == sent[TOPIC]
    assert shards.bodies(HERE) == sent[back]


# The loop


class HeldCall:
    """Holds calls up until a test lets them go."""

    def __init__(self, call: Callable[[int, ForwardedRequest], Outcome]) -> None:
        self._call = call
        self.began = threading.Event()
        self.may_end = threading.Event()

    def __call__(self, shard: int, request: ForwardedRequest) -> Outcome:
        self.began.set()
        assert self.may_end.wait(PATIENCE_S)
        return self._call(shard, request)


@pytest.fixture
def rounds() -> Iterator[Rounds]:
    rounds = Rounds(2)
    yield rounds
    rounds.close()


def test_a_message_crosses_without_waiting_for_a_tick(dead_letters: TwoShards, rounds: Rounds) -> None:
    dead_letters.kill(HERE, "x")  # so that there is an outbox
    loop = Crosser(dead_letters.brokers[0], dead_letters.call, SHARDS, tick_s=10 * PATIENCE_S)
    loop.start(rounds)
    for number in range(20):
        eventually(lambda: dead_letters.waiting() == {}, "the messages to cross")
        eventually(lambda: rounds._due, "the loop to rest")
        dead_letters.kill(HERE, f"x{number}")
    eventually(lambda: dead_letters.waiting() == {}, "the messages to cross")
    loop.stop()
    assert len(dead_letters.bodies(THERE)) == 21


def test_a_shard_is_handed_over_without_waiting_for_a_call(dead_letters: TwoShards, rounds: Rounds) -> None:
    call = HeldCall(dead_letters.call)
    loop = Crosser(dead_letters.brokers[0], call, SHARDS)
    dead_letters.kill(HERE, "x")
    loop.start(rounds)
    assert call.began.wait(PATIENCE_S)
    loop.stop()
    dead_letters.brokers[0].close()
    dead_letters.take_over(0)
    dead_letters.cross()
    call.may_end.set()
    dead_letters.kill(HERE, "y")
    dead_letters.cross()
    assert dead_letters.bodies(THERE) == ["x", "y"]


def test_the_loop_ends_with_its_log(dead_letters: TwoShards) -> None:
    former = dead_letters.crossers[0]
    dead_letters.kill(HERE, "x")
    dead_letters.brokers[0].core.wait_until_durable()
    dead_letters.take_over(0)
    former.turn()
    former.turn()
    dead_letters.cross()
    assert dead_letters.bodies(THERE) == ["x"]


LEADING: dict[str, Callable[[Broker], object]] = {
    "dead letters": lambda broker: broker.put_queue(HERE, dead_letter_queue=THERE),
    "a schedule": lambda broker: broker.schedules.put("s", cron="0 0 * * *", queue=THERE, body="x"),
    "a schedule that goes elsewhere": lambda broker: broker.schedules.put("elsewhere", queue=THERE),
    "a redrive": lambda broker: broker.redrives.start(HERE, THERE),
    "what a queue refuses": lambda broker: broker.topics.subscribe(TOPIC, "n", queue=HERE, dead_letter_queue=THERE),
}


@pytest.mark.parametrize("kind", LEADING)
def test_what_begins_to_lead_to_a_queue_while_others_are_looked_through_keeps_the_messages(
    shards: TwoShards, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    shards.broker(HERE).put_queue(HERE)
    shards.brokers[0].schedules.put("elsewhere", cron="0 0 * * *", queue=HERE, body="x")
    subscribe(shards, TOPIC, THERE)
    publish(shards, TOPIC, "x")
    outboxes = shards.brokers[0].outboxes
    departure = outboxes.departure(THERE)
    assert departure is not None
    is_used = outboxes._is_used

    def look_through_all_but_the_last(name: str) -> bool:
        found = is_used(name)
        LEADING[kind](shards.brokers[0])
        return found

    with monkeypatch.context() as patched:
        patched.setattr(outboxes, "_is_used", look_through_all_but_the_last)
        assert not outboxes.end_subscriptions(departure)
    assert shards.waiting() == {THERE: 1}
    assert outboxes.end_subscriptions(departure), "it is asked again"
    assert shards.waiting() == {THERE: 1}
    assert "s" not in [each.subscription.name for each in shards.broker(TOPIC).topics.subscriptions(TOPIC)]


def test_many_subscriptions_to_a_queue_that_is_gone_end_in_portions(
    shards: TwoShards, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outboxes, "ENDED_AT_ONCE", 2)
    topics = [name_in(0, f"topic{number}-") for number in range(5)]
    for topic in topics:
        subscribe(shards, topic, THERE)
    shards.broker(THERE).drop_queue(THERE)
    publish(shards, topics[0], "nobody gets it")
    core = shards.brokers[0].core
    writes: list[int] = []
    append_and_apply = core.append_and_apply

    def counted(*records: Record, leave: int | None = None) -> int:
        writes.append(len(records))
        return append_and_apply(*records, leave=leave)

    monkeypatch.setattr(core, "append_and_apply", counted)
    shards.cross()
    assert writes == [2, 2, 2], "two portions, and the last subscription with its outbox"
    assert core.state.subscriptions == 0
    assert THERE not in core.state.queues
    assert shards.broker(THERE).queue_names() == []


def test_outboxes_are_looked_at_some_at_a_time(shards: TwoShards, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outboxes, "_OUTBOXES_AT_ONCE", 2)
    names = [name_in(1, f"failed{number}-") for number in range(5)]
    for name in names:
        subscribe(shards, name_in(0, name), name)
        publish(shards, name_in(0, name), "x")
    core = shards.brokers[0].core
    gone = core.state.queues[names[0]]
    pauses: list[int] = []
    monkeypatch.setattr(outboxes, "yield_to_others", lambda: pauses.append(1))
    shards.brokers[0].topics.unsubscribe(name_in(0, names[0]), "s")
    with core.transaction as now_ms:
        drop_queue(core, shards.brokers[0].redrives, gone, now_ms)
    waiter = CallingWaiter(lambda: None)
    assert sorted(shards.brokers[0].outboxes.filled(waiter)) == names[1:]
    assert len(pauses) == 3
    assert shards.waiting() == dict.fromkeys(names[1:], 1)
    assert core.consumers.waiting_for(gone) == 0
    assert not waiter.wake.is_set()
    publish(shards, name_in(0, names[4]), "y")
    assert waiter.wake.is_set()
