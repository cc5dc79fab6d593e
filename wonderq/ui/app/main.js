// The frame of every page, and which page is shown.

import { html, render, useEffect, useRef, useState } from "../vendor/preact.js";
import { Link, useAddress } from "./address.js";
import { call, session } from "./api.js";
import { Dialogs } from "./dialogs.js";
import { clockTime, duration } from "./format.js";
import { Help, listen } from "./keys.js";
import { Lazy } from "./lazy.js";
import { interval, outage, refresh, save, saved, usePoll, useStore } from "./live.js";
import { skew } from "./parts.js";
import { Rights } from "./rights.js";

/** Pages by their paths. Each is loaded when it is shown for the first time. @type {[string, string, () => Promise<any>][]} */
const PAGES = [
  ["/ui", "Overview", async () => (await import("../pages/overview.js")).Overview],
  ["/ui/topics", "Topics", async () => (await import("../pages/topics.js")).Topics],
  ["/ui/search", "Search", async () => (await import("../pages/search.js")).Search],
  ["/ui/dead", "Dead letters", async () => (await import("../pages/dead.js")).Dead],
  ["/ui/redrives", "Redrives", async () => (await import("../pages/redrives.js")).Redrives],
  ["/ui/schedules", "Schedules", async () => (await import("../pages/schedules.js")).Schedules],
  ["/ui/broker", "Broker", async () => (await import("../pages/broker.js")).Broker],
];
if ("cluster" in document.documentElement.dataset) PAGES.push(["/ui/cluster", "Cluster", async () => (await import("../pages/cluster.js")).Cluster]);
const loadTopic = async () => (await import("../pages/topic.js")).Topic;
const loadQueue = async () => (await import("../pages/queue.js")).Queue;
const loadLogin = async () => (await import("../pages/login.js")).Login;

function App() {
  const isKnown = useStore(session);
  return isKnown ? html`<${Frame} />` : html`<${Lazy} load=${loadLogin} />`;
}

function Frame() {
  const { path } = useAddress();
  const overview = usePoll("/overview");
  const [isHelping, setHelping] = useState(false);
  useEffect(() => listen(() => setHelping(true)), []);
  const compared = useRef(/** @type {any} */ (null));
  if (overview.data !== compared.current) setSkew((compared.current = overview.data));
  const rights = new Rights(overview.data?.access);
  const [queue, topic] = [nameIn(path, "/ui/queues/"), nameIn(path, "/ui/topics/")];
  const load = (PAGES.find(([each]) => each === path) ?? PAGES[0])[2];
  useEffect(() => {
    const problems = overview.data?.problems.filter((/** @type {any} */ each) => each.severity !== "notice").length;
    const name = PAGES.find(([each]) => each === path)?.[1] ?? "WonderQ";
    document.title = queue || topic ? document.title : `${problems ? `(${problems}) ` : ""}${name} · WonderQ`;
  }, [path, overview.data]);
  return html`<a class="skip" href="#main">Skip to the content</a>
    <${Top} path=${path} access=${overview.data?.access} onHelp=${() => setHelping(true)} />
    <${Banners} overview=${overview.data} error=${overview.error} />
    <main id="main" tabindex="-1">
      ${queue !== null
        ? html`<${Lazy} key=${queue} load=${loadQueue} name=${queue} rights=${rights} />`
        : topic !== null
          ? html`<${Lazy} key=${topic} load=${loadTopic} name=${topic} rights=${rights} />`
          : html`<${Lazy} key=${path} load=${load} overview=${overview.data} error=${overview.error} rights=${rights} />`}
    </main>
    ${isHelping && html`<${Help} onClose=${() => setHelping(false)} />`}
    <${Dialogs} />`;
}

/** The name at the end of a path, or null if it begins otherwise. @param {string} path @param {string} begin */
const nameIn = (path, begin) => (path.startsWith(begin) ? decodeURIComponent(path.slice(begin.length)) : null);

/**
 * Compare the clocks when an answer arrives. It may be up to a second old, so the largest difference counts.
 * @param {any} overview
 */
