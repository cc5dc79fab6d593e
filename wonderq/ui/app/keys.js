// Keyboard shortcuts. They can be turned off, for those whose software types letters.

import { html, useState } from "../vendor/preact.js";
import { go } from "./address.js";
import { Modal } from "./dialogs.js";
import { interval, refresh, save, saved } from "./live.js";

/** @type {Record<string, string>} */
const PAGES = { q: "/ui", t: "/ui/topics", f: "/ui/search", d: "/ui/dead", r: "/ui/redrives", s: "/ui/schedules", b: "/ui/broker" };
if ("cluster" in document.documentElement.dataset) PAGES.c = "/ui/cluster";
const KEYS = [
  ["/", "Go to the filter"],
  [`g then ${Object.keys(PAGES).join(", ")}`, `Overview, topics, search, dead letters, redrives, schedules, broker${PAGES.c ? ", cluster" : ""}`],
  ["j, k", "Next and previous row"],
  ["Enter", "Open the row"],
  ["x", "Tick the row"],
  ["Esc", "Close"],
  ["r", "Refresh now"],
  ["p", "Pause and resume refreshing"],
  ["?", "These keys"],
];

/** @param {number} by */
function moveRow(by) {
  const rows = /** @type {HTMLElement[]} */ ([...document.querySelectorAll("main [data-open]")]);
  const at = rows.findIndex((row) => row === document.activeElement || row.closest("tr")?.contains(document.activeElement));
  rows[Math.min(Math.max(at + by, 0), rows.length - 1)]?.focus();
}

/** Act on keys; `help` shows them. Returns a function that ends it. @param {() => void} help */
export function listen(help) {
  let isAfterG = false;
  let before = "2";
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    const isTyping = target.matches("input:not([type=checkbox]), textarea, select, [contenteditable]");
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (saved("wonderq.keys", "on") === "off" && event.key !== "?") return;
    if (isAfterG && PAGES[event.key]) go(PAGES[event.key]);
    else if (event.key === "g") {
      isAfterG = true;
      return;
    } else if (event.key === "/") /** @type {HTMLElement | null} */ (document.querySelector("[data-filter]"))?.focus();
    else if (event.key === "j") moveRow(1);
    else if (event.key === "k") moveRow(-1);
    else if (event.key === "x") /** @type {HTMLElement | null | undefined} */ (document.activeElement?.closest("tr")?.querySelector("input[type=checkbox]"))?.click();
    else if (event.key === "r") refresh();
    else if (event.key === "p") {
      if (interval.get()) before = String(interval.get());
      interval.set(interval.get() ? 0 : Number(before));
    } else if (event.key === "?") help();
    else {
      isAfterG = false;
      return;
    }
    isAfterG = false;
    event.preventDefault();
  };
  addEventListener("keydown", onKey);
  return () => removeEventListener("keydown", onKey);
}

/** @param {{onClose: () => void}} properties */
export function Help({ onClose }) {
  const [isOn, setOn] = useState(saved("wonderq.keys", "on") === "on");
  const choose = (/** @type {any} */ event) => {
    setOn(event.target.checked);
    save("wonderq.keys", event.target.checked ? "on" : "off");
  };
  return html`<${Modal} title="Keys" onClose=${onClose}>
    <table class="plain"><tbody>${KEYS.map(([key, what]) => html`<tr key=${key}><th scope="row"><kbd>${key}</kbd></th><td>${what}</td></tr>`)}</tbody></table>
    <label class="check"><input type="checkbox" checked=${isOn} onChange=${choose} /> Use these keys</label></${Modal}>`;
}
