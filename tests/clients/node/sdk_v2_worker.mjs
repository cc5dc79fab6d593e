// The AWS SDK for JavaScript, version 2: a loop that goes on after errors. It sends requests to the URL of the queue.
import AWS from "aws-sdk";
import { command, delay, queue, word, work } from "./task.mjs";

const sqs = new AWS.SQS({ endpoint: process.env.AWS_ENDPOINT_URL_SQS, region: "us-east-1" });
const { QueueUrl } = await sqs.getQueueUrl({ QueueName: queue }).promise();
if (command === "send") {
  await sqs.sendMessage({ QueueUrl, MessageBody: word, DelaySeconds: Number(delay ?? 0) }).promise();
} else {
  for (;;) {
    try {
      const { Messages = [] } = await sqs.receiveMessage({ QueueUrl, WaitTimeSeconds: 1 }).promise();
      for (const { Body, ReceiptHandle } of Messages) {
        await work(Body);
        await sqs.deleteMessage({ QueueUrl, ReceiptHandle }).promise();
      }
    } catch {
      await new Promise((done) => setTimeout(done, 200));
    }
  }
}
