// The AWS SDK for JavaScript, version 3: a loop that goes on after errors.
import { DeleteMessageCommand, GetQueueUrlCommand, ReceiveMessageCommand, SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";
import { command, delay, queue, word, work } from "./task.mjs";

const sqs = new SQSClient({});
const { QueueUrl } = await sqs.send(new GetQueueUrlCommand({ QueueName: queue }));
if (command === "send") {
  await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: word, DelaySeconds: Number(delay ?? 0) }));
} else {
  for (;;) {
    try {
      const { Messages = [] } = await sqs.send(new ReceiveMessageCommand({ QueueUrl, WaitTimeSeconds: 1 }));
      for (const { Body, ReceiptHandle } of Messages) {
        await work(Body);
        await sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle }));
      }
    } catch {
      await new Promise((done) => setTimeout(done, 200));
    }
  }
}
