"""SQS and SNS clients at any node: names, URLs, handles, lists and errors."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.edge_cluster import EdgeCluster, EdgeNode
from tests.support.http_client import Wire
from tests.support.nats_servers import needs_nats
from tests.support.sns_clients import sns_client
from tests.support.sqs_clients import Boto, Caller, Query, RefusedError, call
from wonderq.broker.broker import Broker
from wonderq.model.errors import TopicNotFoundError
from wonderq.model.push_hosts import PushHosts
from wonderq_storage import DiskFullError

pytestmark = needs_nats


@pytest.fixture(params=["json", "forms"])
def client(request: pytest.FixtureRequest, cluster: EdgeCluster) -> Callable[[str], Caller]:
    """Return clients of both protocols, by the name of their node."""

    def make(node: EdgeNode) -> Caller:
        port = int(node.server.effective_port)
        return Boto(f"http://localhost:{port}") if request.param == "json" else Query(Wire("127.0.0.1", port))

    clients = {name: make(node) for name, node in cluster.nodes.items()}
    return clients.__getitem__


def base_of(cluster: EdgeCluster, node: str) -> str:
    """Return the beginning of the URLs of queues that the clients of a node get."""
    return f"http://localhost:{cluster.nodes[node].server.effective_port}/000000000000/"


def test_a_message_goes_through_any_node(cluster: EdgeCluster, client: Callable[[str], Caller]) -> None:
    for shard in range(cluster.count):
        name = cluster.queue_of(shard)
        url = client("a")("CreateQueue", QueueName=name)["QueueUrl"]
        assert url == base_of(cluster, "a") + name, "the URL is of the node that the client asked"
        assert client("b")("GetQueueUrl", QueueName=name)["QueueUrl"] == base_of(cluster, "b") + name
        for sender, receiver in (("a", "b"), ("b", "a"), ("b", "b")):
            sent = client(sender)("SendMessage", QueueUrl=url, MessageBody="hello")
            [message] = client(receiver)("ReceiveMessage", QueueUrl=url, WaitTimeSeconds=5)["Messages"]
            assert (message["Body"], message["MessageId"]) == ("hello", sent["MessageId"])
            client(sender)(
                "ChangeMessageVisibility", QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=60
            )
            client(receiver)("DeleteMessage", QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        attributes = client("b")("GetQueueAttributes", QueueUrl=url, AttributeNames=["All"])["Attributes"]
        assert attributes["ApproximateNumberOfMessagesNotVisible"] == "0"
        assert attributes["QueueArn"].endswith(f":000000000000:{name}")
        if isinstance(client("b"), Boto):
            assert attributes["QueueArn"].split(":")[3] == "eu-central-1", "the region that the client signed for"


def test_batches(cluster: EdgeCluster, client: Callable[[str], Caller]) -> None:
    name = cluster.queue_of(1)
    url = client("a")("CreateQueue", QueueName=name)["QueueUrl"]
    entries = [{"Id": str(number), "MessageBody": f"m{number}"} for number in range(3)]
    assert len(client("a")("SendMessageBatch", QueueUrl=url, Entries=entries)["Successful"]) == 3
    found = client("a")("ReceiveMessage", QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    assert [each["Body"] for each in found] == ["m0", "m1", "m2"]
    handles = [{"Id": str(at), "ReceiptHandle": each["ReceiptHandle"]} for at, each in enumerate(found)]
    wrong = {"Id": "wrong", "ReceiptHandle": "nonsense"}
    deleted = client("a")("DeleteMessageBatch", QueueUrl=url, Entries=[*handles, wrong])
    assert (len(deleted["Successful"]), [each["Id"] for each in deleted["Failed"]]) == (3, ["wrong"])


def test_queues_of_all_shards_are_listed_in_pages(cluster: EdgeCluster, client: Callable[[str], Caller]) -> None:
    names = sorted(cluster.queue_of(shard, stem) for shard in range(cluster.count) for stem in ("x", "y"))
    for name in names:
        client("a")("CreateQueue", QueueName=name)
    for node in ("a", "b"):
        base = base_of(cluster, node)
        listed = client(node)("ListQueues", MaxResults=3)
        urls, more = listed["QueueUrls"], listed.get("NextToken")
        while more:
            listed = client(node)("ListQueues", MaxResults=3, NextToken=more)
            urls, more = urls + listed["QueueUrls"], listed.get("NextToken")
        assert urls == [base + name for name in sorted([*names, "default"])]
        assert client(node)("ListQueues", QueueNamePrefix="x")["QueueUrls"] == [base + n for n in names if n[0] == "x"]


def test_dead_letters_and_move_tasks(cluster: EdgeCluster, client: Callable[[str], Caller]) -> None:
    stem = cluster.queue_of(1)
    dead = client("a")("CreateQueue", QueueName=f"{stem}--dead")["QueueUrl"]
    arn = client("a")("GetQueueAttributes", QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = f'{{"deadLetterTargetArn": "{arn}", "maxReceiveCount": "1"}}'
    url = client("a")("CreateQueue", QueueName=stem, Attributes={"RedrivePolicy": policy})["QueueUrl"]
    assert client("a")("ListDeadLetterSourceQueues", QueueUrl=dead)["queueUrls"] == [url]
    started = client("a")("StartMessageMoveTask", SourceArn=arn)
    assert client("b")("ListMessageMoveTasks", SourceArn=arn)["Results"][0]["SourceArn"] == arn
    assert client("a")("CancelMessageMoveTask", TaskHandle=started["TaskHandle"]) == {
        "ApproximateNumberOfMessagesMoved": 0
    }
    with pytest.raises(RefusedError, match="Task does not exist"):
        client("a")("CancelMessageMoveTask", TaskHandle="01234567-89ab-cdef-0123-456789abcdef")


def test_a_dead_letter_queue_on_another_shard(cluster: EdgeCluster, client: Callable[[str], Caller]) -> None:
    here, there = cluster.queue_of(1), cluster.queue_of(0)
    policy = f'{{"deadLetterTargetArn": "arn:aws:sqs:us-east-1:000000000000:{there}", "maxReceiveCount": "1"}}'
    for node in ("a", "b"):
        with pytest.raises(RefusedError, match="Dead letter target does not exist"):
            client(node)("CreateQueue", QueueName=here, Attributes={"RedrivePolicy": policy})
    allows = f'{{"redrivePermission": "byQueue", "sourceQueueArns": ["arn:aws:sqs:us-east-1:000000000000:{here}"]}}'
    dead = client("a")("CreateQueue", QueueName=there, Attributes={"RedriveAllowPolicy": allows})["QueueUrl"]
    with pytest.raises(RefusedError, match="RedriveAllowPolicy"):
        client("b")("CreateQueue", QueueName=f"{here}--x", Attributes={"RedrivePolicy": policy})
    url = client("b")("CreateQueue", QueueName=here)["QueueUrl"]
    client("a")("SetQueueAttributes", QueueUrl=url, Attributes={"RedrivePolicy": policy})
    assert client("b")("ListDeadLetterSourceQueues", QueueUrl=dead)["queueUrls"] == [
        client("b")("GetQueueUrl", QueueName=here)["QueueUrl"]
    ]
    client("a")("SendMessage", QueueUrl=url, MessageBody="x")
    for _ in range(2):
        client("b")("ReceiveMessage", QueueUrl=url, VisibilityTimeout=0)
    [message] = client("a")("ReceiveMessage", QueueUrl=dead, WaitTimeSeconds=20)["Messages"]
    assert message["Body"] == "x"
    client("a")("ChangeMessageVisibility", QueueUrl=dead, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
    arn = f"arn:aws:sqs:us-east-1:000000000000:{there}"
    with pytest.raises(RefusedError, match="doesn't exist"):
        client("a")("StartMessageMoveTask", SourceArn=arn, DestinationArn=f"{arn.replace(there, here)}--absent")
    client("b")("StartMessageMoveTask", SourceArn=arn)
    cluster.owner(there).shards.brokers[cluster.shard(there)].redrives.run()
    [back] = client("a")("ReceiveMessage", QueueUrl=url, WaitTimeSeconds=20)["Messages"]
    assert back["Body"] == "x"


@pytest.mark.parametrize("retry_s", [0.05])
def test_errors_are_those_of_sqs(cluster: EdgeCluster, client: Callable[[str], Caller]) -> None:
    absent = base_of(cluster, "a") + cluster.queue_of(1)
    for node in ("a", "b"):
        with pytest.raises(RefusedError, match="does not exist") as refused:
            client(node)("SendMessage", QueueUrl=absent, MessageBody="x")
        assert refused.value.status == 400
    del cluster.nodes["b"].shards.brokers[1]
    cluster.hear(1, None)
    for action, members in (
        ("SendMessage", {"QueueUrl": absent, "MessageBody": "x"}),
        ("ListQueues", {}),
        ("ReceiveMessage", {"QueueUrl": absent}),
    ):
        with pytest.raises(RefusedError, match="Shard 1 is not available") as refused:
            client("a")(action, **members)
        assert (refused.value.status, refused.value.code) == (503, "ServiceUnavailable")


def test_a_poll_of_sqs_moves_with_its_shard(cluster: EdgeCluster, client: Callable[[str], Caller]) -> None:
    name = cluster.queue_of(1)
    url = client("a")("CreateQueue", QueueName=name)["QueueUrl"]
    found: list[Any] = []
    poll = threading.Thread(
        target=lambda: found.append(client("a")("ReceiveMessage", QueueUrl=url, WaitTimeSeconds=20))
    )
    poll.start()
    cluster.wait_for_waiting(name)
    cluster.give(1, "a")
    cluster.wait_for_waiting(name)
    client("b")("SendMessage", QueueUrl=url, MessageBody="moved")
    poll.join()
    assert [each["Body"] for each in found[0]["Messages"]] == ["moved"]


def test_topics_of_sns(cluster: EdgeCluster) -> None:
    clients = [sns_client(node.url) for node in cluster.nodes.values()]
    stems = sorted(cluster.queue_of(shard, "t") for shard in range(cluster.count))
    arns = [call(clients[at % 2], "CreateTopic", Name=stem)["TopicArn"] for at, stem in enumerate(stems)]
    subscriptions = []
    for stem, arn in zip(stems, arns, strict=True):
        cluster.nodes["a"]("PUT", f"/queues/{stem}--out")
        endpoint = f"arn:aws:sqs:eu-central-1:000000000000:{stem}--out"
        made = call(clients[0], "Subscribe", TopicArn=arn, Protocol="sqs", Endpoint=endpoint)
        subscriptions.append(made["SubscriptionArn"])
        assert call(clients[1], "Publish", TopicArn=arn, Message="news")["MessageId"]
        [message] = cluster.nodes["b"]("GET", f"/queues/{stem}--out/messages/consume").json
        assert "news" in message["message"]
    for client in clients:
        assert [each["TopicArn"] for each in call(client, "ListTopics")["Topics"]] == arns
        listed = call(client, "ListSubscriptions")["Subscriptions"]
        assert [each["SubscriptionArn"] for each in listed] == subscriptions
        assert [each["Endpoint"].split(":")[-1] for each in listed] == [f"{stem}--out" for stem in stems]
    far = f"arn:aws:sqs:eu-central-1:000000000000:{stems[0]}--far"
    for client in clients:
        with pytest.raises(RefusedError, match="no queue named"):
            call(client, "Subscribe", TopicArn=arns[1], Protocol="sqs", Endpoint=far)
    cluster.nodes["a"]("PUT", f"/queues/{stems[0]}--far")
    for client in clients:
        assert call(client, "Subscribe", TopicArn=arns[1], Protocol="sqs", Endpoint=far)["SubscriptionArn"]
    call(clients[0], "Publish", TopicArn=arns[1], Message="far away")
    [message] = cluster.nodes["b"]("GET", f"/queues/{stems[0]}--far/messages/consume?wait=20").json
    assert "far away" in message["message"]


def broker_of(cluster: EdgeCluster, shard: int) -> Broker:
    """Return the broker of a shard."""
    return next(node.shards.brokers[shard] for node in cluster.nodes.values() if shard in node.shards.brokers)


def raising(error: Exception) -> Callable[..., Any]:
    """Return a function that raises an error."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise error

    return refuse


