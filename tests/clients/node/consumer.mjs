// Works off a queue with sqs-consumer, fails once with one of the messages, and prints what it did when it is empty.
import { SQSClient } from "@aws-sdk/client-sqs";
import { Consumer } from "sqs-consumer";

const [, , endpoint, queueUrl] = process.argv;
const sqs = new SQSClient({
  endpoint, region: "us-east-1", credentials: { accessKeyId: "any", secretAccessKey: "thing" },
});
const seen = [];
const errors = [];
const consumer = Consumer.create({
  queueUrl,
  sqs,
  batchSize: 10,
  waitTimeSeconds: 1,
  terminateVisibilityTimeout: true,
  suppressFifoWarning: true,
  handleMessage: async (message) => {
    seen.push(message.Body);
    if (message.Body === "3" && seen.filter((body) => body === "3").length === 1) throw new Error("once");
    return message;
  },
});
consumer.on("error", (error) => errors.push(String(error)));
consumer.on("processing_error", () => {});
consumer.on("empty", () => {
  if (new Set(seen).size === 20 && seen.length === 21) consumer.stop();
});
consumer.on("stopped", () => {
  console.log(JSON.stringify({ seen, errors }));
  process.exit(0);
});
setTimeout(() => {
  console.log(JSON.stringify({ seen, errors }));
  process.exit(1);
}, 30000);
consumer.start();
