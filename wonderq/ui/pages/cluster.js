// The cluster: its nodes, who owns which shard, and how complete the copies of the logs are. For admins: moving shards.

import { html } from "../vendor/preact.js";
import { call } from "../app/api.js";
import { ask, doNow } from "../app/dialogs.js";
import { bytes, count, duration, number, span, visible } from "../app/format.js";
import { usePoll } from "../app/live.js";
import { Badge, Failure, Figure, More } from "../app/parts.js";

/** A node whose clock is further off takes no shard, and a shard whose groups wait for longer refuses requests; in ms. */
const [CLOCK_LIMIT, WAIT_LIMIT] = [250, 2000];

const none = html`<span class="faint">–</span>`;

/** @param {{rights: any}} properties */
export function Cluster({ rights }) {
  const { data, error } = usePoll("/cluster");
  if (!data) return html`<h1>Cluster</h1><${Failure} error=${error} />`;
  // While a shard has no owner, nobody knows the rights of the key, and shards may have to be moved. The node decides.
  const mayMove = !rights.isKnown || (rights.isAdmin && rights.opensAllQueues);
  return html`<div class="heading"><h1>Cluster</h1><div class="actions">
      ${mayMove && html`<button type="button" disabled=${!data.drained.length && !Object.keys(data.transferred).length} onClick=${() => askToBalance(data)}>Balance…</button>`}</div></div>
    <p class="faint">As its node ${visible(data.node)} sees it.</p>
    <${Failure} error=${error} /><${Summary} cluster=${data} /><${Nodes} cluster=${data} mayMove=${mayMove} /><${Shards} cluster=${data} mayMove=${mayMove} />`;
}

/** What is wrong, in a line each. @param {{cluster: any}} properties */
function Summary({ cluster: { quorum, nodes, silent, shards } }) {
  const of = (/** @type {any[]} */ some) => `${number(some.length)} of ${number(shards.length)}`;
  const [without, behind] = [shards.filter((/** @type {any} */ each) => each.status !== "owned"), shards.filter(isBehind)];
  const lines = [
    !quorum && "This node does not reach more than half of the NATS servers, so it can store nothing.",
    without.length && `Shards without a working owner: ${of(without)}. Requests of their queues fail.`,
    silent.length && `Nodes that are not heard any more: ${silent.map((/** @type {any} */ each) => visible(each.name)).join(", ")}.`,
    behind.length && `Shards that some of their NATS servers do not have whole: ${of(behind)}.`,
    new Set(nodes.map((/** @type {any} */ each) => each.version)).size > 1 && "The nodes have different versions.",
  ].filter(Boolean);
  if (!lines.length) return html`<p class="well">${count(nodes.length, "node")}, ${count(shards.length, "shard")}. Nothing needs you.</p>`;
  return html`<div class="facts"><ul class="plain-list">${lines.map((each) => html`<li key=${each} class="failure">${each}</li>`)}</ul></div>`;
}

/** @param {any} shard */
const isBehind = ({ replicas, replicas_current: current }) => replicas !== null && current < replicas;

/** @type {Record<string, [string, string]>} */
const STATES = {
  draining: ["warning", "gives its shards away"],
  unable: ["error", "owns nothing: its clock is wrong"],
  silent: ["error", "silent"],
};

/** @param {{cluster: any, mayMove: boolean}} properties */
function Nodes({ cluster, mayMove }) {
  const { nodes, silent } = cluster;
  const rows = [...nodes, ...silent.map((/** @type {any} */ each) => ({ ...each, state: "silent" }))];
  return html`<section aria-labelledby="nodes"><h2 id="nodes">Nodes <small>${number(nodes.length)}</small></h2>
    <table><thead><tr><th scope="col">Node</th><th scope="col" class="wide">Address</th><th scope="col" class="wide">Version</th>
        <th scope="col" class="wide" title="Compared with the node that shows this">Clock</th><th scope="col" class="n wide" title="Shards that it owns">Shards</th><th scope="col">Heard</th><th scope="col"><span class="sr">Actions</span></th></tr></thead>
      <tbody>${rows.map((each) => html`<${NodeRow} key=${each.state + each.name} node=${each} cluster=${cluster} mayMove=${mayMove} />`)}</tbody></table></section>`;
}

