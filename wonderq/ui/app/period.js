// A choice of when messages came into their queue. It is part of the address, so a link shows others the same.

import { html, useEffect, useRef, useState } from "../vendor/preact.js";

/** @type {[string, string][]} */
const PERIODS = [
  ["", "any time"],
  ["1h", "in the last hour"],
  ["24h", "in the last 24 hours"],
  ["today", "today"],
  ["yesterday", "yesterday"],
  ["7d", "in the last 7 days"],
  ["between", "between…"],
];
const HOUR_MS = 3_600_000;

/**
 * The period that the address names: `since` and `until` for a call, its words, and a key that tells it from others.
 * Hours count from the moment at which they are chosen, so that a page does not ask anew all the time; days change at midnight.
 * @param {URLSearchParams} query @returns {{key: string, since: string, until: string, words: string}}
 */
export function usePeriod(query) {
  const key = ["came", "since", "until"].map((name) => query.get(name) ?? "").join("\n");
  const kept = useRef({ key: "", since: "", until: "", words: "" });
  const came = query.get("came") ?? "";
  if (kept.current.key !== key || came === "today" || came === "yesterday") {
    const [since, until] = came === "between" ? [moment(query.get("since")), moment(query.get("until"))] : endsOf(came, new Date());
    const words = PERIODS.find(([each]) => each === came)?.[1] ?? "";
    kept.current = { key, since, until, words: since || until ? (came === "between" ? "in this period" : words) : "" };
  }
  return kept.current;
}

/** The ends of a period, in the time zone of the browser. @param {string} came @param {Date} now @returns {[string, string]} */
export function endsOf(came, now) {
  const today = new Date(now.getFullYear(), now.getMonth(), now.getDate());
  const yesterday = new Date(now.getFullYear(), now.getMonth(), now.getDate() - 1); // days have 23 to 25 hours
  const ago = (/** @type {number} */ hours) => new Date(now.getTime() - hours * HOUR_MS).toISOString();
  if (came === "1h") return [ago(1), ""];
  if (came === "24h") return [ago(24), ""];
  if (came === "7d") return [ago(7 * 24), ""];
  if (came === "today") return [today.toISOString(), ""];
  if (came === "yesterday") return [yesterday.toISOString(), today.toISOString()];
  return ["", ""];
}

/** The value of a field for date and time, as a moment. @param {string | null} local */
function moment(local) {
  const at = new Date(local ?? "");
  return Number.isNaN(at.getTime()) ? "" : at.toISOString();
}

/**
 * The fields of the choice. Its form is submitted when a period is chosen that needs no further field.
 * @param {{query: URLSearchParams}} properties
 */
export function PeriodFields({ query }) {
  const named = query.get("came") ?? "";
  const [came, setCame] = useState(named);
  useEffect(() => setCame(named), [named]);
  const choose = (/** @type {any} */ event) => {
    setCame(event.target.value);
    if (event.target.value !== "between") event.target.form.requestSubmit();
  };
  const field = (/** @type {string} */ name, /** @type {string} */ label) =>
    html`<label key=${name}>${label}<input type="datetime-local" name=${`filter-${name}`} value=${query.get(name) ?? ""} /></label>`;
  return html`<label>Came<select name="filter-came" onChange=${choose}>${PERIODS.map(([value, words]) => html`<option key=${value} value=${value} selected=${value === came}>${words}</option>`)}</select></label>
    ${came === "between" && [field("since", "Since"), field("until", "Before")]}`;
}

/** The fields of the address that a form with `PeriodFields` has chosen. @param {FormData} data @returns {Record<string, string | null>} */
export function periodIn(data) {
  const came = String(data.get("filter-came") ?? "");
  const end = (/** @type {string} */ name) => (came === "between" ? String(data.get(`filter-${name}`) ?? "") : null);
  return { came: came || null, since: end("since"), until: end("until") };
}

export const NO_PERIOD = { came: null, since: null, until: null };
