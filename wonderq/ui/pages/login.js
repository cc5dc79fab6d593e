// The form that asks for a key. The key becomes a session of the broker, and is not kept in the browser.

import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { call, session } from "../app/api.js";

export function Login() {
  const [error, setError] = useState("");
  const field = useRef(/** @type {any} */ (null));
  useEffect(() => field.current.focus(), []);
  const logIn = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const form = /** @type {HTMLFormElement} */ (event.target);
    try {
      await call("/ui/session", { method: "POST", body: { key: String(new FormData(form).get("key")).trim() } });
      session.set(true);
    } catch (failed) {
      setError(/** @type {Error} */ (failed).message);
    }
  };
  return html`<main class="login"><h1>WonderQ</h1>
    <form onSubmit=${logIn}>
      <input type="text" name="username" autocomplete="username" value="WonderQ" hidden />
      <label class="field">API key<input ref=${field} name="key" type="password" autocomplete="current-password" required /></label>
      ${error && html`<p class="failure" role="alert">${error}</p>`}
      <p class="buttons"><button type="submit" class="primary">Log in</button></p>
    </form>
    <p class="faint">Make one where the broker runs: <code>wonderq key create you --role inspect</code>.
      The role <code>look</code> sees figures, <code>inspect</code> also messages, <code>admin</code> may act.</p></main>`;
}
