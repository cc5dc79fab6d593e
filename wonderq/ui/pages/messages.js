// The messages of a queue: a table with filters, read without claiming any.

import { html, useEffect, useState } from "../vendor/preact.js";
import { bringBack, deleteAll } from "../app/actions.js";
import { changed, go, Link, useAddress } from "../app/address.js";
import { queuePath, withQuery } from "../app/api.js";
import { ask, doNow } from "../app/dialogs.js";
import { count, getsDeadLetters, number, oneLine, PREVIEWED, shortId, totalOf, visible } from "../app/format.js";
import { filtersIn, filtersOf, looked, NO_FILTERS, nothingFound, Progress, reasonOf, STATUS_WORDS, STATUSES } from "../app/found.js";
import { Lazy } from "../app/lazy.js";
import { useHold, usePoll, useSearch } from "../app/live.js";
import { Ago, Badge, Copy, Empty, Failure, Fold, Line, More } from "../app/parts.js";
import { PeriodFields } from "../app/period.js";

const PAGE = 50;
const loadDrawer = async () => (await import("./drawer.js")).Drawer;

/** @type {Record<string, string>} */
const OPPOSITE = { oldest: "newest", newest: "oldest" };

/** @param {any} properties */
export function Messages({ queue, rights, period }) {
  const { query } = useAddress();
  const [ticked, setTicked] = useState(/** @type {Set<string>} */ (new Set()));
  const name = queue.queue;
  const filters = filtersOf(query);
  const status = query.get("status") ?? "";
  const { since, until, words } = period;
  // Of dead letters, people look for the newest; of other messages, for those that consumers get next.
  const order = query.get("order") ?? (getsDeadLetters(queue) ? "newest" : "oldest");
  const [before, after] = [query.get("before") ?? "", query.get("after") ?? ""];
  const opened = query.get("message");
  const isSearch = Object.values(filters).some(Boolean) || Boolean(since || until);
  const base = `${queuePath(name)}/dev/messages${status ? "/status" : ""}`;
  // The page before is read backwards.
  const place = { status, order: before ? OPPOSITE[order] : order, after: before || after, limit: PAGE + 1, preview: PREVIEWED };
  const path = withQuery(base, place);
  const list = usePoll(rights.seesMessages && !isSearch ? path : null, { parks: true });
  // A search reads the whole queue, so it is not repeated by itself.
  const search = useSearch(rights.seesMessages && isSearch ? `${queuePath(name)}/dev/messages/search` : null, { ...place, ...filters, since, until });
  const data = isSearch ? search.rows : list.data;
  const error = isSearch ? search.error : list.error;
  useHold(ticked.size > 0, "rows");
  const shownKey = withQuery(path, { ...filters, period: period.key });
  useEffect(() => setTicked(new Set()), [shownKey]);
  const isFull = data?.length > PAGE;
  const isBeyond = before && data && !isFull && (!isSearch || search.isOver);
  useEffect(() => {
    if (isBeyond) go(changed({ before: null, after: null }), true); // less than a page is before: that is the first one
  }, [isBeyond]);
  const total = totalOf(queue.counts);
  if (rights.isKnown && !rights.seesMessages) {
    return html`<${Empty}>Your key shows figures and no messages. Messages need the role <code>inspect</code>.</${Empty}>`;
  }
  const rows = data?.slice(0, PAGE);
  if (before) rows?.reverse();
  const news = list.parked ? newsOf(rows, list.parked.slice(0, PAGE)) : "";
  // In the order in which the messages came: so they return.
  const shownIds = (rows ?? []).map((/** @type {any} */ row) => row.id);
  const tickedIds = (order === "newest" ? shownIds.reverse() : shownIds).filter((/** @type {string} */ id) => ticked.has(id));
  const showParked = () => {
    const there = new Set(list.parked.slice(0, PAGE).map((/** @type {any} */ row) => row.id));
    setTicked(new Set([...ticked].filter((id) => there.has(id))));
    list.show();
  };
  const tick = (/** @type {string} */ id) => {
    const next = new Set(ticked);
    if (!next.delete(id)) next.add(id);
    setTicked(next);
  };
  return html`<div class="chips" role="group" aria-label="Status">
      <${Chip} status="" name="All" value=${total} chosen=${status} />
      ${STATUSES.map(([key, word]) => html`<${Chip} key=${key} status=${key} name=${word} value=${queue.counts[key]} chosen=${status} />`)}</div>
    <${Filters} filters=${filters} query=${query} />
    <${Failure} error=${error} />
    ${isSearch && !search.isOver && html`<${Progress} search=${search} total=${after || before || since || until ? null : status ? queue.counts[status] : total} />`}
    ${ticked.size > 0 && html`<${Bulk} name=${name} ids=${tickedIds} rows=${rows} rights=${rights} news=${news} onShow=${showParked} onDone=${() => setTicked(new Set())} />`}
    ${rows && !rows.length && (!isSearch || search.isOver) && html`<${Nothing} isSearch=${isSearch} filters=${filters} status=${status} examined=${search.examined} isPage=${Boolean(after || before)} came=${words} />`}
    ${rows?.length > 0 && html`<${Table} order=${order} rows=${rows} ticked=${ticked} tick=${tick} setTicked=${setTicked} rights=${rights} />`}
    <p class="pager">${(after || before) && html`<${Link} class="button" href=${changed({ after: null, before: null, message: null })}>First page</${Link}>`}
      ${(before ? isFull : after) && rows?.length > 0 && html`<${Link} class="button" href=${changed({ before: rows[0].id, after: null, message: null })}>Previous page</${Link}>`}
      ${(before || isFull) && rows?.length > 0 && html`<${Link} class="button" href=${changed({ after: rows[rows.length - 1].id, before: null, message: null })}>Next page</${Link}>`}</p>
    ${opened && html`<${Lazy} load=${loadDrawer} key=${opened} queue=${name} id=${opened} rights=${rights} onClose=${() => go(changed({ message: null }))} />`}`;
}

