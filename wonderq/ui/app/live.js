// Data that follows the broker: asked for again and again, but not while nobody looks or a row must not move.

import { useEffect, useRef, useState } from "../vendor/preact.js";
import { call, store } from "./api.js";

/** Seconds between two questions; 0 asks only when the user wants it. */
export const interval = store(Number(saved("wonderq.interval", "2")));

/** Since when the broker does not answer, or null. */
export const outage = store(/** @type {Date | null} */ (null));

/** Number of reasons why nothing may move: open dialogs, ticked rows. */
const holds = { count: 0 };
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
  for (const ask of [...polls]) ask();
}

/** Keep the page still while `isHeld`. @param {boolean} isHeld */
export function useHold(isHeld) {
  useEffect(() => {
    if (!isHeld) return undefined;
    holds.count += 1;
    return () => {
      holds.count -= 1;
      if (!holds.count) refresh();
    };
  }, [isHeld]);
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
 * @param {{repeats?: boolean}} [options] without repeats, it is asked for once, and when the user wants it
 * @returns {{data: any, error: any, isBusy: boolean, stop: () => void}}
 */
export function usePoll(path, { repeats = true } = {}) {
  const [state, setState] = useState(/** @type {any} */ ({ path: null }));
  const stop = useRef(() => {});
  useEffect(() => {
    if (path === null) return undefined;
    /** @type {AbortController | null} */
    let asking = null;
    let timer = 0;
    let failures = 0;
    let ended = false;

    async function ask() {
      if (asking || ended) return;
      clearTimeout(timer);
      const mine = (asking = new AbortController());
      setState((/** @type {any} */ old) => ({ ...old, isBusy: true }));
      try {
        const data = await call(/** @type {string} */ (path), { signal: mine.signal });
        failures = 0;
        outage.set(null);
        if (!ended) setState({ path, data, error: null, isBusy: false });
      } catch (error) {
        const failed = /** @type {any} */ (error);
        if (failed.isOutage) {
          failures += 1;
          outage.set(outage.get() ?? new Date());
        }
        if (!ended) {
          const shown = mine.signal.aborted ? null : failed;
          setState((/** @type {any} */ old) => ({ path, data: old.path === path ? old.data : undefined, error: shown, isBusy: false }));
        }
      }
      asking = null;
      plan();
    }
    function plan() {
      clearTimeout(timer);
      const every = interval.get();
      const wait = failures ? Math.min(2 ** failures, 30) : repeats ? every : 0;
      if (!ended && wait) timer = window.setTimeout(tick, wait * 1000);
    }
    function tick() {
      if (document.hidden || (holds.count && !failures)) timer = window.setTimeout(tick, 300);
      else void ask();
    }
    stop.current = () => asking?.abort();
    polls.add(ask);
    void ask();
    return () => {
      ended = true;
      clearTimeout(timer);
      polls.delete(ask);
      asking?.abort();
    };
  }, [path, repeats]);
  const isMine = state.path === path;
  return { data: isMine ? state.data : undefined, error: isMine ? state.error : null, isBusy: Boolean(state.isBusy), stop: () => stop.current() };
}
