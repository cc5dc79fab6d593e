// Dead letters of all queues, by where they came from and why: the page for the morning.

import { html } from "../vendor/preact.js";
import { askToKick, bringBack, bringBackAll, deleteAll } from "../app/actions.js";
import { changed, go, Link, queueHref, topicHref, useAddress } from "../app/address.js";
import { queuePath, withQuery } from "../app/api.js";
import { ask } from "../app/dialogs.js";
import { count, getsDeadLetters, number, PREVIEWED, totalOf, visible } from "../app/format.js";
import { reasonOf } from "../app/found.js";
import { usePoll } from "../app/live.js";
import { Ago, Empty, Failure, Line, More } from "../app/parts.js";
import { NO_PERIOD, PeriodFields, periodIn, usePeriod } from "../app/period.js";

/** Messages of a queue that are looked at, the newest first, and queues on a page. */
const LOOKED_AT = 1000;
const QUEUES = 20;

/** @param {any} properties */
export function Dead({ rights }) {
  const { query } = useAddress();
  const period = usePeriod(query);
  const filter = query.get("filter") ?? "";
  const after = query.get("after") ?? "";
  const { data, error } = usePoll(withQuery("/queues", { dead_letters: true, figures: true, limit: QUEUES + 1, after }));
  const queues = data?.slice(0, QUEUES).map((/** @type {any} */ queue) => ({ queue, total: sumOf(queue) }));
  const choose = (/** @type {any} */ form) => {
    const chosen = new FormData(form);
    go(changed({ filter: String(chosen.get("filter-text") ?? ""), ...periodIn(chosen) }), true);
  };
  return html`<h1>Dead letters</h1><p class="faint">Messages that no consumer could finish, by the queue they came from and the reason.</p>
    <form class="filters" role="search" aria-label="Dead letters" onSubmit=${(/** @type {any} */ event) => (event.preventDefault(), choose(event.target))}>
      <label>Text<input type="search" name="filter-text" data-filter value=${filter} maxlength="1024" placeholder="in the reason or the message… ( / )" onInput=${(/** @type {any} */ event) => choose(event.target.form)} /></label>
      <${PeriodFields} query=${query} /><button type="submit">Show</button>
      ${(filter || query.get("came")) && html`<${Link} class="button" href=${changed({ filter: null, ...NO_PERIOD })}>Clear</${Link}>`}</form>
    <${Failure} error=${error} />
    ${queues && !queues.length && (after ? html`<${Empty}>No more queues.</${Empty}>` : html`<p class="well"><span aria-hidden="true">✓</span> No dead letters.</p>`)}
    ${queues?.map((/** @type {any} */ each) => html`<${Letters} key=${each.queue.queue} queue=${each.queue} total=${each.total} rights=${rights} filter=${filter} period=${period} />`)}
    <p class="pager">${after && html`<${Link} class="button" href=${changed({ after: null })}>First queues</${Link}>`}
      ${data?.length > QUEUES && html`<${Link} class="button" href=${changed({ after: data[QUEUES - 1].queue })}>More queues</${Link}>`}</p>`;
}

/** Dead letters of a queue: all of a dead-letter queue, otherwise those that are buried. @param {any} queue */
const sumOf = (queue) => (getsDeadLetters(queue) ? totalOf(queue.counts) : queue.counts.buried);

/** @param {any} properties */
function Letters({ queue, total, rights, filter, period }) {
  const name = queue.queue;
  const isOwn = !getsDeadLetters(queue);
  const base = `${queuePath(name)}/dev/messages${isOwn ? "/status" : ""}`;
  const { since, until } = period;
  const path = withQuery(base, { status: isOwn ? "buried" : null, order: "newest", since, until, limit: LOOKED_AT, preview: PREVIEWED });
  // A thousand messages are read for this, so not every two seconds, but when their number changes.
  const { data, error } = usePoll(rights.seesMessages ? `${path}#${total}` : null, { repeats: false });
  const shown = data?.filter((/** @type {any} */ each) => has(each, filter));
  const isChosen = Boolean(filter || since || until);
  return html`<section class="card"><div class="heading"><h2><${Link} href=${queueHref(name, isOwn ? { status: "buried" } : undefined)}>${name}</${Link}> <small>${count(total, isOwn ? "buried message" : "dead letter")}</small></h2>
      ${rights.isAdmin && !isOwn && rights.opensAllQueues && html`<button type="button" onClick=${() => bringBackAll(name, total, { since, until }, period.words)}>Bring back all${period.words && ` that came ${period.words}`}…</button>`}
      ${rights.isAdmin && isOwn && html`<button type="button" onClick=${() => askToKick(name, total)}>Kick…</button>`}</div>
    <${Failure} error=${error} />
    ${rights.isKnown && !rights.seesMessages && html`<p class="faint">Reasons need the role <code>inspect</code>.</p>`}
    ${shown?.length > 0 && html`<${Groups} queue=${queue} groups=${groupsOf(shown)} rights=${rights} isOwn=${isOwn} />`}
    ${shown && !shown.length && isChosen && html`<p class="faint">None ${period.words && `came ${period.words}`}${period.words && filter ? " and " : ""}${filter && `has “${filter}” in it`}.</p>`}
    ${data?.length === LOOKED_AT && total > LOOKED_AT && html`<p class="faint">The numbers are of the ${number(LOOKED_AT)} newest${period.words && ` that came ${period.words}`}.</p>`}</section>`;
}

