// Questions about topics and their subscriptions.

import { go, topicHref } from "./address.js";
import { call, topicPath } from "./api.js";
import { ask } from "./dialogs.js";
import { parsed } from "./json.js";

/** @param {unknown} value */
const asJson = (value) => (value === null || value === undefined ? "" : JSON.stringify(value, null, 2));

/** Ask for a new topic, or for the settings of one. @param {any} topic null for a new one */
export function askForTopic(topic) {
  const settings = topic?.settings;
  ask({
    title: topic ? `Settings of ${topic.topic}` : "New topic",
    fields: [
      ...(topic ? [] : [{ name: "topic", label: "Name", required: true, help: "Letters, digits, - and _. With .fifo at the end, messages of a group keep their order" }]),
      { name: "content_deduplication", label: "The text of a message is its idempotency key, if it has none", type: "checkbox", value: settings?.content_deduplication ?? false },
      { name: "deduplication_window", label: "How long an idempotency key is remembered, in seconds", type: "number", value: settings?.deduplication_window ?? 300, required: true },
      { name: "tags", label: "Tags, as JSON", type: "textarea", rows: 2, value: Object.keys(settings?.tags ?? {}).length ? asJson(settings.tags) : "" },
    ],
    confirm: "Save",
    act: async ({ topic: named, deduplication_window: window, tags, ...others }) => {
      const name = topic?.topic ?? named;
      const body = { ...others, deduplication_window: Number(window), tags: parsed(tags.trim() || "{}", "The tags") };
      await call(topicPath(name), { method: "PUT", body });
      if (!topic) go(topicHref(name));
      return `The topic ${name} is saved.`;
    },
  });
}

/** Ask for a new subscription, or for changes of one. @param {string} topic @param {any} old null for a new one */
export function askForSubscription(topic, old) {
  const filter = { name: "filter", label: "Filter, as JSON", type: "textarea", rows: 4, value: asJson(old?.filter), help: 'Only messages that match, such as {"kind": ["paid"]}. Empty: all messages' };
  ask({
    title: old ? `Edit the subscription ${old.subscription}` : `Subscribe to ${topic}`,
    text: old?.masked ? "Parts of the filter are hidden by --ui-mask, so it cannot be changed here." : undefined,
    fields: [
      ...(old ? [] : [{ name: "subscription", label: "Name of the subscription", required: true }, { name: "queue", label: "Queue, which must exist", required: true }]),
      ...(old?.masked ? [] : [filter]),
      { name: "filter_scope", label: "The filter is about", type: "select", options: ["attributes", "body"], value: old?.filter_scope ?? "attributes", help: "body: the text of the message, which is a JSON object" },
      { name: "raw", label: "Deliver messages as they were published, without an envelope", type: "checkbox", value: old?.raw ?? true },
      { name: "when_full", label: "If the queue refuses a message", type: "select", options: ["fail", "skip"], value: old?.when_full ?? "fail", help: "fail: the whole publish is refused. skip: the other queues get the message" },
      { name: "dead_letter_queue", label: "Queue for refused messages, with skip", value: old?.dead_letter_queue ?? "", help: "Empty: the message passes by" },
    ],
    confirm: old ? "Save" : "Subscribe",
    act: async ({ subscription, filter: text, ...values }) => {
      const given = { ...values, ...(text === undefined ? {} : { filter: text.trim() ? parsed(text, "The conditions") : null }) };
      // What somebody else has changed meanwhile stays, unless it was changed here too.
      const body = Object.fromEntries(Object.entries(given).filter(([name, value]) => !old || JSON.stringify(value) !== JSON.stringify(old[name])));
      const name = old?.subscription ?? subscription;
      const path = subscriptionPath(topic, name);
      await call(path, { method: "PUT", body });
      return `The subscription ${name} is saved.`;
    },
  });
}

/** Ask before a subscription gets nothing more for some time. @param {string} topic @param {any} subscription */
export function askToPause(topic, { subscription, queue }) {
  const path = subscriptionPath(topic, subscription);
  ask({
    title: `Pause the subscription ${subscription}`,
    text: `What is published meanwhile never comes to ${queue}, also not later. To hold messages back, pause the queue instead.`,
    confirm: "Pause the subscription",
    act: async () => {
      await call(path, { method: "PUT", body: { paused: true } });
      return `The subscription ${subscription} is paused.`;
    },
  });
}

/** Let a subscription get messages again; returns what to tell. @param {string} topic @param {any} subscription */
export async function resume(topic, { subscription }) {
  const path = subscriptionPath(topic, subscription);
  await call(path, { method: "PUT", body: { paused: false } });
  return `The subscription ${subscription} is resumed.`;
}

/** @param {string} topic @param {any} subscription */
export function askToRemove(topic, { subscription, queue }) {
  const path = subscriptionPath(topic, subscription);
  ask({
    title: `Remove the subscription ${subscription}`,
    text: `${queue} gets nothing more of ${topic}. The messages that it has stay.`,
    confirm: "Remove the subscription",
    isDanger: true,
    act: async () => {
      await call(path, { method: "DELETE" });
      return `The subscription ${subscription} is removed.`;
    },
  });
}

/** @param {any} topic */
export function askToDelete(topic) {
  const name = topic.topic;
  ask({
    title: `Delete ${name}`,
    text: "This deletes the topic and its subscriptions. Publishes to it fail. The messages in the queues stay. It cannot be undone.",
    confirm: "Delete the topic",
    isDanger: true,
    typed: name,
    act: async () => {
      await call(topicPath(name), { method: "DELETE" });
      go("/ui/topics");
      return `The topic ${name} is deleted.`;
    },
  });
}

/** @param {string} topic @param {string} subscription */
const subscriptionPath = (topic, subscription) => `${topicPath(topic)}/subscriptions/${encodeURIComponent(subscription)}`;
