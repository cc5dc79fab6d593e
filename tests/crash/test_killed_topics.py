"""Topics and subscriptions after SIGKILL, and after compaction: over REST and SNS they are what they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.broker_process import BrokerProcess
from tests.support.sns_clients import sns_client
from tests.support.waiting import eventually
from wonderq.client.messages import AttributeValue
from wonderq.client.sync import Client

QUEUES = ("plain", "wrapped", "paid", "large", "paused", "full", "late", "line.fifo", "dead", "over-sns")

PAID: dict[str, AttributeValue] = {"kind": "paid", "amount": 5000}


def set_up(client: Client, url: str) -> str:
    """Create a topic with a subscription of each kind; return its ARN."""
    topic = client.topic("orders")
    topic.configure(deduplication_window=3600, tags={"team": "billing"})
    for queue in QUEUES:
        client.queue(queue).configure(draining=queue == "full", delay=600 if queue == "late" else 0)
    topic.subscribe("plain", "plain")
    topic.subscribe("wrapped", "wrapped", raw=False)
    topic.subscribe("paid", "paid", filter={"kind": ["paid"], "amount": [{"numeric": [">", 10]}]})
    topic.subscribe("large", "large", filter={"order": {"total": [{"numeric": [">=", 100]}]}}, filter_scope="body")
    topic.subscribe("paused", "paused", paused=True)
    topic.subscribe("full", "full", when_full="skip", dead_letter_queue="dead")
    topic.subscribe("late", "late")
    topic.subscribe("line", "line.fifo")
    sns = sns_client(url)
    arn: str = sns.create_topic(Name="orders")["TopicArn"]
    sns.set_topic_attributes(TopicArn=arn, AttributeName="DisplayName", AttributeValue="Orders")
    endpoint = arn.replace(":sns:", ":sqs:").rpartition(":")[0] + ":over-sns"
    subscribed = sns.subscribe(
        TopicArn=arn,
        Protocol="sqs",
        Endpoint=endpoint,
        ReturnSubscriptionArn=True,
        Attributes={"FilterPolicy": '{"kind": ["paid"]}', "RawMessageDelivery": "true"},
    )["SubscriptionArn"]
    sns.tag_resource(ResourceArn=arn, Tags=[{"Key": "cost", "Value": "7"}])
    assert subscribed
    return arn


def view(client: Client, url: str, arn: str) -> dict[str, Any]:
    """Everything that clients see of the topic, without what counts from the start of the broker."""
    topic, sns = client.topic("orders"), sns_client(url)
    listed = sns.list_subscriptions_by_topic(TopicArn=arn)["Subscriptions"]
    return {
        "topic": topic.info(),
        "subscriptions": [
            (
                each.name,
                each.queue,
                each.raw,
                each.filter,
                each.filter_scope,
                each.paused,
                each.when_full,
                each.dead_letter_queue,
                each.created_at,
            )
            for each in topic.subscriptions()
        ],
        "matches": topic.match({"order": {"total": 200}}, attributes=PAID),
        "attributes": sns.get_topic_attributes(TopicArn=arn)["Attributes"],
        "tags": sns.list_tags_for_resource(ResourceArn=arn)["Tags"],
        "over sns": [
            sns.get_subscription_attributes(SubscriptionArn=each["SubscriptionArn"])["Attributes"] for each in listed
        ],
        "messages": {
            queue: [
                (each.id, each.text, each.attributes, each.group, each.status) for each in client.queue(queue).look()
            ]
            for queue in QUEUES
        },
    }


def publish(client: Client, key: str) -> int:
    topic = client.topic("orders")
    return topic.publish({"order": {"total": 200}}, attributes=PAID, group="g", key=key, subject="New").queues


def compact(client: Client, data: Path) -> None:
    """Make garbage until the first segment is gone: what is still needed of it has been rewritten then."""
    litter = client.queue("litter")

    def is_compacted() -> bool:
        litter.send_together(["x" * 2000] * 10)
        litter.purge()
        return not (data / "0000000001.wal").exists()

    eventually(is_compacted)


@pytest.mark.slow
@pytest.mark.parametrize("compacts", [False, True], ids=["killed", "compacted and killed"])
def test_everything_about_a_topic_is_there_after_a_kill(tmp_path: Path, compacts: bool) -> None:
    data = tmp_path / "data"
    with BrokerProcess(data, segment_bytes=64 << 10) as broker:
        url = broker.ready()
        with Client(url) as client:
            arn = set_up(client, url)
            assert publish(client, "before") == 8
            before = view(client, url, arn)
            if compacts:
                compact(client, data)
        broker.kill()
    assert len(before["messages"]["dead"]) == 1
    assert not before["messages"]["paused"]
    with BrokerProcess(data, segment_bytes=64 << 10) as broker:
        url = broker.ready()
        with Client(url) as client:
            assert view(client, url, arn) == before
            assert publish(client, "before") == 0  # its key is remembered
            assert view(client, url, arn) == before
            assert publish(client, "after") == 8
            assert {queue: len(found) for queue, found in view(client, url, arn)["messages"].items()} == {
                queue: 2 * len(found) for queue, found in before["messages"].items()
            }
        broker.kill()
