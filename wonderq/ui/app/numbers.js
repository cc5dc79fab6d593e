// Numbers of JSON, of which JavaScript rounds those with many digits.

/** Whether JavaScript has exactly this number. @param {string} text */
export const isExact = (text) => digitsOf(text) === digitsOf(String(Number(text)));

/** A number as its sign, its digits without zeros at both ends, and its magnitude. @param {string} text */
function digitsOf(text) {
  const found = /^(-?)(\d+)(?:\.(\d+))?(?:e([+-]?\d+))?$/i.exec(text);
  if (!found) return text;
  const [, sign, whole, fraction = "", power = "0"] = found;
  const digits = (whole + fraction).replace(/^0+/, "");
  const kept = digits.replace(/0+$/, "");
  return kept ? `${sign}${kept}e${Number(power) - fraction.length + digits.length - kept.length}` : `${sign}0`;
}

/**
 * The value of an answer. A number that JavaScript would change stays as it is written when it becomes JSON again, where
 * the browser can do that.
 * @param {string} text
 */
export function exactly(text) {
  const { rawJSON } = /** @type {any} */ (JSON);
  if (!rawJSON) return JSON.parse(text);
  const reviver = (/** @type {string} */ _name, /** @type {any} */ value, /** @type {any} */ context) => (typeof value === "number" && !isExact(context.source) ? rawJSON(context.source) : value);
  return JSON.parse(text, /** @type {any} */ (reviver));
}
