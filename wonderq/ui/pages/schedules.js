// Schedules: when they produce next, whether the last time worked, and changes.

import { html, useEffect, useState } from "../vendor/preact.js";
import { changed, go, Link, queueHref, useAddress } from "../app/address.js";
import { call, queuePath, withQuery } from "../app/api.js";
import { ask, doNow } from "../app/dialogs.js";
import { parsed } from "../app/json.js";
import { usePoll } from "../app/live.js";
import { Ago, Badge, Empty, Failure, Line, More } from "../app/parts.js";

const PAGE = 50;

/** @param {any} properties */
export function Schedules({ rights }) {
  const { query } = useAddress();
  const [filter, after] = [query.get("filter") ?? "", query.get("after") ?? ""];
  const { data, error } = usePoll(rights.seesMessages ? withQuery("/schedules", { limit: PAGE + 1, contains: filter, after }) : null);
  const rows = data?.slice(0, PAGE);
  return html`<div class="heading"><h1>Schedules</h1><div class="actions">
      <input type="search" data-filter placeholder="Filter by name ( / )" aria-label="Filter schedules by name" value=${filter} maxlength="80"
        onInput=${(/** @type {any} */ event) => go(changed({ filter: event.target.value, after: null }), true)} />
      ${rights.isAdmin && html`<button type="button" onClick=${() => edit(null)}>New…</button>`}</div></div>
    <p class="faint">Messages that the broker sends by itself, at the times of a cron expression.</p>
    <${Failure} error=${error} />
    ${rights.isKnown && !rights.seesMessages && html`<${Empty}>Your key does not show schedules. They need the role <code>inspect</code>.</${Empty}>`}
    ${rows && !rows.length && html`<${Empty}>${filter ? html`No schedule has “${filter}” in its name. <${Link} href=${changed({ filter: null, after: null })}>Clear the filter</${Link}>` : after ? "No more schedules." : "No schedule yet."}</${Empty}>`}
    ${rows?.length > 0 && html`<table class="stack schedules"><thead><tr><th scope="col">Name</th><th scope="col">Times</th><th scope="col">Queue</th><th scope="col">Next</th><th scope="col" class="wide">Last</th><th scope="col" class="wide">Message</th><th scope="col"><span class="sr">Actions</span></th></tr></thead>
      <tbody>${rows.map((/** @type {any} */ each) => html`<${Row} key=${each.name} schedule=${each} rights=${rights} />`)}</tbody></table>`}
    <p class="pager">${after && html`<${Link} class="button" href=${changed({ after: null })}>First page</${Link}>`}
      ${data?.length > PAGE && html`<${Link} class="button" href=${changed({ after: rows[PAGE - 1].name })}>Next page</${Link}>`}</p>`;
}

/** @param {any} properties */
function Row({ schedule, rights }) {
  const path = `/schedules/${encodeURIComponent(schedule.name)}`;
  const pause = () =>
    doNow(async () => {
      await call(path, { method: "PUT", body: { paused: !schedule.paused } });
      return schedule.paused ? `${schedule.name} is resumed.` : `${schedule.name} is paused.`;
    });
  const run = () =>
    doNow(async () => {
      const { message, attributes, group, priority } = schedule;
      const body = { message, ...(group && { group }), ...(priority && { priority }), attributes: { schedule: schedule.name, ...attributes } };
      await call(`${queuePath(schedule.queue)}/messages/produce`, { method: "POST", body });
      return `The message of ${schedule.name} is in ${schedule.queue}.`;
    });
  const remove = () =>
    ask({
      title: `Delete ${schedule.name}`,
      text: `The schedule sends nothing more to ${schedule.queue}. Messages that it sent stay.`,
      confirm: "Delete the schedule",
      isDanger: true,
      act: async () => {
        await call(path, { method: "DELETE" });
        return `The schedule ${schedule.name} is deleted.`;
      },
    });
  return html`<tr><th scope="row">${schedule.name} ${schedule.paused && html`<${Badge} kind="warning">paused</${Badge}>`}
      ${schedule.failure && html`<div class="failure">${schedule.failure}</div>`}</th>
    <td class="times"><${Times} schedule=${schedule} /></td>
    <td><${Link} data-open href=${queueHref(schedule.queue)}>${schedule.queue}</${Link}></td>
    <td class="nowrap"><${Ago} until at=${schedule.next_at} /></td><td class="wide nowrap"><${Ago} at=${schedule.last_at} /></td>
    <td class="wide body" title=${schedule.masked ? "Parts are hidden by --ui-mask, so the schedule cannot be edited or run here" : undefined}><${Line} text=${schedule.message} /></td>
    <td class="narrow"><${More} about=${schedule.name} rows=${[["Last", html`<${Ago} at=${schedule.last_at} />`], ["Message", html`<${Line} text=${schedule.message} />`]]} /></td>
    <td><div class="actions">${rights.sendsMessages && !schedule.masked && html`<button type="button" onClick=${run}>Run now</button>`}
      ${rights.isAdmin && html`<button type="button" onClick=${pause}>${schedule.paused ? "Resume" : "Pause"}</button>${!schedule.masked && html`<button type="button" onClick=${() => edit(schedule)}>Edit…</button>`}<button type="button" class="danger" onClick=${remove}>Delete…</button>`}</div></td></tr>`;
}

