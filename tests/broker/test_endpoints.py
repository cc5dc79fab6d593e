"""Subscriptions with endpoints last: their fields, their queues, and the attempts that were made."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from tests.broker.conftest import Lasting
from wonderq.broker import topics
from wonderq.broker.broker import Broker
from wonderq.broker.consumers import Waiter
from wonderq.broker.pushes import PushClaim, PushKey
from wonderq.model.errors import TooManyQueuesError
from wonderq.model.limits import Limits
from wonderq.model.messages import Change, NewMessage, Target
from wonderq.model.push import Push
from wonderq.model.push_hosts import PushHosts
from wonderq.model.topics import Publication, Subscription
from wonderq_storage import DiskFullError

URL = "https://hooks.example.com/orders"


@pytest.fixture
def orders(lasting: Lasting) -> Lasting:
    lasting.broker.pushes.hosts = PushHosts(("hooks.example.com",))
    lasting.broker.topics.put("orders")
    return lasting


def publish(lasting: Lasting, *bodies: str) -> None:
    lasting.broker.topics.publish("orders", [Publication(NewMessage(body)) for body in bodies])


def claim(lasting: Lasting, most_bytes: int = 1 << 20) -> PushClaim:
    [key] = lasting.broker.pushes.keys()
    found = lasting.broker.pushes.claim(key, Waiter(), limit=10, timeout_ms=10_000, most_bytes=most_bytes)
    assert found is not None
    return found


def test_all_fields_last(orders: Lasting) -> None:
    given = {"retries": 5, "backoff": "geometric"}
    secret = orders.broker.topics.subscribe("orders", "shop", endpoint=URL, delivery=given)[0].secret
    pending = Push(f"{URL}/2", "sns", confirmed=False, token="0" * 96, token_until_ms=5)
    orders.broker.topics.subscribe("orders", "sns", push=pending)
    orders.broker.topics.subscribe("orders", "shop", raw=False)
    broker = orders.again()
    shop, sns = (each.subscription for each in broker.topics.subscriptions("orders"))
    assert shop.push == Push(URL, secret=secret, delivery=given)
    assert not shop.raw
    assert sns.push == pending
    assert (broker.topics.get_with_pending("orders")[1], sns.is_pending) == (1, True)
    assert broker.queue_names(limit=10) == ["default", "orders--push-shop", "orders--push-sns"]
    settings = broker.settings_of("orders--push-sns")
    assert settings is not None
    assert settings.retention_ms == 14 * 86_400_000
    [asked] = broker.pushes.claim(
        PushKey(broker.core.state.topics["orders"].number, "sns"), Waiter(), limit=5, timeout_ms=1000, most_bytes=1000
    ).messages  # type: ignore[union-attr]
    assert asked.is_confirmation


def test_a_record_without_an_endpoint_is_as_before() -> None:
    assert Subscription("mail", 3, 5).to_record() == {"queue": 3, "created_ms": 5}
    assert Subscription("mail", 3, 5, push=Push(URL)).to_record() == {"queue": 3, "created_ms": 5, "push": {"url": URL}}


def test_a_claim_and_its_attempts_last(orders: Lasting) -> None:
    queue = orders.broker.topics.subscribe("orders", "shop", endpoint=URL)[0].queue
    publish(orders, "one", "two")
    first, second = claim(orders).messages
    orders.broker.pushes.settle(queue, [Target(receipt=first.receipt)], [])
    orders.again()
    assert not claim(orders).messages
    retry = Target(receipt=second.receipt), Change(delay_ms=3000)
    assert orders.broker.pushes.settle(queue, [], [retry]) == []
    orders.again()
    waiting = claim(orders)
    assert (list(waiting.messages), waiting.wait_s) == ([], 3)
    orders.clock.advance(3)
    [again] = claim(orders).messages
    assert (again.text, again.id, again.attempts) == ("two", second.id, 2)
    assert orders.broker.pushes.settle(queue, [Target(receipt=second.receipt)], []) == [], "its claim has ended"


def test_a_large_message_comes_alone(orders: Lasting) -> None:
    orders.broker.topics.subscribe("orders", "shop", endpoint=URL)
    publish(orders, "x" * 6000, "y" * 2000, "z" * 2000)
    assert [each.text[0] for each in claim(orders, most_bytes=5000).messages] == ["x"]
    assert [each.text[0] for each in claim(orders, most_bytes=5000).messages] == ["y", "z"]


def test_the_subscription_ends_with_its_queue_in_one_write(orders: Lasting) -> None:
    queue = orders.broker.topics.subscribe("orders", "shop", endpoint=URL)[0].queue
    orders.broker.topics.subscribe("orders", "other", queue="default")
    publish(orders, "lost with it")
    orders.broker.topics.unsubscribe("orders", "shop")
    broker = orders.again()
    assert queue not in broker.queue_names(limit=10)
    assert [each.subscription.name for each in broker.topics.subscriptions("orders")] == ["other"]
    assert broker.pushes.keys() == []


def test_without_room_for_a_queue_nothing_is_made(orders: Lasting) -> None:
    orders.limit(Limits(queues=1))
    end = orders.log.end()
    with pytest.raises(TooManyQueuesError):
        orders.broker.topics.subscribe("orders", "shop", endpoint=URL)
    assert orders.log.end() == end


ENDS: dict[str, Callable[[Broker], None]] = {
    "the subscription": lambda broker: broker.topics.unsubscribe("orders", "shop"),
    "the topic": lambda broker: broker.topics.delete("orders"),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_an_endpoint_that_has_ended_is_woken_for_no_message_of_its_queue(
    orders: Lasting, end: Callable[[Broker], None]
) -> None:
    broker = orders.broker
    broker.put_queue("shop")
    broker.topics.subscribe("orders", "shop", queue="shop", endpoint=URL)
    assert not claim(orders).messages
    queue = broker.core.find_queue("shop")
    assert broker.core.consumers.waiting_for(queue) == 1
    end(broker)
    assert broker.core.consumers.waiting_for(queue) == 0


def test_an_endpoint_that_has_ended_before_the_disk_was_full_is_woken_for_no_message(
    orders: Lasting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topics, "ENDED_AT_ONCE", 1)
    broker = orders.broker
    broker.put_queue("shop")
    broker.topics.subscribe("orders", "shop", queue="shop", endpoint=URL)
    broker.topics.put("returns")
    broker.topics.subscribe("returns", "shop", queue="shop")
    assert not claim(orders).messages
    queue = broker.core.find_queue("shop")

    def refuse(*_: object) -> None:
        raise DiskFullError("no room")

    monkeypatch.setattr(broker.redrives, "append_drop", refuse)
    with pytest.raises(DiskFullError):
        broker.drop_queue("shop")
    assert broker.core.state.subscriptions == 1
    assert broker.core.consumers.waiting_for(queue) == 0


@pytest.mark.parametrize("turn", [1, 2])
def test_a_topic_with_an_endpoint_that_comes_while_it_is_deleted_leaves_no_queue(
    orders: Lasting, monkeypatch: pytest.MonkeyPatch, turn: int
) -> None:
    broker = orders.broker
    broker.topics.subscribe("orders", "first", endpoint=URL)
    turns = itertools.count(1)

    def subscribe() -> None:
        if next(turns) == turn:
            broker.topics.subscribe("orders", "second", endpoint=URL)

    monkeypatch.setattr(topics, "yield_to_others", subscribe)
    broker.topics.delete("orders")
    assert broker.queue_names(limit=10) == ["default"]
