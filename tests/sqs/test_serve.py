"""A real `wonderq serve`, with keys from `wonderq key create --sqs`, killed and started again."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from tests.support.broker_process import RunningBroker
from tests.support.commands import run
from tests.support.sqs_clients import Boto, RefusedError, boto_client, redrive


def test_a_key_for_sqs(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    done = run("key", "create", "ci", "--role", "produce", "--queue", "jobs", "--sqs", "--data", str(tmp_path / "data"))
    assert done.code == 0, done.error
    key, *lines = done.lines
    shown = dict(line.split("=") for line in lines)
    assert shown.keys() == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    file = tmp_path / "data" / "keys.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert shown["AWS_SECRET_ACCESS_KEY"] in file.read_text()
    assert key not in file.read_text()
    admin = run("key", "create", "admin", "--role", "admin", "--sqs", "--data", str(tmp_path / "data")).lines
    with RunningBroker(tmp_path / "data") as broker:
        boto_client(broker.url, *(line.split("=")[1] for line in admin[1:])).create_queue(QueueName="jobs")
        client = boto_client(broker.url, shown["AWS_ACCESS_KEY_ID"], shown["AWS_SECRET_ACCESS_KEY"])
        url = client.get_queue_url(QueueName="jobs")["QueueUrl"]
        client.send_message(QueueUrl=url, MessageBody="x")
        with pytest.raises(ClientError) as caught:
            client.receive_message(QueueUrl=url)
    assert caught.value.response["Error"]["Code"] == "AccessDenied"


def test_nothing_is_lost_by_a_crash(tmp_path: Path) -> None:
    fifo = {"MessageGroupId": "g", "MessageDeduplicationId": "k"}
    attributes = {"a": {"DataType": "Binary.x", "BinaryValue": b"\0\xff"}}
    with RunningBroker(tmp_path / "data") as broker:
        call = Boto(broker.url)
        call("CreateQueue", QueueName="dead.fifo", Attributes={"FifoQueue": "true"})
        given = {"FifoQueue": "true", "VisibilityTimeout": "600", "Policy": "{}", **redrive("dead.fifo")}
        url = call("CreateQueue", QueueName="jobs.fifo", Attributes=given, tags={"a": "b"})["QueueUrl"]
        call("AddPermission", QueueUrl=url, Label="l", AWSAccountIds=["123456789012"], Actions=["*"])
        sent = call("SendMessage", QueueUrl=url, MessageBody="x", MessageAttributes=attributes, **fifo)
        [received] = call("ReceiveMessage", QueueUrl=url, MessageAttributeNames=["All"])["Messages"]
        asked = [*given, "CreatedTimestamp", "LastModifiedTimestamp", "ApproximateNumberOfMessagesNotVisible"]
        before = call("GetQueueAttributes", QueueUrl=url, AttributeNames=asked)
        broker.kill()
    with RunningBroker(tmp_path / "data") as broker:
        call = Boto(broker.url)
        url = call("GetQueueUrl", QueueName="jobs.fifo")["QueueUrl"]
        assert call("GetQueueAttributes", QueueUrl=url, AttributeNames=asked) == before
        assert call("ListQueueTags", QueueUrl=url) == {"Tags": {"a": "b"}}
        assert call("SendMessage", QueueUrl=url, MessageBody="x", MessageAttributes=attributes, **fifo) == sent
        assert call("ReceiveMessage", QueueUrl=url) == {}
        change = {"QueueUrl": url, "ReceiptHandle": received["ReceiptHandle"]}
        call("ChangeMessageVisibility", **change, VisibilityTimeout=0)
        [again] = call("ReceiveMessage", QueueUrl=url, MessageAttributeNames=["All"])["Messages"]
        assert {**again, "ReceiptHandle": ""} == {**received, "ReceiptHandle": ""}
        call("DeleteMessage", QueueUrl=url, ReceiptHandle=again["ReceiptHandle"])


@pytest.mark.parametrize(("options", "is_fine"), [((), False), (("--sqs-limits", "relaxed"), True)])
def test_strict_unless_asked_otherwise(tmp_path: Path, options: tuple[str, ...], is_fine: bool) -> None:
    with RunningBroker(tmp_path / "data", *options) as broker:
        call = Boto(broker.url)
        url = call("CreateQueue", QueueName="jobs")["QueueUrl"]
        if is_fine:
            call("SendMessage", QueueUrl=url, MessageBody="x", DelaySeconds=901)
        else:
            with pytest.raises(RefusedError, match="DelaySeconds"):
                call("SendMessage", QueueUrl=url, MessageBody="x", DelaySeconds=901)
