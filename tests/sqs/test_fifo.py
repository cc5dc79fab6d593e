"""FIFO queues, in both protocols."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sqs.clients import Caller, RefusedError
from tests.sqs.test_messages import receive
from tests.support.clock import FakeClock


def send(call: Caller, url: str, body: str, group: str = "g", **more: Any) -> dict[str, Any]:
    return call("SendMessage", QueueUrl=url, MessageBody=body, MessageGroupId=group,
                **{"MessageDeduplicationId": body, **more})  # fmt: skip


def test_a_group_is_in_order_and_one_batch_at_a_time(call: Caller, fifo: str) -> None:
    for body, group in (("a1", "a"), ("b1", "b"), ("a2", "a"), ("a3", "a")):
        send(call, fifo, body, group)
    [first] = receive(call, fifo, MaxNumberOfMessages=1)
    assert first["Body"] == "a1"
    assert [each["Body"] for each in receive(call, fifo)] == ["b1"]
    call("DeleteMessage", QueueUrl=fifo, ReceiptHandle=first["ReceiptHandle"])
    assert [each["Body"] for each in receive(call, fifo)] == ["a2", "a3"]


def test_sequence_numbers_have_20_digits_and_grow(call: Caller, fifo: str) -> None:
    sent = [send(call, fifo, body)["SequenceNumber"] for body in "abc"]
    assert sent == sorted(sent)
    assert len(set(sent)) == 3
    assert {len(each) for each in sent} == {20}
    found = receive(call, fifo, AttributeNames=["All"])
    assert [each["Attributes"]["SequenceNumber"] for each in found] == sent
    assert [each["Attributes"]["MessageDeduplicationId"] for each in found] == ["a", "b", "c"]
    assert {each["Attributes"]["MessageGroupId"] for each in found} == {"g"}


def test_the_same_again_adds_nothing_for_five_minutes(call: Caller, clock: FakeClock, fifo: str) -> None:
    first = send(call, fifo, "x")
    [message] = receive(call, fifo)
    call("DeleteMessage", QueueUrl=fifo, ReceiptHandle=message["ReceiptHandle"])
    assert send(call, fifo, "x") == first
    clock.advance(299)
    assert send(call, fifo, "other", MessageDeduplicationId="x")["MessageId"] == first["MessageId"]
    assert receive(call, fifo) == []
    clock.advance(1)
    assert send(call, fifo, "x")["MessageId"] != first["MessageId"]
    assert len(receive(call, fifo)) == 1


def test_the_same_in_one_batch(call: Caller, fifo: str) -> None:
    entries = [{"Id": each, "MessageBody": "x", "MessageGroupId": "g", "MessageDeduplicationId": "k"} for each in "ab"]
    one, other = call("SendMessageBatch", QueueUrl=fifo, Entries=entries)["Successful"]
    assert {**one, "Id": "b"} == other
    assert len(receive(call, fifo)) == 1


def test_the_content_may_be_what_tells(call: Caller, fifo: str) -> None:
    call("SetQueueAttributes", QueueUrl=fifo, Attributes={"ContentBasedDeduplication": "true"})
    plain = {"QueueUrl": fifo, "MessageGroupId": "g"}
    first = call("SendMessage", MessageBody="x", **plain)
    attributes = {"a": {"DataType": "String", "StringValue": "not looked at"}}
    assert (
        call("SendMessage", MessageBody="x", MessageAttributes=attributes, **plain)["MessageId"] == first["MessageId"]
    )
    assert call("SendMessage", MessageBody="y", **plain)["MessageId"] != first["MessageId"]


def test_the_same_in_two_groups(call: Caller, fifo: str) -> None:
    assert send(call, fifo, "x", "a")["MessageId"] == send(call, fifo, "x", "b")["MessageId"]
    call("SetQueueAttributes", QueueUrl=fifo, Attributes={"DeduplicationScope": "messageGroup"})
    assert send(call, fifo, "y", "a")["MessageId"] != send(call, fifo, "y", "b")["MessageId"]


def test_the_same_attempt_gets_the_same_messages(call: Caller, clock: FakeClock, fifo: str) -> None:
    for body in "ab":
        send(call, fifo, body)
    first = receive(call, fifo, ReceiveRequestAttemptId="1")
    clock.advance(20)
    assert receive(call, fifo, ReceiveRequestAttemptId="1") == first
    assert receive(call, fifo, ReceiveRequestAttemptId="2") == []
    clock.advance(20)  # its timeout began anew
    assert receive(call, fifo, ReceiveRequestAttemptId="1") == first
    call("DeleteMessage", QueueUrl=fifo, ReceiptHandle=first[0]["ReceiptHandle"])
    assert receive(call, fifo, ReceiveRequestAttemptId="1") == []


def test_an_old_handle_is_refused(call: Caller, clock: FakeClock, fifo: str) -> None:
    send(call, fifo, "x")
    [old] = receive(call, fifo)
    clock.advance(31)
    receive(call, fifo)
    with pytest.raises(RefusedError, match=r"InvalidParameterValue.*receipt handle has expired"):
        call("DeleteMessage", QueueUrl=fifo, ReceiptHandle=old["ReceiptHandle"])


def test_the_queue_may_delay_and_a_message_may_not(call: Caller, clock: FakeClock, fifo: str) -> None:
    call("SetQueueAttributes", QueueUrl=fifo, Attributes={"DelaySeconds": "5"})
    send(call, fifo, "x", DelaySeconds=0)
    with pytest.raises(RefusedError, match="not valid for this queue type"):
        send(call, fifo, "y", DelaySeconds=1)
    assert receive(call, fifo) == []
    clock.advance(5)
    assert [each["Body"] for each in receive(call, fifo)] == ["x"]