/** @param {any} properties */
const Chip = ({ status, name, value, chosen }) =>
  html`<${Link} class="chip" title=${status} href=${changed({ status: status || null, ...FIRST_PAGE })} aria-current=${status === chosen ? "true" : undefined}>${name} <b>${number(value)}</b></${Link}>`;

const FIRST_PAGE = { after: null, before: null, message: null };
const UNFILTERED = { ...NO_FILTERS, ...FIRST_PAGE };

/** @param {any} properties */
function Filters({ filters, query }) {
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    const data = new FormData(/** @type {HTMLFormElement} */ (event.target));
    const id = String(data.get("filter-id")).trim();
    if (id) go(changed({ message: id }));
    else go(changed({ ...filtersIn(data), ...FIRST_PAGE }));
  };
  const isSet = Object.values(filters).some(Boolean) || query.get("came");
  return html`<form class="filters" onSubmit=${submit} role="search" aria-label="Messages">
    <label>Text<input type="search" name="filter-contains" data-filter value=${filters.contains} maxlength="1024" placeholder="contains… ( / )" /></label>
    <${Fold} isSet=${filters.attribute || filters.group || query.get("came")}><label>Attribute<input type="search" name="filter-attribute" value=${filters.attribute} placeholder="name or name=value" maxlength="1024" /></label>
    <label>Group<input type="search" name="filter-group" value=${filters.group} maxlength="128" /></label>
    <${PeriodFields} query=${query} />
    <label>Id<input type="search" name="filter-id" placeholder="open a message" maxlength="64" /></label></${Fold}>
    <button type="submit">Search</button>
    ${isSet && html`<${Link} class="button" href=${changed(UNFILTERED)}>Clear</${Link}>`}</form>`;
}

/** @param {any} properties */
function Nothing({ isSearch, filters, status, examined, isPage, came }) {
  if (isSearch) return html`<${Empty}>${nothingFound(filters, came)} ${looked(examined)} <${Link} href=${changed(UNFILTERED)}>Clear the filter</${Link}></${Empty}>`;
  if (isPage) return html`<${Empty}>No more messages.</${Empty}>`;
  if (status) return html`<${Empty}>No message is ${STATUS_WORDS[status]?.toLowerCase()}.</${Empty}>`;
  return html`<${Empty}>The queue is empty. New messages appear here by themselves.</${Empty}>`;
}

/** What has changed in a list that stands still; empty if nothing has. @param {any[]} shown @param {any[]} parked */
function newsOf(shown, parked) {
  const ids = (/** @type {any[]} */ rows) => new Set(rows.map((row) => row.id));
  const [before, now] = [ids(shown), ids(parked)];
  const fresh = [...now].filter((id) => !before.has(id)).length;
  const missing = [...before].filter((id) => !now.has(id)).length;
  return [fresh && `${number(fresh)} new`, missing && `${number(missing)} no longer here`].filter(Boolean).join(", ");
}

