// The settings of a queue as a form. Only what was changed is saved.

import { html, useState } from "../vendor/preact.js";
import { call, queuePath } from "../app/api.js";
import { announce } from "../app/dialogs.js";
import { refresh, useHold } from "../app/live.js";

/** @type {[string, string, any, string][]} name, unit, the value of a new queue, meaning */
const SETTINGS = [
  ["visibility_timeout", "seconds", 30, "How long a consumer holds a message, if it names no time"],
  ["delay", "seconds", 0, "Delay of new messages that name none"],
  ["retention", "seconds", 0, "Age at which a message is deleted, whatever its status; 0: never"],
  ["max_receives", "tries", 0, "Tries after which a message becomes a dead letter; 0: any number"],
  ["dead_letter_queue", "", "", "Queue that gets the dead letters; empty: they are buried here"],
  ["paused", "", false, "Consumers get nothing"],
  ["draining", "", false, "New messages are refused"],
  ["max_messages", "messages", 0, "Most messages in the queue; 0: any number"],
  ["max_bytes", "bytes", 0, "Most bytes of all messages; 0: any number"],
  ["max_message_bytes", "bytes", 0, "Largest message; 0: the limit of the broker"],
  ["max_in_flight", "messages", 0, "Most messages that consumers hold at a time; 0: any number"],
  ["max_in_flight_per_group", "messages", 0, "The same for each group"],
  ["max_claims_per_second", "messages", 0, "Most messages delivered per second; 0: any number"],
  ["max_claims_per_second_per_group", "messages", 0, "The same for each group"],
  ["content_deduplication", "", false, "The text of a message is its idempotency key, if it has none"],
  ["deduplication_window", "seconds", 300, "How long an idempotency key is remembered"],
  ["deduplication_per_group", "", false, "Each group has idempotency keys of its own"],
];

/** @param {any} properties */
export function Settings({ queue, rights }) {
  const [changes, setChanges] = useState(/** @type {Record<string, any>} */ ({}));
  const [error, setError] = useState(/** @type {any} */ (null));
  const changed = Object.keys(changes).filter((name) => changes[name] !== queue.settings[name]);
  useHold(changed.length > 0);
  const save = async (/** @type {Event} */ event) => {
    event.preventDefault();
    setError(null);
    try {
      await call(queuePath(queue.queue), { method: "PUT", body: Object.fromEntries(changed.map((name) => [name, changes[name]])) });
      setChanges({});
      announce(`${changed.length === 1 ? "The setting is" : "The settings are"} saved.`);
      refresh();
    } catch (failed) {
      setError(failed);
    }
  };
  const set = (/** @type {string} */ name, /** @type {any} */ value) => setChanges({ ...changes, [name]: value });
  const tags = Object.entries(queue.settings.tags ?? {});
  return html`<form class=${changed.length ? "settings changed" : "settings"} onSubmit=${save}><table><thead><tr><th scope="col">Setting</th><th scope="col">Value</th><th scope="col" class="wide">Meaning</th></tr></thead>
    <tbody>${SETTINGS.map(([name, unit, initial, meaning]) => {
      const value = changes[name] ?? queue.settings[name];
      return html`<tr key=${name}><th scope="row"><label for=${`setting-${name}`}>${name.split("_").map((part, at) => [at > 0 && ["_", html`<wbr />`], part])}</label>${value !== initial && html` <span class="badge" title="Not as in a new queue">set</span>`}</th>
        <td><${Value} name=${name} value=${value} initial=${initial} isFixed=${!rights.isAdmin} set=${set} isWrong=${error?.field === name} /> <small>${unit}</small>
          ${error?.field === name && html`<p class="failure" role="alert">${error.message}</p>`}<small class="narrow">${meaning}</small></td>
        <td class="wide faint">${meaning}${initial !== "" && initial !== false && initial !== 0 ? `. A new queue has ${initial}` : ""}</td></tr>`;
    })}
    ${tags.length > 0 && html`<tr><th scope="row">tags</th><td colspan="2">${tags.map(([name, value]) => html`<span key=${name} class="badge">${name}: ${value}</span> `)}</td></tr>`}</tbody></table>
    ${error && !SETTINGS.some(([name]) => name === error.field) && html`<p class="failure" role="alert">${error.message}</p>`}
    ${rights.isAdmin && html`<p class="buttons"><button type="button" disabled=${!changed.length} onClick=${() => setChanges({})}>Undo</button>
      <button type="submit" class="primary" disabled=${!changed.length}>${changed.length ? `Save ${changed.join(", ")}` : "Nothing changed"}</button></p>`}</form>`;
}

/** What is typed as a number. An empty field is none, and not 0: the form is not sent with it. @param {string} text */
const numberOf = (text) => (text === "" ? "" : Number(text));

/** @param {any} properties */
function Value({ name, value, initial, isFixed, set, isWrong }) {
  const shared = { id: `setting-${name}`, disabled: isFixed, "aria-invalid": isWrong ? "true" : undefined };
  if (typeof initial === "boolean") return html`<input type="checkbox" checked=${value} onChange=${(/** @type {any} */ event) => set(name, event.target.checked)} ...${shared} />`;
  if (typeof initial === "string") return html`<input type="text" value=${value} maxlength="80" onInput=${(/** @type {any} */ event) => set(name, event.target.value)} ...${shared} />`;
  return html`<input type="number" min="0" step="any" required value=${value} onInput=${(/** @type {any} */ event) => set(name, numberOf(event.target.value))} ...${shared} />`;
}
