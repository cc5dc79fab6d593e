// A search for messages in all queues, for who does not know the queue.

import { html } from "../vendor/preact.js";
import { changed, go, Link, queueHref, useAddress } from "../app/address.js";
import { PREVIEWED, shortId, totalOf } from "../app/format.js";
import { filtersIn, filtersOf, looked, NO_FILTERS, nothingFound, Progress, STATUS_WORDS } from "../app/found.js";
import { useSearch } from "../app/live.js";
import { Ago, Badge, Empty, Failure, Fold, Line } from "../app/parts.js";
import { PeriodFields, usePeriod } from "../app/period.js";

const PAGE = 50;

/** @param {any} properties */
export function Search({ overview, rights }) {
  const { query } = useAddress();
  const filters = filtersOf(query);
  const { since, until, words } = usePeriod(query);
  const after = query.get("after") ?? "";
  const isSearch = Object.values(filters).some(Boolean) || Boolean(since || until);
  const search = useSearch(rights.seesMessages && isSearch ? "/search" : null, { ...filters, since, until, after, limit: PAGE + 1, preview: PREVIEWED });
  const rows = search.rows.slice(0, PAGE);
  const total = after || since || until || !overview ? null : totalOf(overview.counts);
  if (rights.isKnown && !rights.seesMessages) {
    return html`<h1>Search</h1><${Empty}>Your key shows figures and no messages. Messages need the role <code>inspect</code>.</${Empty}>`;
  }
  return html`<h1>Search</h1><p class="faint">Finds messages in all queues, whatever their status, without claiming them.</p>
    <${Fields} filters=${filters} query=${query} isSet=${isSearch} />
    <${Failure} error=${search.error} />
    ${isSearch && !search.isOver && !search.error && html`<${Progress} search=${search} total=${total} />`}
    ${isSearch && search.isOver && !rows.length && html`<${Empty}>${nothingFound(filters, words)} ${looked(search.examined)}</${Empty}>`}
    ${rows.length > 0 && html`<${Found} rows=${rows} />`}
    <p class="pager">${after && html`<${Link} class="button" href=${changed({ after: null })}>First page</${Link}>`}
      ${search.rows.length > PAGE && html`<${Link} class="button" href=${changed({ after: rows[PAGE - 1].id })}>Next page</${Link}>`}</p>`;
}

/** @param {any} properties */
function Fields({ filters, query, isSet }) {
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    go(changed({ ...filtersIn(new FormData(/** @type {HTMLFormElement} */ (event.target))), after: null }));
  };
  return html`<form class="filters" onSubmit=${submit} role="search" aria-label="All messages">
    <label>Text<input type="search" name="filter-contains" data-filter value=${filters.contains} maxlength="1024" placeholder="an order number… ( / )" /></label>
    <${Fold} isSet=${filters.attribute || filters.group || query.get("came")}><label>Attribute<input type="search" name="filter-attribute" value=${filters.attribute} placeholder="name or name=value" maxlength="1024" /></label>
    <label>Group<input type="search" name="filter-group" value=${filters.group} maxlength="128" /></label>
    <${PeriodFields} query=${query} /></${Fold}>
    <button type="submit" class="primary">Search</button>
    ${isSet && html`<${Link} class="button" href=${changed({ ...NO_FILTERS, after: null })}>Clear</${Link}>`}</form>`;
}

/** @param {{rows: any[]}} properties */
function Found({ rows }) {
  return html`<table class="messages stack"><thead><tr><th scope="col">Queue</th><th scope="col">Message</th><th scope="col" class="wide">Id</th><th scope="col">Status</th><th scope="col">Age</th></tr></thead>
    <tbody>${rows.map((row) => html`<tr key=${row.id}><th scope="row" class="nowrap"><${Link} href=${queueHref(row.queue)}>${row.queue}</${Link}></th>
      <td class="body"><${Link} data-open href=${queueHref(row.queue, { message: row.id })}><${Line} text=${row.message} /></${Link}></td>
      <td class="wide id"><code title=${row.id}>${shortId(row.id)}</code></td>
      <td><${Badge} kind=${row.status} title=${row.status}>${STATUS_WORDS[row.status]}</${Badge}></td>
      <td class="nowrap"><${Ago} at=${row.produced_at} /></td></tr>`)}</tbody></table>`;
}
