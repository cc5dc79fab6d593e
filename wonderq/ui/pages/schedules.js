// Schedules: when they produce next, whether the last time worked, and changes.

import { html } from "../vendor/preact.js";
import { Link, queueHref } from "../app/address.js";
import { call, queuePath } from "../app/api.js";
import { ask, doNow } from "../app/dialogs.js";
import { oneLine } from "../app/format.js";
import { usePoll } from "../app/live.js";
import { Ago, Badge, Empty, Failure } from "../app/parts.js";

/** @param {any} properties */
export function Schedules({ rights }) {
  const { data, error } = usePoll(rights.seesMessages ? "/schedules" : null);
  return html`<div class="heading"><h1>Schedules</h1>${rights.isAdmin && html`<button type="button" onClick=${() => edit(null)}>New…</button>`}</div>
    <p class="faint">Messages that the broker sends by itself, at the times of a cron expression.</p>
    <${Failure} error=${error} />
    ${rights.isKnown && !rights.seesMessages && html`<${Empty}>Your key does not show schedules. They need the role <code>inspect</code>.</${Empty}>`}
    ${data && !data.length && html`<${Empty}>No schedule yet.</${Empty}>`}
    ${data?.length > 0 && html`<table class="stack"><thead><tr><th scope="col">Name</th><th scope="col" class="wide">Times</th><th scope="col">Queue</th><th scope="col">Next</th><th scope="col" class="wide">Last</th><th scope="col" class="wide">Message</th><th scope="col"><span class="sr">Actions</span></th></tr></thead>
      <tbody>${data.map((/** @type {any} */ each) => html`<${Row} key=${each.name} schedule=${each} rights=${rights} />`)}</tbody></table>`}`;
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
    <td class="wide"><code>${schedule.cron}</code> <small>${schedule.timezone}</small></td>
    <td><${Link} data-open href=${queueHref(schedule.queue)}>${schedule.queue}</${Link}></td>
    <td class="nowrap"><${Ago} until at=${schedule.next_at} /></td><td class="wide nowrap"><${Ago} at=${schedule.last_at} /></td>
    <td class="wide body">${oneLine(schedule.message)}</td>
    <td><div class="actions">${rights.sendsMessages && html`<button type="button" onClick=${run}>Run now</button>`}
      ${rights.isAdmin && html`<button type="button" onClick=${pause}>${schedule.paused ? "Resume" : "Pause"}</button><button type="button" onClick=${() => edit(schedule)}>Edit…</button><button type="button" class="danger" onClick=${remove}>Delete…</button>`}</div></td></tr>`;
}

/** @param {any} schedule */
function edit(schedule) {
  ask({
    title: schedule ? `Edit ${schedule.name}` : "New schedule",
    fields: [
      ...(schedule ? [] : [{ name: "name", label: "Name", required: true }]),
      { name: "cron", label: "Cron expression", value: schedule?.cron, required: true, help: "minute, hour, day of month, month, day of week: 30 4 * * MON-FRI" },
      { name: "timezone", label: "Time zone", value: schedule?.timezone ?? Intl.DateTimeFormat().resolvedOptions().timeZone, required: true },
      { name: "queue", label: "Queue", value: schedule?.queue, required: true },
      { name: "message", label: "Message", type: "textarea", value: schedule?.message },
      { name: "missed", label: "Times that pass while the broker is down", type: "select", options: ["skip", "once", "all"], value: schedule?.missed ?? "skip" },
    ],
    confirm: "Save",
    act: async ({ name, ...body }) => {
      const answer = await call(`/schedules/${encodeURIComponent(schedule?.name ?? name)}`, { method: "PUT", body });
      return `The schedule ${answer.name} is saved.`;
    },
  });
}
