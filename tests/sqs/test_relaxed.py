"""A broker that is asked not to be as strict as SQS: only its own limits count."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from tests.support.memory_log import MemoryLog
from tests.support.sqs_clients import RefusedError, Sqs, redrive, serving_sqs
from wonderq.broker.broker import Broker
from wonderq.model.limits import Limits
from wonderq.sqs.limits import relaxed


def test_what_sqs_would_refuse(relaxed_sqs: Sqs) -> None:
    call = relaxed_sqs.boto
    url = call("CreateQueue", QueueName="jobs")["QueueUrl"]
    call("CreateQueue", QueueName="dead")
    call("SetQueueAttributes", QueueUrl=url, Attributes={
        "MessageRetentionPeriod": "0", "DelaySeconds": "901", "MaximumMessageSize": "1", **redrive("dead", 1001)})  # fmt: skip
    asked = ["MessageRetentionPeriod", "DelaySeconds", "MaximumMessageSize", "RedrivePolicy"]
    found = call("GetQueueAttributes", QueueUrl=url, AttributeNames=asked)["Attributes"]
    assert json.loads(found.pop("RedrivePolicy"))["maxReceiveCount"] == 1001
    assert found == {"MessageRetentionPeriod": "0", "DelaySeconds": "901", "MaximumMessageSize": "1"}
    call("SetQueueAttributes", QueueUrl=url, Attributes={"DelaySeconds": "0", "MaximumMessageSize": "1048576"})
    entries = [{"Id": str(number), "MessageBody": "x" * 200_000} for number in range(11)]
    assert len(call("SendMessageBatch", QueueUrl=url, Entries=entries)["Successful"]) == 11
    call("PurgeQueue", QueueUrl=url)
    call("SendMessageBatch", QueueUrl=url, Entries=[{**each, "MessageBody": "x"} for each in entries])
    call("SendMessage", QueueUrl=url, MessageBody="")
    many = {str(number): {"DataType": "String", "StringValue": "x"} for number in range(64)}
    call("SendMessage", QueueUrl=url, MessageBody="x", DelaySeconds=901, MessageAttributes=many)
    found = call("ReceiveMessage", QueueUrl=url, MaxNumberOfMessages=1000)["Messages"]
    assert [len(each["Body"]) for each in found] == [1] * 11 + [0]


def test_there_is_nothing_to_wait_for(relaxed_sqs: Sqs) -> None:
    call = relaxed_sqs.boto
    for _ in range(2):
        url = call("CreateQueue", QueueName="jobs")["QueueUrl"]
        call("PurgeQueue", QueueUrl=url)
        call("PurgeQueue", QueueUrl=url)
        call("DeleteQueue", QueueUrl=url)


def test_the_limits_of_the_broker_hold_all_the_same() -> None:
    limits = Limits(message_bytes=1000, batch_messages=20, batch_bytes=2000)
    with serving_sqs(Broker(MemoryLog(), limits=limits), relaxed(limits)) as sqs:
        url = sqs.boto("CreateQueue", QueueName="jobs")["QueueUrl"]

        def batch(count: int, size: int) -> dict[str, Any]:
            entries = [{"Id": str(number), "MessageBody": "x" * size} for number in range(count)]
            return sqs.boto("SendMessageBatch", QueueUrl=url, Entries=entries)

        assert [each["Code"] for each in batch(1, 1001)["Failed"]] == ["InvalidParameterValue"]
        with pytest.raises(RefusedError, match="TooManyEntriesInBatchRequest"):
            batch(21, 1)
        with pytest.raises(RefusedError, match="BatchRequestTooLong"):
            batch(3, 999)
        shown = sqs.boto("GetQueueAttributes", QueueUrl=url, AttributeNames=["MaximumMessageSize"])["Attributes"]
        assert shown == {"MaximumMessageSize": "1000"}


def test_a_new_queue_has_no_limit_in_flight(relaxed_sqs: Sqs) -> None:
    relaxed_sqs.boto("CreateQueue", QueueName="jobs")
    assert relaxed_sqs.broker.queue("jobs").settings.max_in_flight == 0


# Concurrent changes of settings


def test_those_who_change_a_queue_at_once_lose_nothing_of_each_others() -> None:
    """Threads may interleave their changes at any point."""
    broker = Broker(MemoryLog())
    broker.put_queue("jobs")

    def tag(name: str) -> None:
        broker.change_queue("jobs", lambda there: {"tags": {**there.tags, name: "x"}})

    threads = [threading.Thread(target=tag, args=(str(number),)) for number in range(48)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(broker.queue("jobs").settings.tags) == 48


def test_a_change_that_fails_changes_nothing() -> None:
    broker = Broker(MemoryLog())
    broker.put_queue("jobs", delay_ms=7)

    def fail(_there: object) -> dict[str, int]:
        raise KeyError

    with pytest.raises(KeyError):
        broker.change_queue("jobs", fail)
    assert broker.queue("jobs").settings.delay_ms == 7
    assert broker.create_queue("jobs", delay_ms=8)[1] is False
    assert broker.queue("jobs").settings.delay_ms == 7
