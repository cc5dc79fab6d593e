"""aioboto3: a loop of receive, work and delete, which goes on after errors of the connection."""

from __future__ import annotations

import asyncio
import sys

import aioboto3
from botocore.exceptions import BotoCoreError, ClientError

from tests.clients.libraries.task import QUEUE, TaskError, do


async def work() -> None:
    async with aioboto3.Session().client("sqs") as sqs:
        url = (await sqs.get_queue_url(QueueName=QUEUE))["QueueUrl"]
        while True:
            try:
                answer = await sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1, MaxNumberOfMessages=1)
                for message in answer.get("Messages", []):
                    try:
                        await asyncio.to_thread(do, message["Body"])
                    except TaskError:
                        continue
                    await sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            except (BotoCoreError, ClientError):
                await asyncio.sleep(0.2)


async def send(word: str, delay_s: int = 0) -> None:
    async with aioboto3.Session().client("sqs") as sqs:
        url = (await sqs.get_queue_url(QueueName=QUEUE))["QueueUrl"]
        await sqs.send_message(QueueUrl=url, MessageBody=word, DelaySeconds=delay_s)


if sys.argv[1] == "work":
    asyncio.run(work())
else:
    asyncio.run(send(sys.argv[2], *map(int, sys.argv[3:])))
