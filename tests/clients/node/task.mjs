// The task of all workers, as tests/clients/libraries/task.py has it: notes its beginning and its end in the file WORKER_NOTES.
import { appendFileSync, readFileSync } from "node:fs";

const notes = process.env.WORKER_NOTES;

// A word that begins with "bad" always fails, one with "once" the first time; one with "slow" takes an hour the first time.
export async function work(word) {
  appendFileSync(notes, `begins ${word}\n`);
  const isFirst = readFileSync(notes, "utf8").split("\n").filter((line) => line === `begins ${word}`).length === 1;
  if (word.startsWith("bad") || (word.startsWith("once") && isFirst)) throw new Error(word);
  if (word.startsWith("slow") && isFirst) await new Promise((done) => setTimeout(done, 3_600_000));
  appendFileSync(notes, `ends ${word}\n`);
}

export const queue = "work";
export const [, , command, word, delay] = process.argv;
