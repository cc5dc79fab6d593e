// One topic: who gets what is published to it, its settings, and a form that publishes, or only tries.

import { html, useEffect } from "../vendor/preact.js";
import { changed, go, Link, queueHref, topicHref, useAddress } from "../app/address.js";
import { topicPath, withQuery } from "../app/api.js";
import { doNow } from "../app/dialogs.js";
import { count, duration, number, rate, visible } from "../app/format.js";
import { Lazy } from "../app/lazy.js";
import { usePoll } from "../app/live.js";
import { Ago, Badge, Empty, Failure, Figure, Tabs } from "../app/parts.js";
import { askForSubscription, askForTopic, askToDelete, askToPause, askToRemove, resume } from "../app/topics.js";

const PAGE = 50;
const loadPublish = async () => (await import("./publish.js")).Publish;

/** @param {any} properties */
export function Topic({ name, rights }) {
  const { query } = useAddress();
  const tab = query.get("tab") ?? "subscriptions";
  const { data: topic, error } = usePoll(withQuery(topicPath(name), { figures: true }));
  useEffect(() => {
    document.title = `${name} · Topics · WonderQ`;
  }, [name]);
  if (error?.status === 404) return html`<h1>${name}</h1><${Empty}>No topic has this name. It may have been deleted. <${Link} href="/ui/topics">All topics</${Link}></${Empty}>`;
  if (!topic) return html`<h1>${name}</h1>${error ? html`<${Failure} error=${error} />` : html`<p class="faint">Loading…</p>`}`;
  const tabs = [["subscriptions", "Subscriptions"], ["publish", rights.sendsMessages ? "Publish" : "Try"], ["settings", "Settings"]];
  return html`<p class="crumbs"><${Link} href="/ui/topics">Topics</${Link}></p>
    <div class="heading"><h1>${name} ${name.endsWith(".fifo") && html`<${Badge} title="Messages of a group keep their order in FIFO queues">FIFO</${Badge}>`}</h1>
      ${rights.isAdmin && html`<div class="actions"><button type="button" onClick=${() => askForSubscription(name, null)}>Subscribe a queue…</button>
        <button type="button" onClick=${() => askForTopic(topic)}>Settings…</button><button type="button" class="danger" onClick=${() => askToDelete(topic)}>Delete…</button></div>`}</div>
    <${Failure} error=${error} />
    <${Facts} topic=${topic} />
    <${Tabs} label="Parts of the topic">${tabs.map(([key, title]) => html`<${Link} key=${key} href=${topicHref(name, key === "subscriptions" ? undefined : { tab: key })} aria-current=${key === tab ? "page" : undefined}>${title}</${Link}>`)}</${Tabs}>
    ${tab === "subscriptions" && html`<${Subscriptions} topic=${topic} rights=${rights} />`}
    ${tab === "publish" && html`<${Lazy} load=${loadPublish} topic=${name} rights=${rights} />`}
    ${tab === "settings" && html`<${Settings} topic=${topic} />`}`;
}

/** @param {{topic: any}} properties */
function Facts({ topic }) {
  const { delivered, skipped, per_second: rates } = topic.figures;
  return html`<p class="facts">${count(topic.published, "message")} published${rates && ` · ${rate(rates.published)} in /s, ${rate(rates.delivered)} delivered /s`} · since the start, queues got ${number(delivered)} and refused ${skipped ? html`<b class="late">${number(skipped)}</b>` : "none"}</p>`;
}

/** @param {any} properties */
function Subscriptions({ topic, rights }) {
  const { query } = useAddress();
  const [filter, after] = [query.get("filter") ?? "", query.get("after") ?? ""];
  const { data, error } = usePoll(withQuery(`${topicPath(topic.topic)}/subscriptions`, { contains: filter, after, limit: PAGE + 1 }));
  const rows = data?.slice(0, PAGE);
  const isNone = rows && !rows.length;
  return html`<div class="filters"><label>Subscription or queue<input type="search" data-filter value=${filter} maxlength="256" placeholder="a part of the name… ( / )"
      onInput=${(/** @type {any} */ event) => go(changed({ filter: event.target.value, after: null }), true)} /></label></div>
    <${Failure} error=${error} />
    ${isNone && filter && html`<${Empty}>No subscription, and no queue of one, has “${filter}” in its name. <${Link} href=${changed({ filter: null, after: null })}>Clear the filter</${Link}></${Empty}>`}
    ${isNone && !filter && html`<${Empty}>${after ? "No more subscriptions." : topic.subscriptions ? "Your key opens none of the subscribed queues." : "No queue has subscribed, so nobody gets what is published."}</${Empty}>`}
    ${rows?.length > 0 && html`<table class="stack names"><thead><tr><th scope="col">Subscription</th><th scope="col">Queue or endpoint</th><th scope="col">Gets</th><th scope="col">If the queue refuses</th>
        <th scope="col" class="n wide" title="Messages that the queue got, since the broker started">Delivered</th><th scope="col" class="n wide" title="Messages that the queue refused, since the broker started">Refused</th><th scope="col"><span class="sr">Actions</span></th></tr></thead>
      <tbody>${rows.map((/** @type {any} */ each) => html`<${Row} key=${each.subscription} topic=${topic.topic} subscription=${each} rights=${rights} />`)}</tbody></table>`}
    <p class="pager">${after && html`<${Link} class="button" href=${changed({ after: null })}>First page</${Link}>`}
      ${data?.length > PAGE && html`<${Link} class="button" href=${changed({ after: rows[PAGE - 1].subscription })}>Next page</${Link}>`}</p>`;
}

