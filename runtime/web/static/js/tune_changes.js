/* The thresholds that a person has chosen: what they would have changed, the difference in the file, and their way into force.

makeChanges({isMany, span, days, onDrop, onInForce}) -> changes
  element
  set({source, label, now, threshold})   a new threshold in place of `now`; null: none
  of(source, label)     the new threshold, or null       refresh()   asks again what would have been       destroy()
`isMany`: there are several sources, so that a person says for which a change is. onDrop(source, label) where one is taken back here,
onInForce() when the daemon has taken them over. */

import { api } from "./api.js";
import { hueOf } from "./colors.js";
import { button, copyButton, eventCount, tool } from "./controls.js";
import { h, replace, setText } from "./dom.js";
import { feed } from "./feed.js";
import * as format from "./format.js";
import { listenButton } from "./listen.js";
import { waitFor } from "./said.js";
import { thresholdText } from "./tune_chart.js";
import { openDialog, spinner } from "./widgets.js";

const PATIENCE_MS = 300;
const TIMEOUT_S = 180;
const TAKEN_OVER_S = 15;
const MOST_GONE = 100;
const SIMPLE = /^(?!(?:yes|no|on|off|true|false|null)$)[a-z]+( [a-z]+)*$/i;

export function makeChanges({ isMany, span, days, onDrop, onInForce }) {
  let chosen = new Map(); // "source label" -> {source, label, now, threshold}
  let asked = new AbortController();
  let timer = 0;
  let diff = "";
  let daemon = null; // what waits for it
  let late = 0;

  const list = h("ul", { class: "tune-changes" });
  const everywhere = h("input", { type: "checkbox", onchange: refresh });
  const effect = h("div", { role: "status", "data-testid": "tune-effect" });
  const gone = h("div");
  const show = button(null, "Show the difference", showDiff, { "data-testid": "tune-diff" });
  const apply = button("check", "Apply", applyAll, { class: "primary", "data-testid": "tune-apply" });
  const trouble = h("div", { role: "alert" });
  const card = h(
    "section",
    { class: "card stack", "aria-label": "Changes", hidden: true, "data-testid": "tune-changes" },
    h("h2", {}, "Changes"),
    list,
    isMany && h("label", { class: "check" }, everywhere, "for all sources"),
    effect,
    h("div", { class: "row" }, apply, show, button(null, "Discard", () => [...chosen.values()].forEach(drop), { class: "quiet" })),
    trouble,
    gone,
  );
  const result = h("section", { class: "card stack", "aria-label": "Result", role: "status", hidden: true, "data-testid": "tune-result" });
  const element = h("div", { class: "stack" }, card, result);

  const keyOf = (source, label) => `${source}\n${label}`;
  const changes = () => {
    const source = (one) => (isMany && !everywhere.checked ? one.source : null);
    const all = [...chosen.values()].map((one) => ({ source: source(one), label: one.label, threshold: one.threshold }));
    return [...new Map(all.map((one) => [keyOf(one.source, one.label), one])).values()];
  };

  function set(change) {
    const key = keyOf(change.source, change.label);
    if (change.threshold === null) chosen.delete(key);
    else chosen.set(key, change);
    result.hidden = true;
    refresh();
  }

  function drop({ source, label }) {
    set({ source, label, threshold: null });
    onDrop(source, label);
  }

  function refresh() {
    asked.abort();
    clearTimeout(timer);
    card.hidden = chosen.size === 0;
    replace(list, [...chosen.values()].map(item));
    replace(trouble);
    if (chosen.size === 0) return;
    card.setAttribute("aria-busy", "true");
    timer = setTimeout(preview, PATIENCE_MS);
  }

  function item(change) {
    const { source, label, now, threshold } = change;
    return h(
      "li",
      { class: "row", style: { "--hue": hueOf(label) } },
      h("i", { class: "dot" }),
      h("span", { class: "grow" }, h("b", {}, label), isMany && !everywhere.checked && h("small", { class: "muted" }, ` ${source}`)),
      h("span", { class: "number" }, `${thresholdText(now)} → `, h("b", {}, thresholdText(threshold))),
      tool("cross", `Take back the change of ${label}`, () => drop(change), { class: "quiet square small" }),
    );
  }

  async function preview() {
    const { signal } = (asked = new AbortController());
    const slow = setTimeout(() => replace(effect, spinner("Going through the scores …")), PATIENCE_MS);
    try {
      const body = await api.post("tune/preview", { changes: changes(), ...span() }, { signal, timeoutS: TIMEOUT_S });
      diff = body.diff;
      show.hidden = apply.hidden = diff === "";
      replace(effect, effectOf(body, days()));
      replace(gone, goneOf(body));
      if (diff === "") replace(trouble, byHand(body.note, changes()));
      else replace(trouble, body.note && h("p", { class: "muted small" }, body.note));
    } catch (error) {
      if (signal.aborted) return;
      show.hidden = apply.hidden = true;
      replace(gone);
      replace(effect, h("p", { class: "problem" }, error.detail ?? error.message));
    } finally {
      clearTimeout(slow);
    }
    card.removeAttribute("aria-busy");
  }

  function showDiff() {
    const kinds = { "+": "good", "-": "problem", "@": "muted" };
    const lines = diff.trimEnd().split("\n").map((text) => h("span", { class: kinds[text[0]] }, `${text}\n`));
    const body = h("pre", { class: "tune-diff", tabindex: 0, "aria-label": "Difference" }, lines);
    openDialog("What would be written", body, [{ label: "Apply", submit: true, onclick: () => void applyAll() }]);
  }

  async function applyAll() {
    const said = { last: null, heed: () => {} };
    apply.disabled = true;
    daemon?.stop();
    daemon = waitFor(["config_loaded", "config_rejected"], (message) => {
      said.last = message;
      said.heed();
    });
    await daemon.ready;
    try {
      const applied = await api.post("tune/apply", { changes: changes() });
      const labels = [...chosen.values()];
      chosen = new Map();
      refresh();
      for (const { source, label } of labels) onDrop(source, label);
      follow(applied, said);
    } catch (error) {
      daemon.stop();
      replace(trouble, byHand(error.detail ?? error.message, changes()));
    }
    apply.disabled = false;
  }

  /* Show what was written, and what the daemon says of it: its word may have come before the answer. */
  function follow({ path, backup }, said) {
    const state = h("span", { class: "pill", "data-kind": "wait" }, "Waiting for the daemon …");
    const more = h("p", { class: "muted small" });
    clearTimeout(late);
    late = setTimeout(() => setText(more, "The daemon has not taken them over yet. Does it run with this file?"), TAKEN_OVER_S * 1000);
    replace(
      result,
      h("div", { class: "row" }, h("h2", { class: "grow" }, "Written"), state),
      more,
      h("dl", { class: "keys" }, h("dt", {}, "File"), h("dd", {}, h("code", {}, path)), h("dt", {}, "As it was"), h("dd", {}, h("code", {}, backup))),
    );
    result.hidden = false;
    if (feed.state === "no-daemon") setText(more, "The daemon does not run; it takes them over when it starts.");
    said.heed = () => {
      const { state: kind, text, time } = said.last;
      clearTimeout(late);
      daemon.stop();
      state.dataset.kind = kind === "config_loaded" ? "good" : "bad";
      setText(state, kind === "config_loaded" ? `In force since ${format.time((time ? Date.parse(time) : Date.now()) / 1000)}` : "Rejected by the daemon");
      setText(more, text ?? "");
      if (kind === "config_loaded") onInForce();
    };
    if (said.last) said.heed();
  }

  function destroy() {
    asked.abort();
    clearTimeout(timer);
    clearTimeout(late);
    daemon?.stop();
  }

  return { element, set, refresh, destroy, of: (source, label) => chosen.get(keyOf(source, label))?.threshold ?? null };
}

