// squiss-ts. `keep` leaves a failed message to its visibility timeout; `release` would make it available at once.
import { SQS } from "@aws-sdk/client-sqs";
import { Squiss } from "squiss-ts";
import { command, delay, queue, word, work } from "./task.mjs";

const squiss = new Squiss({ SQS: new SQS({}), queueName: queue, bodyFormat: "plain", receiveWaitTimeSecs: 1, maxInFlight: 1, deleteWaitMs: 100 });
if (command === "send") {
  await squiss.sendMessage(word, Number(delay ?? 0));
} else {
  squiss.on("message", (message) => work(message.body).then(() => message.del(), () => message.keep()));
  squiss.on("error", () => {});
  await squiss.start();
}
