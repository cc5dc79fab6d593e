// The figures of a queue over the last hour or day.

import { html } from "../vendor/preact.js";
import { changed, Link, useAddress } from "../app/address.js";
import { queuePath, withQuery } from "../app/api.js";
import { Chart } from "../app/chart.js";
import { count, number, share, span } from "../app/format.js";
import { HISTORY_STEP, usePoll } from "../app/live.js";
import { Bar, Empty, Failure } from "../app/parts.js";

/** @param {{name: string}} properties */
export function History({ name }) {
  const { query } = useAddress();
  const window = query.get("window") ?? "1h";
  const { data, error } = usePoll(withQuery(`${queuePath(name)}/history`, { window }), { least: HISTORY_STEP });
  const perSecond = (/** @type {number[]} */ values) => values.map((value) => value / data.step);
  return html`<div class="chips" role="group" aria-label="Period">
      <${Link} class="chip" href=${changed({ window: null })} aria-current=${window === "1h" ? "true" : undefined}>Last hour</${Link}>
      <${Link} class="chip" href=${changed({ window: "24h" })} aria-current=${window === "24h" ? "true" : undefined}>Last day</${Link}></div>
    <${Failure} error=${error} />
    ${data && !data.is_kept && html`<${Empty}>There is no history of this queue. A new queue has one after ten seconds; the broker keeps that of 100 queues.</${Empty}>`}
    ${data?.is_kept && html`<${Chart} title="Messages" ended=${data.ended_at} step=${data.step} points=${window === "1h" ? 360 : 288} height=${180}
        series=${[{ label: "Waiting", color: "--link", values: data.waiting }, { label: "In flight", color: "--warn", values: data.in_flight }]} />
      <${Chart} title="Messages per second" ended=${data.ended_at} step=${data.step} points=${window === "1h" ? 360 : 288} height=${180} isRate=${true}
        series=${[{ label: "In", color: "--link", values: perSecond(data.produced) }, { label: "Done", color: "--good", values: perSecond(data.deleted) }, { label: "Dead", color: "--bad", values: perSecond(data.dead) }]} />
      <div class="two"><${Ages} title="Time from sending to claim" noun="claim" ages=${data.time_to_claim} />
        <${Ages} title="Time from sending to deletion" noun="deleted message" ages=${data.lifetime} /></div>`}`;
}

/** How old messages were, as bars. @param {{title: string, noun: string, ages: any}} properties */
function Ages({ title, noun, ages }) {
  const { bounds, counts } = ages;
  const total = counts.reduce((/** @type {number} */ sum, /** @type {number} */ each) => sum + each, 0);
  const caption = html`<figcaption>${title}, since the start of the broker</figcaption>`;
  if (!total) return html`<figure class="chart">${caption}<p class="faint chart-empty">No ${noun} yet.</p></figure>`;
  const used = counts.map((/** @type {number} */ each, /** @type {number} */ at) => (each ? at : -1)).filter((/** @type {number} */ at) => at >= 0);
  const most = Math.max(...counts);
  const ranges = counts.map((/** @type {number} */ value, /** @type {number} */ at) => ({ value, name: at < bounds.length ? `up to ${span(bounds[at])}` : `over ${span(bounds[at - 1])}` })).slice(used[0], used[used.length - 1] + 1);
  const within = (/** @type {string} */ part, /** @type {number | null} */ bound) => `${part} within ${bound === null ? `over ${span(bounds[bounds.length - 1])}` : span(bound)}`;
  return html`<figure class="chart">${caption}
    <p class="facts">${count(total, noun)}, ${span(ages.sum / total)} on average · ${within("half", ages.p50)} · ${within("90 of 100", ages.p90)} · ${within("99 of 100", ages.p99)}</p>
    <table class="bars"><thead><tr><th scope="col">Age</th><th scope="col" class="n">Number</th><th scope="col">Share</th></tr></thead>
      <tbody>${ranges.map((/** @type {any} */ range) => html`<tr key=${range.name}><th scope="row">${range.name}</th><td class="n">${number(range.value)}</td>
        <td><${Bar} value=${range.value} most=${most} /> <small>${share(range.value / total)}</small></td></tr>`)}</tbody></table></figure>`;
}
