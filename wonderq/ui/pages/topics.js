// All topics: how many queues get what is published to each, and how fast.

import { html } from "../vendor/preact.js";
import { askForTopic } from "../app/topics.js";
import { changed, go, Link, topicHref, useAddress } from "../app/address.js";
import { withQuery } from "../app/api.js";
import { number, rate } from "../app/format.js";
import { usePoll } from "../app/live.js";
import { Badge, Empty, Failure, Figure, More } from "../app/parts.js";

const PAGE = 50;

/** @param {any} properties */
export function Topics({ rights }) {
  const { query } = useAddress();
  const [filter, after] = [query.get("filter") ?? "", query.get("after") ?? ""];
  const { data, error } = usePoll(withQuery("/topics", { figures: true, limit: PAGE + 1, contains: filter, after }));
  const rows = data?.slice(0, PAGE);
  return html`<div class="heading"><h1>Topics</h1><div class="actions">
      <input type="search" data-filter placeholder="Filter by name ( / )" aria-label="Filter topics by name" value=${filter} maxlength="256"
        onInput=${(/** @type {any} */ event) => go(changed({ filter: event.target.value, after: null }), true)} />
      ${rights.isAdmin && html`<button type="button" onClick=${() => askForTopic(null)}>New…</button>`}</div></div>
    <p class="faint">A message that is published to a topic goes to every queue that has subscribed and whose filter matches.</p>
    <${Failure} error=${error} />
    ${rows && !rows.length && html`<${Empty}>${filter ? html`No topic has “${filter}” in its name. <${Link} href=${changed({ filter: null, after: null })}>Clear the filter</${Link}>` : after ? "No more topics." : html`No topic yet.${rights.isAdmin && " “New…” creates one."}`}</${Empty}>`}
    ${rows?.length > 0 && html`<table><thead><tr><th scope="col">Topic</th><th scope="col" class="n">Subscriptions</th><th scope="col" class="n" title="Messages that were ever published">Published</th>
        <th scope="col" class="n wide" title="Messages published per second, over about ten seconds">In /s</th><th scope="col" class="n wide" title="Messages that queues got per second, over about ten seconds">Delivered /s</th>
        <th scope="col" class="n" title="Messages that queues refused, since the broker started">Refused</th></tr></thead>
      <tbody>${rows.map((/** @type {any} */ each) => html`<${Row} key=${each.topic} topic=${each} />`)}</tbody></table>`}
    <p class="pager">${after && html`<${Link} class="button" href=${changed({ after: null })}>First page</${Link}>`}
      ${data?.length > PAGE && html`<${Link} class="button" href=${changed({ after: rows[PAGE - 1].topic })}>Next page</${Link}>`}</p>`;
}

/** @param {{topic: any}} properties */
function Row({ topic }) {
  const { figures } = topic;
  const perSecond = (/** @type {string} */ name) => (figures.per_second ? html`<span class=${figures.per_second[name] ? "" : "faint"}>${rate(figures.per_second[name])}</span>` : "–");
  return html`<tr><th scope="row"><${Link} data-open href=${topicHref(topic.topic)}>${topic.topic}</${Link}> ${topic.topic.endsWith(".fifo") && html`<${Badge} title="Messages of a group keep their order in FIFO queues">FIFO</${Badge}>`}
      <${More} about=${topic.topic} rows=${[["In /s", perSecond("published")], ["Delivered /s", perSecond("delivered")]]} /></th>
    <td class="n"><${Figure} value=${topic.subscriptions} /></td><td class="n">${number(topic.published)}</td>
    <td class="n wide">${perSecond("published")}</td><td class="n wide">${perSecond("delivered")}</td>
    <td class=${figures.skipped ? "n late" : "n"}><${Figure} value=${figures.skipped} /></td></tr>`;
}
