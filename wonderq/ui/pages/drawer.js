// One message: its text in several forms, all that is known of it, and what can be done with it.

import { html, useState } from "../vendor/preact.js";
import { askToSend, bringBack } from "../app/actions.js";
import { Link, queueHref } from "../app/address.js";
import { call, queuePath } from "../app/api.js";
import { ask, doNow, Modal } from "../app/dialogs.js";
import { bytes, dateTime, number, shortId, visible } from "../app/format.js";
import { STATUS_WORDS } from "../app/found.js";
import { read } from "../app/json.js";
import { usePoll } from "../app/live.js";
import { Ago, Badge, Copy, Failure } from "../app/parts.js";

/** Characters that are shown at once. */
const SHOWN = 65536;

/** @param {any} properties */
export function Drawer({ queue, id, rights, onClose }) {
  const { data, error } = usePoll(`${queuePath(queue)}/messages/${encodeURIComponent(id)}`);
  const title = `Message ${shortId(id)}`;
  if (error?.status === 404 || error?.status === 400) {
    return html`<${Modal} kind="drawer" title=${title} onClose=${onClose}><p>It was deleted or moved meanwhile.</p></${Modal}>`;
  }
  return html`<${Modal} kind="drawer" title=${title} onClose=${onClose}>
    <${Failure} error=${error} />
    ${!data && !error && html`<p class="faint">Loading…</p>`}
    ${data && html`<${Actions} message=${data} rights=${rights} onClose=${onClose} /><${Body} text=${data.message} id=${id} /><${Details} message=${data} />`}</${Modal}>`;
}

/** @param {any} properties */
function Body({ text, id }) {
  const json = asJson(text);
  const [form, setForm] = useState(json === undefined ? "Text" : "JSON");
  const [showsAll, setShowsAll] = useState(false);
  const shown = showsAll ? text : text.slice(0, SHOWN);
  const isCut = shown.length < text.length;
  const forms = ["Text", ...(json === undefined ? [] : ["JSON"]), "Hex"];
  const size = new TextEncoder().encode(text).length;
  return html`<section aria-label="Text"><div class="bar"><div class="chips" role="group" aria-label="Form of the text">${forms.map(
      (each) => html`<button key=${each} type="button" aria-pressed=${each === form} onClick=${() => setForm(each)}>${each}</button>`,
    )}</div><span class="faint">${bytes(size)}</span><${Copy} text=${text} label="Copy the text" />
      <button type="button" class="quiet" onClick=${() => download(text, id)}>Download</button></div>
    ${form === "JSON" ? html`<div class="text tree"><${Tree} value=${json} name=${null} depth=${0} /></div>` : html`<pre class="text" tabindex="0">${form === "Hex" ? hex(shown) : text ? visible(shown) : html`<i>empty</i>`}</pre>`}
    ${form !== "JSON" && isCut && html`<p>The first ${number(SHOWN)} of ${number(text.length)} characters. <button type="button" onClick=${() => setShowsAll(true)}>Show all</button></p>`}</section>`;
}

