// Parts of the dashboard that are loaded when they are shown for the first time.

import { html, useEffect, useState } from "../vendor/preact.js";

/** A component, once it is loaded. @param {any} properties `load` returns it; all others are its own */
export function Lazy({ load, ...others }) {
  const [loaded, setLoaded] = useState(/** @type {any} */ (null));
  useEffect(() => {
    load().then((/** @type {any} */ Part) => setLoaded({ load, Part }));
  }, [load]);
  return loaded?.load === load ? html`<${loaded.Part} ...${others} />` : null;
}