/** @param {any} properties */
function Row({ topic, subscription, rights }) {
  const { queue, raw, paused, when_full: whenFull, dead_letter_queue: dead, delivered, skipped } = subscription;
  const refused = whenFull === "fail" ? "the publish is refused" : dead ? html`to <${Link} href=${queueHref(dead)}>${dead}</${Link}>` : "it passes by";
  return html`<tr><th scope="row">${subscription.subscription} ${paused && html`<${Badge} kind="warning" title="Its queue gets nothing">paused</${Badge}>`}</th>
    <td><span class="inline-narrow">→ </span>${subscription.endpoint ? html`<${Endpoint} subscription=${subscription} />` : html`<${Link} data-open href=${queueHref(queue)}>${queue}</${Link}>`}</td>
    <td><${Filter} subscription=${subscription} />${!raw && html`<small> in an envelope</small>`}</td>
    <td title=${`when_full: ${whenFull}`}><span class="inline-narrow">if it refuses: </span>${refused}</td>
    <td class="n wide"><${Figure} value=${delivered} /></td><td class=${skipped ? "n wide late" : "n wide"}><${Figure} value=${skipped} /></td>
    <td class="narrow">${number(delivered)} delivered, <span class=${skipped ? "late" : ""}>${number(skipped)} refused</span></td>
    <td><div class="actions">${rights.isAdmin && html`<button type="button" onClick=${() => askForSubscription(topic, subscription)}>Edit…</button>
      ${paused ? html`<button type="button" onClick=${() => doNow(() => resume(topic, subscription))}>Resume</button>` : html`<button type="button" onClick=${() => askToPause(topic, subscription)}>Pause…</button>`}
      <button type="button" class="danger" onClick=${() => askToRemove(topic, subscription)}>Remove…</button>`}</div></td></tr>`;
}

/** @param {{subscription: any}} properties */
function Endpoint({ subscription: { endpoint, style, confirmed, queue, deliveries } }) {
  const { waiting, delayed, buried, last } = deliveries;
  const outcome = last ? html`<span class=${last.delivered ? "" : "late"}>${last.delivered ? "delivered" : last.reason} <${Ago} at=${last.at} /></span>` : "nothing sent since the start";
  const url = visible(endpoint);
  return html`${url.length <= 200 ? html`<code>${url}</code>` : html`<details class="filter"><summary><code>${url.slice(0, 80)}…</code></summary><code>${url}</code></details>`} ${!confirmed && html`<${Badge} kind="warning" title="It gets nothing before it confirms the subscription">not confirmed</${Badge}>`}
    <br /><small>${style} · ${outcome} · <${Link} data-open href=${queueHref(queue)}>${number(waiting)} waiting, ${number(delayed)} delayed${buried > 0 && html`, <b class="late">${number(buried)} buried</b>`}</${Link}></small>`;
}

/** @param {{subscription: any}} properties */
function Filter({ subscription: { filter, filter_scope: scope } }) {
  if (filter === null) return html`<span class="faint">all messages</span>`;
  const line = visible(JSON.stringify(filter));
  return html`<details class="filter"><summary title=${scope === "body" ? "Messages whose text matches" : "Messages whose attributes match"}>${scope === "body" && html`<small>text: </small>`}<code>${line.slice(0, 80)}${line.length > 80 && "…"}</code></summary>
    <pre class="text" tabindex="0">${visible(JSON.stringify(filter, null, 2))}</pre></details>`;
}

/** @param {{topic: any}} properties */
function Settings({ topic: { settings, created_at: createdAt } }) {
  const tags = Object.entries(settings.tags);
  /** @type {[string, any, any][]} */
  const facts = [
    ["Text as key", settings.content_deduplication ? "yes" : "no", html`<code>content_deduplication</code>: the text of a message is its idempotency key, if it has none`],
    ["Keys count for", duration(settings.deduplication_window), html`<code>deduplication_window</code>: how long an idempotency key is remembered`],
    ["Tags", tags.length ? tags.map(([name, value]) => html`<${Badge} key=${name}>${visible(`${name}: ${value}`)}</${Badge}> `) : "none", ""],
    ["Created", html`<${Ago} at=${createdAt} />`, ""],
  ];
  return html`<dl class="facts-list">${facts.map(([name, value, more]) => html`<div key=${name}><dt>${name}</dt><dd>${value}${more && html` <small>${more}</small>`}</dd></div>`)}</dl>`;
}
