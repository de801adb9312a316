/* One event: its clip and scores, what a person says of it, and the way to "Why?".

makeDetail(event, {labels, onDecide, onLock, onChange, onClose, onMove}) -> {element, toggle, seekBy, editNote, askLabel, update, destroy}
labels are those offered for "really another sound"; onDecide(decision), onLock(); onChange(change, said) for a label or a note;
onMove(step) opens the next or the previous event */

import { hueOf } from "./colors.js";
import { button, field, middleOf, tool } from "./controls.js";
import { h, setText } from "./dom.js";
import { lengthOf, whereOf } from "./eventlist.js";
import { pageOf } from "./fleet_feed.js";
import * as format from "./format.js";
import { icon } from "./icons.js";
import { makePlayer } from "./player.js";
import { verdictOf } from "./verdicts.js";
import { toast } from "./widgets.js";

export function makeDetail(event, { labels, onDecide, onLock, onChange, onClose, onMove }) {
  const { label, source, at, device } = event;
  const player = makePlayer(event);
  const choice = (name, picture, text, onclick) =>
    button(picture, [text, h("kbd", { "aria-hidden": "true" }, name[0])], onclick, { class: `verdict-${name}`, "aria-keyshortcuts": name[0], "data-testid": name });
  const buttons = {
    correct: choice("correct", "check", "Correct", () => onDecide("correct")),
    wrong: choice("wrong", "cross", "Wrong", () => onDecide("wrong")),
    locked: choice("lock", "lock", "Lock", onLock),
  };
  const really = h("input", { list: "really", maxlength: 200, autocomplete: "off", placeholder: "A class, or your own word", "data-testid": "really", onchange: saveLabel });
  const onkeydown = (key) => key.key === "Enter" && (key.ctrlKey || key.metaKey) && note.blur();
  const note = h("textarea", { rows: 1, maxlength: 2000, placeholder: "What only you know", "data-testid": "note", onchange: saveNote, onkeydown });
  const about = h("p", { class: "muted" });
  const title = h("div", { class: "grow" }, h("h2", { id: "detail-title", tabindex: -1 }, h("i", { class: "dot" }), label), about);
  const why = `#why?${new URLSearchParams({ source, label, at: middleOf(event).toFixed(2) })}`;
  const page = device !== null && pageOf(device);
  const tune = `#tune?${new URLSearchParams({ source, label })}`;
  const element = h(
    "article",
    { class: "detail card", "aria-labelledby": "detail-title", "data-testid": "detail", style: { "--hue": hueOf(label) } },
    h(
      "header",
      {},
      button("left", "Events", onClose, { class: "quiet detail-back" }),
      title,
      tool("left", "Newer event", () => onMove(-1)),
      tool("right", "Older event", () => onMove(1)),
      tool("cross", "Close", onClose, { class: "quiet square detail-close" }),
    ),
    player.element,
    h("div", { class: "verdict row", role: "group", "aria-label": "Verdict" }, Object.values(buttons)),
    h(
      "div",
      { class: "detail-fields" },
      field("Really another sound", really, h("datalist", { id: "really" }, labels.map((value) => value !== label && h("option", { value })))),
      field("Note", note),
    ),
    device !== null && h("p", { class: "muted small" }, "What you say here stays in the collector’s store: the device’s own page does not know of it."),
    h(
      "footer",
      { class: "row" },
      device === null && h("a", { class: "button", href: why, "data-testid": "why-link" }, icon("why"), "Why was this reported?"),
      device === null && h("a", { class: "button", href: tune }, icon("tune"), "Tune"),
      page && h("a", { class: "button", href: `${page}${why}`, target: "_blank", rel: "noreferrer" }, icon("open"), "Why? on the device’s page"),
      button(null, "Copy link", copyLink, { class: "quiet" }),
    ),
  );

  function saveLabel() {
    const text = really.value.trim();
    if (text === (verdictOf(event).label ?? "")) return;
    if (text === label) onChange({ decision: "correct" }, "correct");
    else onChange({ decision: "wrong", label: text || null }, text ? `really ${text}` : "wrong");
  }

  function saveNote() {
    const text = note.value.trim();
    if (text !== verdictOf(event).note) onChange({ note: text }, text ? "note kept" : "note removed");
  }

  async function copyLink() {
    const url = `${location.href.split("#")[0]}#events?event=${event.key}`;
    // Only a page with TLS, or of this device, may write to the clipboard.
    await navigator.clipboard?.writeText(url).then(() => toast("The link is copied."), () => toast(url, { seconds: 20 })) ?? toast(url, { seconds: 20 });
  }

  function update() {
    const verdict = verdictOf(event);
    for (const name of ["correct", "wrong"]) buttons[name].setAttribute("aria-pressed", verdict.decision === name);
    buttons.locked.setAttribute("aria-pressed", verdict.locked);
    if (document.activeElement !== really) really.value = verdict.label ?? "";
    if (document.activeElement !== note) note.value = verdict.note;
    setText(about, `${format.dayTime(at)} · ${whereOf(event)} · ${lengthOf(event)} · score ${format.score(event.score)}`);
  }

  function destroy() {
    // What was typed and not left yet counts.
    if (document.activeElement === note) saveNote();
    if (document.activeElement === really) saveLabel();
    player.destroy();
  }

  update();
  return { element, toggle: player.toggle, seekBy: player.seekBy, editNote: () => note.focus(), askLabel: () => really.focus(), update, destroy };
}
