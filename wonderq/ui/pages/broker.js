// The broker itself: whether it is well, and how much of what it has is in use.

import { html } from "../vendor/preact.js";
import { bytes, count, dateTime, number } from "../app/format.js";
import { Ago, Failure } from "../app/parts.js";

/** @param {any} properties */
export function Broker({ overview, error }) {
  if (!overview) return html`<h1>Broker</h1><${Failure} error=${error} />`;
  const sync = overview.sync_p99;
  const size = (/** @type {number | null} */ value) => (value === null ? "–" : bytes(value));
  /** @type {[string, any, string][]} */
  const facts = [
    ["State", overview.damaged ? "damaged" : overview.ready ? "ready" : "not ready", ""],
    ["Version", overview.version, ""],
    ["Started", html`${dateTime(new Date(overview.started_at))} (<${Ago} at=${overview.started_at} />)`, ""],
    ["Queues", number(overview.queues), ""],
    ["Waiting consumers", number(overview.consumers), "Long polls that wait for a message"],
    ["Connections", overview.connections === null ? "–" : `${number(overview.connections)} of ${number(overview.connections_limit)}`, ""],
    ["Free on the disk", size(overview.disk_free_bytes), "Below 1 GiB it is a problem"],
    ["Log", size(overview.log_bytes), "All records, also those that compaction will remove"],
    ["Log on the disk", overview.segments === null ? "–" : `${size(overview.log_disk_bytes)} in ${count(overview.segments, "file")}`, "With reserved space"],
    ["Sync, 99 of 100", sync === null ? "–" : `at most ${sync < 1 ? `${number(Math.round(sync * 100000) / 100)} ms` : `${sync} s`}`, "Every acknowledged operation waits for a sync"],
    ["Your key", overview.access.key ? `${overview.access.name} (${overview.access.key})` : "the broker has no keys", ""],
    ["Your roles", overview.access.roles.join(", "), `for the queues ${overview.access.queues.join(", ")}`],
  ];
  return html`<h1>Broker</h1><dl class="facts-list">${facts.map(
    ([name, value, more]) => html`<div key=${name}><dt>${name}</dt><dd>${value}${more && html` <small>${more}</small>`}</dd></div>`,
  )}</dl><p class="faint"><code>GET /metrics</code> has everything else, for Prometheus. <a href="/docs">The API</a> lists all calls.</p>`;
}
