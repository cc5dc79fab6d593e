"""Messages cross between the shards of nodes with real servers, over a real NATS server, and when owners change."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.edge_cluster import EdgeCluster
from tests.support.nats_servers import needs_nats
from tests.support.waiting import eventually
from wonderq.cluster import shard_calls

pytestmark = needs_nats


@pytest.fixture
def pair(cluster: EdgeCluster) -> tuple[str, str]:
    """Return two queues of different shards, of different nodes."""
    pair = cluster.queue_of(0), cluster.queue_of(1)
    for each in pair:
        cluster.nodes["a"]("PUT", f"/queues/{each}")
    return pair


def await_bodies(cluster: EdgeCluster, queue: str, *bodies: str) -> None:
    def found() -> list[str]:
        reply = cluster.nodes["b"]("GET", f"/queues/{queue}/dev/messages")
        return [each["message"] for each in reply.json] if reply.status == 200 else []

    eventually(lambda: found() == list(bodies), f"{bodies} to be in {queue}")


def subscribe(cluster: EdgeCluster, topic: str, queue: str) -> None:
    node = cluster.nodes["b"]
    assert node("PUT", f"/topics/{topic}").status == 201
    assert node("PUT", f"/topics/{topic}/subscriptions/s", json={"queue": queue}).status == 201


def publish(cluster: EdgeCluster, topic: str, body: str) -> None:
    assert cluster.nodes["a"]("POST", f"/topics/{topic}/publish", json={"message": body}).status == 201


def test_dead_letters_cross_to_another_node(cluster: EdgeCluster, pair: tuple[str, str]) -> None:
    here, there = pair
    node = cluster.nodes["b"]
    assert node("PUT", f"/queues/{here}", json={"dead_letter_queue": there, "max_receives": 1}).status == 200
    node("POST", f"/queues/{here}/messages/produce", json={"message": "x"})
    [message] = node("GET", f"/queues/{here}/messages/consume").json
    change = {"receipt": message["receipt"], "dead": True, "error": {"message": "no such customer"}}
    assert node("PATCH", f"/queues/{here}/messages/{message['id']}", json=change).status == 200
    await_bodies(cluster, there, "x")


@pytest.mark.slow
def test_a_dead_letter_queue_that_only_other_shards_use_is_shown_as_one(
    cluster: EdgeCluster, pair: tuple[str, str]
) -> None:
    here, there = pair
    node = cluster.nodes["b"]
    node("POST", f"/queues/{there}/messages/produce", json={"messages": ["x", "y"]})
    assert node("GET", "/overview").json["dead_letters"] == 0
    assert node("PUT", f"/queues/{here}", json={"dead_letter_queue": there}).status == 200

    def letters() -> int:
        count: int = node("GET", "/overview").json["dead_letters"]
        return count

    eventually(lambda: letters() == 2, "the letters to be counted")
    for each in cluster.nodes.values():
        [listed] = each("GET", "/queues?dead_letters=true&figures=true").json
        assert (listed["queue"], listed["figures"]["sources"]) == (there, [here])
    assert node("DELETE", f"/queues/{here}").status == 200
    eventually(lambda: letters() == 0, "the queue to be an ordinary one")


def test_publishes_schedules_and_redrives_cross(cluster: EdgeCluster, pair: tuple[str, str]) -> None:
    here, there = pair
    node = cluster.nodes["b"]
    subscribe(cluster, here, there)
    publish(cluster, here, "news")
    await_bodies(cluster, there, "news")
    schedule = {"cron": "* * * * *", "queue": there, "message": "x"}
    assert node("PUT", f"/schedules/{here}", json=schedule).status == 201
    node("POST", f"/queues/{here}/messages/produce", json={"message": "y"})
    reply = node("POST", f"/queues/{here}/redrive", json={"destination": there})
    assert reply.status in (201, 202), reply.content
    cluster.owner(here).shards.brokers[cluster.shard(here)].redrives.run()
    await_bodies(cluster, there, "news", "y")


@pytest.mark.parametrize("queue", ["here", "there"])
def test_messages_cross_when_a_shard_moves(cluster: EdgeCluster, pair: tuple[str, str], queue: str) -> None:
    here, there = pair
    subscribe(cluster, here, there)
    moved = cluster.shard(here if queue == "here" else there)
    publish(cluster, here, "before")
    cluster.give(moved, "b" if queue == "here" else "a")
    publish(cluster, here, "after")
    await_bodies(cluster, there, "before", "after")


def test_messages_wait_for_a_shard_without_an_owner(cluster: EdgeCluster, pair: tuple[str, str]) -> None:
    here, there = pair
    subscribe(cluster, here, there)
    shard = cluster.shard(there)
    cluster.hear(shard, None)
    former = cluster.nodes["b"].shards.brokers.pop(shard)
    publish(cluster, here, "x")
    counters = cluster.nodes["a"].shards.brokers[cluster.shard(here)].counters
    eventually(lambda: counters.crossings_failed[there], "a try in vain")
    refused = cluster.nodes["a"]("PUT", f"/topics/{here}/subscriptions/t", json={"queue": f"{there}--2"})
    assert (refused.status, refused.code) == (503, "shard_unavailable"), refused.content
    former.core.log.close()
    cluster.give(shard, "a")
    await_bodies(cluster, there, "x")


def test_a_link_to_a_queue_that_does_not_exist_is_refused(cluster: EdgeCluster, pair: tuple[str, str]) -> None:
    here, there = pair
    for node in cluster.nodes.values():
        for method, path, fields in (
            ("PUT", f"/topics/{here}/subscriptions/s", {"queue": f"{there}--absent"}),
            ("POST", f"/queues/{here}/redrive", {"destination": f"{there}--absent"}),
        ):
            node("PUT", f"/topics/{here}")
            reply = node(method, path, json=fields)
            assert (reply.status, reply.code) == (404, "queue_not_found"), reply.content


def test_no_client_can_make_the_calls_of_shards(cluster: EdgeCluster, pair: tuple[str, str]) -> None:
    node = cluster.nodes["a"]
    for path in ("/crossings", "/attributes", f"/queues/{pair[0]}"):
        reply: Any = node(shard_calls.METHOD, path, body=b"")
        assert 400 <= reply.status < 500, reply
