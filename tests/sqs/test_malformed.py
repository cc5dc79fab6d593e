"""Requests that no SDK sends."""

from __future__ import annotations

import json

import pytest

from tests.sqs.refused_calls import PREFIX
from tests.support.sqs_clients import Caller, RefusedError, Sqs, post, post_form

#: Types of errors in JSON that differ from their codes; a recorded fact of AWS.
JSON_TYPES = {
    "InvalidParameterValue": "InvalidParameterValueException",
    "MissingParameter": "MissingRequiredParameterException",
}


def read(sqs: Sqs, target: str, body: bytes) -> tuple[int, str, str]:
    reply = post(sqs.served, body, {"X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.0"})
    assert reply.headers["content-type"] == "application/x-amz-json-1.0"
    assert reply.headers["x-amzn-requestid"]
    return reply.status, reply.json["__type"], reply.headers["x-amzn-query-error"]


@pytest.mark.parametrize(
    ("target", "body", "name"),
    [
        ("AmazonSQS.Unknown", b"{}", "UnknownOperationException"),
        ("DynamoDB.ListQueues", b"{}", "UnknownOperationException"),
        ("AmazonSQS.SendMessage", b"{", "SerializationException"),
        ("AmazonSQS.SendMessage", b"[]", "SerializationException"),
        ("AmazonSQS.SendMessage", b"\xff", "SerializationException"),
        ("AmazonSQS.SendMessage", b'{"a":' * 5000, "SerializationException"),
        ("AmazonSQS.SendMessage", b"{}", "MissingParameter"),
        ("AmazonSQS.SendMessage", b'{"QueueUrl":"http://x/0/jobs"}', "MissingParameter"),
        ("AmazonSQS.SendMessage", b'{"QueueUrl":7,"MessageBody":"x"}', "SerializationException"),
        ("AmazonSQS.SendMessage", b'{"QueueUrl":"http://x/0/jobs","MessageBody":7}', "SerializationException"),
        ("AmazonSQS.SendMessage", b'{"QueueUrl":"http://x/0/jobs","MessageBody":"x","DelaySeconds":"1"}', "SerializationException"),
        ("AmazonSQS.SendMessage", b'{"QueueUrl":"http://x/0/jobs","MessageBody":"x","DelaySeconds":true}', "SerializationException"),
        ("AmazonSQS.SendMessage", b'{"QueueUrl":"http://x/0/jobs","MessageBody":"x","MessageAttributes":[1]}', "SerializationException"),
        ("AmazonSQS.SendMessage", b'{"QueueUrl":"http://x/0/jobs","MessageBody":"x","MessageAttributes":{"a":1}}', "InvalidParameterValue"),
        ("AmazonSQS.SendMessage", b'{"QueueUrl":"http://x/0/jobs","MessageBody":"x","MessageAttributes":{"a":{"DataType":"Binary","BinaryValue":"\xc3\xa9"}}}', "InvalidParameterValue"),
        ("AmazonSQS.SendMessageBatch", b'{"QueueUrl":"http://x/0/jobs","Entries":[1]}', "SerializationException"),
        ("AmazonSQS.SendMessageBatch", b'{"QueueUrl":"http://x/0/jobs","Entries":[{"Id":1}]}', "InvalidBatchEntryId"),
        ("AmazonSQS.GetQueueAttributes", b'{"QueueUrl":"http://x/0/jobs","AttributeNames":"All"}', "SerializationException"),
        ("AmazonSQS.GetQueueAttributes", b'{"QueueUrl":"http://x/0/jobs","AttributeNames":[1]}', "SerializationException"),
        ("AmazonSQS.SetQueueAttributes", b'{"QueueUrl":"http://x/0/jobs","Attributes":[]}', "SerializationException"),
        ("AmazonSQS.SetQueueAttributes", b'{"QueueUrl":"http://x/0/jobs","Attributes":{"DelaySeconds":1}}', "InvalidAttributeValue"),
        ("AmazonSQS.TagQueue", b'{"QueueUrl":"http://x/0/jobs","Tags":{"a":1}}', "InvalidParameterValue"),
        ("AmazonSQS.CreateQueue", b'{"QueueName":["x"]}', "SerializationException"),
        ("AmazonSQS.CreateQueue", b'{"QueueName":"\\ud800 and more text"}', "SerializationException"),
        ("AmazonSQS.ListQueues", b'{"NextToken":7,"MaxResults":1}', "SerializationException"),
    ],
)  # fmt: skip
def test_json_that_cannot_be_read(sqs: Sqs, queue: str, target: str, body: bytes, name: str) -> None:
    status, kind, code = read(sqs, target, body)
    assert (status, kind.rpartition("#")[2]) == (400, JSON_TYPES.get(name, name))
    assert code == f"{name.replace('InvalidBatchEntryId', f'{PREFIX}InvalidBatchEntryId')};Sender"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"Action": ""}, "UnknownOperationException"),
        ({"x": "y"}, "UnknownOperationException"),
        ({"Action": "Unknown"}, "InvalidAction"),
        ({"Action": "<&>"}, "InvalidAction"),
        ({"Action": "SendMessage", "MessageBody": "x", "DelaySeconds": "soon"}, "InvalidParameterValue"),
        ({"Action": "SendMessage", "MessageBody.1": "x"}, "SerializationException"),
        ({"Action": "SendMessage", "MessageBody": "x", "MessageAttribute.1": "x"}, None),
        ({"Action": "SendMessage", "MessageBody": "x", "MessageAttribute.1.Name": "a"}, "InvalidParameterValue"),
        ({"Action": "SendMessage", "MessageBody": "x", "DelaySeconds.1": "1"}, "InvalidParameterValue"),
        ({"Action": "SendMessageBatch", "SendMessageBatchRequestEntry.1": "x"}, "SerializationException"),
        ({"Action": "SendMessageBatch", "SendMessageBatchRequestEntry": "x"}, "SerializationException"),
        ({"Action": "SendMessageBatch", "SendMessageBatchRequestEntry": ""}, f"{PREFIX}EmptyBatchRequest"),
        ({"Action": "SendMessageBatch", "Entries": ""}, f"{PREFIX}EmptyBatchRequest"),
        ({"Action": "SendMessageBatch", "SendMessageBatchRequestEntry.1.Id.x": "x"}, f"{PREFIX}InvalidBatchEntryId"),
        ({"Action": "SetQueueAttributes", "Attribute.1.Name": "DelaySeconds"}, "InvalidAttributeValue"),
        ({"Action": "SetQueueAttributes", "Attribute.1.Name": "Policy", "Attribute.1.Value.x": "x"}, "InvalidAttributeValue"),
        ({"Action": "TagQueue", "Tag.1.Key": "a", "Tag.1.Value.x": "x"}, "InvalidParameterValue"),
        ({"Action": "UntagQueue", "TagKey.1.x": "x"}, "SerializationException"),
        ({"Action": "UntagQueue", ".".join(["TagKey", "1"] * 3000): "x"}, "SerializationException"),
        ({"Action": "ListQueues", "a": "x", "a.b": "x"}, "MalformedQueryString"),
        ({"Action": "ListQueues", "MaxResults": "9" * 30}, "InvalidParameterValue"),
    ],
)  # fmt: skip
def test_forms_that_cannot_be_read(sqs: Sqs, queue: str, fields: dict[str, str], code: str | None) -> None:
    reply = post_form(sqs.served, fields, "/000000000000/jobs")
    assert reply.status == (200 if code is None else 404 if code == "UnknownOperationException" else 400), reply.content
    assert f"<Code>{code}</Code>".encode() in reply.content or code is None
    assert b"<&>" not in reply.content


