// Shared by pages that show messages: the filters and the progress of a search, and words for status and reason.

import { html } from "../vendor/preact.js";
import { number } from "./format.js";
import { NO_PERIOD, periodIn } from "./period.js";

/** @type {[string, string][]} */
export const STATUSES = [
  ["unprocessed", "Waiting"],
  ["processing", "In flight"],
  ["delayed", "Delayed"],
  ["buried", "Buried"],
];
/** @type {Record<string, string>} */
export const STATUS_WORDS = Object.fromEntries(STATUSES);

/** The fields of a search for messages, apart from its period. */
const FIELDS = ["contains", "attribute", "group"];

export const NO_FILTERS = { ...Object.fromEntries(FIELDS.map((each) => [each, null])), ...NO_PERIOD };

/** The filters in the address. @param {URLSearchParams} query @returns {Record<string, string>} */
export const filtersOf = (query) => Object.fromEntries(FIELDS.map((each) => [each, query.get(each) ?? ""]));

/** The fields of the address that a form with all filters has chosen. @param {FormData} data @returns {Record<string, string | null>} */
export const filtersIn = (data) => ({ ...Object.fromEntries(FIELDS.map((each) => [each, String(data.get(`filter-${each}`))])), ...periodIn(data) });

/** @param {any} filters @param {string} came the words of the period */
export function nothingFound(filters, came) {
  const what = [filters.contains && `has “${filters.contains}” in it`, filters.attribute && `has the attribute ${filters.attribute}`, filters.group && `is of the group ${filters.group}`, came && `came ${came}`];
  return `No message ${what.filter(Boolean).join(" and ")}.`;
}

/** The number of messages that a search looked at, in words; nothing if all came at other times. @param {number} examined */
export const looked = (examined) => (examined ? `${number(examined)} looked at.` : "");

/** The progress of a search. @param {{search: any, total: number | null}} properties total is null if it is not known */
export function Progress({ search, total }) {
  const { examined, isBusy, stop, goOn } = search;
  const all = total === null ? "" : ` of ${number(Math.max(total, examined))}`;
  return html`<p class="progress">${isBusy ? "" : "Stopped. "}Looked at ${number(examined)}${all}.
    ${total !== null && html`<progress max=${Math.max(total, 1)} value=${Math.min(examined, total)} aria-label="Search"></progress>`}
    ${isBusy ? html`<button type="button" onClick=${stop}>Stop</button>` : html`<button type="button" onClick=${goOn}>Go on</button>`}</p>`;
}

/** Why a message is a dead letter, in short. @param {any} message */
export function reasonOf(message) {
  const error = message.last_error;
  return error ? [error.type, error.message].filter(Boolean).join(": ") : message.dead_letter?.reason ?? (message.status === "buried" ? "buried" : "sent here as it is, or refused by the queue of a subscription");
}
