// The AWS SDK for JavaScript, version 3: a topic, a queue that subscribes, a batch, and an error.

import { CreateTopicCommand, GetTopicAttributesCommand, PublishBatchCommand, SNSClient, SubscribeCommand } from "@aws-sdk/client-sns";
import { CreateQueueCommand, GetQueueAttributesCommand, ReceiveMessageCommand, SQSClient } from "@aws-sdk/client-sqs";

const endpoint = process.argv[2];
const settings = { endpoint, region: "eu-central-1", credentials: { accessKeyId: "any", secretAccessKey: "any" } };
const sns = new SNSClient(settings);
const sqs = new SQSClient(settings);

const { TopicArn } = await sns.send(new CreateTopicCommand({ Name: "orders", Tags: [{ Key: "team", Value: "shop" }] }));
const { QueueUrl } = await sqs.send(new CreateQueueCommand({ QueueName: "bills" }));
const { Attributes } = await sqs.send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ["QueueArn"] }));
await sns.send(new SubscribeCommand({ TopicArn, Protocol: "sqs", Endpoint: Attributes.QueueArn }));
const published = await sns.send(
  new PublishBatchCommand({
    TopicArn,
    PublishBatchRequestEntries: [
      { Id: "a", Message: "größer", Subject: "Subject", MessageAttributes: { n: { DataType: "Number", StringValue: "5" } } },
      { Id: "b", Message: "second", MessageDeduplicationId: "not for this topic" },
    ],
  }),
);
const received = await sqs.send(new ReceiveMessageCommand({ QueueUrl, MaxNumberOfMessages: 10 }));
const envelopes = received.Messages.map((each) => JSON.parse(each.Body));
const missing = await sns
  .send(new GetTopicAttributesCommand({ TopicArn: `${TopicArn}-missing` }))
  .catch((error) => [error.name, error.$metadata.httpStatusCode]);

console.log(
  JSON.stringify({
    successful: published.Successful.map((each) => each.Id),
    failed: published.Failed.map((each) => [each.Id, each.Code]),
    messages: envelopes.map((each) => [each.Message, each.Subject, each.MessageAttributes.n.Value]),
    topic: envelopes[0].TopicArn === TopicArn,
    missing,
  }),
);
