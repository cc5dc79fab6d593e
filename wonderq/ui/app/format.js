// Numbers, times and texts for people.

const whole = new Intl.NumberFormat("en");
const oneDigit = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

/** @param {number} value */
export const number = (value) => whole.format(value);

/** "1 message", "2 messages". @param {number} value @param {string} noun */
export const count = (value, noun) => `${whole.format(value)} ${noun}${value === 1 ? "" : "s"}`;

/** All messages of the counts by status. @param {Record<string, number>} counts */
export const totalOf = (counts) => Object.values(counts).reduce((sum, each) => sum + each, 0);

/** Whether a queue gets what others could not finish, or refused. @param {any} queue with figures */
export const getsDeadLetters = ({ figures }) => figures.sources.length > 0 || figures.topics.some((/** @type {any} */ each) => each.gets === "refused");

/** A rate per second. @param {number} value */
export const rate = (value) => (value === 0 ? "0" : value < 0.1 ? "<0.1" : value < 10 ? oneDigit.format(value) : whole.format(Math.round(value)));

/** A duration in one unit, or two while that helps. @param {number} seconds */
export function duration(seconds) {
  const s = Math.max(0, seconds);
  if (s < 1) return s === 0 ? "0 s" : "<1 s";
  if (s < 60) return `${Math.floor(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${whole.format(Math.floor(s / 86400))} d ${Math.floor((s % 86400) / 3600)} h`;
}

/** A part of the whole, from 0 to 1. @param {number} value */
export const share = (value) => (value > 0 && value < 0.001 ? "<0.1%" : `${oneDigit.format(value * 100)}%`);

/** A short duration in one unit: "2.5 ms", "30 s", "2 h". @param {number} seconds */
export function span(seconds) {
  /** @type {[number, string][]} */
  const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const [size, unit] = units.find(([least]) => seconds >= least) ?? [0.001, "ms"];
  return `${oneDigit.format(seconds / size)} ${unit}`;
}

/** @param {number} bytes */
export function bytes(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (bytes >= 1024 && at < units.length - 1) {
    bytes /= 1024;
    at += 1;
  }
  return `${oneDigit.format(bytes)} ${units[at]}`;
}

/** The local time of a moment, to the second. @param {Date} at */
export function clockTime(at) {
  const pad = (/** @type {number} */ value) => String(value).padStart(2, "0");
  return `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
}

/** @param {Date} at */
export function dateTime(at) {
  const pad = (/** @type {number} */ value) => String(value).padStart(2, "0");
  return `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())} ${clockTime(at)}`;
}

// Control characters, and those that turn the direction of text: they could make a message look like another.
const INVISIBLE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;

/** A text whose invisible characters show as their numbers. @param {string} text */
export const visible = (text) =>
  text.replace(INVISIBLE, (each) => `\u27e8${each.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}\u27e9`);

/** Characters of a message that a list reads. */
export const PREVIEWED = 200;

/** The beginning of a message on one line. @param {string} text */
export const oneLine = (text) => visible(text.slice(0, PREVIEWED).replace(/\s+/g, " ")).slice(0, 120);

/** @param {string} id */
export const shortId = (id) => id.slice(0, 8);
