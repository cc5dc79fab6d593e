// sqs-consumer, with sqs-producer as sender. The handler returns the message: sqs-consumer 14 deletes nothing else.
import { GetQueueUrlCommand, SQSClient } from "@aws-sdk/client-sqs";
import { Consumer } from "sqs-consumer";
import { Producer } from "sqs-producer";
import { command, delay, queue, word, work } from "./task.mjs";

const sqs = new SQSClient({});
const { QueueUrl: queueUrl } = await sqs.send(new GetQueueUrlCommand({ QueueName: queue }));
if (command === "send") {
  await Producer.create({ queueUrl, sqs }).send({ id: "a", body: word, delaySeconds: Number(delay ?? 0) });
} else {
  const consumer = Consumer.create({
    queueUrl,
    sqs,
    waitTimeSeconds: 1,
    handleMessage: async (message) => {
      await work(message.Body);
      return message;
    },
  });
  consumer.on("error", () => {});
  consumer.on("processing_error", () => {});
  consumer.start();
}
