// A log in NATS that several processes share: who owns it, and who could take over.

import { html, useEffect, useState } from "../vendor/preact.js";
import { dateTime, number, span, visible } from "../app/format.js";
import { usePoll } from "../app/live.js";
import { Ago, Badge } from "../app/parts.js";

/** @type {Record<string, string>} */
const WORDS = { standing_by: "stands by", owner: "owns the log", released: "has just ended", unable: "cannot take over" };

/** A clock that is further off than this is a problem, in seconds; see docs/HIGH_AVAILABILITY.md. */
const CLOCK_LIMIT = 0.25;

/** The log as its owner sees it. @param {{log: any}} properties */
export function SharedLog({ log }) {
  const ready = log.others.filter((/** @type {any} */ each) => each.role === "standing_by").length;
  const others = log.others.map((/** @type {any} */ each) => html`<li key=${each.node + each.role}>${visible(each.node)} <${Badge} kind=${each.role === "standing_by" ? "good" : "warning"}>${WORDS[each.role] ?? visible(each.role)}</${Badge}></li>`);
  const isBehind = log.replicas !== null && log.replicas_current < log.replicas;
  return html`<section aria-labelledby="shared"><h2 id="shared">Shared log <small>in NATS JetStream</small></h2>
    <${List} facts=${[
      ["This process", html`${visible(log.node)} <${Badge} kind="good">owns the log</${Badge}>`, ""],
      ["Others", ready ? html`<ul class="plain-list">${others}</ul>` : html`<b class="late">nobody stands by, so nobody can take over</b>${others.length > 0 && html`<ul class="plain-list">${others}</ul>`}`, "Processes that this one hears"],
      ["Last hand-over", html`${dateTime(new Date(log.took_over_at))} (<${Ago} at=${log.took_over_at} />), within ${span(log.takeover)}`, "From the decision to take over until this process served"],
      ["Epoch", number(log.epoch), "It grows with each hand-over"],
      ["Lost to others", number(log.fenced), "Times that another process took the log from this one"],
      ["Clock", clockOf(log.clock_ahead), "Compared with the other processes and NATS"],
      ["NATS servers", log.replicas === null ? html`<b class="late">NATS does not answer</b>` : html`<span class=${isBehind ? "late" : ""}>${number(log.replicas_current)} of ${number(log.replicas)} have all of the log</span>`, ""],
    ]} /></section>`;
}

/** A process without a broker, as its health check and its metrics describe it. */
export function StandBy() {
  const { data, error } = usePoll("/readyz");
  const [gauges, setGauges] = useState(/** @type {Map<string, number>} */ (new Map()));
  useEffect(() => {
    // The metrics are asked for with each answer of the health check, so as often as the page asks for anything.
    let isOld = false;
    void readGauges().then((found) => isOld || setGauges(found));
    return () => {
      isOld = true;
    };
  }, [data, error]);
  const answer = error?.answer ?? data;
  if (!answer) return html`<p class="faint">${error ? error.message : "Loading…"}</p>`;
  const value = (/** @type {string} */ name) => gauges.get(name) ?? null;
  const [epoch, replicas, current] = ["wonderq_log_epoch", "wonderq_log_replicas", "wonderq_log_replicas_current"].map(value);
  return html`<p>${!answer.error && "This process serves now. The page shows it in a moment."}</p>
    ${answer.warnings?.map((/** @type {string} */ each) => html`<p key=${each} class="failure">${visible(each)}</p>`)}
    <${List} facts=${[
      ["This process", html`<${Badge} kind=${answer.status === "standing_by" ? "good" : "warning"}>${String(answer.status).replaceAll("_", " ")}</${Badge}>`, ""],
      ["Owner", answer.owner ? visible(answer.owner) : html`<b class="late">none is heard</b>`, ""],
      ["Epoch", epoch === null ? "–" : number(epoch), "It grows with each hand-over"],
      ["Clock", clockOf(value("wonderq_clock_ahead_of_others_seconds")), "Compared with the other processes and NATS"],
      ["NATS servers", replicas === null || current === null ? "–" : html`<span class=${current < replicas ? "late" : ""}>${number(current)} of ${number(replicas)} have all of the log</span>`, ""],
    ]} />
    ${gauges.size === 0 && html`<p class="faint">The rest is in <code>GET /metrics</code>, which needs a key.</p>`}`;
}

/** The gauges of this process that have no labels. It has no session, so with keys it shows none. @returns {Promise<Map<string, number>>} */
async function readGauges() {
  const found = new Map();
  try {
    const response = await fetch("/metrics");
    const text = response.ok ? await response.text() : "";
    for (const [, name, value] of text.matchAll(/^(wonderq_\w+) (\S+)$/gm)) found.set(name, Number(value));
  } catch {
    // The next answer of the health check asks again.
  }
  return found;
}

/** @param {number | null} ahead seconds */
function clockOf(ahead) {
  if (ahead === null) return "not compared yet";
  const words = Math.abs(ahead) < 0.001 ? "agrees with the others" : `${span(Math.abs(ahead))} ${ahead > 0 ? "ahead of" : "behind"} the others`;
  return html`<span class=${Math.abs(ahead) > CLOCK_LIMIT ? "late" : ""}>${words}${Math.abs(ahead) > CLOCK_LIMIT && ", so it could take nothing over"}</span>`;
}

/** @param {{facts: any[]}} properties */
const List = ({ facts }) => html`<dl class="facts-list">${facts.map(([name, value, more]) => html`<div key=${name}><dt>${name}</dt><dd>${value}${more && html` <small>${more}</small>`}</dd></div>`)}</dl>`;
