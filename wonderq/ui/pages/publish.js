// A form for a message of a topic: publish it, or try which queues would get it, and why others would not.

import { html, useRef, useState } from "../vendor/preact.js";
import { Link, queueHref } from "../app/address.js";
import { call, topicPath } from "../app/api.js";
import { announce } from "../app/dialogs.js";
import { count, number, visible } from "../app/format.js";
import { parsed } from "../app/json.js";
import { refresh } from "../app/live.js";
import { Badge } from "../app/parts.js";

/** Subscriptions of which the effect is shown. */
const TRIED = 1000;

/** @param {{topic: string, rights: any}} properties */
export function Publish({ topic, rights }) {
  const form = useRef(/** @type {any} */ (null));
  const [error, setError] = useState(/** @type {any} */ (null));
  const [tried, setTried] = useState(/** @type {any[] | null} */ (null));
  const [published, setPublished] = useState(/** @type {any} */ (null));
  const isBusy = useRef(false); // a disabled button would lose the focus
  const forget = () => {
    setTried(null);
    setPublished(null);
    setError(null);
  };
  const act = async (/** @type {(body: any) => Promise<void>} */ doIt) => {
    if (isBusy.current || !form.current.reportValidity()) return; // what is no number would be left out
    forget();
    isBusy.current = true;
    try {
      await doIt(messageIn(form.current));
    } catch (failed) {
      setError(failed);
    }
    isBusy.current = false;
  };
  const attempt = () => act(async (body) => setTried(await call(`${topicPath(topic)}/match`, { method: "POST", body: { ...body, limit: TRIED } })));
  const publish = () =>
    act(async (body) => {
      const result = await call(`${topicPath(topic)}/publish`, { method: "POST", body });
      setPublished(result);
      announce(wordsOf(result));
      refresh();
    });
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    void attempt();
  };
  return html`<form ref=${form} class="publish" onSubmit=${submit} onInput=${forget}>
      <label class="field">Message<textarea name="message" rows="5" spellcheck=${false}></textarea></label>
      <label class="field">Attributes, as JSON<textarea name="attributes" rows="3" spellcheck=${false} placeholder='{"kind": "paid"}'></textarea></label>
      <div class="filters"><label>Subject<input name="subject" maxlength="100" autocomplete="off" /></label><label>Group<input name="group" maxlength="128" autocomplete="off" /></label>
        <label>Priority, 0 to 9<input name="priority" type="number" /></label><label>Delay in seconds<input name="delay" type="number" step="any" /></label></div>
      ${error && html`<p class="failure" role="alert">${error.message}</p>`}
      <p class="bar"><button type="submit" title="Publishes nothing">Try it</button>
        ${rights.sendsMessages && html`<button type="button" class="primary" onClick=${publish}>Publish</button>`}
        <span class="faint">“Try it” shows which subscriptions match, and why others do not. It publishes nothing.</span></p></form>
    <div role="status">${published && html`<p class="well"><span aria-hidden="true">✓</span> ${wordsOf(published)}</p>`}${tried && html`<p>${summaryOf(tried)}</p>`}</div>
    ${tried && tried.length > 0 && html`<${Tried} rows=${tried} />`}`;
}

/** The message that a form has. @param {HTMLFormElement} form */
function messageIn(form) {
  const values = new FormData(form);
  const text = (/** @type {string} */ name) => String(values.get(name) ?? "");
  /** @type {Record<string, unknown>} */
  const body = { message: text("message") };
  if (text("attributes").trim()) body.attributes = parsed(text("attributes"), "The attributes");
  for (const name of ["subject", "group"]) if (text(name)) body[name] = text(name);
  for (const name of ["priority", "delay"]) if (text(name)) body[name] = Number(text(name));
  return body;
}

/** @param {any} result */
function wordsOf({ queues, skipped, duplicate }) {
  if (duplicate) return "A message with the same idempotency key was published before, so no queue gets this one.";
  const got = queues ? `${count(queues, "queue")} ${queues === 1 ? "has" : "have"} the message.` : "No queue got the message.";
  return skipped ? `${got} ${count(skipped, "queue")} refused it.` : got;
}

/** @param {any[]} tried */
function summaryOf(tried) {
  const matching = tried.filter((each) => each.matches).length;
  const refusing = tried.filter((each) => each.fails_publish).map((each) => each.queue);
  if (refusing.length) return html`<span class="failure">A publish would be refused, and no queue would get the message, because of ${refusing.slice(0, 5).join(", ")}${refusing.length > 5 && ` and ${count(refusing.length - 5, "other")}`}.</span>`;
  const cut = tried.length === TRIED ? ` These are the first ${number(TRIED)} subscriptions.` : "";
  return tried.length ? `${number(matching)} of ${count(tried.length, "subscription")} would get the message.${cut}` : "The topic has no subscription that you may see, so nobody would get the message.";
}

/** @param {{rows: any[]}} properties */
function Tried({ rows }) {
  const rank = (/** @type {any} */ each) => (each.fails_publish ? 0 : each.matches ? 1 : 2);
  const sorted = [...rows].sort((a, b) => rank(a) - rank(b));
  const isRefused = rows.some((each) => each.fails_publish);
  return html`<table class="stack names"><thead><tr><th scope="col">Subscription</th><th scope="col">Queue</th><th scope="col">Result</th><th scope="col">Why not</th></tr></thead>
    <tbody>${sorted.map((each) => html`<tr key=${each.subscription}><th scope="row">${each.subscription}</th><td><span class="inline-narrow">→ </span><${Link} data-open href=${queueHref(each.queue)}>${each.queue}</${Link}></td>
      <td>${each.fails_publish ? html`<${Badge} kind="error">refuses it</${Badge}>` : each.matches ? html`<${Badge} kind="good">${isRefused ? "matches" : "gets it"}</${Badge}>` : html`<${Badge}>does not get it</${Badge}>`}</td><td>${visible(each.reason)}</td></tr>`)}</tbody></table>`;
}
