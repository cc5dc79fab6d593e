"""Calls that are refused, with the error that each gets.

Codes with a class of exception are in botocore's model, and the documentation of each action names those that it has.
That SQS answers with the others is a recorded fact of AWS: ``InvalidParameterValue`` for values of parameters,
``MissingParameter``, ``NonExistentQueue`` for any ``QueueUrl`` that names no queue, and the codes of move tasks, tags,
encryption, list values, and batches of a FIFO queue. The limits are those of "Amazon SQS message quotas".
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.support.sqs_clients import arn, redrive

PREFIX = "AWS.SimpleQueueService."


class Refused(NamedTuple):
    """A call that is refused; ``JOBS``, ``FIFO`` and ``DEAD`` stand for the URLs of queues."""

    name: str
    """The class of the exception; empty for codes that are not in the service model."""
    code: str
    action: str
    members: dict[str, Any]
    message: str = ""

    @property
    def status(self) -> int:
        """The status: that of botocore's model of the query protocol (version 1.29)."""
        return {"OverLimit": 403, "PurgeQueueInProgress": 403, "ResourceNotFoundException": 404}.get(self.name, 400)


def message(**more: Any) -> dict[str, Any]:
    return {"QueueUrl": "JOBS", "MessageBody": "x", **more}


def typed(kind: str, value: str = "x") -> dict[str, Any]:
    return {"MessageAttributes": {"a": {"DataType": kind, "StringValue": value}}}


def named(name: str) -> dict[str, Any]:
    return {"MessageAttributes": {name: {"DataType": "String", "StringValue": "x"}}}


def batch(count: int = 1, **more: Any) -> dict[str, Any]:
    return {"QueueUrl": "JOBS", "Entries": [{"Id": str(n), "MessageBody": "x", **more} for n in range(count)]}


def handles(*ids: str) -> dict[str, Any]:
    return {"QueueUrl": "JOBS", "Entries": [{"Id": each, "ReceiptHandle": "x"} for each in ids]}


def attributes(**values: str) -> dict[str, Any]:
    return {"QueueUrl": "JOBS", "Attributes": values}


def permission(**more: Any) -> dict[str, Any]:
    return {"QueueUrl": "JOBS", "Label": "l", "AWSAccountIds": ["123456789012"], "Actions": ["*"], **more}


def statement(action: str) -> Callable[..., Refused]:
    def make(name: str, code: str, members: dict[str, Any], text: str = "") -> Refused:
        return Refused(name, code, action, members, text)

    return make


send, send_batch = statement("SendMessage"), statement("SendMessageBatch")
create, configure = statement("CreateQueue"), statement("SetQueueAttributes")
receiving, permit = statement("ReceiveMessage"), statement("AddPermission")
INVALID, MISSING = ("", "InvalidParameterValue"), ("", "MissingParameter")
BAD_VALUE, BAD_NAME = ("InvalidAttributeValue",) * 2, ("InvalidAttributeName",) * 2
UNKNOWN = "http://x/000000000000/unknown"
JSON_REDRIVE = redrive("dead")["RedrivePolicy"]
FIFO_REDRIVE = redrive("jobs.fifo")["RedrivePolicy"]
LIMIT = 1 << 20