/** Whether a text is in the reason of a dead letter, or in the beginning of its message. @param {any} message @param {string} text */
const has = (message, text) => !text || `${message.message}\n${reasonOf(message)}`.toLowerCase().includes(text.toLowerCase());

/** What the errors of a group have in common: their type, or their text but for its numbers. @param {any} message */
const kindOf = (message) => message.last_error?.type || reasonOf(message).replace(/\d+/g, "#");

/** @param {any[]} messages */
function groupsOf(messages) {
  const groups = new Map();
  for (const message of messages) {
    const source = message.dead_letter?.queue ?? (message.status === "buried" ? message.queue : "");
    const reason = reasonOf(message);
    const at = message.dead_letter?.moved_at ?? message.produced_at;
    const key = `${source}\n${kindOf(message)}`;
    const group = groups.get(key) ?? { key, source, reason, isMixed: false, messages: [], first: at, last: at };
    group.messages.push(message);
    group.isMixed ||= reason !== group.reason;
    if (at < group.first) group.first = at;
    if (at > group.last) group.last = at;
    groups.set(key, group);
  }
  return [...groups.values()].sort((a, b) => (a.last < b.last ? 1 : -1));
}

/** @param {any} properties */
function Groups({ queue, groups, rights, isOwn }) {
  const name = queue.queue;
  const topics = queue.figures.topics.filter((/** @type {any} */ each) => each.gets === "refused");
  const sent = topics.length ? topics.slice(0, 3).map((/** @type {any} */ { topic }) => html`<${Link} key=${topic} href=${topicHref(topic)}>${topic}</${Link}> `) : "a send";
  return html`<table class="stack"><thead><tr><th scope="col">Came from</th><th scope="col">Reason</th><th scope="col" class="n">Count</th><th scope="col" class="wide">First</th><th scope="col">Last</th><th scope="col" class="wide">One of them</th><th scope="col"><span class="sr">Actions</span></th></tr></thead>
    <tbody>${groups.map((/** @type {any} */ group) => html`<tr key=${group.key}><th scope="row">${group.source ? html`<${Link} href=${queueHref(group.source)}>${group.source}</${Link}>` : sent}</th>
      <td class="reason">${visible(group.reason)}${group.isMixed && html`<div class="faint">and the like</div>`}</td><td class="n">${number(group.messages.length)}</td><td class="wide nowrap"><${Ago} at=${group.first} /></td><td class="nowrap"><${Ago} at=${group.last} /></td>
      <td class="wide body"><${Link} data-open href=${queueHref(name, { message: group.messages[0].id })}><${Line} text=${group.messages[0].message} /></${Link}></td>
      <td class="narrow"><${More} about=${group.source || name} rows=${[["First", html`<${Ago} at=${group.first} />`], ["One of them", html`<${Link} href=${queueHref(name, { message: group.messages[0].id })}><${Line} text=${group.messages[0].message} /></${Link}>`]]} /></td>
      <td><div class="actions">${rights.isAdmin && !isOwn && group.source && rights.opensAllQueues && html`<button type="button" onClick=${() => askBringBack(name, group)}>Bring back…</button>`}
        ${rights.isAdmin && html`<button type="button" class="danger" onClick=${() => askDelete(name, group)}>Delete…</button>`}</div></td></tr>`)}</tbody></table>`;
}

/** The ids of a group, in the order in which the messages came: so they return. @param {any} group */
const idsOf = (group) => group.messages.map((/** @type {any} */ each) => each.id).reverse();

/** @param {string} name @param {any} group */
function askBringBack(name, group) {
  ask({
    title: `Bring back ${count(group.messages.length, "message")}`,
    text: `They return to ${group.source}, each as if it had never been claimed.`,
    confirm: `Bring back ${count(group.messages.length, "message")}`,
    act: () => bringBack(name, idsOf(group)),
  });
}

/** @param {string} name @param {any} group */
function askDelete(name, group) {
  ask({
    title: `Delete ${count(group.messages.length, "message")}`,
    text: `This deletes those in ${name} ${group.source ? `that came from ${group.source}` : "that were sent there"}: “${visible(group.reason)}”${group.isMixed ? " and the like" : ""}. It cannot be undone.`,
    confirm: `Delete ${count(group.messages.length, "message")}`,
    isDanger: true,
    typed: name,
    act: () => deleteAll(name, idsOf(group)),
  });
}

