/* Parts of the Device view that show the last day: a strip for each source of what was heard, and a log of what went wrong. */

import { h } from "./dom.js";
import * as format from "./format.js";

const HOUR_S = 3600;
const DAY_S = 24 * HOUR_S;
const AXIS_S = 3 * HOUR_S;
const ENOUGH = 0.995;
const TOO_LITTLE = 0.9;

export function coverageCard(info, live) {
  const to = Date.now() / 1000;
  const from = to - DAY_S;
  const names = [
    ...new Set([
      ...live.map((source) => source.name),
      ...info.coverage.map((hour) => hour.source),
      ...info.gaps.map((gap) => gap.source),
    ]),
  ].sort();
  const strips = names.map((name) => {
    const hours = info.coverage.filter((hour) => hour.source === name && hour.at + HOUR_S > from);
    const gaps = info.gaps.filter((gap) => gap.source === name && gap.at > from && gap.offset > gap.onset);
    return [h("b", null, name), strip(name, hours, gaps, from), h("span", { class: "muted number" }, total(hours))];
  });
  return h(
    "section",
    { class: "card", "aria-label": "Coverage", "data-testid": "coverage" },
    h(
      "header",
      null,
      h("h2", null, "Heard in the last 24 hours"),
      h("span", { class: "muted small" }, "hour by hour; red: sound that was lost; hatched: nothing is known yet"),
    ),
    names.length > 0
      ? h("div", { class: "strips" }, strips, axis(from, to))
      : h("p", { class: "muted" }, "No hour is over yet."),
  );
}

function total(hours) {
  if (hours.length === 0) return "–";
  return format.share(hours.reduce((sum, hour) => sum + hour.share, 0) / hours.length);
}

function strip(name, hours, gaps, from) {
  const percent = (at) => `${(100 * (at - from)) / DAY_S}%`;
  const label =
    hours.length > 0
      ? `${name}: ${total(hours)} of ${hours.length} hours was heard, ${gaps.length} gaps`
      : `${name}: no full hour yet, ${gaps.length} gaps`;
  return h(
    "div",
    { class: "strip", role: "img", "aria-label": label },
    hours.map(({ at, share, gaps: count }) => {
      const kind = share >= ENOUGH ? "good" : share >= TOO_LITTLE ? "wait" : "bad";
      const title = `${format.clock(at)} to ${format.clock(at + HOUR_S)}: ${format.share(share)}${count > 0 ? `, ${count} gap${count > 1 ? "s" : ""}` : ""}`;
      return h("i", {
        class: "hour",
        title,
        dataset: { kind },
        style: { left: percent(at), width: `${(100 * HOUR_S) / DAY_S}%`, "--share": `${share * 100}%` },
      });
    }),
    gaps.map((gap) => {
      const title = `${format.time(gap.at)}: ${format.duration(gap.offset - gap.onset)} lost, ${gap.reason}`;
      return h("i", {
        class: "gap",
        title,
        style: { left: percent(gap.at), width: `${(100 * (gap.offset - gap.onset)) / DAY_S}%` },
      });
    }),
  );
}

function axis(from, to) {
  const ticks = [];
  for (let at = Math.ceil(from / AXIS_S) * AXIS_S; at < to; at += AXIS_S)
    ticks.push(h("span", { style: { left: `${(100 * (at - from)) / DAY_S}%` } }, format.clock(at)));
  return h("div", { class: "strip-axis", "aria-hidden": "true" }, ticks);
}

/* state: [kind, what happened, more] */
const SAY = {
  listening: (m) => ["good", "Listening", m.sample_rate && `${m.sample_rate} Hz, hop ${m.hop_s} s`],
  source_lost: (m) => ["bad", "Source lost", m.text],
  source_back: (m) => ["good", "Source is back", m.text],
  source_paused: (m) => ["wait", "Paused", m.text],
  source_resumed: (m) => ["good", "Listened to again", m.text],
  source_failed: (m) => ["bad", "Source failed", m.text],
  input_fault: (m) => ["wait", `Input fault: ${m.problem}`, m.advice],
  input_ok: (m) => ["good", `Input fault is over: ${m.problem}`],
  output_failed: (m) => ["bad", `Output fails: ${m.output}`, m.text],
  output_back: (m) => ["good", `Output works again: ${m.output}`],
  hop_changed: (m) => ["wait", `Hop is now ${m.hop_s} s`, m.text],
  clock_set: (m) => ["wait", `Clock was set by ${m.by_s} s`],
  config_loaded: (m) => ["good", "A changed configuration is in force", m.text],
  enrolled: (m) => ["good", "Taught sounds that are listened for", m.labels.join(", ") || "none"],
  command_rejected: (m) => ["wait", "A command was rejected", m.text],
  backend_changed: (m) => ["wait", `The model now runs on ${m.backend}`, m.text],
  config_rejected: (m) => ["bad", "A changed configuration was rejected", m.text],
};

export function logCard(info) {
  const gaps = info.gaps.map((gap) => ({
    at: gap.at,
    source: gap.source,
    say: ["bad", gap.offset > gap.onset ? `${format.duration(gap.offset - gap.onset)} lost` : "Gap", gap.reason],
  }));
  const statuses = info.statuses.map(({ at, source, state, message }) => ({
    at,
    source,
    say: SAY[state]?.(message) ?? ["off", state.replaceAll("_", " "), message.text],
  }));
  const entries = [...gaps, ...statuses].sort((a, b) => b.at - a.at);
  return h(
    "section",
    { class: "card", "aria-label": "Log", "data-testid": "log" },
    h("header", null, h("h2", null, "What happened")),
    entries.length === 0
      ? h("p", { class: "muted" }, "No gap and no fault.")
      : h("ul", { class: "log", tabindex: 0, "aria-label": "Gaps and faults, the newest first" }, entries.map(entry)),
  );
}

function entry({ at, source, say: [kind, what, more] }) {
  const moment = new Date(at * 1000).toISOString();
  return h(
    "li",
    { dataset: { kind } },
    h("time", { datetime: moment }, `${format.day(at)}, ${format.clock(at)}`),
    h("i", { class: "dot" }),
    h("span", null, source && h("b", null, source, " "), what, more && h("small", null, ` · ${more}`)),
  );
}
