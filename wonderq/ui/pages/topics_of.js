// The topics whose messages come to a queue.

import { html } from "../vendor/preact.js";
import { Link, topicHref } from "../app/address.js";
import { count } from "../app/format.js";

/** Topics that are named before the others are unfolded. */
const NAMED = 6;

/** @param {{topics: any[]}} properties */
export function TopicsOf({ topics }) {
  const links = topics.map(({ topic, subscription, gets, paused }) => html`<span key=${topic + gets + subscription}>${gets === "refused" && "refused messages of "}<${Link} href=${topicHref(topic)} title=${`Subscription ${subscription}`}>${topic}</${Link}>${paused && " (paused)"}</span> `);
  return html`<div class="facts topics-of">From topics: ${links.slice(0, NAMED)}${links.length > NAMED && html`<details><summary>and ${count(links.length - NAMED, "other")}</summary>${links.slice(NAMED)}</details>`}</div>`;
}