def test_a_list_of_queues_fails_if_a_shard_refuses_it(
    cluster: EdgeCluster, client: Callable[[str], Caller], monkeypatch: pytest.MonkeyPatch
) -> None:
    client("a")("CreateQueue", QueueName=cluster.queue_of(1))
    monkeypatch.setattr(broker_of(cluster, 1), "queue_names", raising(DiskFullError("no room")))
    for node in cluster.nodes:
        with pytest.raises(RefusedError, match=r"Shard 1 .*507") as refused:
            client(node)("ListQueues")
        assert (refused.value.status, refused.value.code) == (503, "ServiceUnavailable")


@pytest.fixture
def subscribed(cluster: EdgeCluster) -> list[str]:
    """Make a topic with a subscription in each shard, and return their names."""
    topics = [cluster.queue_of(shard, "t") for shard in range(cluster.count)]
    for topic in topics:
        cluster.nodes["a"]("PUT", f"/queues/{topic}--out")
        assert cluster.nodes["a"]("PUT", f"/topics/{topic}").status == 201
        made = cluster.nodes["a"]("PUT", f"/topics/{topic}/subscriptions/s", json={"queue": f"{topic}--out"})
        assert made.status == 201, made.content
    return topics


@pytest.mark.parametrize(("action", "listing"), [("ListTopics", "list"), ("ListSubscriptions", "subscriptions")])
@pytest.mark.usefixtures("subscribed")
def test_a_list_of_topics_or_subscriptions_fails_if_a_shard_refuses_it(
    cluster: EdgeCluster, action: str, listing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client would take a topic or subscription that is left out for a deleted one."""
    monkeypatch.setattr(broker_of(cluster, 1).topics, listing, raising(DiskFullError("no room")))
    for node in cluster.nodes.values():
        with pytest.raises(RefusedError, match=r"Shard 1 .*507") as refused:
            call(sns_client(node.url), action)
        assert (refused.value.status, refused.value.code) == (503, "ServiceUnavailable")


def test_a_topic_that_is_deleted_meanwhile_is_left_out_of_a_list_of_subscriptions(
    cluster: EdgeCluster, subscribed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse = raising(TopicNotFoundError(subscribed[1]))
    monkeypatch.setattr(broker_of(cluster, 1).topics, "subscriptions", refuse)
    for node in cluster.nodes.values():
        found = call(sns_client(node.url), "ListSubscriptions")["Subscriptions"]
        assert {each["TopicArn"].split(":")[-1] for each in found} == {*subscribed} - {subscribed[1]}


def test_http_endpoints_of_topics_of_all_shards_are_subscribed_and_listed(cluster: EdgeCluster) -> None:
    """The queue that is made for an endpoint is in the shard of its topic."""
    for node in cluster.nodes.values():
        for broker in node.shards.brokers.values():
            broker.pushes.hosts = PushHosts(["127.0.0.1"])
    clients = [sns_client(node.url) for node in cluster.nodes.values()]
    expected = []
    for shard in range(cluster.count):
        topic = cluster.queue_of(shard, "hooked")
        arn = call(clients[0], "CreateTopic", Name=topic)["TopicArn"]
        for number, client in enumerate(clients):
            url = f"http://127.0.0.1:9/{topic}/{number}"
            call(client, "Subscribe", TopicArn=arn, Protocol="http", Endpoint=url)
            expected.append((topic, "http", url, "PendingConfirmation"))
            rest = cluster.nodes["a"](
                "PUT", f"/topics/{topic}/subscriptions/{number}", json={"endpoint": f"{url}/rest"}
            )
            assert (rest.status, rest.json["queue"]) == (201, f"{topic}--push-{number}")
            expected.append((topic, "http", f"{url}/rest", f"{arn}:{number}"))
    for client in clients:
        found = call(client, "ListSubscriptions")["Subscriptions"]
        listed = [
            (each["TopicArn"].split(":")[-1], each["Protocol"], each["Endpoint"], each["SubscriptionArn"])
            for each in found
        ]
        assert sorted(listed) == sorted(expected)