/** @param {any} properties */
function Bulk({ name, ids, rows, rights, news, onShow, onDone }) {
  const areDead = rows.some((/** @type {any} */ each) => ids.includes(each.id) && each.dead_letter);
  const back = () =>
    doNow(async () => {
      const text = await bringBack(name, ids);
      onDone();
      return text;
    });
  const remove = () =>
    ask({
      title: `Delete ${count(ids.length, "message")}`,
      text: `This deletes the ${count(ids.length, "ticked message")} of ${name}, also if a consumer holds it. It cannot be undone.`,
      confirm: `Delete ${count(ids.length, "message")}`,
      isDanger: true,
      act: async () => {
        const text = await deleteAll(name, ids);
        onDone();
        return text;
      },
    });
  return html`<div class="bulk" role="group" aria-label="Ticked messages"><b>${number(ids.length)} ticked.</b> <span class="news">${news ? html`<b>${news}</b> <button type="button" onClick=${onShow}>Show</button>` : "The rows stand still meanwhile."}</span>
    ${rights.isAdmin && areDead && rights.opensAllQueues && html`<button type="button" class="primary" onClick=${back}>Bring back</button>`}
    ${rights.isAdmin && html`<button type="button" class="danger" onClick=${remove}>Delete…</button>`}
    <button type="button" onClick=${onDone}>Untick all</button></div>`;
}

/** @param {any} properties */
function Table({ order, rows, ticked, tick, setTicked, rights }) {
  const has = (/** @type {(row: any) => unknown} */ field) => rows.some(field);
  const shows = {
    priority: has((row) => row.priority),
    group: has((row) => row.group),
    origin: has((row) => row.dead_letter),
    deadline: has((row) => row.claimed_until || row.delayed_until),
  };
  const isAll = rows.every((/** @type {any} */ row) => ticked.has(row.id));
  const tickAll = () => setTicked(isAll ? new Set() : new Set(rows.map((/** @type {any} */ row) => row.id)));
  return html`<table class="messages"><thead><tr>
      ${rights.isAdmin && html`<th class="tick"><input type="checkbox" aria-label="Tick all on this page" checked=${isAll} onChange=${tickAll} /></th>`}
      <th scope="col" class="of-body">Message</th><th scope="col" class="wide">Id</th><th scope="col" aria-sort=${order === "oldest" ? "descending" : "ascending"}><${Link} title=${order === "oldest" ? "The oldest first. Show the newest first" : "The newest first. Show the oldest first"} href=${changed({ order: OPPOSITE[order], ...FIRST_PAGE })}>Age<span aria-hidden="true">${order === "oldest" ? " ↓" : " ↑"}</span></${Link}></th><th scope="col" class="wide">Status</th><th scope="col" class="n" title="Number of times that it was claimed">Tries</th>
      ${shows.priority && html`<th scope="col" class="n wide">Priority</th>`}${shows.group && html`<th scope="col" class="wide">Group</th>`}
      ${shows.deadline && html`<th scope="col" class="wide">Until</th>`}${shows.origin && html`<th scope="col" class="wide">Came from</th>`}</tr></thead>
    <tbody>${rows.map((/** @type {any} */ row) => html`<tr key=${row.id} class=${ticked.has(row.id) ? "ticked" : ""}>
      ${rights.isAdmin && html`<td class="tick"><input type="checkbox" aria-label=${`Tick ${shortId(row.id)}`} checked=${ticked.has(row.id)} onChange=${() => tick(row.id)} /></td>`}
      <td class="body"><${Link} data-open href=${changed({ message: row.id })}><${Line} text=${row.message} /></${Link}></td>
      <td class="wide id"><code title=${row.id}>${shortId(row.id)}</code> <${Copy} text=${row.id} label=${`Copy the id ${row.id}`} /></td>
      <td class="nowrap"><${Ago} at=${row.produced_at} /></td>
      <td class="wide"><${Badge} kind=${row.status} title=${row.status}>${STATUS_WORDS[row.status]}</${Badge}></td>
      <td class="n">${number(row.receive_count)}</td>
      ${shows.priority && html`<td class="n wide">${row.priority ?? 0}</td>`}${shows.group && html`<td class="wide clip">${row.group}</td>`}
      ${shows.deadline && html`<td class="wide nowrap">${row.claimed_until || row.delayed_until ? html`<${Ago} until at=${row.claimed_until ?? row.delayed_until} />` : ""}${row.consumer && html` <small>by ${oneLine(row.consumer)}</small>`}</td>`}
      ${shows.origin && html`<td class="wide clip">${row.dead_letter && html`${row.dead_letter.queue}: <span title=${row.dead_letter.reason}>${reasonOf(row)}</span>`}</td>`}
      <td class="narrow"><${More} about=${shortId(row.id)} rows=${moreOf(row)} /></td></tr>`)}</tbody></table>`;
}

/** @param {any} row @returns {[string, any][]} */
const moreOf = (row) => [
  ["Status", STATUS_WORDS[row.status]],
  ["Id", row.id],
  ["Priority", row.priority],
  ["Group", row.group],
  ["Until", (row.claimed_until || row.delayed_until) && html`<${Ago} until at=${row.claimed_until ?? row.delayed_until} />`],
  ["Held by", row.consumer && visible(row.consumer)],
  ["Came from", row.dead_letter?.queue],
  ["Reason", row.dead_letter && visible(reasonOf(row))],
];
