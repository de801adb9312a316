/* Parts that several views use.

toast(text, {kind, action, seconds})   a short message at the bottom; kind "info" or "bad"; action {label, onclick}, as in Undo.
                                       Returns a function that takes it away.
problem(error)                         a toast with what an ApiError says; what was aborted is no problem
openDialog(title, content, actions) -> close
                                       a modal dialog; actions: [{label, class, onclick, submit}]. An onclick that returns false
                                       (or a promise of it) keeps it open. Escape and the cross close it.
empty(iconName, title, text, ...more)  what stands where there is nothing to see
labelChip(label, ...more)              a class with its colour
stat(name, value, detail, testId)      a figure with its name
spinner(text) */

import { h, replace } from "./dom.js";
import { hueOf } from "./colors.js";
import { icon } from "./icons.js";

export function toast(text, { kind = "info", action, seconds = 6 } = {}) {
  const close = () => {
    clearTimeout(timer);
    node.remove();
  };
  const node = h(
    "div",
    { class: `toast ${kind}`, "data-testid": "toast" },
    icon(kind === "bad" ? "warning" : "info"),
    h("span", null, text),
    action && h("button", { class: "quiet", onclick: () => (close(), action.onclick()) }, action.label),
    h("button", { class: "quiet square", "aria-label": "Dismiss", onclick: close }, icon("cross", { size: 14 })),
  );
  const timer = setTimeout(close, seconds * 1000);
  const list = document.getElementById("toasts");
  list.append(node);
  if (list.childElementCount > 3) list.firstElementChild.remove();
  return close;
}

export function problem(error) {
  if (error?.name !== "AbortError") toast(error.detail ?? error.message, { kind: "bad" });
}

export function openDialog(title, content, actions = []) {
  const close = () => dialog.close();
  const press = async (action, event) => {
    event.preventDefault();
    if ((await action.onclick?.()) !== false) close();
  };
  const submit = actions.find((action) => action.submit);
  const dialog = h(
    "dialog",
    { class: "dialog", "aria-labelledby": "dialog-title", onclose: () => dialog.remove() },
    h(
      "form",
      { method: "dialog", onsubmit: (event) => (submit ? press(submit, event) : undefined) },
      h(
        "header",
        null,
        h("h2", { id: "dialog-title" }, title),
        h("button", { type: "button", class: "quiet square", "aria-label": "Close", onclick: close }, icon("cross")),
      ),
      h("div", { class: "dialog-body" }, content),
      actions.length > 0 &&
        h(
          "footer",
          null,
          actions.map((action) =>
            action.submit
              ? h("button", { type: "submit", class: action.class ?? "primary" }, action.label)
              : h(
                  "button",
                  { type: "button", class: action.class, onclick: (event) => press(action, event) },
                  action.label,
                ),
          ),
        ),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
  dialog.querySelector("[autofocus]")?.focus();
  return close;
}

export function empty(iconName, title, text, ...more) {
  return h(
    "div",
    { class: "empty" },
    icon(iconName, { size: 32 }),
    h("h2", null, title),
    text && h("p", null, text),
    more,
  );
}

export function labelChip(label, ...more) {
  return h("span", { class: "chip", style: { "--hue": hueOf(label) } }, h("i", { class: "dot" }), h("span", {}, label), more);
}

export function stat(name, value, detail, testId) {
  const node = h("div", { class: "stat", "data-testid": testId }, h("dt", null, name), h("dd", null));
  return setStat(node, value, detail);
}

export function setStat(node, value, detail) {
  replace(node.lastElementChild, value, detail && h("small", null, detail));
  return node;
}

export function spinner(text = "Loading…") {
  return h("p", { class: "spinner", role: "status" }, h("i"), text);
}