@pytest.mark.parametrize(
    "body", [b"Action=ListQueues&x=%ff", b"Action=ListQueues&x=\xff", b"Action=ListQueues" + b"&x" * 20_001]
)
def test_forms_of_no_text(sqs: Sqs, body: bytes) -> None:
    reply = post(sqs.served, body, {"Content-Type": "application/x-www-form-urlencoded"})
    assert reply.status == 400
    assert b"<Code>MalformedQueryString</Code>" in reply.content


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "multipart/form-data; boundary=x", None])
def test_what_is_neither_a_form_nor_json_of_sqs(sqs: Sqs, kind: str | None) -> None:
    """Else a page of another site could have a browser send it without asking."""
    reply = post(sqs.served, b"Action=ListQueues", {} if kind is None else {"Content-Type": kind})
    assert (reply.status, b"<Code>UnknownOperationException</Code>" in reply.content) == (404, True)


@pytest.mark.parametrize("path", ["/1/jobs", "/0000000000000/jobs", "/000000000000/a/b", "/x/jobs"])
def test_there_is_nothing_at_other_paths(sqs: Sqs, queue: str, path: str) -> None:
    assert post_form(sqs.served, {"Action": "ListQueues"}, path).status == 404


def test_names_with_percent_signs_in_the_path(sqs: Sqs, queue: str) -> None:
    assert post_form(sqs.served, {"Action": "ListQueueTags"}, "/000000000000/%6aobs").status == 200