/** A text that is a JSON object or array, as it is written, or undefined. @param {string} text */
const asJson = (text) => (/^\s*[[{]/.test(text) && text.length <= SHOWN * 4 ? read(text) : undefined);

/** @param {string} text */
function hex(text) {
  const data = new TextEncoder().encode(text.slice(0, 16384));
  const lines = [];
  for (let at = 0; at < data.length; at += 16) {
    const row = [...data.slice(at, at + 16)];
    const codes = row.map((each) => each.toString(16).padStart(2, "0")).join(" ");
    const letters = row.map((each) => (each >= 32 && each < 127 ? String.fromCharCode(each) : ".")).join("");
    lines.push(`${at.toString(16).padStart(6, "0")}  ${codes.padEnd(47)}  ${letters}`);
  }
  return lines.join("\n");
}

/** Entries of an object or array that the tree shows. */
const ENTRIES = 200;

/** @param {{value: import("../app/json.js").Node, name: string | null, depth: number}} properties */
function Tree({ value, name, depth }) {
  const { kind, text, entries } = value;
  const label = name === null ? null : html`<span class="name">${visible(name)}: </span>`;
  if (kind !== "array" && kind !== "object") {
    return html`<div class="leaf">${label}<span class=${kind}>${kind === "string" ? visible(JSON.stringify(JSON.parse(text))) : text}</span></div>`;
  }
  const [open, close] = kind === "array" ? ["[", "]"] : ["{", "}"];
  if (!entries.length) return html`<div class="leaf">${label}${open}${close}</div>`;
  return html`<details open=${depth < 3}><summary>${label}${open} <span class="faint">${number(entries.length)}</span> ${close}</summary>
    ${entries.slice(0, ENTRIES).map(([each, inner], at) => html`<${Tree} key=${at} name=${each} value=${inner} depth=${depth + 1} />`)}
    ${entries.length > ENTRIES && html`<div class="leaf faint">and ${number(entries.length - ENTRIES)} more; see Text</div>`}</details>`;
}

/** @param {string} text @param {string} id */
function download(text, id) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/octet-stream" }));
  link.download = `${id}.txt`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** @param {any} properties */
function Details({ message }) {
  const dead = message.dead_letter;
  const error = message.last_error;
  /** @type {[string, any][]} */
  const rows = [
    ["Id", html`<code>${message.id}</code> <${Copy} text=${message.id} label="Copy the id" />`],
    ["Status", html`<${Badge} kind=${message.status} title=${message.status}>${STATUS_WORDS[message.status]}</${Badge}>`],
    ["Produced", moment(message.produced_at)],
    ["Tries", number(message.receive_count)],
  ];
  if (message.claimed_until) rows.push(["Held", html`${message.consumer ? html`by ${visible(message.consumer)}, ` : ""}until ${dateTime(new Date(message.claimed_until))} (<${Ago} until at=${message.claimed_until} />)`]);
  if (message.delayed_until) rows.push(["Delayed", html`until ${dateTime(new Date(message.delayed_until))} (<${Ago} until at=${message.delayed_until} />)`]);
  if (message.version) rows.push(["Version", number(message.version)]);
  if (message.priority) rows.push(["Priority", message.priority]);
  if (message.group) rows.push(["Group", visible(message.group)]);
  if (message.idempotency_key) rows.push(["Idempotency key", visible(message.idempotency_key)]);
  if (message.traceparent) rows.push(["Trace", html`<code>${message.traceparent}</code>`]);
  const attributes = Object.entries(message.attributes ?? {});
  return html`${dead &&
    html`<section><h3>Dead letter</h3><dl><div><dt>Came from</dt><dd><${Link} href=${queueHref(dead.queue)}>${dead.queue}</${Link}></dd></div>
      <div><dt>Reason</dt><dd>${visible(dead.reason)}</dd></div><div><dt>Moved</dt><dd>${moment(dead.moved_at)}</dd></div>
      <div><dt>First produced</dt><dd>${moment(dead.produced_at)}</dd></div><div><dt>Tries there</dt><dd>${number(dead.receive_count)}</dd></div>
      <div><dt>Id there</dt><dd><code>${dead.id}</code></dd></div></dl></section>`}
    ${error && html`<section><h3>Last error</h3><p class="failure">${error.type && html`<b>${visible(error.type)}</b>: `}${visible(error.message)}</p>
      <p class="faint">Try ${number(error.attempt)}${error.consumer ? html` of ${visible(error.consumer)}` : ""}, ${moment(error.at)}</p>
      ${error.traceback && html`<pre class="text" tabindex="0">${visible(error.traceback)}</pre>`}</section>`}
    <section><h3>Details</h3><dl>${rows.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl></section>
    ${attributes.length > 0 && html`<section><h3>Attributes</h3><dl>${attributes.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${typeof value === "string" ? visible(value) : visible(JSON.stringify(value))}</dd></div>`)}</dl></section>`}
    <section><h3>History</h3><p class="faint">The log has every step of the message. Where the broker's folder is, and while the broker is stopped:</p>
      <div class="snippet"><pre tabindex="0">wonderq folder inspect FOLDER --message ${message.id}</pre><${Copy} text=${`wonderq folder inspect FOLDER --message ${message.id}`} label="Copy the command" /></div></section>`;
}

/** @param {string} at */
const moment = (at) => html`${dateTime(new Date(at))} <span class="faint">(<${Ago} at=${at} />)</span>`;

/** @param {any} properties */
function Actions({ message, rights, onClose }) {
  const path = `${queuePath(message.queue)}/messages/${message.id}`;
  const update = (/** @type {any} */ body, /** @type {string} */ text) =>
    doNow(async () => {
      await call(path, { method: "PATCH", body });
      return text;
    });
  const remove = () =>
    ask({
      title: `Delete ${shortId(message.id)}`,
      text: `This deletes the message from ${message.queue}${message.status === "processing" ? ", although a consumer holds it" : ""}. It cannot be undone.`,
      confirm: "Delete the message",
      isDanger: true,
      act: async () => {
        await call(path, { method: "DELETE" });
        onClose();
        return "The message is deleted.";
      },
    });
  const delay = () =>
    ask({
      title: `Delay ${shortId(message.id)}`,
      fields: [{ name: "delay", label: "Seconds until it can be claimed", type: "number", value: "60", required: true }],
      confirm: "Delay",
      act: async ({ delay: seconds }) => {
        await call(path, { method: "PATCH", body: { delay: Number(seconds) } });
        return "The message is delayed.";
      },
    });
  const edit = () => {
    let version = message.version ?? 1;
    ask({
      title: `Edit ${shortId(message.id)}`,
      text: "If somebody changes the message meanwhile, nothing is saved.",
      fields: [{ name: "message", label: "Text", type: "textarea", value: message.message }],
      confirm: "Save",
      act: async ({ message: text }) => {
        try {
          await call(path, { method: "PATCH", body: { message: text, if_version: version } });
        } catch (error) {
          const failed = /** @type {any} */ (error);
          if (failed.code !== "version_conflict") throw failed;
          const now = await call(path);
          version = now.version ?? 1;
          failed.message = "Somebody changed the message meanwhile: it has another version, which is below. Save again to replace it with yours.";
          failed.theirs = now.message;
          throw failed;
        }
        return "The message is changed.";
      },
    });
  };
  const back = () =>
    doNow(async () => {
      const text = await bringBack(message.queue, [message.id]);
      onClose();
      return text;
    });
  const button = (/** @type {string} */ name, /** @type {() => void} */ act, kind = "") => html`<button type="button" class=${kind} onClick=${act}>${name}</button>`;
  return html`<div class="actions">
    ${rights.isAdmin && message.dead_letter && rights.opensAllQueues && button("Bring back", back, "primary")}
    ${rights.isAdmin && message.status === "processing" && button("Release", () => update({ visibility_timeout: 0 }, "The message is released."))}
    ${rights.isAdmin && (message.status === "buried" || message.status === "delayed") && button("Make it wait now", () => update({ delay: 0 }, "The message waits for a consumer."))}
    ${rights.isAdmin && message.status !== "buried" && button("Bury", () => update({ bury: true }, "The message is buried."))}
    ${rights.isAdmin && button("Delay…", delay)}
    ${rights.isAdmin && !message.masked && button("Edit…", edit)}
    ${rights.sendsMessages && !message.masked && button("Resend as new…", () => askToSend(message.dead_letter?.queue ?? message.queue, message))}
    ${rights.isAdmin && button("Delete…", remove, "danger")}</div>
    ${message.masked && html`<p class="faint">Parts of this message are hidden (•••) by <code>--ui-mask</code>. It cannot be edited or resent here, because that would lose them.</p>`}`;
}