CALLS = [
    # Queues that are not there, and addresses that are none
    *(
        Refused("QueueDoesNotExist", f"{PREFIX}NonExistentQueue", action, {**members, "QueueUrl": UNKNOWN})
        for action, members in {
            "AddPermission": permission(),
            "ChangeMessageVisibility": {"ReceiptHandle": "x", "VisibilityTimeout": 1},
            "ChangeMessageVisibilityBatch": handles("a"),
            "DeleteMessage": {"ReceiptHandle": "x"},
            "DeleteMessageBatch": handles("a"),
            "DeleteQueue": {},
            "GetQueueAttributes": {},
            "ListDeadLetterSourceQueues": {},
            "ListQueueTags": {},
            "PurgeQueue": {},
            "ReceiveMessage": {},
            "RemovePermission": {"Label": "l"},
            "SendMessage": message(),
            "SendMessageBatch": batch(),
            "SetQueueAttributes": attributes(DelaySeconds="1"),
            "TagQueue": {"Tags": {"a": "b"}},
            "UntagQueue": {"TagKeys": ["a"]},
        }.items()
    ),
    Refused("QueueDoesNotExist", f"{PREFIX}NonExistentQueue", "GetQueueUrl", {"QueueName": "unknown"}),
    Refused("QueueDoesNotExist", f"{PREFIX}NonExistentQueue", "GetQueueUrl", {"QueueName": "no.name"}),
    send("QueueDoesNotExist", f"{PREFIX}NonExistentQueue", message(QueueUrl="http://x/000000000000/no.name")),
    *(
        send("QueueDoesNotExist", f"{PREFIX}NonExistentQueue", message(QueueUrl=url))
        for url in ("http://[", "http://x", "http://x/", "/", "no name", "http://x/jobs//")
    ),
    # Making queues
    create(*INVALID, {"QueueName": "no.name"}),
    create(*INVALID, {"QueueName": "x" * 81}),
    create(*INVALID, {"QueueName": "new.fifo"}),
    create(*INVALID, {"QueueName": "new", "Attributes": {"FifoQueue": "true"}}, "must end with .fifo suffix"),
    create(*INVALID, {"QueueName": "new.fifo", "Attributes": {"FifoQueue": "false"}}),
    create(*BAD_NAME, {"QueueName": "new", "Attributes": {"FifoQueue": "false"}}),
    create(*BAD_NAME, {"QueueName": "new", "Attributes": {"Unknown": "x"}}),
    create(*BAD_NAME, {"QueueName": "new", "Attributes": {"ContentBasedDeduplication": "true"}}),
    create("QueueNameExists", "QueueAlreadyExists", {"QueueName": "jobs", "Attributes": {"DelaySeconds": "7"}}),
    create("QueueDeletedRecently", f"{PREFIX}QueueDeletedRecently", {"QueueName": "deleted"}),
    create(*INVALID, {"QueueName": "new", "tags": {str(n): "x" for n in range(51)}}),
    create(*INVALID, {"QueueName": "new", "tags": {"aws:x": "x"}}, "reserved"),
    create(*BAD_NAME, {"QueueName": "new", "Attributes": {"KmsMasterKeyId": "x", "SqsManagedSseEnabled": "true"}}),
    # Attributes of queues
    configure(*BAD_NAME, attributes(QueueArn="x")),
    configure(*BAD_NAME, attributes(FifoQueue="true")),
    configure(*BAD_VALUE, {"QueueUrl": "FIFO", "Attributes": {"FifoQueue": "false"}}, "Modifying queue type"),
    configure(*BAD_NAME, attributes(KmsMasterKeyId="x", SqsManagedSseEnabled="TRUE"), "one type of server-side"),
    configure(*BAD_VALUE, attributes(DelaySeconds="901"), "Invalid value for the parameter DelaySeconds."),
    *(
        configure(*BAD_VALUE, attributes(**{name: value}))
        for name, values in {
            "DelaySeconds": ("-1", "901", "", "1.5", "x"),
            "MaximumMessageSize": ("1023", "1048577"),
            "MessageRetentionPeriod": ("59", "1209601"),
            "ReceiveMessageWaitTimeSeconds": ("21",),
            "VisibilityTimeout": ("43201", "\uff19"),
            "KmsDataKeyReusePeriodSeconds": ("59", "86401"),
            "KmsMasterKeyId": ("x" * 2049,),
            "SqsManagedSseEnabled": ("yes",),
            "Policy": ("x", "[]", "{", "[" * 10_000, '{"a":"' + "x" * 16_384 + '"}'),
            "RedrivePolicy": ("x", "{}", '{"deadLetterTargetArn":1,"maxReceiveCount":true}',
                              redrive("dead", 0)["RedrivePolicy"], redrive("dead", 1001)["RedrivePolicy"],
                              redrive("dead", 1.5)["RedrivePolicy"], redrive("dead", "many")["RedrivePolicy"]),
            "RedriveAllowPolicy": ("{}", '{"redrivePermission":"byQueue"}', '{"redrivePermission":"some"}',
                                   '{"redrivePermission":"allowAll","sourceQueueArns":[]}',
                                   '{"redrivePermission":"byQueue","sourceQueueArns":[]}',
                                   json.dumps({"redrivePermission": "byQueue", "sourceQueueArns": [arn("a")] * 11})),
        }.items()
        for value in values
    ),
    *(
        configure(*BAD_VALUE, {"QueueUrl": "FIFO", "Attributes": {name: "x"}})
        for name in ("ContentBasedDeduplication", "DeduplicationScope", "FifoThroughputLimit")
    ),
    configure(*INVALID, {"QueueUrl": "FIFO", "Attributes": {"FifoThroughputLimit": "perMessageGroupId"}}),
    configure(*INVALID, attributes(RedrivePolicy='{"deadLetterTargetArn":"x"}')),
    configure(*INVALID, attributes(RedrivePolicy=redrive("unknown")["RedrivePolicy"]), "does not exist"),
    configure(*INVALID, attributes(RedrivePolicy=redrive("jobs")["RedrivePolicy"]), "own dead-letter queue"),
    configure(*INVALID, attributes(RedrivePolicy=FIFO_REDRIVE), "same type of queue"),
    configure(*INVALID, {"QueueUrl": "FIFO", "Attributes": {"RedrivePolicy": JSON_REDRIVE}}, "same type"),
    configure(*INVALID, attributes(RedriveAllowPolicy='{"redrivePermission":"byQueue","sourceQueueArns":["x"]}')),
    configure(*MISSING, {"QueueUrl": "JOBS", "Attributes": {}}),
    Refused(*BAD_NAME, "GetQueueAttributes", {"QueueUrl": "JOBS", "AttributeNames": ["Unknown"]}),
    # Lists, tags, permissions
    *(Refused(*INVALID, "ListQueues", members) for members in (
        {"MaxResults": 0}, {"MaxResults": 1001}, {"NextToken": "eA=="}, {"MaxResults": 1, "NextToken": "é"})),
    Refused(*INVALID, "ListDeadLetterSourceQueues", {"QueueUrl": "JOBS", "MaxResults": 1001}),
    Refused(*INVALID, "TagQueue", {"QueueUrl": "JOBS", "Tags": {"x" * 129: "x"}}),
    Refused(*INVALID, "TagQueue", {"QueueUrl": "JOBS", "Tags": {"x": "x" * 257}}),
    *(Refused(*INVALID, "TagQueue", {"QueueUrl": "JOBS", "Tags": {name: "x"}}) for name in ("aws:x", "AWS:x", "aws:")),
    Refused(*MISSING, "TagQueue", {"QueueUrl": "JOBS", "Tags": {}}),
    Refused(*MISSING, "UntagQueue", {"QueueUrl": "JOBS", "TagKeys": []}),
    permit("OverLimit", "OverLimit", permission(Actions=["SendMessage"] * 8)),
    permit(*INVALID, permission(Actions=["CreateQueue"])),
    permit(*INVALID, permission(AWSAccountIds=["1"])),
    permit(*INVALID, permission(Label="no.label")),
    permit(*MISSING, permission(Actions=[])),
    permit(*MISSING, permission(AWSAccountIds=[])),
    Refused(*INVALID, "RemovePermission", {"QueueUrl": "JOBS", "Label": "unknown"}, "find label"),
    Refused("PurgeQueueInProgress", f"{PREFIX}PurgeQueueInProgress", "PurgeQueue", {"QueueUrl": "PURGED"}),
    Refused("UnsupportedOperation", f"{PREFIX}UnsupportedOperation", "DeleteQueue", {"QueueUrl": "http://x/0/default"}),
    # Messages that are sent
    send(*MISSING, message(MessageBody="")),
    *(send("InvalidMessageContents", "InvalidMessageContents", message(MessageBody=f"a{each}b"))
      for each in ("\0", "\x0b", "\x1f", "\ufffe", "\uffff")),
    send(*INVALID, message(**typed("String", "\x01")), "the set of allowed characters"),
    send(*INVALID, message(**typed("Number", "1\x01")), "the set of allowed characters"),
    send(*INVALID, message(MessageBody="x" * (LIMIT + 1)), "shorter than"),
    send(*INVALID, message(MessageBody="x" * (LIMIT - 7), **typed("String")), "shorter than"),
    send(*INVALID, message(QueueUrl="SMALL", MessageBody="x" * 1025), "shorter than 1024"),
    send(*INVALID, message(DelaySeconds=901), "Must be >= 0 and <= 900"),
    send(*INVALID, message(DelaySeconds=-1)),
    send(*INVALID, message(MessageAttributes={str(n): {"DataType": "String", "StringValue": "x"} for n in range(11)})),
    *(send(*INVALID, message(**named(name))) for name in ("AWS.x", "amazon.x", ".x", "x.", "a..b", "a b", "x" * 257, "é b", "a\u2028")),
    *(send(*INVALID, message(**typed(kind))) for kind in ("", "string", "Text", "Number.", "String\0", "Number", "Number.x")),
    *(send(*INVALID, message(**typed("Number", number)), "to a number")
      for number in ("1" * 300, "1" * 39, "0." + "1" * 39, "1e127", "1e-129", "1e99999", ".", "-", "1e", "0x1", "\uff11")),
    *(send("UnsupportedOperation", f"{PREFIX}UnsupportedOperation",
           message(MessageAttributes={"a": {"DataType": "String", "StringValue": "x", field: ["x"]}}), "list values")
      for field in ("StringListValues", "BinaryListValues")),
    send(*INVALID, message(**typed("Binary")), "non-empty"),
    send(*INVALID, message(MessageAttributes={"a": {"DataType": "String", "BinaryValue": b"x"}}), "non-empty"),
    send(*INVALID, message(MessageAttributes={"a": {"DataType": "String", "StringValue": ""}}), "non-empty"),
    send(*INVALID, message(MessageSystemAttributes={"x": {"DataType": "String", "StringValue": "x"}})),
    send(*INVALID, message(MessageSystemAttributes={"AWSTraceHeader": {"DataType": "Number", "StringValue": "1"}})),
    send(*INVALID, message(MessageDeduplicationId="k"), "not valid for this queue type"),
    send(*INVALID, message(MessageGroupId="")),
    send(*INVALID, message(MessageGroupId="x" * 129)),
    send(*INVALID, message(MessageGroupId="a b")),
    send(*MISSING, message(QueueUrl="FIFO"), "MessageGroupId"),
    send(*INVALID, message(QueueUrl="FIFO", MessageGroupId="g"), "ContentBasedDeduplication"),
    send(*INVALID, message(QueueUrl="FIFO", MessageGroupId="g", MessageDeduplicationId="é")),
    send("UnsupportedOperation", f"{PREFIX}UnsupportedOperation", message(QueueUrl="DRAINING")),
    send("OverLimit", "OverLimit", message(QueueUrl="FULL")),
    # Batches
    *(
        Refused("EmptyBatchRequest", f"{PREFIX}EmptyBatchRequest", action, {"QueueUrl": "JOBS", "Entries": []})
        for action in ("SendMessageBatch", "DeleteMessageBatch", "ChangeMessageVisibilityBatch")
    ),
    send_batch("TooManyEntriesInBatchRequest", f"{PREFIX}TooManyEntriesInBatchRequest", batch(11)),
    Refused("TooManyEntriesInBatchRequest", f"{PREFIX}TooManyEntriesInBatchRequest", "DeleteMessageBatch",
            handles(*map(str, range(11)))),
    Refused("BatchEntryIdsNotDistinct", f"{PREFIX}BatchEntryIdsNotDistinct", "DeleteMessageBatch", handles("a", "a")),
    Refused("BatchEntryIdsNotDistinct", f"{PREFIX}BatchEntryIdsNotDistinct", "ChangeMessageVisibilityBatch",
            handles("a", "a")),
    send_batch("BatchEntryIdsNotDistinct", f"{PREFIX}BatchEntryIdsNotDistinct", batch(2, Id="a")),
    *(send_batch("InvalidBatchEntryId", f"{PREFIX}InvalidBatchEntryId", batch(Id=each))
      for each in ("", "a b", "a.b", "x" * 81)),
    Refused("InvalidBatchEntryId", f"{PREFIX}InvalidBatchEntryId", "DeleteMessageBatch", handles("a b")),
    send_batch("BatchRequestTooLong", f"{PREFIX}BatchRequestTooLong", batch(2, MessageBody="x" * (LIMIT // 2 + 1))),
    send_batch("BatchRequestTooLong", f"{PREFIX}BatchRequestTooLong", batch(1, MessageBody="x" * (LIMIT + 1))),
    send_batch("BatchRequestTooLong", f"{PREFIX}BatchRequestTooLong",
               batch(2, MessageBody="x" * (LIMIT // 2), **typed("invalid"))),
    send_batch(*MISSING, {"QueueUrl": "FIFO", "Entries": [
        {"Id": "a", "MessageBody": "x", "MessageGroupId": "g", "MessageDeduplicationId": "k"},
        {"Id": "b", "MessageBody": "x", "MessageDeduplicationId": "l"}]}, "MessageGroupId"),
    send_batch(*INVALID, {"QueueUrl": "FIFO", "Entries": [
        {"Id": "a", "MessageBody": "x", "MessageGroupId": "g", "MessageDeduplicationId": "k"},
        {"Id": "b", "MessageBody": "x", "MessageGroupId": "g"}]}, "ContentBasedDeduplication"),
    # Receiving, and what follows
    receiving(*INVALID, {"QueueUrl": "JOBS", "MaxNumberOfMessages": 0}),
    receiving(*INVALID, {"QueueUrl": "JOBS", "MaxNumberOfMessages": 11}, "Must be between 1 and 10, if provided."),
    receiving(*INVALID, {"QueueUrl": "JOBS", "WaitTimeSeconds": 21}, "Must be >= 0 and <= 20, if provided."),
    receiving(*INVALID, {"QueueUrl": "JOBS", "VisibilityTimeout": 43_201}),
    receiving(*INVALID, {"QueueUrl": "JOBS", "ReceiveRequestAttemptId": "a"}, "not valid for this queue type"),
    receiving(*INVALID, {"QueueUrl": "FIFO", "ReceiveRequestAttemptId": "x" * 129}),
    receiving(*BAD_NAME, {"QueueUrl": "JOBS", "AttributeNames": ["Unknown"]}),
    receiving(*BAD_NAME, {"QueueUrl": "JOBS", "MessageSystemAttributeNames": ["Unknown"]}),
    receiving("OverLimit", "OverLimit", {"QueueUrl": "BUSY"}),
    *(
        Refused("ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid", action, {"QueueUrl": "JOBS", **members})
        for action, members in (
            ("DeleteMessage", {"ReceiptHandle": "x"}),
            ("DeleteMessage", {"ReceiptHandle": "é" * 40}),
            ("ChangeMessageVisibility", {"ReceiptHandle": "0" * 40, "VisibilityTimeout": 1}),
            ("ChangeMessageVisibility", {"ReceiptHandle": "OTHER", "VisibilityTimeout": 1}),
            ("ChangeMessageVisibility", {"ReceiptHandle": "OTHER", "VisibilityTimeout": 0}),
            ("DeleteMessage", {"ReceiptHandle": "OTHER"}),
            ("DeleteMessage", {"QueueUrl": "FIFO", "ReceiptHandle": "OTHER"}),
        )
    ),
    Refused(*MISSING, "DeleteMessage", {"QueueUrl": "JOBS", "ReceiptHandle": ""}),
    Refused(*INVALID, "ChangeMessageVisibility",
            {"QueueUrl": "JOBS", "ReceiptHandle": "x", "VisibilityTimeout": 43_201}),
    Refused(*INVALID, "ChangeMessageVisibility",
            {"QueueUrl": "JOBS", "ReceiptHandle": "GONE", "VisibilityTimeout": 1}, "does not exist"),
    # Moving back
    *(
        Refused("ResourceNotFoundException", "ResourceNotFoundException", action, members)
        for action, members in (
            ("StartMessageMoveTask", {"SourceArn": arn("unknown")}),
            ("StartMessageMoveTask", {"SourceArn": arn("dead"), "DestinationArn": arn("unknown")}),
            ("ListMessageMoveTasks", {"SourceArn": arn("unknown")}),
            ("CancelMessageMoveTask", {"TaskHandle": "00000000-0000-4000-8000-000000000000"}),
        )
    ),
    Refused(*INVALID, "CancelMessageMoveTask", {"TaskHandle": "unknown"}),
    Refused(*INVALID, "StartMessageMoveTask", {"SourceArn": arn("jobs")}, "Dead Letter Queue"),
    Refused(*INVALID, "StartMessageMoveTask", {"SourceArn": arn("dead"), "DestinationArn": arn("jobs.fifo")}, "same type"),
    Refused(*INVALID, "StartMessageMoveTask", {"SourceArn": "x"}),
    Refused(*INVALID, "StartMessageMoveTask", {"SourceArn": arn("dead"), "DestinationArn": arn("dead")}),
    Refused(*INVALID, "StartMessageMoveTask", {"SourceArn": arn("dead"), "MaxNumberOfMessagesPerSecond": 501}),
    Refused(*INVALID, "ListMessageMoveTasks", {"SourceArn": arn("dead"), "MaxResults": 11}),
]  # fmt: skip