/** @param {{node: any, cluster: any, mayMove: boolean}} properties */
function NodeRow({ node, cluster, mayMove }) {
  const { name, state, clock_ahead_ms: ahead, silent_s: silence } = node;
  const [url, version] = [visible(node.url), visible(node.version)];
  const clock = ahead === undefined || name === cluster.node ? none : html`<span class=${Math.abs(ahead) > CLOCK_LIMIT ? "late" : ""}>${ahead ? `${span(Math.abs(ahead) / 1000)} ${ahead > 0 ? "ahead" : "behind"}` : "agrees"}</span>`;
  const owned = cluster.shards.filter((/** @type {any} */ each) => each.owner === name).length;
  const isDrained = cluster.drained.includes(name);
  const [kind, words] = STATES[state] ?? [];
  return html`<tr><th scope="row">${visible(name)} ${name === cluster.node && html`<${Badge}>this one</${Badge}>`}
      ${isDrained && html`<${Badge} kind="warning" title="It owns nothing, also after a restart">drained</${Badge}>`} ${kind && !(isDrained && state === "draining") && html`<${Badge} kind=${kind}>${words}</${Badge}>`}
      <${More} about=${`the node ${name}`} rows=${[["Address", url], ["Version", version], ["Clock", clock], ["Shards", number(owned)]]} /></th>
    <td class="wide">${url}</td><td class="wide">${version}</td>
    <td class="wide nowrap">${clock}</td><td class="n wide"><${Figure} value=${owned} /></td>
    <td>${state !== "silent" ? "now" : html`<span class="late">${duration(silence)} ago</span>`}</td>
    <td class="n">${mayMove && isDrained && html`<button type="button" aria-label=${`Undo the drain of ${name}`} onClick=${() => undrain(name)}>Undo drain</button>`}
      ${mayMove && !isDrained && state !== "silent" && html`<button type="button" aria-label=${`Drain ${name}…`} disabled=${!able(cluster, name).length} onClick=${() => askToDrain(name, owned)}>Drain…</button>`}</td></tr>`;
}

/** Names of the nodes that can own shards, without one. @param {any} cluster @param {string | null} without @returns {string[]} */
const able = ({ nodes }, without) => nodes.filter((/** @type {any} */ each) => each.state === "able" && each.name !== without).map((/** @type {any} */ each) => each.name);

/** @param {{cluster: any, mayMove: boolean}} properties */
function Shards({ cluster, mayMove }) {
  const rows = [true, false].flatMap((isWrong) => cluster.shards.filter((/** @type {any} */ each) => (each.status !== "owned") === isWrong));
  return html`<section aria-labelledby="shards"><h2 id="shards">Shards <small>${number(rows.length)}</small></h2>
    <table><thead><tr><th scope="col">Shard</th><th scope="col">Owner</th><th scope="col">State</th>
        <th scope="col" class="n wide" title="It grows each time that a node takes the shard">Epoch</th><th scope="col" class="n wide" title="Number of the newest group of records that is stored">Newest group</th>
        <th scope="col" class="wide" title="NATS servers that have all of the log">Replicas</th><th scope="col" class="n wide" title="Size of its log">Log</th>
        <th scope="col" class="n wide" title="Time that the oldest group has waited to be stored">Lag</th><th scope="col"><span class="sr">Actions</span></th></tr></thead>
      <tbody>${rows.map((each) => html`<${ShardRow} key=${each.shard} shard=${each} cluster=${cluster} mayMove=${mayMove} />`)}</tbody></table></section>`;
}

/** @type {Record<string, [string, string]>} */
const STATUSES = { owned: ["good", "available"], unavailable: ["error", "no owner"], damaged: ["error", "damaged"] };

