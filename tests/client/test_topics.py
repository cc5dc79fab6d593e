"""Topics by the Python client."""

from __future__ import annotations

import asyncio

import pytest

from wonderq import AsyncClient, NotFound, Refused
from wonderq.client import administration, async_engine, sync_engine, topics
from wonderq.client.administration import QueueInfo
from wonderq.client.sync import Client
from wonderq.client.sync_queue import Queue
from wonderq.client.topics import SubscriptionInfo, TopicInfo


def test_publish_subscribe_and_match(client: Client, queue: Queue) -> None:
    topic = client.topic(f"{queue.name[-60:]}-topic")
    with pytest.raises(NotFound):
        topic.info()
    made = topic.configure(tags={"team": "shop"}, deduplication_window=60)
    assert (made.name, made.settings["tags"], made.settings["deduplication_window"]) == (
        topic.name,
        {"team": "shop"},
        60,
    )
    queue.configure(visibility_timeout=600)
    subscribed = topic.subscribe("mail", queue.name, filter={"kind": ["paid"]})
    assert (subscribed.queue, subscribed.filter, subscribed.when_full) == (queue.name, {"kind": ["paid"]}, "fail")
    [no] = topic.match({"order": 1})
    assert (no.subscription, no.matches) == ("mail", False)
    assert "kind" in no.reason
    assert not no.fails_publish
    queue.configure(draining=True)
    [refused_by_queue] = topic.match({"order": 1}, attributes={"kind": "paid"})
    assert (refused_by_queue.matches, refused_by_queue.fails_publish) == (False, True)
    queue.configure(draining=False)
    sent = topic.publish({"order": 1}, attributes={"kind": "paid"}, group="g", key="k", subject="news")
    assert (sent.queues, sent.skipped, sent.duplicate) == (1, 0, False)
    again = topic.publish("other", key="k")
    assert (again.id, again.duplicate) == (sent.id, True)
    together = topic.publish_together([b"\0", ("text", {"attributes": {"kind": "paid"}, "group": "g"})], key="batch")
    assert [each.queues for each in together] == [0, 1]
    assert all(each.duplicate for each in topic.publish_together([b"\0", "text"], key="batch"))
    first, second = queue.receive()
    assert (first.body, first.group, second.body) == ({"order": 1}, "g", "text")
    assert topic.subscribe("mail", paused=True).paused
    assert topic.subscription("mail").delivered == 2
    assert [each.name for each in topic.subscriptions()] == ["mail"]
    with pytest.raises(Refused) as refused:
        topic.subscribe("other", queue.name)
    assert refused.value.code == "already_subscribed"
    assert topic.info() in client.topics()
    topic.unsubscribe("mail")
    topic.drop()
    for call in (topic.info, topic.drop, topic.subscriptions, lambda: topic.publish("x")):
        with pytest.raises(NotFound):
            call()


def test_the_same_as_coroutines(client: Client, queue: Queue) -> None:
    async def run() -> None:
        async with AsyncClient(client.url) as their:
            topic = their.topic(f"{queue.name[-60:]}-topic")
            await topic.configure()
            await their.queue(queue.name).configure()
            await topic.subscribe("mail", queue.name, raw=False)
            assert [each.matches for each in await topic.match("x")] == [True]
            assert (await topic.publish("x")).queues == 1
            assert [each.queues for each in await topic.publish_together(["y"])] == [1]
            assert (await topic.subscription("mail")).delivered == 2
            assert [each.name for each in await topic.subscriptions()] == ["mail"]
            assert (await topic.info()) in await their.topics()
            await topic.unsubscribe("mail")
            await topic.drop()

    asyncio.run(run())
    assert [each.json()["Type"] for each in queue.receive()] == ["Notification"] * 2


def test_listings_go_on_after_a_full_page(client: Client, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (administration, async_engine, sync_engine, topics):
        monkeypatch.setattr(module, "PAGE", 2)
    topic, names = client.topic(f"{queue.name[-60:]}-topic"), [f"{queue.name[-60:]}-{number}" for number in range(5)]
    topic.configure()
    for name in names:
        client.queue(name).configure()
        topic.subscribe(name, name)
        client.topic(name).configure()

    async def run() -> tuple[list[QueueInfo], list[SubscriptionInfo], list[TopicInfo]]:
        async with AsyncClient(client.url) as their:
            found = await their.queues(names[0][:-1])
            return found, await their.topic(topic.name).subscriptions(), await their.topics()

    queues, subscriptions, everything = asyncio.run(run())
    assert [each.name for each in queues] == [each.name for each in subscriptions] == names
    assert [each.name for each in everything if each.name in names] == names
    assert [each.name for each in client.queues(names[0][:-1])] == names
    assert [each.name for each in topic.subscriptions()] == names
    assert [each.name for each in client.topics() if each.name in names] == names
