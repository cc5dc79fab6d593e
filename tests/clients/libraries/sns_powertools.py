"""Powertools for AWS Lambda: its model of a notification reads the envelopes of topics, signed and of FIFO topics."""

from __future__ import annotations

import json

import boto3
from aws_lambda_powertools.utilities.parser.models import SnsNotificationModel

sns, sqs = boto3.client("sns"), boto3.client("sqs")
found = []
for ending, settings, ids in (
    ("", {}, {}),
    (".fifo", {"FifoTopic": "true"}, {"MessageGroupId": "g", "MessageDeduplicationId": "k"}),
):
    topic = sns.create_topic(Name=f"news{ending}", Attributes=settings)["TopicArn"]
    url = sqs.create_queue(QueueName=f"sport{ending}", Attributes={"FifoQueue": "true"} if ending else {})["QueueUrl"]
    queue = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)
    attributes = {"kind": {"DataType": "String", "StringValue": "sport"}}
    sns.publish(TopicArn=topic, Message="größer", Subject="Subject", MessageAttributes=attributes, **ids)
    [message] = sqs.receive_message(QueueUrl=url)["Messages"]
    notification = SnsNotificationModel.model_validate_json(message["Body"])
    assert notification.TopicArn == topic
    assert notification.MessageAttributes is not None
    kind = notification.MessageAttributes["kind"]
    found.append([notification.Message, notification.Subject, kind.Type, kind.Value, bool(notification.Signature)])
print(json.dumps(found))
