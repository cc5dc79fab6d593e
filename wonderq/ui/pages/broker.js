// The broker itself: whether it is well, how much of what it has is in use, its settings and its keys.

import { html } from "../vendor/preact.js";
import { bytes, count, dateTime, number, share, span } from "../app/format.js";
import { Lazy } from "../app/lazy.js";
import { usePoll } from "../app/live.js";
import { Ago, Badge, Bar, Empty, Failure, More } from "../app/parts.js";

const loadShared = async () => (await import("./shared_log.js")).SharedLog;
const loadStandBy = async () => (await import("./shared_log.js")).StandBy;

/** Codes of the errors of a process without a broker. */
const STANDS_BY = ["standing_by", "no_quorum", "log_damaged"];

/** @param {any} properties */
export function Broker({ overview, error, rights }) {
  const state = usePoll(rights.opensAllQueues ? "/overview/broker" : null);
  if (STANDS_BY.includes(error?.code)) return html`<h1>Broker</h1><${Lazy} key="stand-by" load=${loadStandBy} />`;
  if (!overview) return html`<h1>Broker</h1><${Failure} error=${error} />`;
  return html`<h1>Broker</h1><${Facts} overview=${overview} state=${state.data} /><${Failure} error=${state.error} />
    ${state.data?.shared_log && html`<${Lazy} load=${loadShared} log=${state.data.shared_log} />`}
    ${state.data && html`<${Limits} limits=${state.data.limits} /><${Keys} keys=${state.data.keys} isOpen=${overview.access.key === null} /><${Settings} settings=${state.data.settings} />`}
    ${rights.isKnown && !rights.opensAllQueues && html`<p class="faint">Limits, settings and keys need a key that opens all queues.</p>`}
    <p class="faint"><code>GET /metrics</code> has everything else, for Prometheus. <a href="/docs">The API</a> lists all calls.</p>`;
}

/** @param {{overview: any, state: any}} properties */
function Facts({ overview, state }) {
  const size = (/** @type {number | null} */ value) => (value === null ? "–" : bytes(value));
  const within = (/** @type {number | null} */ value) => (value === null ? "–" : span(value));
  /** @type {[string, any, string][]} */
  const facts = [
    ["State", overview.damaged ? "damaged" : overview.ready ? "ready" : "not ready", ""],
    ["Version", overview.version, ""],
    ["Started", html`${dateTime(new Date(overview.started_at))} (<${Ago} at=${overview.started_at} />)`, ""],
    ["Free on the disk", size(overview.disk_free_bytes), "Below 1 GiB it is a problem"],
    ["Log", state && overview.log_bytes !== null ? `${size(Math.min(state.log_live_bytes, overview.log_bytes))} live, ${size(Math.max(0, overview.log_bytes - state.log_live_bytes))} dead` : size(overview.log_bytes), "Compaction removes the dead part once it exceeds the live one and a file"],
    ["Log on the disk", overview.segments === null ? "–" : `${size(overview.log_disk_bytes)} in ${count(overview.segments, "file")}`, "With reserved space"],
    ["Sync", overview.sync_p50 === null ? "–" : `half within ${within(overview.sync_p50)}, 99 of 100 within ${within(overview.sync_p99)}`, "Every acknowledged operation waits for a sync"],
  ];
  if (!state) facts.push(["Connections", overview.connections === null ? "–" : `${number(overview.connections)} of ${number(overview.connections_limit)}`, ""], ["Waiting consumers", number(overview.consumers), "Long polls that wait for a message"]);
  if (state) {
    const { written_at: writtenAt, bytes: written, lag_bytes: lag } = state.checkpoint;
    facts.push(["Checkpoint", writtenAt ? html`<${Ago} at=${writtenAt} />, ${bytes(written)}` : "none since the start", `A start would replay ${bytes(lag)} of the log`]);
  }
  facts.push(["Your key", overview.access.key ? `${overview.access.name} (${overview.access.key})` : "the broker has no keys", ""]);
  facts.push(["Your roles", overview.access.roles.join(", "), `for the queues ${overview.access.queues.join(", ")}`]);
  return html`<dl class="facts-list">${facts.map(
    ([name, value, more]) => html`<div key=${name}><dt>${name}</dt><dd>${value}${more && html` <small>${more}</small>`}</dd></div>`,
  )}</dl>`;
}

/** @type {Record<string, string>} */
const LIMITS = {
  queues: "Queues",
  total_messages: "Messages",
  total_bytes: "Bytes of messages",
  total_keys: "Idempotency keys and attempts",
  waiting_consumers: "Consumers that wait",
  connections: "Connections",
  listings: "Listings under way",
  schedules: "Schedules",
};

