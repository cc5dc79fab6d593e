// Redrives: those under way with their progress, and the last ones that ended.

import { html } from "../vendor/preact.js";
import { Link, queueHref } from "../app/address.js";
import { call, queuePath } from "../app/api.js";
import { doNow } from "../app/dialogs.js";
import { dateTime, duration, number, rate, visible } from "../app/format.js";
import { usePoll } from "../app/live.js";
import { Ago, Badge, Empty, Failure, More, skew } from "../app/parts.js";

/** @param {any} properties */
export function Redrives({ rights }) {
  const { data, error } = usePoll(rights.seesMessages ? "/redrives" : null);
  return html`<h1>Redrives</h1><p class="faint">A redrive brings dead letters back to their queues, or moves messages to another queue.</p>
    ${rights.isKnown && !rights.seesMessages && html`<${Empty}>Your key does not show redrives. They need the role <code>inspect</code>.</${Empty}>`}
    <${Failure} error=${error} />${data && html`<${RedriveTable} redrives=${data} rights=${rights} />`}`;
}

/** @type {Record<string, string>} */
const KINDS = { running: "processing", failed: "error", cancelled: "warning" };

/** @param {{redrives: any[], rights: any}} properties */
export function RedriveTable({ redrives, rights }) {
  if (!redrives.length) return html`<${Empty}>No redrive yet. “Bring back” on the page of a dead-letter queue starts one.</${Empty}>`;
  return html`<table><thead><tr><th scope="col">From</th><th scope="col" class="wide">To</th><th scope="col">Status</th><th scope="col" class="n">Moved</th>
      <th scope="col" class="n wide" title="They did not match, were claimed or delayed, or had no queue to return to">Stayed</th><th scope="col" class="wide">Only</th><th scope="col" class="wide">Began</th><th scope="col"><span class="sr">Actions</span></th></tr></thead>
    <tbody>${redrives.map((each) => html`<tr key=${each.id}><th scope="row"><${Link} data-open href=${queueHref(each.queue)}>${each.queue}</${Link}>
        <${More} about=${`the redrive of ${each.queue}`} rows=${[["To", each.destination ?? "the queues they came from"], ["Stayed", number(each.skipped)], ["Only", onlyOf(each)], ["Began", html`<${Ago} at=${each.started_at} />`]]} /></th>
      <td class="wide">${each.destination ? html`<${Link} href=${queueHref(each.destination)}>${each.destination}</${Link}>` : "the queues they came from"}</td>
      <td><${Badge} kind=${KINDS[each.status] ?? ""}>${each.dry_run ? "only counted" : each.status}</${Badge}>${each.failure && html`<div class="failure">${each.failure}</div>`}
        ${each.status === "running" && html`<progress max=${each.total || 1} value=${each.moved + each.skipped} aria-label=${`Redrive of ${each.queue}`}></progress><small>${speedOf(each)}</small>`}</td>
      <td class="n">${each.dry_run ? html`<span class="faint">would move</span> ` : ""}${number(each.moved)} <span class="faint">of ${number(each.total)}</span></td><td class="n wide">${number(each.skipped)}</td>
      <td class="wide clip" title=${onlyOf(each)}>${onlyOf(each)}</td>
      <td class="wide nowrap"><${Ago} at=${each.started_at} /></td>
      <td>${rights.isAdmin && each.status === "running" && html`<button type="button" onClick=${() => cancel(each)}>Cancel</button>`}</td></tr>`)}</tbody></table>`;
}

/** The limits of a redrive, in words. @param {any} redrive */
const onlyOf = ({ contains, attribute, since, until, limit, per_second: perSecond }) =>
  [
    contains && `“${visible(contains)}”`,
    attribute && visible(attribute),
    since && `since ${dateTime(new Date(since))}`,
    until && `before ${dateTime(new Date(until))}`,
    limit && `${number(limit)} at most`,
    perSecond && `${number(perSecond)} /s`,
  ]
    .filter(Boolean)
    .join(", ");

/** How fast a redrive is, and how long the rest takes at this speed. @param {any} redrive */
function speedOf(redrive) {
  const done = redrive.moved + redrive.skipped;
  const seconds = (Date.now() + skew.ms - Date.parse(redrive.started_at)) / 1000;
  if (!done || seconds < 2) return "";
  const left = Math.max(0, Math.min(redrive.total, redrive.limit ?? redrive.total) - done);
  return `${rate(done / seconds)} /s, about ${duration((left * seconds) / done)} left`;
}

/** @param {any} redrive */
function cancel(redrive) {
  return doNow(async () => {
    const { moved } = await call(`${queuePath(redrive.queue)}/redrive/${redrive.id}`, { method: "DELETE" });
    return `The redrive is cancelled. ${number(moved)} were moved and stay moved.`;
  });
}
