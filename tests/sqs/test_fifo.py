"""FIFO queues, in both protocols."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from tests.sqs.test_dead_letters import drive
from tests.sqs.test_messages import receive
from tests.support.clock import FakeClock
from tests.support.sqs_clients import Caller, RefusedError, Sqs, arn, redrive


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


def test_the_queue_may_delay_and_a_message_may_not(call: Caller, clock: FakeClock, fifo: str) -> None:
    call("SetQueueAttributes", QueueUrl=fifo, Attributes={"DelaySeconds": "5"})
    send(call, fifo, "x", DelaySeconds=0)
    with pytest.raises(RefusedError, match="not valid for this queue type"):
        send(call, fifo, "y", DelaySeconds=1)
    assert receive(call, fifo) == []
    clock.advance(5)
    assert [each["Body"] for each in receive(call, fifo)] == ["x"]


@pytest.mark.parametrize("end", ["deleted", "waiting", "in flight"])
@pytest.mark.parametrize("by_content", [False, True])
def test_after_a_purge_the_same_message_can_be_sent_again(call: Caller, fifo: str, end: str, by_content: bool) -> None:
    """A recorded fact of AWS: a purge clears the memory of deduplication."""
    more: dict[str, Any] = {}
    if by_content:
        call("SetQueueAttributes", QueueUrl=fifo, Attributes={"ContentBasedDeduplication": "true"})
        more = {"MessageDeduplicationId": None}

    def send_x() -> str:
        given = {"MessageBody": "x", "MessageGroupId": "g", "MessageDeduplicationId": "x", **more}
        sent = call("SendMessage", QueueUrl=fifo, **{name: value for name, value in given.items() if value})
        message_id: str = sent["MessageId"]
        return message_id

    first = send_x()
    if end != "waiting":
        [message] = receive(call, fifo)
    if end == "deleted":
        call("DeleteMessage", QueueUrl=fifo, ReceiptHandle=message["ReceiptHandle"])
    call("PurgeQueue", QueueUrl=fifo)
    second = send_x()
    assert second != first
    assert send_x() == second
    assert [each["MessageId"] for each in receive(call, fifo)] == [second]


@pytest.mark.parametrize("follower", ["held", "extended", "deleted"])
@pytest.mark.parametrize("end", ["released", "expired"])
def test_a_message_before_the_held_ones_is_received_at_once(
    call: Caller, clock: FakeClock, fifo: str, end: str, follower: str
) -> None:
    """A recorded fact of AWS. It follows from the order: nothing is received before an older message of its group."""
    for body in "abcd":
        send(call, fifo, body)
    first, second, third = receive(call, fifo, MaxNumberOfMessages=3, VisibilityTimeout=10)

    def change(message: dict[str, Any], timeout_s: int) -> None:
        call(
            "ChangeMessageVisibility",
            QueueUrl=fifo,
            ReceiptHandle=message["ReceiptHandle"],
            VisibilityTimeout=timeout_s,
        )

    change(third, 100)
    if follower == "deleted":
        call("DeleteMessage", QueueUrl=fifo, ReceiptHandle=second["ReceiptHandle"])
    else:
        change(second, 200 if follower == "extended" else 50)
    if end == "released":
        change(first, 0)
    else:
        clock.advance(10)
    [again] = receive(call, fifo)
    assert (again["Body"], again["MessageId"]) == ("a", first["MessageId"])
    assert receive(call, fifo) == []


def test_the_deduplication_id_of_a_message_without_one(sqs: Sqs, call: Caller, fifo: str) -> None:
    """SQS API reference, SendMessage: SHA-256 of the body. It is also shown for messages of the REST API."""
    call("SetQueueAttributes", QueueUrl=fifo, Attributes={"ContentBasedDeduplication": "true"})
    call("SendMessage", QueueUrl=fifo, MessageBody="größer", MessageGroupId="a")
    call("SendMessage", QueueUrl=fifo, MessageBody="x", MessageGroupId="b", MessageDeduplicationId="own")
    sqs.broker.produce("jobs.fifo", ["rest"])
    found = receive(call, fifo, AttributeNames=["MessageDeduplicationId"])
    assert {each["Body"]: each["Attributes"]["MessageDeduplicationId"] for each in found} == {
        "größer": sha256("größer".encode()).hexdigest(),
        "x": "own",
        "rest": sha256(b"rest").hexdigest(),
    }


def test_the_deduplication_id_of_a_dead_letter_is_its_former_message_id(
    sqs: Sqs, call: Caller, clock: FakeClock, fifo: str
) -> None:
    """SQS Developer Guide, "Configure a dead-letter queue redrive"."""
    dead = call("CreateQueue", QueueName="dead.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    call("SetQueueAttributes", QueueUrl=fifo, Attributes=redrive("dead.fifo", 1))
    sent = send(call, fifo, "x")
    receive(call, fifo)
    clock.advance(31)
    assert receive(call, fifo) == []
    [letter] = receive(call, dead, AttributeNames=["All"])
    assert letter["Attributes"]["MessageDeduplicationId"] == sent["MessageId"]
    clock.advance(31)
    call("StartMessageMoveTask", SourceArn=arn("dead.fifo"))
    drive(sqs.broker, clock)
    [back] = receive(call, fifo, AttributeNames=["MessageDeduplicationId"])
    assert back["Attributes"]["MessageDeduplicationId"] == "x", "of a redriven message SQS documents none"


@pytest.mark.parametrize("lacks", ["MessageGroupId", "MessageDeduplicationId"])
def test_a_batch_of_which_an_entry_lacks_an_id_adds_nothing(sqs: Sqs, call: Caller, fifo: str, lacks: str) -> None:
    """A recorded fact of AWS: such a batch is refused as a whole; other faults fail their entries alone."""
    fine = {"Id": "a", "MessageBody": "x", "MessageGroupId": "g", "MessageDeduplicationId": "k"}
    bad = {name: value for name, value in {**fine, "Id": "b"}.items() if name != lacks}
    with pytest.raises(RefusedError, match=lacks):
        call("SendMessageBatch", QueueUrl=fifo, Entries=[fine, bad])
    assert sqs.broker.queue("jobs.fifo").newest_id is None
    answer = call("SendMessageBatch", QueueUrl=fifo, Entries=[fine, {**fine, "Id": "b", lacks: "no id"}])
    assert [each["Id"] for each in answer["Successful"]] == ["a"]
    assert [each["Id"] for each in answer["Failed"]] == ["b"]