/** @param {{limits: any[]}} properties */
function Limits({ limits }) {
  const shown = (/** @type {any} */ each, /** @type {number} */ value) => (each.name.endsWith("_bytes") ? bytes(value) : number(value));
  return html`<section aria-labelledby="limits"><h2 id="limits">Limits</h2><table><thead><tr><th scope="col">What</th><th scope="col" class="n">In use</th><th scope="col" class="n">Limit</th><th scope="col" class="wide">Share</th></tr></thead>
    <tbody>${limits.map((each) => html`<tr key=${each.name}><th scope="row">${LIMITS[each.name] ?? each.name} <code class="wide">${each.name}</code></th><td class="n">${shown(each, each.used)}</td>
      <td class="n">${each.limit === null ? html`<span class="faint">none</span>` : shown(each, each.limit)}</td>
      <td class="wide">${each.limit !== null && html`<${Bar} value=${each.used} most=${each.limit} kind=${each.used > 0.9 * each.limit ? "full" : ""} /> <small>${share(each.used / (each.limit || 1))}</small>`}</td></tr>`)}</tbody></table></section>`;
}

/** @param {{keys: any[] | null, isOpen: boolean}} properties */
function Keys({ keys, isOpen }) {
  if (!keys) return html`<section><h2>Keys</h2><p class="faint">Keys need the role <code>admin</code>.</p></section>`;
  const now = Date.now();
  return html`<section aria-labelledby="keys"><h2 id="keys">Keys <small>${number(keys.length)}</small></h2>
    <p class="faint">Where the broker runs, <code>wonderq key create</code> makes one and <code>wonderq key revoke</code> ends one.</p>
    ${!keys.length && html`<${Empty}>${isOpen ? "No keys: everybody who reaches this port may do everything." : "No key is left, so every request is refused."}</${Empty}>`}
    ${keys.length > 0 && html`<table><thead><tr><th scope="col">Name</th><th scope="col">Roles</th><th scope="col">Queues</th><th scope="col" class="wide">Id</th><th scope="col" class="wide">Created</th><th scope="col">Expires</th><th scope="col" class="wide n">Requests /s</th></tr></thead>
      <tbody>${keys.map((key) => html`<tr key=${key.id}><th scope="row">${key.name} ${key.sqs && html`<${Badge} title="SQS clients can sign with it">SQS</${Badge}>`}
        <${More} about=${`the key ${key.name}`} rows=${[["Id", key.id], ["Created", html`<${Ago} at=${key.created_at} />`], ["Requests /s", key.requests_per_second && number(key.requests_per_second)]]} /></th>
        <td>${key.roles.join(", ")}</td><td>${key.queues.join(", ")}</td><td class="wide"><code>${key.id}</code></td><td class="wide nowrap"><${Ago} at=${key.created_at} /></td>
        <td>${!key.expires_at ? html`<span class="faint">never</span>` : Date.parse(key.expires_at) <= now ? html`<${Badge} kind="warning">expired</${Badge}>` : html`<${Ago} until at=${key.expires_at} />`}</td>
        <td class="wide n">${key.requests_per_second ? number(key.requests_per_second) : html`<span class="faint">–</span>`}</td></tr>`)}</tbody></table>`}</section>`;
}

/** @param {{settings: any[] | null}} properties */
function Settings({ settings }) {
  if (!settings) return html`<section><h2>Settings</h2><p class="faint">Settings need the role <code>admin</code>.</p></section>`;
  const chosen = settings.filter((each) => each.source !== "default");
  const others = settings.filter((each) => each.source === "default");
  return html`<section aria-labelledby="settings"><h2 id="settings">Settings <small>of <code>wonderq serve</code></small></h2>
    ${chosen.length > 0 && html`<table><thead><tr><th scope="col">Setting</th><th scope="col">Value</th><th scope="col">Set by</th><th scope="col" class="wide">Default</th></tr></thead>
      <tbody>${chosen.map((each) => html`<tr key=${each.name}><th scope="row"><code>${each.name}</code></th><td class="value">${each.value}</td><td><code>${each.source}</code></td><td class="wide faint">${each.default}</td></tr>`)}</tbody></table>`}
    ${others.length > 0 && html`<details><summary>${count(others.length, "setting")} with the default</summary><dl>${others.map((each) => html`<div key=${each.name}><dt><code>${each.name}</code></dt><dd>${each.value}</dd></div>`)}</dl></details>`}</section>`;
}
