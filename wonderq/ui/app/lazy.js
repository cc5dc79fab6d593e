// Parts of the dashboard that are loaded when they are shown for the first time.

import { html, useEffect, useState } from "../vendor/preact.js";

/** Milliseconds after which a part that did not come is asked for again. */
const RETRY_MS = 2000;

/** A component, once it is loaded. @param {any} properties `load` returns it; all others are its own */
export function Lazy({ load, ...others }) {
  const [loaded, setLoaded] = useState(/** @type {any} */ ({}));
  useEffect(() => {
    let timer = 0;
    let isGone = false;
    const ask = async () => {
      const Part = await load().catch(() => null);
      if (isGone) return;
      setLoaded({ load, Part });
      if (!Part) timer = window.setTimeout(ask, RETRY_MS);
    };
    void ask();
    return () => {
      isGone = true;
      clearTimeout(timer);
    };
  }, [load]);
  if (loaded.load !== load) return null;
  if (!loaded.Part) return html`<p class="failure" role="alert">The broker does not answer, so this part of the dashboard is not here yet. It comes when the broker answers again.</p>`;
  return html`<${loaded.Part} ...${others} />`;
}
