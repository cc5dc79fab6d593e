// The address is the state of a page: a link shows others the same.

import { html } from "../vendor/preact.js";
import { store } from "./api.js";
import { useStore } from "./live.js";

const current = store(location.pathname + location.search);
addEventListener("popstate", () => current.set(location.pathname + location.search));

/** Show another page. @param {string} href @param {boolean} [replaces] whether "back" leads past the present one */
export function go(href, replaces = false) {
  history[replaces ? "replaceState" : "pushState"](null, "", href);
  current.set(location.pathname + location.search);
}

/** The path and the query of the page. */
export function useAddress() {
  const href = useStore(current);
  const [path, query] = href.split(/\?(.*)/s);
  return { path, query: new URLSearchParams(query ?? "") };
}

/** The present address with other fields; null removes one. @param {Record<string, string | number | null>} changes */
export function changed(changes) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === "") query.delete(name);
    else query.set(name, String(value));
  }
  const text = query.toString();
  return location.pathname + (text ? `?${text}` : "");
}

/** @param {string} queue @param {Record<string, string>} [query] */
export function queueHref(queue, query) {
  const text = query ? `?${new URLSearchParams(query)}` : "";
  return `/ui/queues/${encodeURIComponent(queue)}${text}`;
}

/** @param {string} topic @param {Record<string, string>} [query] */
export function topicHref(topic, query) {
  const text = query ? `?${new URLSearchParams(query)}` : "";
  return `/ui/topics/${encodeURIComponent(topic)}${text}`;
}

/** A link within the dashboard. @param {any} properties */
export function Link({ href, children, ...others }) {
  const follow = (/** @type {MouseEvent} */ event) => {
    if (event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    go(href);
  };
  return html`<a href=${href} onClick=${follow} ...${others}>${children}</a>`;
}
