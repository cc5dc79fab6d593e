"""Powertools for AWS Lambda: its batch processor in a handler, behind a loop that calls it as Lambda does."""

from __future__ import annotations

import sys
import time
from typing import Any

import boto3
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from botocore.exceptions import BotoCoreError, ClientError

from tests.clients.libraries.task import QUEUE, do

processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)
sqs = boto3.client("sqs")


def handle_record(record: SQSRecord) -> None:
    do(record.body)


def handler(event: dict[str, Any], context: Any) -> Any:
    return process_partial_response(event=event, record_handler=handle_record, processor=processor, context=context)


def event_of(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the event that Lambda passes to a function."""
    records = [
        {
            "messageId": each["MessageId"],
            "receiptHandle": each["ReceiptHandle"],
            "body": each["Body"],
            "attributes": each.get("Attributes", {}),
            "messageAttributes": {},
            "md5OfBody": each["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:work",
            "awsRegion": "us-east-1",
        }
        for each in messages
    ]
    return {"Records": records}


def poll(url: str) -> None:
    answer = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1, MaxNumberOfMessages=10, AttributeNames=["All"])
    messages = answer.get("Messages", [])
    if messages:
        failed = {each["itemIdentifier"] for each in handler(event_of(messages), None)["batchItemFailures"]}
        for each in messages:
            if each["MessageId"] not in failed:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=each["ReceiptHandle"])


def work() -> None:
    url = sqs.get_queue_url(QueueName=QUEUE)["QueueUrl"]
    while True:
        try:
            poll(url)
        except (BotoCoreError, ClientError):
            time.sleep(0.2)


if sys.argv[1] == "work":
    work()
else:
    url = sqs.get_queue_url(QueueName=QUEUE)["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody=sys.argv[2], DelaySeconds=int((sys.argv[3:] or ["0"])[0]))
