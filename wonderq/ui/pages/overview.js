// The overview: what needs somebody, then the figures, then the queues.

import { html, useEffect, useState } from "../vendor/preact.js";
import { changed, go, Link, queueHref, topicHref, useAddress } from "../app/address.js";
import { withQuery } from "../app/api.js";
import { Chart } from "../app/chart.js";
import { count, duration, getsDeadLetters, number, rate } from "../app/format.js";
import { HISTORY_STEP, outage, usePoll, useStore } from "../app/live.js";
import { Badge, Empty, Failure, Figure, More, QueueBadges, Sparkline } from "../app/parts.js";
import { Connect } from "./connect.js";

const PAGE = 50;

/** @param {any} properties */
export function Overview({ overview, error, rights }) {
  if (!overview) return html`<h1 class="sr">Overview</h1>${error ? html`<${Failure} error=${error} />` : html`<p class="faint">Loading…</p>`}`;
  return html`<h1 class="sr">Overview</h1>
    <${Problems} problems=${overview.problems} more=${overview.more_problems} />
    <${Tiles} overview=${overview} />
    ${rights.opensAllQueues && html`<${Backlog} />`}
    <${QueueTable} total=${overview.queues} />`;
}

const WORDS = { error: "Act now", warning: "Look", notice: "Note" };

/** @param {{problems: any[], more: number}} properties */
function Problems({ problems, more }) {
  const [showsAll, setShowsAll] = useState(false);
  const isCut = useStore(outage) !== null;
  if (!problems.length && isCut) return html`<p></p>`; // nobody knows
  if (!problems.length) return html`<p class="well"><span aria-hidden="true">✓</span> Nothing needs you.</p>`;
  const shown = showsAll ? problems : problems.slice(0, 6);
  const urgent = problems.filter((each) => each.severity !== "notice").length;
  return html`<section aria-labelledby="problems"><h2 id="problems" class=${urgent ? "" : "well"}>${urgent ? `${count(urgent, "thing")} ${urgent === 1 ? "needs" : "need"} you` : html`<span aria-hidden="true">✓</span> Nothing needs you.`}</h2>
    <ul class="problems">${shown.map(
      (each) => html`<li key=${each.message} class=${each.severity}><${Badge} kind=${each.severity}>${/** @type {any} */ (WORDS)[each.severity]}</${Badge}>
        <span>${each.message}</span>${target(each)}</li>`,
    )}</ul>
    ${problems.length > shown.length && html`<p><button type="button" onClick=${() => setShowsAll(true)}>Show all ${number(problems.length)}</button></p>`}
    ${more > 0 && problems.length === shown.length && html`<p>${number(more)} more are not listed.</p>`}</section>`;
}

/** @param {any} problem */
function target(problem) {
  if (problem.topic) return html`<${Link} href=${topicHref(problem.topic)}>Topic</${Link}>`;
  if (problem.code === "dead_letters") return html`<${Link} href="/ui/dead">Dead letters</${Link}>`;
  if (problem.schedule) return html`<${Link} href="/ui/schedules">Schedules</${Link}>`;
  if (problem.code === "redrive_failed") return html`<${Link} href="/ui/redrives">Redrives</${Link}>`;
  if (problem.queue) return html`<${Link} href=${queueHref(problem.queue)}>Open</${Link}>`;
  return html`<${Link} href="/ui/broker">Broker</${Link}>`;
}

/** @param {any} properties */
function Tiles({ overview }) {
  const { counts, per_second: rates } = overview;
  const now = rates["10s"];
  /** @type {[string, string, number, string, string][]} */
  const tiles = [
    ["Waiting", "/ui?sort=unprocessed", counts.unprocessed, `${rate(now.produced)} in /s`, "unprocessed"],
    ["In flight", "/ui?sort=processing", counts.processing, `${rate(now.deleted)} done /s`, "processing"],
    ["Delayed", "/ui?sort=delayed", counts.delayed, `${rate(now.claimed)} claimed /s`, "delayed"],
    ["Dead letters", "/ui/dead", overview.dead_letters, overview.dead_letters_last_hour ? `${number(overview.dead_letters_last_hour)} in the last hour` : "none in the last hour", "in dead-letter queues, or buried"],
  ];
  return html`<ul class="tiles">${tiles.map(
    ([name, href, value, more, title]) => html`<li key=${name}><${Link} href=${href} title=${title}>
      <span class="name">${name}</span><b class=${name === "Dead letters" && value ? "bad" : ""}>${number(value)}</b><span class="more">${more}</span></${Link}></li>`,
  )}</ul>`;
}

function Backlog() {
  const { data } = usePoll("/overview/history", { least: HISTORY_STEP });
  if (!data) return html`<div class="chart-place"></div>`;
  return html`<${Chart} title="Waiting messages, last hour" ended=${data.ended_at} step=${data.step} points=${360} height=${130}
    series=${[{ label: "Waiting", color: "--link", values: data.waiting }]} />`;
}

/** @type {[string, string | null, string, string][]} */
const COLUMNS = [
  ["Queue", "name", "", ""],
  ["Waiting", "unprocessed", "n", "unprocessed: can be claimed now"],
  ["In flight", "processing", "n wide", "processing: claimed by a consumer"],
  ["Delayed", "delayed", "n wide", "delayed: can be claimed later"],
  ["Buried", "buried", "n wide", "buried: set aside until somebody kicks them"],
  ["Oldest waiting", "oldest_waiting", "n", "Time since the oldest waiting message could first be claimed"],
  ["In /s", "produced", "n wide", "Messages produced per second, over about ten seconds"],
  ["Done /s", "deleted", "n wide", "Messages deleted by consumers per second, over about ten seconds"],
  ["Waiting, 10 min", null, "wide", "Waiting messages in the last ten minutes"],
];

