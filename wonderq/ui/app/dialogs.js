// Questions before an action, and the one line that tells its result.

import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { store } from "./api.js";
import { visible } from "./format.js";
import { refresh, useHold, useStore } from "./live.js";

const asked = store(/** @type {any} */ (null));
const said = store({ text: "", at: 0 });

/** Tell the result of an action, also to screen readers. @param {string} text */
export const announce = (text) => said.set({ text, at: Date.now() });

/**
 * Ask before an action. `act` gets the values of the fields; its error is shown in the dialog, and a text that it returns
 * is announced. With `typed`, the user must type that text first. What is `below` a field is a component that gets
 * the present `values`.
 * @param {{title: string, text?: any, fields?: any[], confirm: string, isDanger?: boolean, typed?: string,
 *   act: (values: Record<string, any>) => Promise<string | void>}} question
 */
export const ask = (question) => asked.set(question);

/** Act without a question, and tell the result. @param {() => Promise<string>} act */
export async function doNow(act) {
  try {
    announce(await act());
  } catch (error) {
    announce(/** @type {Error} */ (error).message);
  }
  refresh();
}

export function Dialogs() {
  const question = useStore(asked);
  const { text, at } = useStore(said);
  useEffect(() => {
    const timer = text ? setTimeout(() => said.set({ text: "", at: 0 }), 8000) : 0;
    return () => clearTimeout(timer);
  }, [at]);
  return html`<div class=${text ? "toast" : "toast gone"} role="status" aria-live="polite">${text}</div>
    ${question && html`<${Question} key=${question.title} question=${question} />`}`;
}

/** @param {{question: any}} properties */
function Question({ question }) {
  const [error, setError] = useState(/** @type {any} */ (null));
  const [typed, setTyped] = useState("");
  const [isBusy, setBusy] = useState(false);
  const [values, setValues] = useState(() => Object.fromEntries((question.fields ?? []).map((/** @type {any} */ field) => [field.name, field.value ?? ""])));
  const close = () => asked.set(null);
  const isReady = !isBusy && (!question.typed || typed === question.typed);
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (!isReady) return;
    setBusy(true);
    setError(null);
    try {
      const result = await question.act(valuesOf(question, /** @type {HTMLFormElement} */ (event.target)));
      close();
      if (result) announce(result);
      refresh();
    } catch (failed) {
      setError(failed);
    }
    setBusy(false);
  };
  return html`<${Modal} title=${question.title} onClose=${close}>
    <form onSubmit=${submit} onInput=${(/** @type {any} */ event) => setValues(valuesOf(question, event.currentTarget))}>
      ${question.text && html`<p>${question.text}</p>`}
      ${(question.fields ?? []).map((/** @type {any} */ field) => html`<${Field} key=${field.name} field=${field} error=${error?.field === field.name ? error : null} values=${values} />`)}
      ${question.typed &&
      html`<label class="field">Type <b>${question.typed}</b> to confirm
        <input name="typed" autocomplete="off" value=${typed} onInput=${(/** @type {any} */ event) => setTyped(event.target.value)} /></label>`}
      ${error && html`<p class="failure" role="alert">${error.message}</p>`}
      ${error?.theirs !== undefined && html`<pre class="text" tabindex="0" aria-label="Their text">${visible(error.theirs)}</pre>`}
      <p class="buttons"><button type="button" onClick=${close}>Cancel</button>
        <button type="submit" class=${question.isDanger ? "danger" : "primary"} disabled=${!isReady}>${question.confirm}</button></p>
    </form></${Modal}>`;
}

/** The name of a field's input. A form has properties such as `attributes`, which an input of that name would hide. @param {any} field */
const inputName = (field) => `field-${field.name}`;

/** What the user has chosen so far. @param {any} question @param {HTMLFormElement} form */
function valuesOf(question, form) {
  const data = new FormData(form);
  /** @type {Record<string, any>} */
  const values = {};
  for (const field of question.fields ?? []) {
    values[field.name] = field.type === "checkbox" ? data.has(inputName(field)) : textOf(field, String(data.get(inputName(field)) ?? ""));
  }
  return values;
}

const LINE_END = /\r\n?|\n/g;

/** The text of a field. An input changes line ends, also of a text that nobody touches. @param {any} field @param {string} typed */
function textOf(field, typed) {
  const first = String(field.value ?? "");
  if (typed === first.replace(LINE_END, field.type === "textarea" ? "\n" : "")) return first;
  const ends = lineEndsOf(first);
  return ends.length === 1 ? typed.replace(LINE_END, ends[0]) : typed;
}

/** The different line ends of a text. @param {string} text */
const lineEndsOf = (text) => [...new Set(text.match(LINE_END))];

/** A field keeps what is typed when the dialog is drawn again, so it only has a first value. @param {{field: any, error: any, values: any}} properties */
function Field({ field, error, values }) {
  const shared = { name: inputName(field), "aria-invalid": error ? "true" : undefined, required: field.required, disabled: field.isFixed };
  let input;
  if (field.type === "textarea") input = html`<textarea rows=${field.rows ?? 6} spellcheck=${false} ...${shared}>${field.value ?? ""}</textarea>`;
  else if (field.type === "select") {
    input = html`<select defaultValue=${field.value} ...${shared}>${field.options.map((/** @type {string} */ each) => html`<option key=${each} value=${each} selected=${each === field.value}>${each}</option>`)}</select>`;
  } else if (field.type === "checkbox") {
    return html`<label class="check"><input type="checkbox" defaultChecked=${field.value} ...${shared} /> ${field.label}</label>`;
  } else input = html`<input type=${field.type ?? "text"} step=${field.type === "number" ? "any" : undefined} defaultValue=${field.value ?? ""} autocomplete="off" ...${shared} />`;
  return html`<div><label class="field">${field.label}${input}${field.help && html`<small>${field.help}</small>`}</label>
    ${field.type === "textarea" && lineEndsOf(String(field.value ?? "")).length > 1 && html`<p class="faint">Its line ends are mixed. If you change the text, all line ends become LF.</p>`}
    ${field.below && html`<${field.below} values=${values} />`}</div>`;
}

/** A dialog that keeps the focus, and gives it back. @param {any} properties */
export function Modal({ title, onClose, children, kind = "" }) {
  const dialog = useRef(/** @type {any} */ (null));
  useHold(true);
  useEffect(() => {
    const before = /** @type {HTMLElement | null} */ (document.activeElement);
    const shown = dialog.current;
    shown.showModal();
    return () => {
      shown.close(); // as long as it is open, nothing outside it takes the focus
      before?.focus();
    };
  }, []);
  const onCancel = (/** @type {Event} */ event) => {
    event.preventDefault();
    onClose();
  };
  const onClick = (/** @type {any} */ event) => event.target === dialog.current && onClose();
  return html`<dialog ref=${dialog} class=${kind} aria-labelledby="dialog-title" onCancel=${onCancel} onMouseDown=${onClick}>
    <div class="inside"><header><h2 id="dialog-title">${title}</h2>
      <button type="button" class="quiet" onClick=${onClose}>Close</button></header>
      ${children}</div></dialog>`;
}
