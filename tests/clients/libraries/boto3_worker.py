"""boto3: a loop of receive, work and delete, which goes on after errors of the connection."""

from __future__ import annotations

import sys
import time

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from tests.clients.libraries.task import QUEUE, TaskError, do

sqs = boto3.client("sqs")
url = sqs.get_queue_url(QueueName=QUEUE)["QueueUrl"]


def poll() -> None:
    for message in sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1).get("Messages", []):
        do(message["Body"])
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


if sys.argv[1] == "work":
    while True:
        try:
            poll()
        except (BotoCoreError, ClientError, TaskError):
            time.sleep(0.2)
else:
    sqs.send_message(QueueUrl=url, MessageBody=sys.argv[2], DelaySeconds=int((sys.argv[3:] or ["0"])[0]))
