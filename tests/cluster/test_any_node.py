"""Three real nodes, of which clients ask any: each answers for the queues of all shards, whatever happens to another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests.support.cluster_processes import SHARDS, ClusterProcesses, NodeProcess
from tests.support.hook_server import hook_server
from tests.support.nats_servers import needs_nats
from tests.support.shared_processes import Reply
from tests.support.sqs_clients import REGION
from tests.support.waiting import PATIENCE_S, eventually
from wonderq import Client
from wonderq.client.addresses import Addresses
from wonderq.client.requests import Answer, NoAnswer, Request
from wonderq.cluster.shard_map import shard_of
from wonderq.worker.worker import Worker

pytestmark = [pytest.mark.slow, needs_nats]


def names(stem: str) -> list[str]:
    """Return a name for each shard."""
    return [next(name for at in count() if shard_of(name := f"{stem}{at}", SHARDS) == shard) for shard in range(SHARDS)]


def in_turn(cluster: ClusterProcesses) -> Iterator[tuple[NodeProcess, NodeProcess, NodeProcess]]:
    """Yield the nodes, the first one another one each time."""
    for at in count():
        first, second, third = (cluster.nodes[(at + place) % 3] for place in range(3))
        yield first, second, third


def sqs(node: NodeProcess) -> Any:
    """Return a client with the repetitions that boto3 makes by itself."""
    return boto3.client(
        "sqs",
        endpoint_url=node.url,
        region_name=REGION,
        aws_access_key_id="any",
        aws_secret_access_key="any",
        config=Config(retries={"mode": "standard", "total_max_attempts": 10}),
    )


def test_a_message_is_produced_claimed_and_deleted_at_three_nodes(cluster: ClusterProcesses) -> None:
    for queue, (first, second, third) in zip(names("rest-") * 3, in_turn(cluster), strict=False):
        assert first("POST", f"/queues/{queue}/messages/produce", {"message": "x"}).status == 201
        [message] = second("GET", f"/queues/{queue}/messages/consume?wait=20").json
        path = f"/queues/{queue}/messages/{message['id']}?receipt={message['receipt']}"
        assert third("DELETE", path).status == 200
        assert first("GET", f"/queues/{queue}/dev/messages").json == []


def test_a_client_with_all_addresses_comes_to_ask_the_owner_of_each_queue(
    cluster: ClusterProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed_on: list[str] = []
    judge = Addresses.judge

    def watch(self: Addresses, at: int, request: Request, outcome: Answer | NoAnswer) -> tuple[Answer | NoAnswer, bool]:
        if isinstance(outcome, Answer) and outcome.owner is not None:
            passed_on.append(request.target)
        return judge(self, at, request, outcome)

    monkeypatch.setattr(Addresses, "judge", watch)
    queues = names("asked-")
    cluster.await_owners("a", "b", "c")
    owners = cluster["a"].owners()
    with Client([each.url for each in cluster.nodes]) as client:
        for queue in queues:
            client.queue(queue).send("x")
        assert 0 < len(passed_on) < len(queues), "each node owns some shards"
        passed_on.clear()
        for queue in queues:
            client.queue(queue).send("y")
            messages = client.receive([queue], 2)
            assert sorted(each.body for each in messages) == ["x", "y"]
            client.queue(queue).delete(messages)
    moved = [shard for shard, owner in enumerate(cluster["a"].owners()) if owner != owners[shard]]
    assert passed_on == [] or moved, "each request went to the owner that the client has learnt"


def test_every_node_lists_the_queues_of_all_shards(cluster: ClusterProcesses) -> None:
    queues = names("list-")
    for queue in queues:
        assert cluster["a"]("PUT", f"/queues/{queue}", {}).status in (200, 201)
    for each in cluster.nodes:
        listed = each("GET", "/queues?prefix=list-").json
        assert [found["queue"] for found in listed] == sorted(queues)
        urls = sqs(each).list_queues(QueueNamePrefix="list-")["QueueUrls"]
        assert urls == [f"{each.url}/000000000000/{queue}" for queue in sorted(queues)]


def test_sqs_clients_use_any_node(cluster: ClusterProcesses) -> None:
    clients = {each.name: sqs(each) for each in cluster.nodes}
    for queue, nodes in zip(names("sqs-") * 2, in_turn(cluster), strict=False):
        first, second, third = (clients[each.name] for each in nodes)
        url = first.create_queue(QueueName=queue)["QueueUrl"]
        second.send_message(QueueUrl=url, MessageBody="x")
        [message] = third.receive_message(QueueUrl=url, WaitTimeSeconds=20)["Messages"]
        assert message["Body"] == "x"
        first.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        found = second.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        assert found["ApproximateNumberOfMessages"] == found["ApproximateNumberOfMessagesNotVisible"] == "0"


def test_a_change_of_the_cluster_is_for_any_node_and_the_api_has_its_paths(cluster: ClusterProcesses) -> None:
    for each in cluster.nodes:
        assert each("GET", "/readyz").json["node"] == each.name
        assert len(each("GET", "/cluster").json["shards"]) == SHARDS
        assert each("GET", "/overview").json["queues"] == cluster["a"]("GET", "/overview").json["queues"]
        assert b"wonderq_forwarded_requests_waiting" in each("GET", "/metrics").json


class Stream:
    """Sends to some queues until it is ended, and remembers what was acknowledged and what came."""

    def __init__(self, send: Callable[[int], str]) -> None:
        """``send`` sends the message of a number, and returns its text."""
        self.acknowledged: set[str] = set()
        self.received: list[str] = []
        self.errors: list[BaseException] = []
        self._ending = threading.Event()
        self._send = send
        self._threads: list[threading.Thread] = []
        self.run(self._run)

    def _run(self) -> None:
        for number in count():
            if self._ending.is_set():
                return
            self.acknowledged.add(self._send(number))

    def run(self, act: Callable[[], None]) -> None:
        """Run something until the end of the stream, and remember its error."""

        def guarded() -> None:
            try:
                act()
            except BaseException as error:
                self.errors.append(error)

        self._threads.append(threading.Thread(target=guarded))
        self._threads[-1].start()

    @property
    def goes_on(self) -> bool:
        return not self._ending.is_set()

    def await_more(self) -> None:
        before = len(self.acknowledged), len(self.received)

        def is_more() -> bool:
            return len(self.acknowledged) >= before[0] + 20 and len(self.received) >= before[1] + 20

        eventually(lambda: self.errors or is_more(), "messages to be sent and received")

    def end(self, *stops: Callable[[], None]) -> None:
        """End the sender, wait until all that was acknowledged has come, and end the rest."""
        eventually(lambda: self._end_sender() and self.acknowledged <= set(self.received), "all messages to come")
        for stop in stops:
            stop()
        for each in self._threads:
            each.join(PATIENCE_S)
        assert self.errors == []

    def _end_sender(self) -> bool:
        self._ending.set()
        self._threads[0].join(PATIENCE_S)
        return True


@pytest.mark.parametrize("name", ["a", "b"])
def test_workers_go_on_when_a_node_is_killed(cluster: ClusterProcesses, name: str) -> None:
    """The node that is killed owns queues, and is one that the clients ask."""
    queues = names(f"work-{name}-")
    urls = [each.url for each in cluster.nodes]
    sender = Client(urls, retries=50, timeout=PATIENCE_S)

    def send(number: int) -> str:
        sender.queue(queues[number % SHARDS]).send(f"m{number}")
        return f"m{number}"

    for queue in queues:
        cluster[name]("PUT", f"/queues/{queue}", {})
    stream = Stream(send)
    receivers = [Client(urls, retries=50, timeout=PATIENCE_S) for _ in queues]
    workers = [
        Worker(client, {queue: lambda message: stream.received.append(str(message.body))}, lease=5)
        for client, queue in zip(receivers, queues, strict=True)
    ]
    for each in workers:
        stream.run(each.run)
    try:
        stream.await_more()
        cluster[name].kill()
        stream.await_more()
        cluster.await_owners(*({"a", "b", "c"} - {name}))
        stream.await_more()
    finally:
        stream.end(*(each.stop for each in workers))
        for client in (sender, *receivers):
            client.close()


def test_one_worker_serves_queues_of_all_shards_and_goes_on_when_a_node_is_killed(cluster: ClusterProcesses) -> None:
    queues = names("one-worker-")
    urls = [each.url for each in cluster.nodes]
    sender, receiver = (Client(urls, retries=50, timeout=PATIENCE_S) for _ in range(2))

    def send(number: int) -> str:
        sender.queue(queues[number % SHARDS]).send(f"m{number}")
        return f"m{number}"

    stream = Stream(send)
    worker = Worker(
        receiver,
        {queue: lambda message: stream.received.append(str(message.body)) for queue in queues},
        concurrency=2,
        lease=5,
    )
    stream.run(worker.run)
    try:
        stream.await_more()
        cluster["b"].kill()
        stream.await_more()
        cluster.await_owners("a", "c")
        stream.await_more()
    finally:
        stream.end(worker.stop)
        for client in (sender, receiver):
            client.close()


def test_sqs_clients_go_on_when_a_node_is_killed(cluster: ClusterProcesses) -> None:
    """Their node lives, and another one that owns queues dies."""
    client = sqs(cluster["a"])
    urls = [client.create_queue(QueueName=queue)["QueueUrl"] for queue in names("killed-")]

    def send(number: int) -> str:
        client.send_message(QueueUrl=urls[number % SHARDS], MessageBody=f"m{number}")
        return f"m{number}"

    stream = Stream(send)

    def receive() -> None:
        own, number = sqs(cluster["c"]), 0
        while stream.goes_on or not stream.acknowledged <= set(stream.received):
            number += 1
            url = urls[number % SHARDS]
            found = own.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=5)
            for message in found.get("Messages", []):
                stream.received.append(message["Body"])
                own.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

    stream.run(receive)
    try:
        stream.await_more()
        cluster["b"].kill()
        stream.await_more()
        cluster.await_owners("a", "c")
        stream.await_more()
    finally:
        stream.end()


def test_a_node_that_is_stopped_ends_the_polls_of_its_clients(cluster: ClusterProcesses) -> None:
    """Polls of its own queues move to the next owners first."""
    node, queues = cluster["b"], names("polled-")
    for queue in queues:
        assert node("PUT", f"/queues/{queue}", {}).status == 201
    replies: list[Reply] = []
    polls = [
        threading.Thread(
            target=lambda queue=queue: replies.append(node("GET", f"/queues/{queue}/messages/consume?wait=20"))
        )
        for queue in queues
    ]
    for each in polls:
        each.start()
    eventually(
        lambda: node.metric("wonderq_forwarded_requests_waiting") == sum(owner != "b" for owner in node.owners()),
        "the polls of other nodes' queues to wait",
    )
    assert node.stop() == 0
    for each in polls:
        each.join(PATIENCE_S)
    assert [(each.status, each.json) for each in replies] == [(200, [])] * len(queues)


def test_what_belongs_to_one_shard_works_at_every_node(cluster: ClusterProcesses) -> None:
    """Dead letters, schedules, topics and hand-overs."""
    for queue, (first, second, third) in zip(names("own-"), in_turn(cluster), strict=False):
        assert first("PUT", f"/queues/{queue}--dead", {}).status == 201
        fields = {"dead_letter_queue": f"{queue}--dead", "max_receives": 1}
        assert second("PUT", f"/queues/{queue}", fields).status == 201
        assert third("PUT", f"/topics/{queue}", {}).status == 201
        assert first("PUT", f"/topics/{queue}/subscriptions/s", {"queue": queue}).status == 201
        assert second("POST", f"/topics/{queue}/publish", {"message": "news"}).status == 201
        [message] = third("GET", f"/queues/{queue}/messages/consume").json
        change = {"receipts": [message["receipt"]], "produce": [{"queue": f"{queue}--next", "message": "more"}]}
        assert first("POST", f"/queues/{queue}/messages/hand-over", change).status == 201
        schedule = {"cron": "* * * * *", "queue": f"{queue}--next", "message": "tick"}
        assert second("PUT", f"/schedules/{queue}", schedule).status == 201
        assert [each["message"] for each in third("GET", f"/queues/{queue}--next/messages/consume").json] == ["more"]


def test_endpoints_get_what_is_published_at_any_node_and_after_their_owner_was_killed(
    tmp_path: Path,
) -> None:
    options = ["--shards", str(SHARDS), "--push-hosts", "127.0.0.1"]
    with hook_server() as hook, ClusterProcesses(tmp_path, "abc", *options) as cluster:
        cluster.await_owners("a", "b", "c")
        topics = names("news-")
        for topic, (first, second, third) in zip(topics, in_turn(cluster), strict=False):
            assert first("PUT", f"/topics/{topic}", {}).status == 201
            reply = second("PUT", f"/topics/{topic}/subscriptions/hook", {"endpoint": hook.url})
            assert reply.status == 201, reply
            assert third("POST", f"/topics/{topic}/publish", {"message": f"before {topic}"}).status == 201
        eventually(lambda: {f"before {topic}" for topic in topics} <= set(hook.texts))
        cluster["b"].kill()
        cluster.await_owners("a", "c")
        for topic in topics:
            assert cluster["a"]("POST", f"/topics/{topic}/publish", {"message": f"after {topic}"}).status == 201
        eventually(lambda: {f"after {topic}" for topic in topics} <= set(hook.texts))
