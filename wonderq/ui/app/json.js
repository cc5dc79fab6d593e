// JSON as it is written. JavaScript rounds numbers with many digits, and keeps one of two values with the same name.

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

/** Whether JavaScript has exactly this number. @param {string} text */
const isExact = (text) => digitsOf(text) === digitsOf(String(Number(text)));

/** A number as its sign, its digits without zeros at both ends, and its magnitude. @param {string} text */
function digitsOf(text) {
  const found = /^(-?)(\d+)(?:\.(\d+))?(?:e([+-]?\d+))?$/i.exec(text);
  if (!found) return text;
  const [, sign, whole, fraction = "", power = "0"] = found;
  const digits = (whole + fraction).replace(/^0+/, "");
  const kept = digits.replace(/0+$/, "");
  return kept ? `${sign}${kept}e${Number(power) - fraction.length + digits.length - kept.length}` : `${sign}0`;
}

/** What may be a number that JavaScript changes. Nearly no answer has one. */
const UNUSUAL = /(?:^|[:[,])\s*(?:-?[\d.]{16}|-?[\d.]+e|-0)/i;

/**
 * The value of an answer. A number that JavaScript would change stays as it is written when it becomes JSON again, where
 * the browser can do that.
 * @param {string} text
 */
export function exactly(text) {
  const { rawJSON } = /** @type {any} */ (JSON);
  if (!rawJSON || !UNUSUAL.test(text)) return JSON.parse(text);
  const reviver = (/** @type {string} */ _name, /** @type {any} */ value, /** @type {any} */ context) => (typeof value === "number" && !isExact(context.source) ? rawJSON(context.source) : value);
  return JSON.parse(text, /** @type {any} */ (reviver));
}

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