/** @param {string} cron @param {string} timezone @returns {Promise<{words: string, times: string[]}>} */
const nextTimes = (cron, timezone) => call(withQuery("/cron/times", { cron, timezone }));

/** A moment in a zone, for people there. @param {string} at @param {string} timezone */
const zoned = (at, timezone) => new Intl.DateTimeFormat("en-GB", { timeZone: timezone, weekday: "short", day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" }).format(new Date(at));

/** The times of a schedule in words; the next ones when it is opened, and as a hint. @param {any} properties */
function Times({ schedule }) {
  const { cron, timezone, words } = schedule;
  const [times, setTimes] = useState(/** @type {string[] | null} */ (null));
  useEffect(() => setTimes(null), [cron, timezone, schedule.next_at]);
  const load = async () => {
    if (!times) setTimes((await nextTimes(cron, timezone).catch(() => ({ times: [] }))).times);
  };
  const hint = times?.length ? `Next: ${times.map((/** @type {string} */ each) => zoned(each, timezone)).join("; ")}` : "The next five times";
  return html`<details onToggle=${load} onMouseEnter=${load}><summary title=${hint}>${words}</summary>
    <code>${cron}</code> <small>${timezone}</small>
    ${times && html`<ol>${times.map((/** @type {string} */ each) => html`<li key=${each}><time datetime=${each}>${zoned(each, timezone)}</time></li>`)}</ol>`}</details>`;
}

/** The meaning of an expression while it is typed. @param {{values: any}} properties */
function NextTimes({ values: { cron, timezone } }) {
  const [found, setFound] = useState(/** @type {any} */ (null));
  useEffect(() => {
    let isOld = false;
    const timer = setTimeout(async () => {
      const answer = cron && timezone ? await nextTimes(cron, timezone).catch((error) => ({ error })) : null;
      if (!isOld) setFound(answer);
    }, 200);
    return () => {
      isOld = true;
      clearTimeout(timer);
    };
  }, [cron, timezone]);
  return html`<div>${found?.error && html`<p class="failure">${found.error.message}</p>`}
    ${found?.words && html`<div class="next-times"><b>${found.words}</b><ol>${found.times.map((/** @type {string} */ each) => html`<li key=${each}><time datetime=${each}>${zoned(each, timezone)}</time></li>`)}</ol></div>`}</div>`;
}

/** @param {any} schedule */
function edit(schedule) {
  ask({
    title: schedule ? `Edit ${schedule.name}` : "New schedule",
    fields: [
      ...(schedule ? [] : [{ name: "name", label: "Name", required: true }]),
      { name: "cron", label: "Cron expression", value: schedule?.cron, required: true, help: "minute, hour, day of month, month, day of week: 30 4 * * MON-FRI" },
      { name: "timezone", label: "Time zone", value: schedule?.timezone ?? Intl.DateTimeFormat().resolvedOptions().timeZone, required: true, below: NextTimes },
      { name: "queue", label: "Queue", value: schedule?.queue, required: true },
      { name: "message", label: "Message", type: "textarea", rows: 3, value: schedule?.message },
      { name: "attributes", label: "Attributes, as JSON", type: "textarea", rows: 2, value: schedule?.attributes ? JSON.stringify(schedule.attributes, null, 2) : "" },
      { name: "group", label: "Group", value: schedule?.group },
      { name: "priority", label: "Priority, 0 to 9", type: "number", value: schedule?.priority ?? "" },
      { name: "delay", label: "Delay in seconds", type: "number", value: schedule?.delay ?? "" },
      { name: "missed", label: "Times that pass while the broker is down", type: "select", options: ["skip", "once", "all"], value: schedule?.missed ?? "skip" },
    ],
    confirm: "Save",
    act: async ({ name, attributes, group, priority, delay, ...given }) => {
      /** @type {Record<string, unknown>} */
      const body = given;
      if (attributes.trim() || schedule?.attributes) body.attributes = parsed(attributes.trim() || "{}", "The attributes");
      if (group || schedule?.group) body.group = group;
      if (priority || schedule?.priority) body.priority = Number(priority);
      if (delay || schedule?.delay) body.delay = Number(delay);
      const answer = await call(`/schedules/${encodeURIComponent(schedule?.name ?? name)}`, { method: "PUT", body });
      return `The schedule ${answer.name} is saved.`;
    },
  });
}