/** @param {{total: number}} properties */
function QueueTable({ total }) {
  const { query } = useAddress();
  const sort = query.get("sort") ?? "name";
  const filter = query.get("filter") ?? "";
  const limit = Number(query.get("limit")) || PAGE;
  const { data, error } = usePoll(withQuery("/queues", { figures: true, limit: limit + 1, sort, contains: filter }));
  const shown = useLast(data);
  const rows = sort === "name" && !filter ? nested(shown?.slice(0, limit) ?? []) : (shown?.slice(0, limit) ?? []).map((/** @type {any} */ queue) => ({ queue, depth: 0 }));
  if (shown && total <= 1 && shown.length <= 1 && isEmpty(shown[0])) {
    return html`<section class="card"><h2>No messages yet</h2><p>Send the first one. This page shows it by itself.</p><${Connect} queue="default" /></section>`;
  }
  return html`<section aria-labelledby="queues"><div class="heading"><h2 id="queues">Queues <small>${number(total)}</small></h2>
      <input type="search" data-filter placeholder="Filter by name ( / )" aria-label="Filter queues by name" value=${filter} maxlength="80"
        onInput=${(/** @type {any} */ event) => go(changed({ filter: event.target.value, limit: null }), true)} /></div>
    <${Failure} error=${error} />
    ${shown && !rows.length ? html`<${Empty}>No queue has “${filter}” in its name. <${Link} href=${changed({ filter: null })}>Clear the filter</${Link}><p><${Link} class="button" href=${`/ui/search?${new URLSearchParams({ contains: filter })}`}>Search all messages for “${filter}”</${Link}></p></${Empty}>` : html`<table class="queues">
      <thead><tr>${COLUMNS.map(
        ([name, order, kind, title]) => html`<th key=${name} scope="col" class=${kind} title=${title} aria-sort=${order === sort ? (sort === "name" ? "ascending" : "descending") : undefined}>
          ${order ? html`<${Link} href=${changed({ sort: order === "name" ? null : order })}>${name}${order === sort && html`<span aria-hidden="true">${sort === "name" ? " ↑" : " ↓"}</span>`}</${Link}>` : name}</th>`,
      )}</tr></thead>
      <tbody>${rows.map((/** @type {any} */ { queue, depth }) => html`<${Row} key=${queue.queue} queue=${queue} depth=${depth} />`)}</tbody></table>`}
    ${shown?.length > limit && html`<p><${Link} class="button" href=${changed({ limit: limit + PAGE })}>Show ${PAGE} more</${Link}></p>`}</section>`;
}

/** The last data that is not undefined, so that a table does not vanish while another order loads. @param {any} data */
function useLast(data) {
  const [last, setLast] = useState(data);
  useEffect(() => {
    if (data !== undefined) setLast(data);
  }, [data]);
  return data ?? last;
}

/** @param {any} queue */
const isEmpty = (queue) => !queue || (queue.newest_id === null && Object.values(queue.counts).every((each) => !each));

/** The queues, with each dead-letter queue below its source. @param {any[]} queues */
function nested(queues) {
  const names = new Set(queues.map((each) => each.queue));
  const below = new Map();
  for (const each of queues) {
    const [source] = each.figures.sources;
    if (each.figures.sources.length === 1 && names.has(source) && source !== each.queue) below.set(source, [...(below.get(source) ?? []), each]);
  }
  const nestedNames = new Set([...below.values()].flat().map((each) => each.queue));
  const rows = [];
  for (const queue of queues) {
    if (nestedNames.has(queue.queue)) continue;
    rows.push({ queue, depth: 0 }, ...(below.get(queue.queue) ?? []).map((/** @type {any} */ each) => ({ queue: each, depth: 1 })));
  }
  // Queues that are each other's dead-letter queues are below one another, and so nowhere yet.
  const there = new Set(rows.map((row) => row.queue.queue));
  return [...rows, ...queues.filter((each) => !there.has(each.queue)).map((queue) => ({ queue, depth: 0 }))];
}

/** @param {any} properties */
function Row({ queue, depth }) {
  const { counts, figures, settings } = queue;
  const rates = figures.per_second;
  const age = figures.oldest_waiting_age;
  const perSecond = (/** @type {string} */ name) => (rates ? html`<span class=${rates[name] ? "" : "faint"}>${rate(rates[name])}</span>` : "–");
  const isLate = age !== null && age >= 300 && !getsDeadLetters(queue) && !settings.paused;
  return html`<tr><th scope="row" class=${depth ? "below" : ""}><${Link} data-open href=${queueHref(queue.queue)}>${queue.queue}</${Link}> <${QueueBadges} queue=${queue} />
      <${More} about=${queue.queue} rows=${[["In flight", number(counts.processing)], ["Delayed", number(counts.delayed)], ["Buried", number(counts.buried)], ["In /s", perSecond("produced")], ["Done /s", perSecond("deleted")]]} /></th>
    <td class="n"><${Figure} value=${counts.unprocessed} /></td>
    <td class="n wide"><${Figure} value=${counts.processing} /></td>
    <td class="n wide"><${Figure} value=${counts.delayed} /></td>
    <td class="n wide"><${Figure} value=${counts.buried} /></td>
    <td class=${`n ${isLate ? "late" : ""}`}>${age === null ? html`<span class="faint">–</span>` : duration(age)}</td>
    <td class="n wide">${perSecond("produced")}</td>
    <td class="n wide">${perSecond("deleted")}</td>
    <td class="wide"><${Sparkline} values=${figures.recent_waiting} label=${`Waiting in ${queue.queue}: now ${number(counts.unprocessed)}, at most ${number(Math.max(0, ...figures.recent_waiting))} in the last ten minutes`} /></td></tr>`;
}
