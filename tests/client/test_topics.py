"""Topics by the Python client."""

from __future__ import annotations

import asyncio

import pytest

from wonderq import AsyncClient, NotFound, Refused
from wonderq.client.sync import Client
from wonderq.client.sync_queue import Queue


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
