"""A client that is given all nodes asks the owner of a queue, once a node has told which one that is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.support.edge_cluster import EdgeCluster
from tests.support.nats_servers import needs_nats
from wonderq import AsyncClient, Client
from wonderq.cluster.edge import MOST_BODY_BYTES

pytestmark = needs_nats


def urls(cluster: EdgeCluster) -> list[str]:
    return [each.url for each in cluster.nodes.values()]


def passed_on(cluster: EdgeCluster) -> int:
    """Return the number of requests that nodes have passed on."""
    metrics = [metric for each in cluster.nodes.values() for metric in each.assembly.collector.collect()]
    samples = [sample for metric in metrics for sample in metric.samples]
    return sum(int(each.value) for each in samples if each.name == "wonderq_forwarded_requests_total")


@pytest.fixture
def queues(cluster: EdgeCluster) -> list[str]:
    """A queue of each shard."""
    return [cluster.queue_of(shard) for shard in range(cluster.count)]


def test_a_node_that_passes_a_request_on_tells_the_address_of_the_owner(cluster: EdgeCluster) -> None:
    queue = cluster.queue_of(0)
    owner, other = cluster.owner(queue), cluster.other(queue)
    for status, method, path, fields in (
        (201, "POST", f"/queues/{queue}/messages/produce", {"message": "x"}),
        (200, "GET", f"/queues/{queue}/messages/consume", None),
        (404, "GET", f"/queues/{queue}/messages/nonsense", None),
        (200, "POST", "/messages/consume", {"queues": [queue]}),
    ):
        reply = other(method, path, json=fields)
        assert (reply.status, reply.headers.get("wonderq-owner")) == (status, owner.url)
        reply = owner(method, path, json=fields)
        assert (reply.status, reply.headers.get("wonderq-owner")) == (status, None)


def test_sqs_clients_see_no_address_of_a_node(cluster: EdgeCluster) -> None:
    queue = cluster.queue_of(0)
    other = cluster.other(queue)
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.CreateQueue"}
    reply = other("POST", "/", json={"QueueName": queue}, headers=headers)
    assert reply.status == 200, reply.content
    assert "wonderq-owner" not in reply.headers


def test_what_a_node_answers_by_itself_names_no_owner(cluster: EdgeCluster) -> None:
    queue = cluster.queue_of(0)
    large = cluster.other(queue)("POST", f"/queues/{queue}/messages/produce", body=b"x" * (MOST_BODY_BYTES + 1))
    assert (large.status, large.headers.get("wonderq-owner")) == (413, None)
    for path in ("/queues", "/overview", "/nowhere"):
        assert "wonderq-owner" not in cluster.nodes["a"]("GET", path).headers


def test_a_client_learns_the_owner_of_each_queue(cluster: EdgeCluster, queues: list[str]) -> None:
    with Client(urls(cluster)) as client:
        for queue in queues:
            client.queue(queue).send("first")
        learnt = passed_on(cluster)
        assert 0 < learnt < len(queues), "one of the nodes owns half of the shards"
        for queue in queues:
            client.queue(queue).send("second")
            messages = client.receive({queue: 1}, 2)
            assert sorted(each.body for each in messages) == ["first", "second"]
            client.queue(queue).delete(messages)
            assert client.queue(queue).receive(wait=0.01) == []
            client.queue(f"{queue}--dead").send("x")
        assert passed_on(cluster) == learnt


def test_a_client_follows_a_queue_to_its_new_owner(cluster: EdgeCluster) -> None:
    queue = cluster.queue_of(0)
    with Client(urls(cluster)) as client:
        for name in ("a", "b", "a", "b"):
            cluster.give(0, name)
            client.queue(queue).send(name)
            before = passed_on(cluster)
            for _ in range(3):
                [message] = client.queue(queue).receive(1)
                message.release(uncounted=True)
            assert passed_on(cluster) == before


def test_a_client_that_was_given_other_addresses_goes_on_as_before(cluster: EdgeCluster, queues: list[str]) -> None:
    for each in cluster.nodes.values():
        each.shards.urls = {name: f"http://{name}.example:7979" for name in cluster.nodes}
    with Client(urls(cluster)) as client:
        for queue in queues * 2:
            client.queue(queue).send("x")
    assert passed_on(cluster) == len(queues)


def test_the_client_for_tasks_learns_them_too(cluster: EdgeCluster, queues: list[str]) -> None:
    async def use(count: Callable[[], int]) -> tuple[int, int]:
        async with AsyncClient(urls(cluster)) as client:
            for queue in queues:
                await client.queue(queue).send("x")
            learnt = count()
            for queue in queues:
                [message] = await client.receive([queue])
                await client.queue(queue).delete([message])
            return learnt, count()

    learnt, at_the_end = asyncio.run(use(lambda: passed_on(cluster)))
    assert 0 < learnt == at_the_end
