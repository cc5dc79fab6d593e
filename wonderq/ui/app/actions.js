// Actions that several pages offer.

import { call, queuePath } from "./api.js";
import { ask } from "./dialogs.js";
import { count, number } from "./format.js";
import { go } from "./address.js";

/** Ask for a new message of a queue. @param {string} queue @param {any} [like] a message to begin with */
export function askToSend(queue, like) {
  ask({
    title: like ? `Resend as a new message of ${queue}` : `Send to ${queue}`,
    text: like ? "The message that you copy stays as it is." : undefined,
    fields: [
      { name: "message", label: "Message", type: "textarea", value: like?.message ?? "" },
      { name: "attributes", label: "Attributes, as JSON", type: "textarea", value: like?.attributes ? JSON.stringify(like.attributes, null, 2) : "" },
      { name: "group", label: "Group", value: like?.group ?? "" },
      { name: "priority", label: "Priority, 0 to 9", type: "number", value: like?.priority ?? "" },
      { name: "delay", label: "Delay in seconds", type: "number", value: "" },
    ],
    confirm: "Send",
    act: async (values) => {
      /** @type {Record<string, unknown>} */
      const body = { message: values.message };
      if (values.attributes.trim()) body.attributes = (await import("./json.js")).parsed(values.attributes, "The attributes");
      if (values.group) body.group = values.group;
      if (values.priority) body.priority = Number(values.priority);
      if (values.delay) body.delay = Number(values.delay);
      const { id } = await call(`${queuePath(queue)}/messages/produce`, { method: "POST", body });
      return `The message ${id.slice(0, 8)} is in ${queue}.`;
    },
  });
}

/**
 * Bring back all dead letters of a queue, or those that match: first count them, then ask, then start.
 * @param {string} queue @param {number} total @param {Record<string, string>} [filter] `contains` and `attribute` to begin with,
 *   and the ends of a period @param {string} [words] those of the period
 */
export function bringBackAll(queue, total, filter = {}, words = "") {
  const which = words ? `that came ${words} ` : "";
  ask({
    title: `Bring back from ${queue}`,
    text: `Each waiting or buried message ${which}returns to the queue that it came from; ${queue} has ${count(total, "message")}. First, the broker counts those that would move.`,
    fields: [
      { name: "contains", label: "Only messages whose text contains", value: filter.contains ?? "" },
      { name: "attribute", label: "Only messages with the attribute (name or name=value)", value: filter.attribute ?? "" },
      { name: "destination", label: "To the queue", value: "", help: "Empty: each to the queue that it came from" },
      { name: "per_second", label: "At most so many per second", type: "number", value: "" },
      { name: "limit", label: "At most so many in all", type: "number", value: "" },
    ],
    confirm: "Count them",
    act: async (values) => {
      /** @type {Record<string, unknown>} */
      const body = {};
      for (const name of ["since", "until"]) if (filter[name]) body[name] = filter[name];
      for (const name of ["contains", "attribute", "destination"]) if (values[name]) body[name] = values[name];
      for (const name of ["per_second", "limit"]) if (values[name]) body[name] = Number(values[name]);
      const dry = await finished(queue, await call(`${queuePath(queue)}/redrive`, { method: "POST", body: { ...body, dry_run: true } }));
      setTimeout(() => confirmBringBack(queue, body, dry));
    },
  });
}

/** @param {string} queue @param {Record<string, unknown>} body @param {any} dry */
function confirmBringBack(queue, body, dry) {
  ask({
    title: `Bring back ${count(dry.moved, "message")}`,
    text: `${number(dry.moved)} of ${number(dry.total)} would move; ${number(dry.skipped)} would stay, because they do not match or have no queue to return to.`,
    confirm: `Bring back ${count(dry.moved, "message")}`,
    act: async () => {
      await call(`${queuePath(queue)}/redrive`, { method: "POST", body });
      go("/ui/redrives");
      return `The redrive of ${queue} has started.`;
    },
  });
}

/** Wait until a redrive has ended, and return it. @param {string} queue @param {any} redrive */
async function finished(queue, redrive) {
  while (redrive.status === "running") {
    await new Promise((resolve) => setTimeout(resolve, 250));
    redrive = await call(`${queuePath(queue)}/redrive/${redrive.id}`);
  }
  return redrive;
}

/** Make buried messages of a queue wait again. @param {string} queue @param {number} buried */
export function askToKick(queue, buried) {
  ask({
    title: `Kick ${queue}`,
    text: `${queue} has ${count(buried, "buried message")}. Kicked messages wait for a consumer again, with as many tries as new ones. The oldest come first.`,
    fields: [{ name: "max", label: "How many", type: "number", value: Math.min(buried, 1000), required: true }],
    confirm: "Kick them",
    act: async ({ max }) => {
      const { kicked } = await call(`${queuePath(queue)}/messages/kick`, { method: "POST", body: { max: Number(max) } });
      return `${count(kicked, "message")} of ${queue} ${kicked === 1 ? "waits" : "wait"} again.`;
    },
  });
}

/** Bring back some messages now; returns what to tell. @param {string} queue @param {string[]} ids */
export async function bringBack(queue, ids) {
  const { results } = await call(`${queuePath(queue)}/redrive/messages`, { method: "POST", body: { ids } });
  return outcome(results, "brought back");
}

/** Delete some messages by their ids; returns what to tell. @param {string} queue @param {string[]} ids */
export async function deleteAll(queue, ids) {
  const { results } = await call(`${queuePath(queue)}/messages/delete`, { method: "POST", body: { ids } });
  return outcome(results, "deleted");
}

/** @param {any[]} results @param {string} done */
function outcome(results, done) {
  const failed = results.filter((each) => !each.success);
  const text = `${count(results.length - failed.length, "message")} ${done}.`;
  return failed.length ? `${text} ${number(failed.length)} not: ${failed[0].error.message}` : text;
}
