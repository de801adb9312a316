/* Asks for the password of the page. mount(root, {onDone}) calls onDone when it is right. */

import { api } from "./api.js";
import { h, setText } from "./dom.js";

export function mount(root, { onDone }) {
  const field = h("input", {
    id: "password",
    name: "password",
    type: "password",
    autocomplete: "current-password",
    required: true,
    "aria-describedby": "login-problem",
  });
  const problem = h("p", { id: "login-problem", class: "problem", role: "alert" });
  const button = h("button", { class: "primary", type: "submit" }, "Log in");

  const submit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    setText(problem, "");
    try {
      await api.post("login", { password: field.value });
      await onDone();
    } catch (error) {
      setText(problem, error.detail ?? error.message);
      field.select();
    } finally {
      button.disabled = false;
    }
  };

  root.append(
    h(
      "form",
      { class: "card login", onsubmit: submit, "data-testid": "login" },
      h("img", { src: "static/icon.svg", alt: "", width: 56, height: 56 }),
      h("h1", null, "htsat-edge"),
      h("input", {
        class: "visually-hidden",
        type: "text",
        name: "username",
        autocomplete: "username",
        value: "htsat-edge",
        tabindex: -1,
        "aria-hidden": "true",
      }),
      h("label", { for: "password" }, "Password"),
      field,
      problem,
      button,
      h("p", { class: "muted small" }, "Forgotten? On the device: htsat-edge web --set-password FILE, then start the page again"),
    ),
  );
  field.focus();
  return () => {};
}
