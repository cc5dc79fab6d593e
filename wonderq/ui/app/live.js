// Data that follows the broker: asked for again and again, but not while nobody looks or a row must not move.

import { useEffect, useRef, useState } from "../vendor/preact.js";
import { askAgain, call, store, withQuery } from "./api.js";

/** Seconds between two questions; 0 asks only when the user wants it. */
export const interval = store(Number(saved("wonderq.interval", "2")));

/** Seconds between two points of a history. */
export const HISTORY_STEP = 10;

/** Since when the broker does not answer, or null. */
export const outage = store(/** @type {Date | null} */ (null));

/** Number of reasons why nothing may move: ticked rows, and all others, such as open dialogs. */
const holds = { rows: 0, others: 0 };
/** Ask for one thing on the page; `true` wants an answer of this moment. @type {Set<(isFresh: boolean) => unknown>} */
const polls = new Set();

/** @param {string} name @param {string} otherwise */
export function saved(name, otherwise) {
  try {
    return localStorage.getItem(name) ?? otherwise;
  } catch {
    return otherwise;
  }
}

/** @param {string} name @param {string} value */
export function save(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch {
    // A browser without storage forgets the choice.
  }
}

interval.listen(() => {
  save("wonderq.interval", String(interval.get()));
  refresh();
});

/** Ask for everything on the page now. */
export function refresh() {
  for (const ask of [...polls]) ask(true);
}

/**
 * Keep the page still while `isHeld`. For ticked rows, lists that park what is new go on asking.
 * @param {boolean} isHeld @param {"rows" | "others"} [reason]
 */
export function useHold(isHeld, reason = "others") {
  useEffect(() => {
    if (!isHeld) return undefined;
    holds[reason] += 1;
    return () => {
      holds[reason] -= 1;
      if (!holds.rows && !holds.others) refresh();
    };
  }, [isHeld, reason]);
}

/** @template T @param {{get: () => T, listen: (listener: () => void) => () => unknown}} shared @returns {T} */
export function useStore(shared) {
  const [, setVersion] = useState(0);
  useEffect(() => {
    const stop = shared.listen(() => setVersion((version) => version + 1));
    return () => void stop();
  }, [shared]);
  return shared.get();
}

/**
 * The answer to a call, kept up to date. `data` is undefined until the first answer; it stays while later calls fail.
 * @param {string | null} path null asks nothing
 * @param {{repeats?: boolean, least?: number, parks?: boolean}} [options] without `repeats`, it is asked for once, and when the
 *   user wants it. `least` are the seconds between two questions, if the user has not chosen more. With `parks`, it is asked for also while rows are ticked; the answer is `parked` then, until `show` is called
 * @returns {{data: any, parked: any, error: any, show: () => void}}
 */
