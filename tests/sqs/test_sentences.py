"""Sentences of AWS that its users have reported in public, word for word: programs and people search for them.

Each has the report that it is from. Names, sizes and limits are those of this test. The other sentences follow the
documentation of the action, or are WonderQ's own.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.sqs_clients import Caller, RefusedError, Sqs, arn, redrive
from wonderq.broker.broker import Broker

LIMIT = 1 << 20
REPORTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "softwaremill/elasticmq issue 373": (
        "SendMessage",
        {"MessageBody": "x", "MessageAttributes": {"a": {"DataType": "String", "StringValue": ""}}},
        "Message (user) attribute 'a' must contain a non-empty value of type 'String'.",
    ),
    "grafana/k6-jslib-aws pull request 65": (
        "SendMessage",
        {"MessageBody": "x", "MessageAttributes": {"a": {"DataType": "Text", "StringValue": "x"}}},
        (
            "The type of message (user) attribute 'a' is invalid. You must use only the following supported type prefixes: "
            "Binary, Number, String."
        ),
    ),
    "aws/aws-sdk-java issue 1692": (
        "SendMessage",
        {"MessageBody": "x", "MessageAttributes": {"a": {"DataType": "", "StringValue": "x"}}},
        "The message attribute 'a' must contain non-empty message attribute type.",
    ),
    "aws/aws-sdk-php issue 694": (
        "SendMessage",
        {"MessageBody": "x", "MessageAttributes": {"": {"DataType": "String", "StringValue": "x"}}},
        "The request must contain non-empty message attribute name.",
    ),
    "asim/nitro-plugins issue 437": (
        "SendMessage",
        {"MessageBody": "a\x07"},
        (
            "Invalid binary character '#x7' was found in the message body, the set of allowed characters is #x9 | #xA | #xD "
            "| [#x20-#xD7FF] | [#xE000-#xFFFD] | [#x10000-#x10FFFF]."
        ),
    ),
    "psd401/aistudio issue 1525": (
        "SendMessage",
        {"MessageBody": "a\uffff"},
        (
            "Invalid binary character '#xFFFF' was found in the message body, the set of allowed characters is #x9 | #xA | "
            "#xD | [#x20-#xD7FF] | [#xE000-#xFFFD] | [#x10000-#x10FFFF]."
        ),
    ),
    "getmoto/moto issue 450": (
        "SendMessage",
        {"MessageBody": "x" * (LIMIT + 1)},
        f"One or more parameters are invalid. Reason: Message must be shorter than {LIMIT} bytes.",
    ),
    "vmihailenco/taskq issue 36": (
        "SendMessageBatch",
        {"Entries": [{"Id": each, "MessageBody": "x" * (LIMIT // 2 + 1)} for each in "ab"]},
        f"Batch requests cannot be longer than {LIMIT} bytes. You have sent {LIMIT + 2} bytes.",
    ),
    "aws/aws-sdk-java issue 197": (
        "ReceiveMessage",
        {"MaxNumberOfMessages": 1000},
        "Value 1000 for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and 10, if provided.",
    ),
    "awslabs/aws-solutions-constructs issue 342": (
        "SetQueueAttributes",
        {"Attributes": redrive("jobs.fifo", 15)},
        (
            f'Value {{"deadLetterTargetArn": "{arn("jobs.fifo")}", "maxReceiveCount": 15}} for parameter RedrivePolicy is '
            "invalid. Reason: Dead-letter queue must be same type of queue as the source."
        ),
    ),
    "ansible-collections/community.aws issue 2433": (
        "SetQueueAttributes",
        {"Attributes": {"KmsMasterKeyId": "k", "SqsManagedSseEnabled": "true"}},
        "You can use one type of server-side encryption (SSE) at one time.",
    ),
}


@pytest.mark.parametrize("report", REPORTS)
def test_a_sentence_that_was_reported(call: Caller, queue: str, fifo: str, report: str) -> None:
    action, members, sentence = REPORTS[report]
    more: dict[str, Any] = {"QueueUrl": queue, **members}
    with pytest.raises(RefusedError) as caught:
        call(action, **more)
    assert sentence in str(caught.value)


@pytest.fixture
def gone(sqs: Sqs, queue: str) -> str:
    """The handle of a message that was deleted."""
    broker: Broker = sqs.broker
    broker.produce("jobs", ["x"])
    [message] = broker.claim("jobs")
    handle = str(message.receipt)
    sqs.boto("DeleteMessage", QueueUrl=queue, ReceiptHandle=handle)
    return handle


def test_a_change_of_a_deleted_message(call: Caller, queue: str, gone: str) -> None:
    """mapbox/ecs-watchbot issue 135. For FIFO queues, test_receipt_handles.py has aws/aws-sdk-js issue 1750."""
    with pytest.raises(RefusedError) as caught:
        call("ChangeMessageVisibility", QueueUrl=queue, ReceiptHandle=gone, VisibilityTimeout=1)
    sentence = (
        f"Value {gone} for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not available for "
        "visibility timeout change."
    )
    assert sentence in str(caught.value)