def test_a_policy_whose_statement_is_no_object(call: Caller, queue: str) -> None:
    call("SetQueueAttributes", QueueUrl=queue, Attributes={"Policy": '{"Statement":["x"]}'})
    with pytest.raises(RefusedError, match="UnsupportedOperation"):
        call("AddPermission", QueueUrl=queue, Label="l", AWSAccountIds=["123456789012"], Actions=["*"])
    call("SetQueueAttributes", QueueUrl=queue, Attributes={"Policy": '{"maxReceiveCount":"x"}'})
    call("CreateQueue", QueueName="jobs", Attributes={"Policy": '{"maxReceiveCount":"x"}'})


def test_a_policy_may_only_grow_so_long(call: Caller, queue: str) -> None:
    statements = [{"Sid": str(number), "Resource": "x" * 1000} for number in range(16)]
    call("SetQueueAttributes", QueueUrl=queue, Attributes={"Policy": json.dumps({"Statement": statements[:15]})})
    with pytest.raises(RefusedError, match="OverLimit"):
        call("AddPermission", QueueUrl=queue, Label="l", AWSAccountIds=["123456789012"] * 30, Actions=["*"])


NAMES_OF_LISTS = {
    "ReceiveMessage": ("AttributeNames", "MessageSystemAttributeNames", "MessageAttributeNames"),
    "GetQueueAttributes": ("AttributeNames",),
    "UntagQueue": ("TagKeys",),
    "AddPermission": ("AWSAccountIds", "Actions"),
}


@pytest.mark.parametrize(
    ("action", "name"), [(action, name) for action, names in NAMES_OF_LISTS.items() for name in names]
)
def test_a_list_of_too_many_names(call: Caller, queue: str, action: str, name: str) -> None:
    """It is refused before anything is done: a message that is asked for stays in the queue."""
    call("SendMessage", QueueUrl=queue, MessageBody="x")
    given = {"Label": "l", "AWSAccountIds": ["111111111111"], "Actions": ["*"]} if action == "AddPermission" else {}
    with pytest.raises(RefusedError, match=f"{name} may have at most 500 strings, and this one has 501") as refused:
        call(action, QueueUrl=queue, **{**given, name: ["All"] * 501})
    assert refused.value.status == 400
    assert len(call("ReceiveMessage", QueueUrl=queue)["Messages"]) == 1


def test_ids_that_are_equal(relaxed_sqs: Sqs) -> None:
    """The one that is named is found in one walk over them, however many there are."""
    call = relaxed_sqs.caller("json")
    url = call("CreateQueue", QueueName="jobs")["QueueUrl"]
    entries = [{"Id": str(min(number, 998)), "MessageBody": "m"} for number in range(1000)]
    with pytest.raises(RefusedError, match=r"Id 998 repeated\."):
        call("SendMessageBatch", QueueUrl=url, Entries=entries)
