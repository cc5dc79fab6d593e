"""Sending, receiving and deleting, in both protocols."""

from __future__ import annotations

import json
import threading
from hashlib import md5
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.clock import FakeClock
from tests.support.http_client import Client
from tests.support.sqs_clients import FORM, Caller, RefusedError, Sqs, post
from tests.support.waiting import PATIENCE_S
from wonderq.model.messages import NewMessage

TEXT = "größer & <so> \"fort\"\r\n\t'x' \U0001f511"

ATTRIBUTES: dict[str, dict[str, Any]] = {
    "text": {"DataType": "String", "StringValue": "größer <&>"},
    "order.id": {"DataType": "Number", "StringValue": "-12.50"},
    "order.kind": {"DataType": "String.label", "StringValue": "x"},
    "raw": {"DataType": "Binary.png", "BinaryValue": b"\0\xff\x80"},
}


def receive(call: Caller, url: str, **more: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = call("ReceiveMessage", QueueUrl=url, **{"MaxNumberOfMessages": 10, **more}).get(
        "Messages", []
    )
    return found


def digest(text: str) -> str:
    return md5(text.encode()).hexdigest()


def test_a_message_arrives_as_it_was_sent(call: Caller, queue: str) -> None:
    sent = call("SendMessage", QueueUrl=queue, MessageBody=TEXT)
    assert sent == {"MessageId": sent["MessageId"], "MD5OfMessageBody": digest(TEXT)}
    [message] = receive(call, queue)
    assert message.keys() == {"MessageId", "ReceiptHandle", "MD5OfBody", "Body"}
    assert (message["MessageId"], message["Body"], message["MD5OfBody"]) == (sent["MessageId"], TEXT, digest(TEXT))
    assert call("DeleteMessage", QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"]) == {}
    assert call("ReceiveMessage", QueueUrl=queue) == {}


def test_one_message_unless_more_are_asked_for(call: Caller, queue: str) -> None:
    for body in "abc":
        call("SendMessage", QueueUrl=queue, MessageBody=body)
    assert len(call("ReceiveMessage", QueueUrl=queue)["Messages"]) == 1
    assert [each["Body"] for each in receive(call, queue)] == ["b", "c"]


def test_attributes(call: Caller, queue: str) -> None:
    """Prefixes: API reference of ReceiveMessage. That ``*`` is all, and that a prefix has no dot: recorded facts of AWS."""
    trace = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-5759e988-bd862e3fe1be46a994272793"}}
    sent = call(
        "SendMessage", QueueUrl=queue, MessageBody="x", MessageAttributes=ATTRIBUTES, MessageSystemAttributes=trace
    )
    assert sent.keys() == {"MessageId", "MD5OfMessageBody", "MD5OfMessageAttributes", "MD5OfMessageSystemAttributes"}
    for asked, expected in (
        ([], set()),
        (["All"], set(ATTRIBUTES)),
        ([".*"], set(ATTRIBUTES)),
        (["order.*", "text"], {"order.id", "order.kind", "text"}),
        (["raw", "unknown"], {"raw"}),
        (["unknown", "ord"], set()),
        (["*"], set(ATTRIBUTES)),
        (["unknown", "*"], set(ATTRIBUTES)),
        (["ord.*"], {"order.id", "order.kind"}),
        (["order.id.*"], {"order.id"}),
        (["order.id"], {"order.id"}),
        (["t.*", "raw.*"], {"text", "raw"}),
        (["Text.*", "ext.*", "order", "te*"], set()),
    ):
        [message] = receive(call, queue, VisibilityTimeout=0, MessageAttributeNames=asked)
        assert message.get("MessageAttributes", {}) == {name: ATTRIBUTES[name] for name in expected}
        if expected == set(ATTRIBUTES):
            assert message["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
        assert ("MD5OfMessageAttributes" in message) == bool(expected)
    [message] = receive(call, queue, MessageSystemAttributeNames=["AWSTraceHeader"])
    assert message["Attributes"] == {"AWSTraceHeader": trace["AWSTraceHeader"]["StringValue"]}


@pytest.mark.parametrize("name", ["größe", "naïve.é", "имя", "名前-1"])
def test_names_of_attributes_in_other_alphabets(call: Caller, queue: str, name: str) -> None:
    """A recorded fact of AWS, which documents ASCII. Their size counts in bytes."""
    attributes = {name: {"DataType": "String", "StringValue": "x"}}
    call("SendMessage", QueueUrl=queue, MessageBody="x", MessageAttributes=attributes)
    [message] = receive(call, queue, MessageAttributeNames=[f"{name[:2]}.*"])
    assert message["MessageAttributes"] == attributes
    most = (1 << 20) - len(name.encode()) - len("Stringx")
    call("SendMessage", QueueUrl=queue, MessageBody="x" * most, MessageAttributes=attributes)
    with pytest.raises(RefusedError, match="shorter than"):
        call("SendMessage", QueueUrl=queue, MessageBody="x" * (most + 1), MessageAttributes=attributes)


@pytest.mark.parametrize(
    "number",
    [
        "0",
        "-0.0",
        "1" * 38,
        "1" * 38 + "0" * 60,
        "0." + "0" * 60 + "1" * 38,
        "1e126",
        "9.9E126",
        "1E-128",
        ".5",
        "5.",
        "+7",
    ],
)
def test_numbers_as_large_and_as_exact_as_they_may_be(call: Caller, queue: str, number: str) -> None:
    """SQS Developer Guide, "Message attribute data types": 38 digits, between 10^-128 and 10^+126."""
    attributes = {"n": {"DataType": "Number", "StringValue": number}}
    call("SendMessage", QueueUrl=queue, MessageBody="x", MessageAttributes=attributes)
    [message] = receive(call, queue, MessageAttributeNames=["n"])
    assert message["MessageAttributes"] == attributes, "unchanged, so that its digest stays valid"


# Trace context

X_RAY = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def send_with(sqs: Sqs, protocol: str, headers: dict[str, str], *, batch: bool = False) -> None:
    """Send a message with headers, in either protocol."""
    url = f"{sqs.url}/000000000000/jobs"
    if protocol == "json":
        entry = {"Id": "a", "MessageBody": "x"}
        body: dict[str, Any] = {"QueueUrl": url, "Entries": [entry]} if batch else {"QueueUrl": url, "MessageBody": "x"}
        target = f"AmazonSQS.SendMessage{'Batch' * batch}"
        kind = {"X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.0"}
        reply = post(sqs.served, json.dumps(body).encode(), {**kind, **headers})
    else:
        prefix = "SendMessageBatchRequestEntry.1." if batch else ""
        fields = {"Action": f"SendMessage{'Batch' * batch}", f"{prefix}MessageBody": "x"}
        fields |= {f"{prefix}Id": "a"} if batch else {}
        reply = post(sqs.served, urlencode(fields).encode(), {"Content-Type": FORM, **headers}, "/000000000000/jobs")
    assert reply.status == 200, reply.content
    assert b"MD5OfMessageSystemAttributes" not in reply.content, "the message has no such attribute in its request"


@pytest.mark.parametrize("protocol", ["json", "query"])
@pytest.mark.parametrize("batch", [False, True])
def test_the_trace_of_a_request_becomes_that_of_its_messages(sqs: Sqs, queue: str, protocol: str, batch: bool) -> None:
    """SQS Developer Guide, "X-Ray": with the header, without the attribute."""
    send_with(sqs, protocol, {"X-Amzn-Trace-Id": X_RAY}, batch=batch)
    [message] = receive(sqs.caller(protocol), queue, AttributeNames=["AWSTraceHeader"])
    assert message["Attributes"] == {"AWSTraceHeader": X_RAY}


def test_an_attribute_goes_before_the_header(sqs: Sqs, queue: str) -> None:
    own = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=own"}}
    sqs.boto.client.meta.events.register(
        "before-sign.sqs.SendMessage", lambda request, **_: request.headers.add_header("X-Amzn-Trace-Id", X_RAY)
    )
    sent = sqs.boto("SendMessage", QueueUrl=queue, MessageBody="x", MessageSystemAttributes=own)
    assert "MD5OfMessageSystemAttributes" in sent
    [message] = receive(sqs.boto, queue, AttributeNames=["All"])
    assert message["Attributes"]["AWSTraceHeader"] == "Root=own"


@pytest.mark.parametrize("protocol", ["json", "query"])
def test_a_trace_of_w3c_reaches_consumers_of_both_apis(sqs: Sqs, queue: str, protocol: str) -> None:
    """Consumers of SQS get it as AWS X-Ray writes such an id (X-Ray Developer Guide, "W3C trace ID")."""
    send_with(sqs, protocol, {"traceparent": PARENT, "tracestate": "a=b"})
    [message] = receive(sqs.caller(protocol), queue, VisibilityTimeout=0, AttributeNames=["All"])
    assert message["Attributes"]["AWSTraceHeader"] == (
        "Root=1-0af76519-16cd43dd8448eb211c80319c;Parent=b7ad6b7169203331;Sampled=1"
    )
    [message] = Client(sqs.broker).consume(queue="jobs")
    assert (message["traceparent"], message["tracestate"]) == (PARENT, "a=b")


def test_a_trace_that_cannot_be_stored_keeps_no_message_from_being_sent(sqs: Sqs, queue: str) -> None:
    send_with(sqs, "json", {"X-Amzn-Trace-Id": "x" * 1025, "traceparent": "not one", "tracestate": "y" * 1025})
    send_with(sqs, "json", {"tracestate": "a=b"})
    for message in receive(sqs.boto, queue, AttributeNames=["All"]):
        assert "AWSTraceHeader" not in message["Attributes"]


@pytest.mark.parametrize("parameter", ["AttributeNames", "MessageSystemAttributeNames"])
def test_what_is_known_of_a_message(call: Caller, clock: FakeClock, queue: str, parameter: str) -> None:
    call("SendMessage", QueueUrl=queue, MessageBody="x", MessageGroupId="g")
    clock.advance(1)
    first = str(clock.now_ms())
    receive(call, queue, VisibilityTimeout=5)
    clock.advance(6)
    [message] = receive(call, queue, VisibilityTimeout=0, **{parameter: ["All"]})
    assert message["Attributes"] == {
        "SenderId": message["Attributes"]["SenderId"],
        "SentTimestamp": "1700000000000",
        "ApproximateReceiveCount": "2",
        "ApproximateFirstReceiveTimestamp": first,
        "MessageGroupId": "g",
    }
    [message] = receive(call, queue, **{parameter: ["ApproximateReceiveCount", "AWSTraceHeader"]})
    assert message["Attributes"] == {"ApproximateReceiveCount": "3"}


def test_delays(call: Caller, clock: FakeClock, queue: str) -> None:
    call("SendMessage", QueueUrl=queue, MessageBody="late", DelaySeconds=900)
    assert receive(call, queue) == []
    clock.advance(900)
    assert [each["Body"] for each in receive(call, queue)] == ["late"]


def test_delays_of_a_batch_are_each_ones_own(call: Caller, clock: FakeClock, queue: str) -> None:
    call("SetQueueAttributes", QueueUrl=queue, Attributes={"DelaySeconds": "10"})
    entries = [{"Id": "0", "MessageBody": "0", "DelaySeconds": 0}, {"Id": "q", "MessageBody": "q"},
               {"Id": "5", "MessageBody": "5", "DelaySeconds": 5}]  # fmt: skip
    call("SendMessageBatch", QueueUrl=queue, Entries=entries)
    for wait_s, expected in ((0, ["0"]), (5, ["5"]), (5, ["q"])):
        clock.advance(wait_s)
        assert [each["Body"] for each in receive(call, queue)] == expected


def test_visibility(call: Caller, clock: FakeClock, queue: str) -> None:
    call("SendMessage", QueueUrl=queue, MessageBody="x")
    [message] = receive(call, queue)
    clock.advance(29)
    assert receive(call, queue) == []
    change = {"QueueUrl": queue, "ReceiptHandle": message["ReceiptHandle"]}
    assert call("ChangeMessageVisibility", **change, VisibilityTimeout=100) == {}
    clock.advance(99)
    assert receive(call, queue) == []
    call("ChangeMessageVisibility", **change, VisibilityTimeout=0)
    [again] = receive(call, queue, VisibilityTimeout=1)
    assert (again["MessageId"], again["ReceiptHandle"] != message["ReceiptHandle"]) == (message["MessageId"], True)
    clock.advance(1)
    assert len(receive(call, queue)) == 1


def test_an_old_handle_succeeds_and_deletes_nothing(call: Caller, clock: FakeClock, queue: str) -> None:
    call("SendMessage", QueueUrl=queue, MessageBody="x")
    [old] = receive(call, queue)
    clock.advance(31)
    [new] = receive(call, queue)
    assert call("DeleteMessage", QueueUrl=queue, ReceiptHandle=old["ReceiptHandle"]) == {}
    clock.advance(31)
    assert len(receive(call, queue, VisibilityTimeout=1)) == 1
    clock.advance(2)
    [last] = receive(call, queue, VisibilityTimeout=1)
    clock.advance(2)  # nobody has received it since, so the work counts
    call("DeleteMessage", QueueUrl=queue, ReceiptHandle=last["ReceiptHandle"])
    assert receive(call, queue) == []
    assert call("DeleteMessage", QueueUrl=queue, ReceiptHandle=new["ReceiptHandle"]) == {}


# Batches


def test_batches(call: Caller, queue: str) -> None:
    entries = [{"Id": f"n-{number}", "MessageBody": f"body {number}"} for number in range(10)]
    entries[3]["MessageAttributes"] = ATTRIBUTES  # type: ignore[assignment]
    sent = call("SendMessageBatch", QueueUrl=queue, Entries=entries)
    assert sent.keys() == {"Successful"}
    assert [each["Id"] for each in sent["Successful"]] == [f"n-{number}" for number in range(10)]
    assert [each["MD5OfMessageBody"] for each in sent["Successful"]] == [digest(f"body {n}") for n in range(10)]
    assert [number for number, each in enumerate(sent["Successful"]) if "MD5OfMessageAttributes" in each] == [3]
    found = receive(call, queue)
    assert [each["MessageId"] for each in found] == [each["MessageId"] for each in sent["Successful"]]
    handles = [{"Id": str(number), "ReceiptHandle": each["ReceiptHandle"]} for number, each in enumerate(found)]
    changes = [{**each, "VisibilityTimeout": 0} for each in handles[:5]]
    changed = call("ChangeMessageVisibilityBatch", QueueUrl=queue, Entries=changes)
    assert changed == {"Successful": [{"Id": str(number)} for number in range(5)]}
    assert [each["Body"] for each in receive(call, queue)] == [f"body {number}" for number in range(5)]
    deleted = call("DeleteMessageBatch", QueueUrl=queue, Entries=handles[5:])
    assert deleted == {"Successful": [{"Id": str(number)} for number in range(5, 10)]}


def test_entries_that_are_refused_do_not_keep_back_the_others(call: Caller, queue: str) -> None:
    bad_number = {"n": {"DataType": "Number", "StringValue": "many"}}
    bad_type = {"n": {"DataType": "Text", "StringValue": "x"}}
    entries: list[dict[str, Any]] = [
        {"Id": "fine", "MessageBody": "x"},
        {"Id": "delay", "MessageBody": "x", "DelaySeconds": 901},
        {"Id": "number", "MessageBody": "x", "MessageAttributes": bad_number},
        {"Id": "type", "MessageBody": "x", "MessageAttributes": bad_type},
        {"Id": "text", "MessageBody": "\ufffe"},
        {"Id": "key", "MessageBody": "x", "MessageDeduplicationId": "k"},
    ]
    answer = call("SendMessageBatch", QueueUrl=queue, Entries=entries)
    assert [each["Id"] for each in answer["Successful"]] == ["fine"]
    assert [(each["Id"], each["Code"], each["SenderFault"]) for each in answer["Failed"]] == [
        ("delay", "InvalidParameterValue", True),
        ("number", "InvalidParameterValue", True),
        ("type", "InvalidParameterValue", True),
        ("text", "InvalidMessageContents", True),
        ("key", "InvalidParameterValue", True),
    ]
    [message] = receive(call, queue)
    entries = [
        {"Id": "fine", "ReceiptHandle": message["ReceiptHandle"]},
        {"Id": "bad", "ReceiptHandle": "x"},
    ]
    changes: list[dict[str, Any]] = [{**entries[0], "VisibilityTimeout": 7}, {**entries[1], "VisibilityTimeout": 7},
               {**entries[0], "Id": "range", "VisibilityTimeout": 43201}]  # fmt: skip
    changed = call("ChangeMessageVisibilityBatch", QueueUrl=queue, Entries=changes)
    assert changed["Successful"] == [{"Id": "fine"}]
    assert [(each["Id"], each["Code"]) for each in changed["Failed"]] == [
        ("bad", "ReceiptHandleIsInvalid"),
        ("range", "InvalidParameterValue"),
    ]
    deleted = call("DeleteMessageBatch", QueueUrl=queue, Entries=entries)
    assert deleted["Successful"] == [{"Id": "fine"}]
    assert [(each["Id"], each["Code"]) for each in deleted["Failed"]] == [("bad", "ReceiptHandleIsInvalid")]


# Long polls


def test_a_long_poll_waits_for_a_message(sqs: Sqs, call: Caller, queue: str) -> None:
    found: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: found.extend(receive(call, queue, WaitTimeSeconds=20)))
    thread.start()
    sqs.served.wait_for_waiting(1)
    sqs.boto("SendMessage", QueueUrl=queue, MessageBody="x")
    thread.join(PATIENCE_S)
    assert [each["Body"] for each in found] == ["x"]


def test_the_queue_may_say_how_long_to_wait(sqs: Sqs, call: Caller, queue: str) -> None:
    sqs.boto("SetQueueAttributes", QueueUrl=queue, Attributes={"ReceiveMessageWaitTimeSeconds": "20"})
    assert receive(call, queue, WaitTimeSeconds=0) == []
    found: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: found.extend(receive(call, queue)))
    thread.start()
    sqs.served.wait_for_waiting(1)
    sqs.boto("SendMessage", QueueUrl=queue, MessageBody="x")
    thread.join(PATIENCE_S)
    assert [each["Body"] for each in found] == ["x"]


def test_with_too_many_in_flight_a_short_poll_is_refused_and_a_long_one_gets_nothing(sqs: Sqs, queue: str) -> None:
    assert sqs.broker.queue("jobs").settings.max_in_flight == 120_000
    sqs.broker.put_queue("jobs", max_in_flight=1)
    sqs.broker.produce("jobs", ["a", "b"])
    assert len(receive(sqs.boto, queue)) == 1
    with pytest.raises(RefusedError, match="OverLimit"):
        receive(sqs.boto, queue)
    assert receive(sqs.boto, queue, WaitTimeSeconds=1) == []


# The other API


def test_what_one_api_sends_the_other_receives(sqs: Sqs, call: Caller, queue: str) -> None:
    rest = Client(sqs.broker)
    call("SendMessage", QueueUrl=queue, MessageBody="by sqs", MessageAttributes=ATTRIBUTES)
    [message] = rest.consume(queue="jobs")
    assert message["message"] == "by sqs"
    assert message["attributes"] == {
        "text": "größer <&>",
        "order.id": {"type": "Number", "value": "-12.50"},
        "order.kind": {"type": "String.label", "value": "x"},
        "raw": {"type": "Binary.png", "value": "AP+A"},
    }
    attributes = {"n": 7, "s": "x", "b": {"type": "Binary", "value": "AP8="}}
    rest.produce({"message": "by rest", "attributes": attributes, "group": "g", "priority": 5}, queue="jobs")
    [message] = receive(call, queue, MessageAttributeNames=["All"], AttributeNames=["MessageGroupId"])
    assert (message["Body"], message["Attributes"]) == ("by rest", {"MessageGroupId": "g"})
    assert message["MessageAttributes"] == {
        "n": {"DataType": "Number", "StringValue": "7"},
        "s": {"DataType": "String", "StringValue": "x"},
        "b": {"DataType": "Binary", "BinaryValue": b"\0\xff"},
    }
    reply = rest("POST", "/queues/jobs/messages/delete", json={"receipts": [message["ReceiptHandle"]]})
    assert reply.json["success"]


def test_what_xml_cannot_say_is_replaced_in_it(sqs: Sqs) -> None:
    sqs.broker.put_queue("jobs")
    sqs.broker.send("jobs", [NewMessage("a\0b\x1f", attributes={"n": ("String", "\0")})])
    url = sqs.boto("GetQueueUrl", QueueName="jobs")["QueueUrl"]
    [message] = receive(sqs.query, url, VisibilityTimeout=0, MessageAttributeNames=["All"])
    assert message["Body"] == "a\ufffdb\ufffd"
    assert message["MessageAttributes"]["n"]["StringValue"] == "\ufffd"
    assert receive(sqs.boto, url)[0]["Body"] == "a\0b\x1f"