export function usePoll(path, { repeats = true, least = 0, parks = false } = {}) {
  const [state, setState] = useState(/** @type {any} */ ({ path: null }));
  useEffect(() => {
    if (path === null) return undefined;
    /** @type {AbortController | null} */
    let asking = null;
    let timer = 0;
    let failures = 0;
    let ended = false;
    let isToBeRepeated = false;
    let etag = "";

    async function ask(isFresh = false) {
      if (ended) return;
      if (asking) {
        isToBeRepeated ||= isFresh; // this answer may be older than what the user has just done
        return;
      }
      clearTimeout(timer);
      const mine = (asking = new AbortController());
      try {
        const { answer: data, etag: newest } = await askAgain(/** @type {string} */ (path), { signal: mine.signal, etag, mayBeShared: !isFresh });
        failures = 0;
        outage.set(null);
        etag = newest;
        const isParked = parks && holds.rows > 0;
        if (ended) return;
        if (data === undefined) {
          setState((/** @type {any} */ old) => {
            if (!isParked && old.parked) return { path, data: old.parked, error: null };
            return old.error ? { ...old, error: null } : old;
          });
        } else setState((/** @type {any} */ old) => (isParked && old.path === path && old.data ? { ...old, parked: data, error: null } : { path, data, error: null }));
      } catch (error) {
        const failed = /** @type {any} */ (error);
        if (failed.isOutage) {
          failures += 1;
          outage.set(outage.get() ?? new Date());
        }
        if (!ended) {
          setState((/** @type {any} */ old) => ({ ...(old.path === path ? old : {}), path, error: failed }));
        }
      }
      asking = null;
      if (isToBeRepeated) {
        isToBeRepeated = false;
        void ask(true);
      } else plan();
    }
    function plan() {
      clearTimeout(timer);
      const every = interval.get() && Math.max(interval.get(), least);
      const wait = failures ? Math.min(2 ** failures, 30) : repeats ? every : 0;
      if (!ended && wait) timer = window.setTimeout(tick, wait * 1000);
    }
    function tick() {
      const isHeld = holds.others || (holds.rows && !parks);
      if (document.hidden || (isHeld && !failures)) timer = window.setTimeout(tick, 300);
      else void ask();
    }
    polls.add(ask);
    void ask();
    return () => {
      ended = true;
      clearTimeout(timer);
      polls.delete(ask);
      asking?.abort();
    };
  }, [path, repeats, least, parks]);
  const isMine = state.path === path;
  const show = () => setState((/** @type {any} */ old) => ({ path, data: old.parked ?? old.data, error: null }));
  return { data: isMine ? state.data : undefined, parked: isMine ? state.parked : undefined, error: isMine ? state.error : null, show };
}

/** Messages to examine in the first call of a search, and at most in a later one; and how long a call may take, in ms. */
const [FIRST_PART, LARGEST_PART, PART_MS] = [1000, 20000, 400];

/**
 * A search for messages, a part of the queue at a time. It begins anew when the user wants it.
 * @param {string | null} path null searches nothing
 * @param {Record<string, unknown>} fields of the call, with `after` and `limit`
 * @returns {{rows: any[], examined: number, isBusy: boolean, isOver: boolean, error: any, stop: () => void, goOn: () => void}}
 */
export function useSearch(path, fields) {
  const key = path === null ? null : withQuery(path, fields);
  const [state, setState] = useState(/** @type {any} */ ({ key: null }));
  const control = useRef({ stop() {}, goOn() {} });
  useEffect(() => {
    if (key === null) return undefined;
    const limit = Number(fields.limit);
    /** @type {AbortController | null} */
    let asking = null;
    let [rows, examined, after] = [/** @type {any[]} */ ([]), 0, /** @type {any} */ (fields.after)];

    async function run() {
      if (asking) return;
      const mine = (asking = new AbortController());
      const tell = (/** @type {any} */ more) => asking === mine && setState({ key, rows, examined, isBusy: false, isOver: false, error: null, ...more });
      let examine = FIRST_PART;
      tell({ isBusy: true });
      try {
        for (let isOver = false; !isOver; ) {
          const began = performance.now();
          const part = await call(withQuery(/** @type {string} */ (path), { ...fields, after, examine, limit: limit - rows.length }), { signal: mine.signal });
          if (asking !== mine) return;
          rows = [...rows, ...part.messages];
          examined += part.examined;
          after = part.next_after;
          isOver = after === null || rows.length >= limit;
          tell({ isBusy: !isOver, isOver });
          examine = Math.round(Math.min(LARGEST_PART, Math.max(FIRST_PART, (examine * PART_MS) / (performance.now() - began))));
        }
      } catch (error) {
        tell({ error: mine.signal.aborted ? null : error });
      }
      if (asking === mine) asking = null;
    }
    function restart() {
      asking?.abort();
      asking = null;
      [rows, examined, after] = [[], 0, fields.after];
      void run();
    }
    control.current = { stop: () => asking?.abort(), goOn: () => void run() };
    polls.add(restart);
    restart();
    return () => {
      polls.delete(restart);
      const last = asking;
      asking = null;
      last?.abort();
    };
  }, [key]);
  const none = { rows: [], examined: 0, isBusy: key !== null, isOver: false, error: null };
  return { ...none, ...(state.key === key ? state : {}), stop: () => control.current.stop(), goOn: () => control.current.goOn() };
}