/** @param {{shard: any, cluster: any, mayMove: boolean}} properties */
function ShardRow({ shard, cluster, mayMove }) {
  const { owner, wanted, problem, replicas, waiting_ms: waiting, log_bytes: size } = shard;
  const [kind, word] = STATUSES[shard.status];
  const [epoch, newest] = [number(shard.epoch), number(shard.last_sequence)];
  const log = size === null ? none : bytes(size);
  const lag = waiting === null ? none : html`<span class=${waiting > WAIT_LIMIT ? "late" : ""}>${waiting ? span(waiting / 1000) : "0"}</span>`;
  const copies = replicas === null ? none : html`<span class=${isBehind(shard) ? "late" : ""}>${number(shard.replicas_current)} of ${number(replicas)}</span>`;
  const targets = able(cluster, owner);
  const isPinned = shard.shard in cluster.transferred;
  const moves = wanted !== owner && wanted !== null && owner !== null && visible(wanted);
  return html`<tr><th scope="row" class="nowrap">${shard.shard} <${More} about=${`shard ${shard.shard}`} rows=${[["Epoch", epoch], ["Newest group", newest], ["Replicas", copies], ["Log", log], ["Lag", lag], ["Transferred", isPinned && "until you balance"], ["Moves to", moves]]} /></th>
    <td>${owner === null ? none : visible(owner)} <span class="wide">${isPinned && html`<${Badge} title="It stays there until you balance">transferred</${Badge}>`}
      ${moves && html`<${Badge} kind="processing">moves to ${moves}</${Badge}>`}</span></td>
    <td><${Badge} kind=${kind}>${word}</${Badge}>${problem && html`<div class="failure">${visible(problem)}</div>`}</td>
    <td class="n wide">${epoch}</td><td class="n wide">${newest}</td>
    <td class="wide nowrap">${copies}</td>
    <td class="n wide">${log}</td><td class="n wide">${lag}</td>
    <td class="n">${mayMove && html`<button type="button" aria-label=${`Transfer shard ${shard.shard}…`} disabled=${!targets.length} onClick=${() => askToTransfer(shard, targets)}>Transfer…</button>`}</td></tr>`;
}

/** @param {any} shard @param {string[]} targets */
function askToTransfer({ shard, owner, wanted }, targets) {
  ask({
    title: `Transfer shard ${shard}`,
    text: `${owner === null ? "No node owns it." : `${visible(owner)} owns it.`} The next owner reads the log first, then requests wait for some hundredths of a second. The shard stays there until you balance, or that node cannot own it.`,
    fields: [{ name: "node", label: "To the node", type: "select", options: targets, value: targets.includes(wanted) ? wanted : targets[0] }],
    confirm: "Transfer",
    act: async ({ node }) => {
      await move("transfer", { shard, node });
      return `Shard ${shard} goes to ${visible(node)}.`;
    },
  });
}

/** @param {string} node @param {number} owned */
function askToDrain(node, owned) {
  ask({
    title: `Drain ${visible(node)}`,
    text: `It owns ${count(owned, "shard")}. The others take them, one after the other. Then it owns nothing, also after a restart, until you undo it. It still answers requests, and its NATS server stores messages.`,
    confirm: `Drain ${visible(node)}`,
    act: async () => {
      await move("drain", { node });
      return `${visible(node)} gives its shards away.`;
    },
  });
}

/** @param {string} node */
function undrain(node) {
  return doNow(async () => {
    await move("drain", { node, drained: false });
    return `${visible(node)} may own shards again.`;
  });
}

/** @param {any} cluster */
function askToBalance({ drained, transferred }) {
  ask({
    title: "Balance the shards",
    text: `${count(Object.keys(transferred).length, "transfer")} and ${count(drained.length, "drain")} are forgotten. The shards spread over all nodes, one after the other.`,
    confirm: "Balance",
    act: async () => {
      await move("balance");
      return "The shards spread over all nodes.";
    },
  });
}

/** @param {string} how @param {unknown} [body] */
const move = (how, body) => call(`/cluster/${how}`, { method: "POST", body });
