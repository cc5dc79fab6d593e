// One queue: its figures and actions, and tabs for messages, history, settings, redrives and examples.

import { html, useEffect } from "../vendor/preact.js";
import { go, Link, queueHref, useAddress } from "../app/address.js";
import { call, queuePath, withQuery } from "../app/api.js";
import { ask, doNow } from "../app/dialogs.js";
import { count, duration, getsDeadLetters, number, rate, totalOf } from "../app/format.js";
import { Lazy } from "../app/lazy.js";
import { usePoll } from "../app/live.js";
import { Empty, Failure, QueueBadges, Tabs } from "../app/parts.js";
import { usePeriod } from "../app/period.js";
import { askToKick, askToSend, bringBackAll } from "../app/actions.js";
import { Messages } from "./messages.js";

const loadTopics = async () => (await import("./topics_of.js")).TopicsOf;
const loadConnect = async () => (await import("./connect.js")).Connect;
const loadHistory = async () => (await import("./history.js")).History;
const loadSettings = async () => (await import("./settings.js")).Settings;
const loadRedrives = async () => (await import("./redrives.js")).RedriveTable;

const TABS = [
  ["messages", "Messages"],
  ["history", "History"],
  ["settings", "Settings"],
  ["redrives", "Redrives"],
  ["connect", "Connect"],
];

/** @param {any} properties */
export function Queue({ name, rights }) {
  const { query } = useAddress();
  const tab = query.get("tab") ?? "messages";
  const period = usePeriod(query);
  const { data: queue, error } = usePoll(withQuery(queuePath(name), { figures: true }));
  useEffect(() => {
    document.title = `${queue ? `${number(queue.counts.unprocessed)} waiting in ` : ""}${name} · WonderQ`;
  }, [queue, name]);
  if (error?.status === 404) {
    return html`<h1>${name}</h1><${Empty}>No queue has this name. It may have been deleted. <${Link} href="/ui">All queues</${Link}>
      <p>The first message creates it:</p><${Lazy} load=${loadConnect} queue=${name} /></${Empty}>`;
  }
  if (!queue) return html`<h1>${name}</h1>${error ? html`<${Failure} error=${error} />` : html`<p class="faint">Loading…</p>`}`;
  return html`<p class="crumbs"><${Link} href="/ui">Queues</${Link}></p>
    <div class="heading"><h1>${name} <${QueueBadges} queue=${queue} /></h1><${Actions} queue=${queue} rights=${rights} period=${period} /></div>
    <${Failure} error=${error} />
    <${Facts} queue=${queue} />
    <div>${queue.figures.topics.length > 0 && html`<${Lazy} load=${loadTopics} topics=${queue.figures.topics} />`}</div>
    <${Tabs} label="Parts of the queue">${TABS.map(
      ([key, title]) => html`<${Link} key=${key} href=${queueHref(name, key === "messages" ? undefined : { tab: key })} aria-current=${key === tab ? "page" : undefined}>${title}</${Link}>`,
    )}</${Tabs}>
    ${tab === "messages" && html`<${Messages} queue=${queue} rights=${rights} period=${period} />`}
    ${tab === "history" && html`<${Lazy} load=${loadHistory} name=${name} />`}
    ${tab === "settings" && html`<${Lazy} load=${loadSettings} queue=${queue} rights=${rights} />`}
    ${tab === "redrives" && html`<${QueueRedrives} name=${name} rights=${rights} />`}
    ${tab === "connect" && html`<${Lazy} load=${loadConnect} queue=${name} />`}`;
}

