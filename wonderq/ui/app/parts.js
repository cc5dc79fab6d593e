// Small parts that several pages use.

import { html, useEffect, useState } from "../vendor/preact.js";
import { dateTime, duration, number, oneLine, PREVIEWED } from "./format.js";

/** A word in a frame: never a colour alone. @param {any} properties */
export const Badge = ({ kind = "", title, children }) => html`<span class=${`badge ${kind}`} title=${title}>${children}</span>`;

/**
 * What is wrong, if anything is. It always has an element: where a component has one only at times, this version of Preact
 * puts what is added after it into the wrong place.
 * @param {any} properties
 */
export const Failure = ({ error }) => html`<div>${error && !error.isOutage && html`<p class="failure" role="alert">${error.message}</p>`}</div>`;

/** The time since or until a moment, which moves by itself. @param {{at: string | null, until?: boolean}} properties */
export function Ago({ at, until = false }) {
  const [, setTick] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => setTick((tick) => tick + 1), 1000);
    return () => clearInterval(timer);
  }, []);
  if (!at) return html`<span class="faint">–</span>`;
  const moment = new Date(at);
  const seconds = ((until ? 1 : -1) * (moment.getTime() - Date.now() - skew.ms)) / 1000;
  const text = until ? (seconds <= 0 ? "now" : `in ${duration(seconds)}`) : `${duration(seconds)} ago`;
  return html`<time datetime=${at} title=${dateTime(moment)}>${text}</time>`;
}

/** How far the broker's clock is ahead of the browser's. */
export const skew = { ms: 0 };

/** A line through the last values. @param {{values: number[], label: string}} properties */
export function Sparkline({ values, label }) {
  if (values.length < 2) return html`<span class="faint" title="Not enough samples yet">–</span>`;
  const [width, height] = [96, 22];
  const most = Math.max(...values, 1);
  const x = (/** @type {number} */ at) => ((at + 60 - values.length) / 59) * width;
  const y = (/** @type {number} */ value) => height - 1.5 - (value / most) * (height - 3);
  const points = values.map((value, at) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
  return html`<svg class="spark" viewBox="0 0 ${width} ${height}" width=${width} height=${height} role="img" aria-label=${label}>
    <title>${label}</title><polyline points=${points} /></svg>`;
}

/** A bar beside a number, which says the same. @param {{value: number, most: number, kind?: string}} properties */
export const Bar = ({ value, most, kind = "" }) =>
  html`<svg class=${`bar-of ${kind}`} viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true"><rect class="all" width="100" height="10" /><rect width=${Math.min(100, (100 * value) / (most || 1)).toFixed(2)} height="10" /></svg>`;

/** The beginning of a message on one line, which has words to click in any case. @param {{text: string}} properties */
export function Line({ text }) {
  const line = oneLine(text);
  if (line.trim()) return html`${line}`;
  return html`<i>${!text ? "empty" : text.length < PREVIEWED ? "blank" : "begins with blanks"}</i>`;
}

/** A number, faint if it is zero. @param {{value: number}} properties */
export const Figure = ({ value }) => html`<span class=${value ? "" : "faint"}>${number(value)}</span>`;

/** A button that copies a text. @param {{text: string, label: string}} properties */
export function Copy({ text, label }) {
  const [isDone, setDone] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text).catch(() => {});
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return html`<button type="button" class="quiet" onClick=${copy} aria-label=${label} title=${label}>${isDone ? "Copied" : "Copy"}</button>`;
}

/**
 * The part of a row that a narrow screen leaves out, to unfold there. Entries without a value are not shown.
 * @param {{about: string, rows: [string, any][]}} properties
 */
export const More = ({ about, rows }) =>
  html`<details class="more"><summary aria-label=${`More about ${about}`}>More</summary><dl>${rows
    .filter(([, value]) => value !== null && value !== undefined && value !== false && value !== "")
    .map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl></details>`;

/** Fields of a form that a narrow screen folds, unless one of them is set. @param {{isSet: boolean, children: any}} properties */
export function Fold({ isSet, children }) {
  const isWide = matchMedia("(min-width: 641px)").matches;
  return html`<details class="fold" open=${isWide || isSet}><summary>More filters</summary><div class="filters">${children}</div></details>`;
}

/** @param {any} properties */
export const Empty = ({ children }) => html`<div class="empty">${children}</div>`;

/** Tabs as links, so that each has an address. @param {{label: string, children: any}} properties */
export const Tabs = ({ label, children }) => html`<nav class="tabs" aria-label=${label}>${children}</nav>`;

/** @param {any} properties */
export function QueueBadges({ queue }) {
  const { settings, figures } = queue;
  const sources = figures?.sources ?? [];
  return html`${settings.paused && html`<${Badge} kind="warning" title="Consumers get nothing">paused</${Badge}>`}
    ${settings.draining && html`<${Badge} kind="warning" title="It takes no new messages">draining</${Badge}>`}
    ${queue.queue.endsWith(".fifo") && html`<${Badge} title="Messages of a group are consumed in order">FIFO</${Badge}>`}
    ${sources.length > 0 && html`<${Badge} title=${`Dead letters of ${sources.join(", ")}`}>${sources.length === 1 ? `dead letters of ${sources[0]}` : `dead letters of ${sources.length} queues`}</${Badge}>`}`;
}
