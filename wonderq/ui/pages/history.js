// The figures of a queue over the last hour or day.

import { html } from "../vendor/preact.js";
import { changed, Link, useAddress } from "../app/address.js";
import { queuePath, withQuery } from "../app/api.js";
import { Chart } from "../app/chart.js";
import { usePoll } from "../app/live.js";
import { Empty, Failure } from "../app/parts.js";

/** @param {{name: string}} properties */
export function History({ name }) {
  const { query } = useAddress();
  const window = query.get("window") ?? "1h";
  const { data, error } = usePoll(withQuery(`${queuePath(name)}/history`, { window }));
  const perSecond = (/** @type {number[]} */ values) => values.map((value) => value / data.step);
  return html`<div class="chips" role="group" aria-label="Period">
      <${Link} class="chip" href=${changed({ window: null })} aria-current=${window === "1h" ? "true" : undefined}>Last hour</${Link}>
      <${Link} class="chip" href=${changed({ window: "24h" })} aria-current=${window === "24h" ? "true" : undefined}>Last day</${Link}></div>
    <${Failure} error=${error} />
    ${data && !data.is_kept && html`<${Empty}>The broker keeps the history of 100 queues, and this is none of them.</${Empty}>`}
    ${data?.is_kept && html`<${Chart} title="Messages" ended=${data.ended_at} step=${data.step} points=${window === "1h" ? 360 : 288} height=${180}
        series=${[{ label: "Waiting", color: "--c1", values: data.waiting }, { label: "In flight", color: "--c2", values: data.in_flight }]} />
      <${Chart} title="Messages per second" ended=${data.ended_at} step=${data.step} points=${window === "1h" ? 360 : 288} height=${180} isRate=${true}
        series=${[{ label: "In", color: "--c1", values: perSecond(data.produced) }, { label: "Done", color: "--c3", values: perSecond(data.deleted) }, { label: "Dead", color: "--c4", values: perSecond(data.dead) }]} />`}`;
}
