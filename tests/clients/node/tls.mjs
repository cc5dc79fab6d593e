// Sends and receives through a proxy with TLS, with SDKs that use the URL of a queue as their endpoint; prints what they saw.
// AWS_ENDPOINT_URL_SQS has the proxy's address, and the usual variables the key.
import { CreateQueueCommand, DeleteMessageCommand, ReceiveMessageCommand, SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";
import AWS from "aws-sdk";

const found = {};
const v3 = new SQSClient({ region: "us-east-1" }); // without an endpoint of its own, it sends to the origin of QueueUrl
const { QueueUrl } = await v3.send(new CreateQueueCommand({ QueueName: "by-tls" }));
found.url = QueueUrl;
await v3.send(new SendMessageCommand({ QueueUrl, MessageBody: "v3" }));
const received = await v3.send(new ReceiveMessageCommand({ QueueUrl, WaitTimeSeconds: 5 }));
found.v3 = received.Messages[0].Body;
await v3.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle: received.Messages[0].ReceiptHandle }));

const v2 = new AWS.SQS({ endpoint: process.env.AWS_ENDPOINT_URL_SQS, region: "us-east-1" }); // sends to QueueUrl itself
await v2.sendMessage({ QueueUrl, MessageBody: "v2" }).promise();
const { Messages } = await v2.receiveMessage({ QueueUrl, WaitTimeSeconds: 5 }).promise();
found.v2 = Messages[0].Body;
await v2.deleteMessage({ QueueUrl, ReceiptHandle: Messages[0].ReceiptHandle }).promise();
try {
  await v3.send(new SendMessageCommand({ QueueUrl: `${QueueUrl}-none`, MessageBody: "x" }));
} catch (error) {
  found.refused = error.name;
}
console.log(JSON.stringify(found));
process.exit(0);
