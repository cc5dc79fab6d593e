// Sends, receives, renews and deletes with the AWS SDK for JavaScript; prints what it saw as JSON.
import {
  ChangeMessageVisibilityCommand, CreateQueueCommand, DeleteMessageBatchCommand, GetQueueUrlCommand, ReceiveMessageCommand,
  SendMessageBatchCommand, SendMessageCommand, SQSClient,
} from "@aws-sdk/client-sqs";

const client = new SQSClient({
  endpoint: process.argv[2],
  region: "us-east-1",
  credentials: { accessKeyId: "any", secretAccessKey: "thing" },
});
const { QueueUrl } = await client.send(new CreateQueueCommand({ QueueName: "from-node" }));
await client.send(new SendMessageCommand({
  QueueUrl,
  MessageBody: "größer",
  MessageAttributes: {
    tenant: { DataType: "String", StringValue: "acme" },
    digest: { DataType: "Binary", BinaryValue: new Uint8Array([0, 1, 255]) },
  },
}));
const batch = await client.send(new SendMessageBatchCommand({
  QueueUrl,
  Entries: [{ Id: "a", MessageBody: "one" }, { Id: "b", MessageBody: "\u0001" }],
}));
const seen = [];
while (seen.length < 2) {
  const { Messages } = await client.send(new ReceiveMessageCommand({
    QueueUrl, MaxNumberOfMessages: 10, WaitTimeSeconds: 5, MessageAttributeNames: ["All"], MessageSystemAttributeNames: ["All"],
  }));
  seen.push(...(Messages ?? []));
}
await client.send(new ChangeMessageVisibilityCommand({
  QueueUrl, ReceiptHandle: seen[0].ReceiptHandle, VisibilityTimeout: 60,
}));
const deleted = await client.send(new DeleteMessageBatchCommand({
  QueueUrl, Entries: seen.map((message, index) => ({ Id: String(index), ReceiptHandle: message.ReceiptHandle })),
}));
let missing;
try {
  await client.send(new GetQueueUrlCommand({ QueueName: "nope" }));
} catch (error) {
  missing = error.name;
}
console.log(JSON.stringify({
  bodies: seen.map((message) => message.Body).sort(),
  digest: Array.from(seen.find((message) => message.MessageAttributes)?.MessageAttributes.digest.BinaryValue ?? []),
  receives: seen.map((message) => message.Attributes.ApproximateReceiveCount),
  failed: batch.Failed.map((entry) => [entry.Id, entry.Code]),
  deleted: deleted.Successful.length,
  missing,
}));
