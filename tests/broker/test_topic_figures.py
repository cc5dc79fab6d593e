"""Figures of topics: which subscriptions deliver to a queue, what needs somebody, rates, and the last hour."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.clock import FakeClock
from tests.support.memory_log import MemoryLog
from tests.support.turns import Turns
from wonderq.broker import feeds
from wonderq.broker.broker import Broker
from wonderq.broker.counters import NAMED_QUEUES
from wonderq.broker.feeds import Feed, FeedsReader
from wonderq.broker.overview import Snapshot
from wonderq.model.errors import BrokerError
from wonderq.model.limits import Limits
from wonderq.model.messages import NewMessage
from wonderq.model.permits import everything
from wonderq.model.topics import Publication


@pytest.fixture
def orders(broker: Broker) -> Broker:
    """A topic with a queue that may be passed over, and one that may not."""
    for queue in ("mail", "audit", "refused"):
        broker.put_queue(queue)
    broker.topics.put("orders")
    broker.topics.subscribe("orders", "to-mail", queue="mail")
    broker.topics.subscribe("orders", "to-audit", queue="audit", when_full="skip", dead_letter_queue="refused")
    return broker


def publish(broker: Broker, count: int = 1, topic: str = "orders") -> None:
    broker.topics.publish(topic, [Publication(NewMessage("x"))] * count)


def snapshot(broker: Broker) -> Snapshot:
    broker.history.run()
    broker.overview._due_s = 0
    return broker.overview.current()


def problems(broker: Broker) -> list[tuple[str, str | None, str | None]]:
    return [
        (each.code, each.queue, each.topic)
        for each in snapshot(broker).problems(everything)[0]
        if each.topic is not None
    ]


def pass_time(broker: Broker, clock: FakeClock, seconds: int) -> None:
    for _ in range(seconds // 10):
        clock.advance(10)
        broker.history.run()


def feeds_of(broker: Broker, queue: str) -> list[tuple[str, str]]:
    snapshot(broker)
    return [(each.subscription, each.gets) for each in broker.overview.figures_of(queue).feeds]


# Feeds


def test_a_queue_knows_the_subscriptions_that_deliver_to_it(orders: Broker) -> None:
    snapshot(orders)
    assert list(orders.overview.figures_of("mail").feeds) == [Feed("orders", "to-mail", "published", False, "fail")]
    assert feeds_of(orders, "audit") == [("to-audit", "published")]
    assert feeds_of(orders, "refused") == [("to-audit", "refused")]
    orders.topics.put("refunds")
    orders.topics.subscribe("refunds", "too", queue="mail", paused=True)
    assert feeds_of(orders, "mail") == [("to-mail", "published"), ("too", "published")]


@pytest.mark.parametrize("ending", ["unsubscribe", "delete the queue", "delete the topic", "change"])
def test_the_feeds_follow_every_change(orders: Broker, ending: str) -> None:
    assert feeds_of(orders, "refused") == [("to-audit", "refused")]
    if ending == "unsubscribe":
        orders.topics.unsubscribe("orders", "to-audit")
    elif ending == "delete the queue":
        orders.drop_queue("audit")
    elif ending == "delete the topic":
        orders.topics.delete("orders")
    else:
        orders.topics.subscribe("orders", "to-audit", dead_letter_queue="")
    assert feeds_of(orders, "refused") == []


def test_the_feeds_are_read_again_only_after_a_change(orders: Broker) -> None:
    reader = FeedsReader(orders.core)
    assert reader.current() is reader.current()
    before = reader.current()
    orders.topics.subscribe("orders", "to-mail", paused=True)
    assert reader.current() is not before


def test_the_queue_for_refused_messages_counts_as_one_of_dead_letters(orders: Broker, clock: FakeClock) -> None:
    orders.put_queue("audit", draining=True)
    publish(orders, 3)
    pass_time(orders, clock, 120)
    found = snapshot(orders)
    [queue] = [each for each in found.queues if each.name == "refused"]
    assert found.dead_letters_of(queue) == 3
    assert found.totals(None).dead_letters == 3
    assert "refused" in found.with_dead_letters()
    assert [(each.code, each.queue) for each in found.problems(everything)[0] if each.queue == "refused"] == [], (
        "nobody consumes it"
    )


# Problems


@pytest.mark.parametrize(
    ("settings", "word"), [({"draining": True}, "draining"), ({"max_messages": 1}, "full"), ({"max_bytes": 4}, "full")]
)
def test_a_queue_that_makes_publishes_fail_is_a_problem_until_it_takes_messages(
    orders: Broker, settings: dict[str, Any], word: str
) -> None:
    publish(orders)
    assert problems(orders) == []
    orders.put_queue("mail", **settings)
    assert problems(orders) == [("publish_refused", "mail", "orders")]
    [problem] = [each for each in snapshot(orders).problems(everything)[0] if each.topic]
    assert problem.severity == "error"
    assert problem.message == f"mail is {word}, so publishes to the topic orders that it would get are refused."
    with pytest.raises(BrokerError):
        publish(orders)
    orders.put_queue("mail", draining=False, max_messages=0, max_bytes=0)
    assert problems(orders) == []
    publish(orders)


def test_a_limit_of_the_broker_makes_publishes_fail_too(clock: FakeClock) -> None:
    broker = Broker(MemoryLog(), clock=clock, limits=Limits(messages_per_queue=2))
    broker.put_queue("mail")
    broker.topics.put("orders")
    broker.topics.subscribe("orders", "to-mail", queue="mail")
    publish(broker, 2)
    assert problems(broker) == [("publish_refused", "mail", "orders")]


def test_a_paused_subscription_makes_no_publish_fail(orders: Broker) -> None:
    orders.put_queue("mail", draining=True)
    orders.topics.subscribe("orders", "to-mail", paused=True)
    assert problems(orders) == []


def test_refused_messages_are_a_problem_for_an_hour(orders: Broker, clock: FakeClock) -> None:
    orders.put_queue("audit", draining=True)
    assert problems(orders) == [], "nothing was refused yet"
    publish(orders, 2)
    pass_time(orders, clock, 10)
    publish(orders, 3)
    pass_time(orders, clock, 10)
    assert problems(orders) == [("skipped", "audit", "orders")]
    [problem] = [each for each in snapshot(orders).problems(everything)[0] if each.topic]
    expected = "audit refused 5 messages of the topic orders in the last hour. Such messages go to refused."
    assert (problem.severity, problem.message) == ("warning", expected)
    assert snapshot(orders).refused_in_last_hour(lambda _: True) == 5
    assert snapshot(orders).refused_in_last_hour(lambda name: name != "audit") == 0
    pass_time(orders, clock, 3500)
    assert problems(orders) == [("skipped", "audit", "orders")]
    pass_time(orders, clock, 100)
    assert problems(orders) == []


def test_messages_that_pass_by_are_no_dead_letters(orders: Broker, clock: FakeClock) -> None:
    orders.topics.subscribe("orders", "to-audit", dead_letter_queue="")
    orders.put_queue("audit", draining=True)
    publish(orders)
    pass_time(orders, clock, 10)
    [problem] = [each for each in snapshot(orders).problems(everything)[0] if each.topic]
    expected = "audit refused 1 message of the topic orders in the last hour. It does not get them any more."
    assert problem.message == expected
    assert snapshot(orders).refused_in_last_hour(lambda _: True) == 0


def test_the_problems_of_a_subscription_end_with_it(orders: Broker, clock: FakeClock) -> None:
    orders.put_queue("audit", draining=True)
    publish(orders)
    pass_time(orders, clock, 10)
    orders.topics.unsubscribe("orders", "to-audit")
    assert problems(orders) == []
    orders.topics.subscribe("orders", "to-audit", queue="audit", when_full="skip")
    assert problems(orders) == [], "it is another subscription"
    pass_time(orders, clock, 10)
    publish(orders)
    pass_time(orders, clock, 10)
    [loss] = orders.history.topics.losses()
    assert loss == ("orders", "to-audit", 1)


def test_a_topic_of_the_same_name_has_refused_nothing(orders: Broker, clock: FakeClock) -> None:
    orders.put_queue("audit", draining=True)
    publish(orders, 7)
    pass_time(orders, clock, 10)
    orders.topics.delete("orders")
    orders.topics.put("orders")
    orders.topics.subscribe("orders", "to-audit", queue="audit", when_full="skip")
    assert problems(orders) == []
    publish(orders)
    pass_time(orders, clock, 10)
    [loss] = orders.history.topics.losses()
    assert loss == ("orders", "to-audit", 1)


def test_the_last_hour_is_known_of_so_many_subscriptions(broker: Broker, clock: FakeClock) -> None:
    broker.topics.put("orders")
    for number in range(NAMED_QUEUES + 5):
        broker.put_queue(f"queue-{number:03}", draining=True)
        broker.topics.subscribe("orders", f"s-{number:03}", queue=f"queue-{number:03}", when_full="skip")
    publish(broker)
    pass_time(broker, clock, 10)
    assert len(broker.history.topics.losses()) == NAMED_QUEUES
    assert len(problems(broker)) == NAMED_QUEUES
    for number in range(10):
        broker.topics.unsubscribe("orders", f"s-{number:03}")
    pass_time(broker, clock, 10)
    publish(broker)
    pass_time(broker, clock, 10)
    assert len(broker.history.topics.losses()) == NAMED_QUEUES - 5, "others have taken the places"


# Rates


def test_rates_are_those_of_about_ten_seconds(orders: Broker, clock: FakeClock) -> None:
    topics = orders.history.topics
    orders.topics.put("new")
    assert topics.per_second("new", 10_000) == (0, 0, 0)
    publish(orders, 5)
    assert topics.per_second("orders", 10_000) is None, "nobody knows since when"
    pass_time(orders, clock, 10)
    publish(orders, 20)
    orders.put_queue("audit", draining=True)
    publish(orders, 10)
    pass_time(orders, clock, 10)
    assert topics.per_second("orders", 10_000) == (3, 5, 1)
    assert topics.since_start("orders") == (35, 60, 10)
    pass_time(orders, clock, 20)
    assert topics.per_second("orders", 10_000) == (0, 0, 0)


def test_a_topic_of_the_same_name_has_rates_of_its_own(orders: Broker, clock: FakeClock) -> None:
    publish(orders, 50)
    pass_time(orders, clock, 20)
    orders.topics.delete("orders")
    orders.topics.put("orders")
    orders.topics.subscribe("orders", "to-mail", queue="mail")
    publish(orders, 10)
    pass_time(orders, clock, 10)
    assert orders.history.topics.per_second("orders", 10_000) == (0, 0, 0)
    publish(orders, 10)
    pass_time(orders, clock, 10)
    assert orders.history.topics.per_second("orders", 10_000) == (1, 1, 0)


def test_the_first_topics_have_rates(broker: Broker, clock: FakeClock) -> None:
    names = [f"topic-{number:03}" for number in range(NAMED_QUEUES + 2)]
    for name in names:
        broker.topics.put(name)
        publish(broker, topic=name)
    pass_time(broker, clock, 20)
    known = [broker.history.topics.per_second(name, 10_000) is not None for name in names]
    assert known == [True] * NAMED_QUEUES + [False] * 2


# Work


def test_no_turn_reads_too_many_subscriptions(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    broker.topics.put("orders")
    for number in range(1200):
        broker.put_queue(f"queue-{number:04}", max_messages=5)
        broker.topics.subscribe("orders", f"s-{number:04}", queue=f"queue-{number:04}")
    monkeypatch.setattr("wonderq.runtime.fibers._STEPS_PER_TURN", 500)
    turns, make, refusal_of = Turns(monkeypatch), feeds.Feed, feeds._refusal_of

    def counted(*fields: Any) -> Feed:
        turns.count()
        return make(*fields)

    def looked(*given: Any) -> str | None:
        turns.count()
        return refusal_of(*given)

    monkeypatch.setattr(feeds, "Feed", counted)
    monkeypatch.setattr(feeds, "_refusal_of", looked)
    found = turns.run(lambda: list(feeds.refusals(broker.core, FeedsReader(broker.core).current())))
    assert found == []
    assert sum(turns.counts) == 2400
    assert max(turns.counts) <= 1000