/** @param {any} properties */
function Facts({ queue }) {
  const { counts, figures, settings } = queue;
  const rates = figures.per_second;
  const facts = [
    figures.oldest_waiting_age === null ? "nothing waits" : `oldest waiting ${duration(figures.oldest_waiting_age)}`,
    rates && `${rate(rates.produced)} in /s, ${rate(rates.deleted)} done /s${counts.unprocessed && rates.produced - rates.deleted > 0.1 ? ", so it grows" : ""}`,
    figures.consumers ? `${count(figures.consumers, "consumer")} waiting for messages` : counts.unprocessed ? "no consumer waits" : null,
    settings.max_receives ? `${count(settings.max_receives, "try").replace("trys", "tries")}, then ` : null,
  ];
  const dead = settings.dead_letter_queue;
  return html`<p class="facts">${facts[0]}${facts[1] && html` · ${facts[1]}`}${facts[2] && html` · ${facts[2]}`}
    ${facts[3] && html` · ${facts[3]}${dead ? html`to <${Link} href=${queueHref(dead)}>${dead}</${Link}>` : "buried"}`}</p>`;
}

/** @param {any} properties */
function Actions({ queue, rights, period }) {
  const { query } = useAddress();
  const { since, until, words } = period;
  const filter = { contains: query.get("contains") ?? "", attribute: query.get("attribute") ?? "", since, until };
  const name = queue.queue;
  const { paused, draining } = queue.settings;
  const total = totalOf(queue.counts);
  const set = (/** @type {any} */ settings, /** @type {string} */ text) =>
    doNow(async () => {
      await call(queuePath(name), { method: "PUT", body: settings });
      return text;
    });
  const purge = () =>
    ask({
      title: `Purge ${name}`,
      text: `This deletes all ${number(total)} messages of ${name}, also those that consumers hold. It cannot be undone.`,
      confirm: `Purge ${count(total, "message")}`,
      isDanger: true,
      typed: name,
      act: async () => {
        const { deleted } = await call(`${queuePath(name)}/purge`, { method: "POST" });
        return `${count(deleted, "message")} of ${name} deleted.`;
      },
    });
  const drop = () =>
    ask({
      title: `Delete ${name}`,
      text: `This deletes the queue ${name}, its settings and its ${count(total, "message")}. It cannot be undone.`,
      confirm: "Delete the queue",
      isDanger: true,
      typed: name,
      act: async () => {
        await call(queuePath(name), { method: "DELETE" });
        go("/ui");
        return `The queue ${name} is deleted.`;
      },
    });
  return html`<div class="actions">
    ${rights.sendsMessages && html`<button type="button" onClick=${() => askToSend(name)}>Send…</button>`}
    ${rights.isAdmin && getsDeadLetters(queue) && rights.opensAllQueues && !query.get("group") && html`<button type="button" onClick=${() => bringBackAll(name, total, filter, words)}>${Object.values(filter).some(Boolean) ? "Bring back all that match…" : "Bring back all…"}</button>`}
    ${rights.isAdmin && queue.counts.buried > 0 && html`<button type="button" onClick=${() => askToKick(name, queue.counts.buried)}>Kick…</button>`}
    ${rights.isAdmin &&
    html`<button type="button" onClick=${() => set({ paused: !paused }, paused ? `${name} is resumed.` : `${name} is paused: consumers get nothing.`)}>${paused ? "Resume" : "Pause"}</button>
      <button type="button" onClick=${() => set({ draining: !draining }, draining ? `${name} takes messages again.` : `${name} is draining: it takes no new messages.`)}>${draining ? "Stop draining" : "Drain"}</button>
      <button type="button" class="danger" disabled=${!total} onClick=${purge}>Purge…</button>
      ${name !== "default" && html`<button type="button" class="danger" onClick=${drop}>Delete…</button>`}`}</div>`;
}

/** @param {any} properties */
function QueueRedrives({ name, rights }) {
  const { data, error } = usePoll(rights.seesMessages ? `${queuePath(name)}/redrive` : null);
  if (!rights.seesMessages) return html`<${Empty}>Your key does not show redrives. They need the role <code>inspect</code>.</${Empty}>`;
  return html`<${Failure} error=${error} />${data && html`<${Lazy} load=${loadRedrives} redrives=${data} rights=${rights} />`}`;
}

