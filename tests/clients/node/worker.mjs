// Works off a queue with sqs-consumer until it is killed, and appends each body to the file WORKER_NOTES.
// AWS_ENDPOINT_URL_SQS has the broker's address. The handler returns the message: sqs-consumer 14 deletes nothing else.
import { appendFileSync } from "node:fs";
import { SQSClient } from "@aws-sdk/client-sqs";
import { Consumer } from "sqs-consumer";

const consumer = Consumer.create({
  queueUrl: process.argv[2],
  sqs: new SQSClient({}),
  waitTimeSeconds: 1,
  handleMessage: async (message) => {
    appendFileSync(process.env.WORKER_NOTES, `begins ${message.Body}\n`);
    if (message.Body === "slow" && !process.argv[3]) await new Promise((done) => setTimeout(done, 3_600_000));
    appendFileSync(process.env.WORKER_NOTES, `ends ${message.Body}\n`);
    return message;
  },
});
consumer.on("error", () => {});
consumer.on("processing_error", () => {});
consumer.start();
