"""Clients of SNS, unchanged, with a broker in a process of its own: what they publish arrives in queues of SQS."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.clients.test_aws_command import AWS
from tests.clients.test_libraries import PYTHON
from tests.clients.test_node import NODE
from tests.support.broker_process import BrokerProcess, RunningBroker
from tests.support.sns_clients import sns_client
from tests.support.sqs_clients import Boto, call
from tests.support.waiting import PATIENCE_S, eventually

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    with RunningBroker(tmp_path / "data") as running:
        yield running


def run(command: list[str], broker: RunningBroker) -> Any:
    """Run a program with the broker as its AWS, and return the JSON that it prints."""
    printed = output_of(command, broker)
    return json.loads(printed) if printed.strip() else None


def output_of(command: list[str], broker: RunningBroker) -> str:
    environment = {
        **os.environ,
        "HOME": "/nonexistent",
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "thing",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ENDPOINT_URL": broker.url,
    }
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def killed_at_the_end(data: Path, segment_bytes: int | None) -> Iterator[str]:
    """Run a broker, and return its address. With small segments, it compacts all the time."""
    process = BrokerProcess(data, segment_bytes=segment_bytes)
    try:
        yield process.ready()
    finally:
        process.kill()


def compact(sqs: Boto, data: Path) -> None:
    """Make garbage until the first segment is deleted, whose messages are rewritten then."""
    queue = sqs("CreateQueue", QueueName="garbage")["QueueUrl"]

    def is_compacted() -> bool:
        sqs("SendMessage", QueueUrl=queue, MessageBody="x" * 10_000)
        [message] = sqs("ReceiveMessage", QueueUrl=queue)["Messages"]
        sqs("DeleteMessage", QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        return not (data / "0000000001.wal").exists()

    eventually(is_compacted)


@pytest.mark.parametrize("segment_bytes", [None, 64 << 10], ids=["killed", "compacted and killed"])
def test_boto3_through_kills_of_the_broker(tmp_path: Path, segment_bytes: int | None) -> None:
    """A topic, its filters and what was published survive; the signature of an envelope does too."""
    data = tmp_path / "data"
    with killed_at_the_end(data, segment_bytes) as address:
        sns, sqs = sns_client(address), Boto(address)
        topic = sns.create_topic(Name="orders", Attributes={"SignatureVersion": "2"})["TopicArn"]
        for name, policy in {"all": {}, "big": {"total": [{"numeric": [">", 100]}]}, "none": {"total": ["x"]}}.items():
            url = sqs("CreateQueue", QueueName=name)["QueueUrl"]
            arn = sqs("GetQueueAttributes", QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
            given = {"FilterPolicy": json.dumps(policy), "FilterPolicyScope": "MessageBody"}
            sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=given)
        published = [
            sns.publish(TopicArn=topic, Message=json.dumps({"total": total}))["MessageId"] for total in (50, 150)
        ]
        if segment_bytes is not None:
            compact(sqs, data)
    signatures = []
    for _ in range(2):
        with killed_at_the_end(data, segment_bytes) as address:
            sns, sqs = sns_client(address), Boto(address)
            assert len(sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]) == 3
            found = {}
            for name in ("all", "big", "none"):
                members = {"MaxNumberOfMessages": 10, "VisibilityTimeout": 0}
                answer = sqs("ReceiveMessage", QueueUrl=f"{address}/000000000000/{name}", **members)
                envelopes = [json.loads(each["Body"]) for each in answer.get("Messages", [])]
                found[name] = [each["MessageId"] for each in envelopes]
                signatures += [each["Signature"] for each in envelopes]
            assert found == {"all": published, "big": published[1:], "none": []}
            assert call(sns, "GetTopicAttributes", TopicArn=topic)["Attributes"]["SignatureVersion"] == "2"
    assert signatures[:3] == signatures[3:]
    assert len(set(signatures)) == 2


@pytest.mark.skipif(AWS is None, reason="there is no aws command")
def test_the_aws_command(broker: RunningBroker) -> None:
    def aws(*arguments: str) -> Any:
        return run([str(AWS), "--endpoint-url", broker.url, *arguments], broker)

    topic = aws("sns", "create-topic", "--name", "orders")["TopicArn"]
    url = aws("sqs", "create-queue", "--queue-name", "jobs")["QueueUrl"]
    queue = topic.replace(":sns:", ":sqs:").replace("orders", "jobs")
    given = ("--protocol", "sqs", "--notification-endpoint", queue, "--attributes", "RawMessageDelivery=true")
    subscription = aws("sns", "subscribe", "--topic-arn", topic, *given)["SubscriptionArn"]
    attribute = ("--message-attributes", '{"kind": {"DataType": "String", "StringValue": "a"}}')
    aws("sns", "publish", "--topic-arn", topic, "--message", "größer", *attribute)
    [message] = aws("sqs", "receive-message", "--queue-url", url)["Messages"]
    assert message["Body"] == "größer"
    aws("sns", "unsubscribe", "--subscription-arn", subscription)
    assert aws("sns", "list-subscriptions") == {"Subscriptions": []}


@pytest.mark.skipif(not PYTHON.exists(), reason="aioboto3 is not installed")
def test_aioboto3(broker: RunningBroker) -> None:
    assert run([str(PYTHON), "-m", "tests.clients.libraries.sns_aioboto3"], broker) == ["sport"]


@pytest.mark.skipif(not PYTHON.with_name("tomodachi").exists(), reason="tomodachi is not installed")
def test_tomodachi(broker: RunningBroker) -> None:
    """A service subscribes its handlers by itself, with a filter, and gets what it publishes."""
    command = [str(PYTHON), "-m", "tomodachi", "run", "tests/clients/libraries/sns_tomodachi.py"]
    [got] = [line.removeprefix("GOT ") for line in output_of(command, broker).splitlines() if line.startswith("GOT ")]
    assert json.loads(got) == {"all": ["new 1", "paid 0", "paid 2"], "paid": ["paid 0", "paid 2"]}


@pytest.mark.skipif(not PYTHON.exists(), reason="Powertools are not installed")
def test_powertools_read_envelopes(broker: RunningBroker) -> None:
    expected = ["größer", "Subject", "String", "sport"]
    found = run([str(PYTHON), "-m", "tests.clients.libraries.sns_powertools"], broker)
    assert found == [[*expected, True], [*expected, False]]


@pytest.mark.skipif(
    NODE is None or not (HERE / "node/node_modules/@aws-sdk/client-sns").is_dir(),
    reason="there is no Node.js, or its client of SNS is not installed",
)
def test_the_sdk_for_javascript(broker: RunningBroker) -> None:
    assert run([str(NODE), str(HERE / "node" / "sns.mjs"), broker.url], broker) == {
        "successful": ["a"],
        "failed": [["b", "InvalidParameter"]],
        "messages": [["größer", "Subject", "5"]],
        "topic": True,
        "missing": ["NotFoundException", 404],
    }
