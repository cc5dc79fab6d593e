"""aioboto3: a topic, a queue that subscribes with a filter, and messages of which one matches."""

from __future__ import annotations

import asyncio
import json

import aioboto3


async def main() -> None:
    session = aioboto3.Session()
    async with session.client("sns") as sns, session.client("sqs") as sqs:
        topic = (await sns.create_topic(Name="news"))["TopicArn"]
        url = (await sqs.create_queue(QueueName="sport"))["QueueUrl"]
        queue = (await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"]))["Attributes"]["QueueArn"]
        policy = {"FilterPolicy": json.dumps({"kind": ["sport"]}), "RawMessageDelivery": "true"}
        await sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue, Attributes=policy)
        for kind in ("sport", "weather"):
            attributes = {"kind": {"DataType": "String", "StringValue": kind}}
            await sns.publish(TopicArn=topic, Message=kind, MessageAttributes=attributes)
        found = await sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)
        print(json.dumps([each["Body"] for each in found["Messages"]]))


asyncio.run(main())
