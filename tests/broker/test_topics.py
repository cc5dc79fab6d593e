"""Topics and subscriptions: their settings, their durability, and their ends."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from dataclasses import replace
from types import FrameType
from typing import Any

import pytest

from tests.broker.conftest import Lasting
from tests.support.states import contents_of
from wonderq.broker import topics as broker_topics
from wonderq.broker.broker import Broker
from wonderq.broker.topics import SubscriptionChangedError
from wonderq.model.errors import (
    AlreadySubscribedError,
    InvalidValueError,
    NotPermittedError,
    QueueNotFoundError,
    SubscriptionNotFoundError,
    TooManySubscriptionsError,
    TooManyTopicsError,
    TopicNotFoundError,
)
from wonderq.model.messages import NewMessage
from wonderq.model.push import Push
from wonderq.model.push_hosts import PushHosts
from wonderq.model.topics import Publication
from wonderq.state.state import State
from wonderq.state.topics import Subscribers


def names_of(broker: Broker, topic: str) -> list[str]:
    return [each.subscription.name for each in broker.topics.subscriptions(topic)]


@pytest.fixture
def orders(broker: Broker) -> Broker:
    """A broker with a topic, and queues that may subscribe."""
    broker.topics.put("orders")
    for queue in ("mail", "audit", "dead"):
        broker.put_queue(queue)
    return broker


def test_everything_about_a_topic_lasts(lasting: Lasting) -> None:
    broker = lasting.broker
    info, created = broker.topics.put(
        "orders.fifo", tags={"team": "é"}, deduplication_window_ms=60_000, sns={"Policy": "{}"}
    )
    assert (created, info.name, info.settings.tags) == (True, "orders.fifo", {"team": "é"})
    broker.topics.put("empty", content_deduplication=True)
    broker.put_queue("mail.fifo")
    broker.put_queue("dead")
    given: dict[str, Any] = {
        "raw": False,
        "filter": {"kind": ["a", {"prefix": "é"}]},
        "dead_letter_queue": "dead",
        "when_full": "skip",
        "paused": True,
        "sns": {"Endpoint": "arn"},
    }
    made, created = broker.topics.subscribe("orders.fifo", "mail", queue="mail.fifo", **given)
    assert created
    broker.topics.subscribe("orders.fifo", "plain", queue="dead")
    broker.topics.unsubscribe("orders.fifo", "plain")
    broker.topics.publish("orders.fifo", [Publication(NewMessage("to nobody", key="k"))] * 2)
    expected = contents_of(broker.core.state, lasting.clock.ms)
    broker = lasting.again()
    assert contents_of(broker.core.state, lasting.clock.ms)["topics"] == expected["topics"]
    assert broker.topics.subscription("orders.fifo", "mail").subscription == made.subscription
    assert broker.topics.get("orders.fifo") == info._replace(subscriptions=1, published=1)
    assert [each.name for each in broker.topics.list()] == ["empty", "orders.fifo"]
    [again] = broker.topics.publish("orders.fifo", [Publication(NewMessage("other", key="k"))])
    assert again.is_duplicate
    lasting.clock.ms += 60_000
    [later] = broker.topics.publish("orders.fifo", [Publication(NewMessage("other", key="k"))])
    assert (later.is_duplicate, later.sequence) == (False, 1)


def test_only_what_is_given_changes(orders: Broker) -> None:
    orders.topics.put("orders", tags={"a": "1"})
    _, created = orders.topics.put("orders", content_deduplication=True)
    assert not created
    assert orders.topics.get("orders").settings.tags == {"a": "1"}
    orders.topics.subscribe("orders", "mail", queue="mail", filter={"a": ["1"]}, when_full="skip")
    _, created = orders.topics.subscribe("orders", "mail", paused=True)
    assert not created
    found = orders.topics.subscription("orders", "mail").subscription
    assert (found.paused, found.filter, found.when_full) == (True, '{"a": ["1"]}', "skip")
    orders.topics.subscribe("orders", "mail", filter=None)
    assert orders.topics.subscription("orders", "mail").subscription.filter == ""
    orders.topics.change("orders", lambda info: {"tags": {**info.settings.tags, "b": "2"}})
    assert orders.topics.get("orders").settings.tags == {"a": "1", "b": "2"}


def test_what_changes_nothing_is_not_written(orders: Broker) -> None:
    orders.topics.subscribe("orders", "mail", queue="mail", filter={"a": ["1"]})
    end = orders.core.log.end()
    orders.topics.put("orders")
    orders.topics.subscribe("orders", "mail", queue="mail", filter={"a": ["1"]})
    assert orders.core.log.end() == end


def test_a_topic_that_is_there_is_not_created(lasting: Lasting) -> None:
    info, created = lasting.broker.topics.create("orders", tags={"a": "1"})
    assert (created, info.settings.tags) == (True, {"a": "1"})
    assert lasting.broker.topics.create("orders", tags={"a": "2"}) == (info, False)
    assert lasting.again().topics.list() == [info]


def test_a_subscription_changes_only_if_it_is_the_expected_one(orders: Broker) -> None:
    topics = orders.topics
    first, created = topics.subscribe("orders", "mail", queue="mail", expected=None)
    assert created
    second, _ = topics.subscribe("orders", "mail", expected=first.subscription, paused=True)
    end = orders.core.log.end()
    for other in (None, first.subscription):
        with pytest.raises(SubscriptionChangedError):
            topics.subscribe("orders", "mail", queue="mail", expected=other, raw=False)
    assert topics.subscription("orders", "mail").subscription == second.subscription
    assert orders.core.log.end() == end


@pytest.mark.parametrize("ending", ["unsubscribed", "queue deleted"])
def test_a_subscription_that_has_ended_is_not_the_expected_one(orders: Broker, ending: str) -> None:
    topics = orders.topics
    before = topics.subscribe("orders", "mail", queue="mail")[0].subscription
    if ending == "unsubscribed":
        topics.unsubscribe("orders", "mail")
    else:
        orders.drop_queue("mail")
        orders.put_queue("mail")
    with pytest.raises(SubscriptionChangedError):
        topics.subscribe("orders", "mail", queue="mail", expected=before)
    assert names_of(orders, "orders") == []
    assert topics.subscribe("orders", "mail", queue="mail", expected=None)[1]


def test_a_topic_and_its_pending_subscriptions_are_of_one_moment(
    orders: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders.pushes.hosts = PushHosts(("hooks.example.com",))
    confirm = orders.core.confirm
    push = Push("https://hooks.example.com/", "sns", confirmed=False, token="0" * 96)

    def subscribe_then_confirm() -> None:
        monkeypatch.setattr(orders.core, "confirm", confirm)
        orders.topics.subscribe("orders", "pending", push=push)
        confirm()

    before = orders.topics.get("orders")
    monkeypatch.setattr(orders.core, "confirm", subscribe_then_confirm)
    assert orders.topics.get_with_pending("orders") == (before, 0)
    assert orders.topics.get_with_pending("orders") == (before._replace(subscriptions=1), 1)
    with pytest.raises(TopicNotFoundError):
        orders.topics.get_with_pending("none")


REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "no queue": ({}, InvalidValueError, "needs a queue"),
    "queue that is not there": ({"queue": "other"}, QueueNotFoundError, "other"),
    "filter that is none": (
        {"queue": "mail", "filter": {"a": "b"}},
        InvalidValueError,
        "must be an object or an array",
    ),
    "filter of another scope": ({"queue": "mail", "filter": {"a": {"b": ["c"]}}}, InvalidValueError, "body"),
    "infinite number": ({"queue": "mail", "filter": {"a": [float("inf")]}}, InvalidValueError, "finite"),
    "scope": ({"queue": "mail", "filter_scope": "id"}, InvalidValueError, "attributes or body"),
    "when full": ({"queue": "mail", "when_full": "wait"}, InvalidValueError, "fail or skip"),
    "dead-letter queue that is not there": ({"queue": "mail", "dead_letter_queue": "x"}, QueueNotFoundError, "x"),
    "its queue as dead-letter queue": (
        {"queue": "mail", "dead_letter_queue": "mail"},
        InvalidValueError,
        "dead-letter",
    ),
    "long attributes": ({"queue": "mail", "sns": {"a": "x" * 20_000}}, InvalidValueError, "bytes"),
}


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_a_subscription_is_checked_when_it_is_made(orders: Broker, case: str) -> None:
    given, error, text = REFUSED[case]
    end = orders.core.log.end()
    with pytest.raises(error, match=text):
        orders.topics.subscribe("orders", "new", **given)
    assert (orders.core.log.end(), names_of(orders, "orders")) == (end, [])


def test_a_queue_subscribes_once_and_a_subscription_keeps_its_queue(orders: Broker) -> None:
    orders.topics.subscribe("orders", "one", queue="mail")
    with pytest.raises(AlreadySubscribedError, match="the subscription one of the topic orders"):
        orders.topics.subscribe("orders", "two", queue="mail")
    with pytest.raises(InvalidValueError, match="keeps its queue"):
        orders.topics.subscribe("orders", "one", queue="audit")
    orders.topics.subscribe("orders", "two", queue="audit")
    assert names_of(orders, "orders") == ["one", "two"]


@pytest.mark.parametrize("name", ["", "a b", "x" * 257, "a.fifo.fifo", ".fifo", "é"])
def test_names_are_checked(orders: Broker, name: str) -> None:
    with pytest.raises(InvalidValueError):
        orders.topics.put(name)
    with pytest.raises(InvalidValueError):
        orders.topics.subscribe("orders", name, queue="mail")


def test_settings_are_checked(orders: Broker) -> None:
    for wrong in ({"deduplication_window_ms": 1}, {"tags": {"": "x"}}, {"tags": {str(n): "" for n in range(51)}}):
        with pytest.raises(InvalidValueError):
            orders.topics.put("other", **wrong)
    with pytest.raises(TopicNotFoundError):
        orders.topics.get("other")


def test_what_is_not_there_is_named(orders: Broker) -> None:
    nobody = [Publication(NewMessage("x"))]
    calls = (
        lambda: orders.topics.delete("x"),
        lambda: orders.topics.subscriptions("x"),
        lambda: orders.topics.subscribe("x", "y", queue="mail"),
        lambda: orders.topics.unsubscribe("x", "y"),
        lambda: orders.topics.publish("x", nobody),
        lambda: orders.topics.match("x", nobody[0]),
        lambda: orders.topics.change("x", lambda _: {}),
    )
    for call in calls:
        with pytest.raises(TopicNotFoundError, match="'x'"):
            call()
    for name in ("subscription", "unsubscribe"):
        with pytest.raises(SubscriptionNotFoundError, match="'y'"):
            getattr(orders.topics, name)("orders", "y")


def test_both_ends_must_be_permitted(orders: Broker) -> None:
    def only_mail(queue: str | None) -> bool:
        return queue == "mail"

    with pytest.raises(NotPermittedError, match="audit"):
        orders.topics.subscribe("orders", "new", only_mail, queue="audit")
    with pytest.raises(NotPermittedError, match="dead"):
        orders.topics.subscribe("orders", "new", only_mail, queue="mail", dead_letter_queue="dead")
    orders.topics.subscribe("orders", "mine", only_mail, queue="mail")
    orders.topics.subscribe("orders", "theirs", queue="audit")
    assert [each.subscription.name for each in orders.topics.subscriptions("orders", only_mail)] == ["mine"]
    with pytest.raises(InvalidValueError, match="A new subscription needs a queue"):
        orders.topics.subscribe("orders", "theirs", only_mail, paused=True)
    with pytest.raises(SubscriptionNotFoundError):
        orders.topics.unsubscribe("orders", "theirs", only_mail)
    orders.topics.unsubscribe("orders", "mine", only_mail)
    with pytest.raises(NotPermittedError, match="choose another name"):
        orders.topics.subscribe("orders", "theirs", only_mail, queue="mail")
    assert names_of(orders, "orders") == ["theirs"]


def test_subscriptions_end_with_their_queue(lasting: Lasting) -> None:
    broker = lasting.broker
    for topic in ("orders", "events"):
        broker.topics.put(topic)
        for queue in ("mail", "audit"):
            broker.put_queue(queue)
            broker.topics.subscribe(topic, queue, queue=queue)
    broker.drop_queue("mail")
    broker.put_queue("mail")
    broker = lasting.again()
    assert [names_of(broker, topic) for topic in ("events", "orders")] == [["audit"], ["audit"]]
    [sent] = broker.topics.publish("orders", [Publication(NewMessage("x"))])
    assert sent.queues == 1
    assert lasting.bodies("mail") == ""
    assert broker.core.state.subscriptions == 2
    with pytest.raises(SubscriptionNotFoundError, match="ends when its queue is deleted"):
        broker.topics.subscription("orders", "mail")
    _, created = broker.topics.subscribe("orders", "mail", queue="mail")
    assert created


@pytest.mark.parametrize("ending", ["unsubscribe", "delete the queue", "delete the topic"])
def test_a_subscription_of_the_same_name_counts_from_zero(orders: Broker, ending: str) -> None:
    for expected in (1, 1):
        orders.topics.put("orders")
        orders.put_queue("mail", draining=False)
        orders.topics.subscribe("orders", "mine", queue="mail", when_full="skip")
        orders.topics.publish("orders", [Publication(NewMessage("x"))])
        orders.put_queue("mail", draining=True)
        orders.topics.publish("orders", [Publication(NewMessage("x"))])
        info = orders.topics.subscription("orders", "mine")
        assert (info.delivered, info.skipped) == (expected, expected)
        if ending == "unsubscribe":
            orders.topics.unsubscribe("orders", "mine")
        elif ending == "delete the queue":
            orders.drop_queue("mail")
        else:
            orders.topics.delete("orders")


def lines_of(call: Callable[[], object]) -> int:
    """Return how many lines of Python a call executes in this thread."""
    lines = 0

    def trace(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return lines


def test_the_deletion_of_a_queue_takes_no_longer_with_more_topics(orders: Broker) -> None:
    def drop(queue: str) -> int:
        orders.put_queue(queue)
        orders.topics.subscribe("orders", queue, queue=queue)
        return lines_of(lambda: orders.drop_queue(queue))

    drop("warm")
    few = drop("few")
    for number in range(500):
        orders.topics.put(f"topic-{number}")
    assert drop("many") < few + 100
    assert names_of(orders, "orders") == []


def test_the_topics_of_each_queue_are_known_at_every_moment() -> None:
    """A random life of the index, beside a set of pairs."""
    chance, subscribers, pairs = random.Random(3), Subscribers(), set[tuple[int, int]]()
    for _ in range(2_000):
        pair = chance.randrange(4), chance.randrange(5)
        if chance.random() < 0.5:
            subscribers.add(*pair)
            pairs.add(pair)
        else:
            subscribers.remove(*pair)
            pairs.discard(pair)
        for queue in range(4):
            assert subscribers.topics_of(queue) == sorted(topic for each, topic in pairs if each == queue)
        assert len(subscribers) == len({queue for queue, _ in pairs})


def test_a_deleted_topic_leaves_no_trace_in_the_index(orders: Broker) -> None:
    orders.topics.put("refunds")
    for topic in ("orders", "refunds"):
        orders.topics.subscribe(topic, "mail", queue="mail")
    number = orders.core.state.queues["mail"].number
    orders.topics.delete("orders")
    orders.upkeep()
    assert orders.core.state.subscribers.topics_of(number) == [orders.core.state.topics["refunds"].number]
    orders.topics.put("orders")
    orders.topics.subscribe("orders", "mail", queue="mail")
    orders.drop_queue("mail")
    assert names_of(orders, "orders") == names_of(orders, "refunds") == []
    assert len(orders.core.state.subscribers) == 0


def test_a_notice_and_its_token_last(lasting: Lasting) -> None:
    broker = lasting.broker
    broker.pushes.hosts = PushHosts.anywhere()
    broker.topics.put("orders")
    push = Push("http://hooks.example/", "sns")
    made, _ = broker.topics.subscribe("orders", "hook", push=push, raw=False, filter={"kind": ["paid"]})
    broker.topics.unsubscribe("orders", "hook", notice_id="n", token="t")
    broker = lasting.again()
    [notice] = broker.notices.waiting()
    assert (notice.id, notice.token, notice.queue) == ("n", "t", made.queue)
    broker.notices.end(notice)
    broker = lasting.again()
    assert broker.notices.waiting() == []
    found = broker.notices.find("orders", "n", "t")
    assert found is not None
    assert found == (notice._replace(is_told=True), True)
    broker.pushes.hosts = PushHosts.anywhere()
    again, created = broker.topics.subscribe("orders", "hook", **found[0].fields())
    assert created
    assert again.subscription == replace(
        made.subscription, queue=again.subscription.queue, created_ms=again.subscription.created_ms
    )


def test_a_deleted_topic_leaves_what_was_published(lasting: Lasting) -> None:
    broker = lasting.broker
    broker.topics.put("orders")
    broker.put_queue("mail")
    broker.topics.subscribe("orders", "mail", queue="mail")
    [before] = broker.topics.publish("orders", [Publication(NewMessage("x", key="k"))])
    broker.topics.delete("orders")
    broker = lasting.again()
    with pytest.raises(TopicNotFoundError):
        broker.topics.get("orders")
    assert lasting.bodies("mail") == "x"
    broker.topics.put("orders")
    assert names_of(broker, "orders") == []
    [after] = broker.topics.publish("orders", [Publication(NewMessage("x", key="k"))])
    assert (after.is_duplicate, after.queues) == (False, 0)
    assert after.id != before.id
    state = broker.core.state
    assert (state.subscriptions, state.subscription_bytes, state.dedup_entries) == (0, 0, 1)


def test_the_limits_of_topics_and_subscriptions(orders: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, most in (("MAX_TOPICS", 1), ("MAX_SUBSCRIPTIONS", 1)):
        monkeypatch.setattr(broker_topics, name, most)
    with pytest.raises(TooManyTopicsError, match="There are 1 topics already"):
        orders.topics.put("more")
    orders.topics.subscribe("orders", "mail", queue="mail")
    with pytest.raises(TooManySubscriptionsError, match="The topic orders has 1"):
        orders.topics.subscribe("orders", "audit", queue="audit")
    monkeypatch.setattr(broker_topics, "MAX_SUBSCRIPTIONS", 9)
    monkeypatch.setattr(broker_topics, "MAX_TOTAL_SUBSCRIPTIONS", 1)
    with pytest.raises(TooManySubscriptionsError, match="The broker has 1"):
        orders.topics.subscribe("orders", "audit", queue="audit")
    orders.topics.subscribe("orders", "mail", paused=True)


def test_listings_have_pages(orders: Broker) -> None:
    for name in ("b", "a", "c"):
        orders.topics.put(name)
    assert [each.name for each in orders.topics.list(after="a", limit=2)] == ["b", "c"]
    assert [each.name for each in orders.topics.list(lambda name: name != "b", limit=2)] == ["a", "c"]
    for queue in ("mail", "audit", "dead"):
        orders.topics.subscribe("orders", queue, queue=queue)
    page = orders.topics.subscriptions("orders", after="audit", limit=1)
    assert [each.subscription.name for each in page] == ["dead"]


def test_a_snapshot_is_of_its_moment(orders: Broker) -> None:
    """A change that is made during a snapshot, before the turn of its topic, is not in it."""
    state = orders.core.state
    orders.topics.subscribe("orders", "mail", queue="mail")
    orders.topics.subscribe("orders", "audit", queue="audit")
    orders.topics.publish("orders", [Publication(NewMessage("x", key="k"))])
    before = contents_of(state, 0)
    snapshot = state.begin_snapshot()
    orders.topics.publish("orders", [Publication(NewMessage("y", key="l"))])
    orders.topics.subscribe("orders", "mail", paused=True)
    orders.topics.unsubscribe("orders", "audit")
    while snapshot.freeze_more():
        pass
    loaded = State.load(iter(list(snapshot.chunks(0))))
    assert contents_of(loaded, 0) == before
    snapshot.release()