function effectOf({ before, after, gone_total: total, new: fresh }, days) {
  const period = days === 1 ? "The last day" : `The last ${days} days`;
  const text = [
    h("b", {}, `${format.figure(before)} → ${format.figure(after)} events a day. `),
    total > 0 ? `${eventCount(total)} would be gone` : "None of the stored events would be gone",
    fresh > 0 ? `, ${format.count(fresh)} would be new.` : total > 0 ? ", none would be new." : ".",
  ];
  return [h("h3", {}, `${period} would have been`), h("p", {}, text)];
}

function goneOf({ gone, gone_total: total }) {
  const shown = gone.slice(0, MOST_GONE);
  if (shown.length === 0) return null;
  return [
    h("h3", {}, "Events that would be gone"),
    h("ul", { class: "tune-gone", tabindex: 0, "aria-label": "Events that would be gone, the newest first" }, shown.map(goneEvent)),
    total > shown.length && h("p", { class: "muted small" }, `and ${format.count(total - shown.length)} more`),
  ];
}

function goneEvent({ key, label, source, at, score, clip, verdict }) {
  return h(
    "li",
    { class: "row", style: { "--hue": hueOf(label) }, "data-testid": "tune-gone" },
    h("i", { class: "dot" }),
    h("a", { class: "grow", href: `#events?event=${key}` }, `${label}, ${format.day(at)} ${format.time(at)}`),
    verdict?.decision && h("span", { class: verdict.decision === "correct" ? "good small" : "problem small" }, verdict.decision),
    h("span", { class: "muted number" }, format.score(score)),
    clip ? listenButton(api.url(`clips/${clip.name}`), `${label} of ${source}, ${format.time(at)}`) : h("span", { class: "tune-noclip" }),
  );
}

function byHand(reason, changes) {
  const name = (text) => (SIMPLE.test(text) ? text : JSON.stringify(text));
  const lines = (depth, list) => [`${depth}thresholds:`, ...list.map(({ label, threshold }) => `${depth}  ${name(label)}: ${thresholdText(threshold)}`)];
  const of = (source) => changes.filter((change) => change.source === source);
  const own = [...new Set(changes.map(({ source }) => source))].filter((source) => source !== null);
  const all = of(null);
  const text = [
    ...(all.length > 0 ? ["detection:", ...lines("  ", all)] : []),
    ...(own.length > 0 ? ["sources:"] : []),
    ...own.flatMap((source) => [`  - name: ${name(source)}`, "    detection:", ...lines("      ", of(source))]),
  ].join("\n");
  return h(
    "div",
    { class: "stack tune-byhand", "data-testid": "tune-byhand" },
    h("p", {}, `This page cannot write them: ${reason}`),
    h("p", {}, "Put these lines into the daemon’s configuration file; it takes them over when the file is saved:"),
    h("pre", { class: "tune-diff", tabindex: 0, "aria-label": "Lines" }, text),
    h("div", {}, copyButton(text)),
  );
}
