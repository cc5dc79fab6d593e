// The page of the API: search, links into closed parts, copying, colours. Without this script the page is complete.

/** The choice is the dashboard's too. */
const THEME = "wonderq.theme";
const root = document.documentElement;

function savedTheme() {
  try {
    return localStorage.getItem(THEME) ?? "system";
  } catch {
    return "system"; // a browser without storage
  }
}

/** @param {string} theme */
function setTheme(theme) {
  root.dataset.theme = theme;
  try {
    localStorage.setItem(THEME, theme);
  } catch {
    // A browser without storage forgets the choice.
  }
}

root.dataset.theme = savedTheme(); // before the page is drawn

/** @template {Element} T @param {string} selector @param {{new(): T}} type @returns {T} */
function find(selector, type) {
  const found = document.querySelector(selector);
  if (!(found instanceof type)) throw new Error(`The page has no ${selector}.`);
  return found;
}

addEventListener("DOMContentLoaded", () => {
  const input = find("#search", HTMLInputElement);
  const result = find("#result", HTMLElement);
  const main = find("main", HTMLElement);
  const toggle = find("#toggle", HTMLButtonElement);
  const theme = find("#theme", HTMLSelectElement);
  const groups = [...document.querySelectorAll("details.group")].filter((each) => each instanceof HTMLDetailsElement);
  const calls = [...document.querySelectorAll("details.call")].filter((each) => each instanceof HTMLDetailsElement);
  const contents = new Map([...document.querySelectorAll("nav a[href^='#']")].map((each) => [each.getAttribute("href"), each]));

  /** Whatever can be found: with its text, its name, its fields, the place to name those that match, and its link in the contents. */
  const entries = [...main.querySelectorAll("[data-entry]")].map((element) => ({
    element: /** @type {HTMLElement} */ (element),
    text: (element.textContent ?? "").toLowerCase(),
    name: (element.querySelector("summary, th, h3")?.textContent ?? "").toLowerCase(),
    fields: [...element.querySelectorAll("dt > code")].map((each) => each.textContent ?? ""),
    hits: element.querySelector("summary")?.appendChild(document.createElement("small")),
    link: contents.get(`#${element.querySelector("[id]")?.id}`)?.parentElement,
  }));
  for (const each of entries) each.hits?.classList.add("hits");

  for (const each of document.querySelectorAll("[hidden][data-script]")) each.removeAttribute("hidden");

  // Search

  /** Whether each group was open before the search. @type {Map<HTMLDetailsElement, boolean> | null} */
  let before = null;
  /** @type {typeof entries} */
  let found = [];

  function search() {
    const terms = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    if (terms.length) before ??= new Map(groups.map((each) => [each, each.open]));
    found = [];
    for (const entry of entries) {
      const matches = terms.every((term) => entry.text.includes(term));
      entry.element.hidden = !matches;
      if (entry.link) entry.link.hidden = !matches;
      if (entry.hits) entry.hits.textContent = entry.fields.filter((field) => terms.some((term) => field.includes(term))).join(", ");
      if (matches) found.push(entry);
    }
    for (const group of groups) {
      const isEmpty = !found.some((entry) => group.contains(entry.element));
      group.hidden = isEmpty;
      group.open = terms.length ? true : before?.get(group) ?? group.open;
      const item = contents.get(`#${group.querySelector("[id]")?.id}`)?.parentElement;
      if (item) item.hidden = isEmpty;
    }
    for (const each of document.querySelectorAll("[data-no-entry]")) each.toggleAttribute("hidden", terms.length > 0);
    if (!terms.length) before = null;
    result.textContent = terms.length ? summary() : "";
    highlight(terms);
    const query = terms.length ? `?${new URLSearchParams({ q: input.value })}` : "";
    history.replaceState(null, "", location.pathname + query + location.hash);
  }

  function summary() {
    if (!found.length) return `Nothing has “${input.value.trim()}” in it.`;
    const count = found.filter((entry) => entry.element.matches(".call")).length;
    const others = found.length - count;
    const parts = [`${count} ${count === 1 ? "call" : "calls"}`];
    if (others) parts.push(`${others} ${others === 1 ? "other entry" : "other entries"}`);
    return `${parts.join(", ")}.`;
  }

  /** Mark the terms without a change of the document. @param {string[]} terms */
  function highlight(terms) {
    if (!("highlights" in CSS)) return;
    CSS.highlights.delete("found");
    /** @type {Range[]} */
    const ranges = [];
    for (const { element } of terms.length ? found : []) {
      const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
      for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        const text = (node.textContent ?? "").toLowerCase();
        for (const term of terms) {
          for (let at = text.indexOf(term); at >= 0; at = text.indexOf(term, at + term.length)) {
            const range = new Range();
            range.setStart(node, at);
            range.setEnd(node, at + term.length);
            ranges.push(range);
          }
        }
      }
    }
    CSS.highlights.set("found", new Highlight(...ranges));
  }

  /** Open the best entry and move the focus to it: one that has the first term in its name, if there is one. */
  function openFirst() {
    const term = input.value.toLowerCase().split(/\s+/).find(Boolean);
    const best = term && (found.find((entry) => entry.name.includes(term)) ?? found[0]);
    if (!best) return;
    const details = best.element.closest("details");
    if (best.element instanceof HTMLDetailsElement) best.element.open = true;
    details?.querySelector("summary")?.focus();
    best.element.scrollIntoView();
  }

  input.addEventListener("input", search);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      event.preventDefault(); // the focus moves to a call, which the key would close again
      openFirst();
    }
    if (event.key === "Escape") {
      input.value = "";
      search();
    }
  });
  addEventListener("keydown", (event) => {
    const isTyping = event.target instanceof HTMLElement && event.target.matches("input, select");
    if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    input.focus();
    input.select();
  });

  // Links into parts that are closed, or that a search hides

  function reveal() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    if (target.closest("[hidden]")) {
      input.value = "";
      search();
    }
    for (let part = target.closest("details"); part; part = part.parentElement?.closest("details") ?? null) part.open = true;
    target.scrollIntoView();
  }
  addEventListener("hashchange", reveal);
  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element && event.target.closest("a");
    if (link && link.hash && link.hash === location.hash) reveal(); // the address does not change
  });

  // Open and close all

  toggle.addEventListener("click", () => {
    const opens = calls.some((each) => !each.open);
    for (const each of opens ? [...groups, ...calls] : calls) each.open = opens;
    toggle.textContent = opens ? "Close all calls" : "Open all calls";
  });

  // Copying

  for (const pre of document.querySelectorAll("pre.shell")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.setAttribute("aria-label", `Copy: ${(pre.textContent ?? "").slice(0, 60)}`);
    button.addEventListener("click", async () => {
      getSelection()?.selectAllChildren(pre); // at least this works without TLS, where browsers have no clipboard
      await navigator.clipboard?.writeText(pre.textContent ?? "").catch(() => {});
      button.textContent = navigator.clipboard ? "Copied" : "Selected";
      setTimeout(() => (button.textContent = "Copy"), 1500);
    });
    pre.after(button);
  }
  for (const each of document.querySelectorAll(".address")) each.textContent = location.origin;

  // Colours

  theme.value = savedTheme();
  theme.addEventListener("change", () => setTheme(theme.value));

  input.value = new URLSearchParams(location.search).get("q") ?? "";
  if (input.value) search();
  if (location.hash) reveal();
});
