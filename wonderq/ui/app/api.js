// Calls of the broker's API. Everything that it returns is the text of others: it is shown, and never becomes markup.

/** What may be a number that JavaScript changes. Nearly no answer has one. */
const UNUSUAL = /(?:^|[:[,])\s*(?:-?[\d.]{16}|-?[\d.]+e|-0)/i;

export class ApiError extends Error {
  /** @param {number} status @param {string} code @param {string} message @param {string | undefined} [field] @param {any} [answer] the whole answer */
  constructor(status, code, message, field, answer) {
    super(message);
    this.status = status;
    this.code = code;
    this.field = field;
    this.answer = answer;
  }

  /** Whether the broker did not answer at all. */
  get isOutage() {
    return this.status === 0;
  }
}

/**
 * Make a call and return its answer.
 * @param {string} path @param {{method?: string, body?: unknown, signal?: AbortSignal}} [options] @returns {Promise<any>}
 */
export const call = async (path, options = {}) => (await request(path, options)).answer;

/**
 * Ask again for what a page shows. `answer` is undefined if it is still the one with this `etag`.
 * @param {string} path
 * @param {{signal: AbortSignal, etag: string, mayBeShared: boolean}} options `mayBeShared` accepts the answer to another
 *   page, up to a second old
 * @returns {Promise<{answer: any, etag: string}>}
 */
export function askAgain(path, { signal, etag, mayBeShared }) {
  /** @type {Record<string, string>} */
  const more = { "Cache-Control": `max-age=${mayBeShared ? 1 : 0}` };
  if (etag) more["If-None-Match"] = etag;
  return request(path, { signal }, more);
}

/** @param {string} path @param {{method?: string, body?: unknown, signal?: AbortSignal}} options @param {Record<string, string>} [more] */
async function request(path, { method = "GET", body, signal }, more = {}) {
  /** @type {Record<string, string>} */
  const headers = { Accept: "application/json", "X-WonderQ-UI": "1", ...more };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  let answer;
  try {
    response = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal });
    answer = response.status === 304 ? undefined : await response.text().then(read).catch(() => null);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "no_answer", "The broker does not answer.");
  }
  if (response.ok || response.status === 304) return { answer, etag: response.headers.get("ETag") ?? "" };
  const error = answer?.error ?? {};
  const status = answer?.error ? response.status : response.status >= 502 && response.status <= 504 ? 0 : response.status;
  if (status === 401) session.set(false);
  throw new ApiError(status, error.code ?? "", error.message ?? `The answer has the status ${response.status}.`, error.field, answer);
}

/** The value of an answer. @param {string} text */
const read = async (text) => (UNUSUAL.test(text) ? (await import("./numbers.js")).exactly(text) : JSON.parse(text));

/** The path of a queue in the API. @param {string} queue */
export const queuePath = (queue) => `/queues/${encodeURIComponent(queue)}`;

/** The path of a topic in the API. @param {string} topic */
export const topicPath = (topic) => `/topics/${encodeURIComponent(topic)}`;

/** A path with those of the fields that have a value. @param {string} path @param {Record<string, unknown>} fields */
export function withQuery(path, fields) {
  const given = Object.entries(fields).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return given.length ? `${path}?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}` : path;
}

/** A value that parts of the page share. @template T @param {T} value */
export function store(value) {
  /** @type {Set<() => void>} */
  const listeners = new Set();
  return {
    get: () => value,
    set: (/** @type {T} */ next) => {
      if (next === value) return;
      value = next;
      for (const each of [...listeners]) each();
    },
    listen: (/** @type {() => void} */ listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/** Whether the broker accepts the calls of this browser, or wants a key. */
export const session = store(true);
