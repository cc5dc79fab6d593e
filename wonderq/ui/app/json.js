// JSON as it is written. JavaScript rounds numbers with many digits, and keeps one of two values with the same name.

import { exactly, isExact } from "./numbers.js";

/**
 * A value as it is written: an object or array has `entries`, with their names, and anything else a `text`.
 * @typedef {{kind: string, text: string, entries: [string, Node][]}} Node
 */

const TOKEN = /"[^"\\]*(?:\\.[^"\\]*)*"|[[\]{}:,]|[^\s"[\]{}:,]+/g;

/** Levels of objects and arrays that are read. */
const DEEPEST = 200;

/**
 * Read JSON, and return undefined if it is none or too deep.
 * @param {string} text @returns {Node | undefined}
 */
export function read(text) {
  try {
    JSON.parse(text);
  } catch {
    return undefined;
  }
  // It is valid, so that its tokens are enough to tell what belongs where.
  const root = node("array", "[");
  const open = [root];
  let name = /** @type {string | null} */ (null);
  const tokens = text.match(TOKEN) ?? [];
  for (const [at, token] of tokens.entries()) {
    const into = open[open.length - 1];
    if (token === ":" || token === ",") continue;
    if (token === "]" || token === "}") {
      open.pop();
      continue;
    }
    if (tokens[at + 1] === ":") {
      name = JSON.parse(token);
      continue;
    }
    const value = node(kindOf(token), token);
    into.entries.push([name ?? String(into.entries.length), value]);
    name = null;
    if (token === "[" || token === "{") open.push(value);
    if (open.length > DEEPEST) return undefined;
  }
  return root.entries[0][1];
}

/** @param {string} kind @param {string} text @returns {Node} */
const node = (kind, text) => ({ kind, text, entries: [] });

/** @type {Record<string, string>} */
const KINDS = { "[": "array", "{": "object", '"': "string", n: "null", t: "boolean", f: "boolean" };

/** The kind of the value that begins with a token. @param {string} token */
const kindOf = (token) => KINDS[token[0]] ?? "number";

/**
 * The value of JSON that somebody has typed, which is sent as it is.
 * @param {string} text @param {string} what the subject of a sentence, in the plural
 */
export function parsed(text, what) {
  try {
    JSON.parse(text);
  } catch (error) {
    throw new Error(`${what} are not valid JSON: ${/** @type {Error} */ (error).message}.`);
  }
  const found = read(text);
  if (!found) throw new Error(`${what} have more than ${DEEPEST} levels.`);
  check(found, what);
  return exactly(text);
}

/** @param {Node} found @param {string} what */
function check({ kind, text, entries }, what) {
  const names = new Set();
  for (const [name, value] of entries) {
    if (kind === "object" && names.has(name)) throw new Error(`${what} have the name ${name} twice.`);
    names.add(name);
    check(value, what);
  }
  if (kind === "number" && !isExact(text) && !(/** @type {any} */ (JSON).rawJSON)) throw new Error(`${what} have the number ${text}, which this browser would send as ${Number(text)}.`);
}