function setSkew(overview) {
  if (!overview) return;
  const ms = Date.parse(overview.now) - Date.now();
  skew.ms = Math.abs(ms - skew.ms) > 2000 ? ms : Math.max(ms, skew.ms);
}

/** @param {any} properties */
function Top({ path, access, onHelp }) {
  useEffect(() => {
    // On a telephone, the line of pages is wider than the screen.
    document.querySelector(".top nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }, [path]);
  return html`<header class="top">
    <${Link} href="/ui" class="brand">WonderQ</${Link}>
    <nav aria-label="Pages">${PAGES.map(
      ([href, name]) => html`<${Link} key=${href} href=${href} aria-current=${href === path || (href === "/ui" && path.startsWith("/ui/queues/")) || path.startsWith(`${href}/`) && href !== "/ui" ? "page" : undefined}>${name}</${Link}>`,
    )}</nav>
    <div class="tools"><${Refresh} /><${Theme} />
      <button type="button" class="quiet" onClick=${onHelp} title="Keyboard shortcuts (?)">Keys</button>
      <a href="/docs">API</a>
      ${access?.key && html`<button type="button" class="quiet" onClick=${logOut} title=${`Key ${access.key}: ${access.roles.join(", ")}`}>Log out ${access.name}</button>`}
    </div></header>`;
}

async function logOut() {
  await call("/ui/session", { method: "DELETE" });
  session.set(false);
}

function Refresh() {
  const seconds = useStore(interval);
  const choose = (/** @type {any} */ event) => interval.set(Number(event.target.value));
  return html`<label>Refresh <select value=${String(seconds)} onChange=${choose}>
    ${[1, 2, 5, 15].map((each) => html`<option key=${each} value=${each} selected=${each === seconds}>${each} s</option>`)}
    <option value="0" selected=${seconds === 0}>off</option></select></label>
    ${seconds === 0 && html`<button type="button" class="quiet" onClick=${refresh}>Refresh now</button>`}`;
}

function Theme() {
  const [theme, setTheme] = useState(saved("wonderq.theme", "system"));
  useEffect(() => {
    document.documentElement.dataset.theme = theme;
    save("wonderq.theme", theme);
  }, [theme]);
  return html`<label>Colours <select value=${theme} onChange=${(/** @type {any} */ event) => setTheme(event.target.value)}>
    ${["system", "light", "dark"].map((each) => html`<option key=${each} value=${each} selected=${each === theme}>${each}</option>`)}</select></label>`;
}

const ADVICE = "“Damage” in docs/OPERATING.md has the next steps.";

/** @param {any} properties */
function Banners({ overview, error }) {
  const since = useStore(outage);
  const banners = [];
  if (since) banners.push(["error", `The broker has not answered since ${clockTime(since)}. This page shows the state of then.`]);
  else if (error) banners.push(["error", error.message]);
  const stopped = overview?.problems.find((/** @type {any} */ each) => each.code === "damaged" || each.code === "not_ready");
  if (stopped && !since) banners.push(["error", `${stopped.message} ${stopped.code === "damaged" ? ADVICE : ""}`]);
  if (overview?.access.read_only) banners.push(["notice", "This dashboard may only read (--ui read-only)."]);
  else if (overview?.access.key === null) banners.push(["notice", "No keys: everybody who reaches this port may do everything."]);
  if (Math.abs(skew.ms) > 5000) {
    banners.push(["notice", `The clock of this browser is ${duration(Math.abs(skew.ms) / 1000)} ${skew.ms > 0 ? "behind" : "ahead of"} the broker's. Times are those of the broker.`]);
  }
  return html`<aside aria-label="State of the broker">${banners.map(
    ([kind, text]) => html`<p key=${text} class=${`banner ${kind}`} role=${kind === "error" ? "alert" : undefined}>${text}</p>`,
  )}</aside>`;
}

document.documentElement.dataset.theme = saved("wonderq.theme", "system");
const place = /** @type {HTMLElement} */ (document.getElementById("app"));
place.textContent = "";
render(html`<${App} />`, place);
