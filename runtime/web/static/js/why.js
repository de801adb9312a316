/* "Why?": why a class was reported at a moment, or what held it back. */

import { api } from "./api.js";
import { hueOf, setLabels } from "./colors.js";
import { field, middleOf, tool } from "./controls.js";
import { h, replace } from "./dom.js";
import * as format from "./format.js";
import { icon } from "./icons.js";
import { STAGES, makeChart, stageDot } from "./whychart.js";
import { empty, spinner } from "./widgets.js";
import { fromLocal, toLocal } from "./zoned.js";

const MINUTE_S = 60;
const AGAIN_MS = 5000;
const NOT_YET = "not stored yet"; // in the answer for what was heard just now: scores are stored by the minute

export function mount(root, state) {
  const view = new WhyView(root, state);
  view.start();
  return () => view.destroy();
}

class WhyView {
  constructor(root, state) {
    this.root = root;
    this.state = state;
    this.asked = new AbortController();
    replace(root, spinner());
  }

  destroy() {
    this.gone = true;
    this.asked.abort();
    this.chart?.destroy();
  }

  async start() {
    try {
      this.sources = await api.get("sources");
      await this.choose();
    } catch (error) {
      if (!this.gone) replace(this.root, empty("warning", "The store could not be read", error.detail ?? error.message));
      return;
    }
    if (this.gone) return;
    const { source, label, at } = this.wanted;
    if (source && label && at) this.build();
    else replace(this.root, empty("why", "Nothing to explain yet", "While the detector listens it keeps the scores of all classes. Then you can pick a moment here, and see why a sound was reported, or what held it back."));
  }

  /* What the address asks for; where it leaves something open, the newest event, else what was heard last. */
  async choose() {
    const { params } = this.state;
    const wanted = { source: params.get("source"), label: params.get("label"), at: Number(params.get("at")) || null };
    const { source, label, at } = wanted;
    const newest = source && label && at ? null : (await api.get("events", { source, label, limit: 1 })).events[0];
    // A click in the live picture gives a moment, and no class: then what scored highest there is meant.
    const near = source && at && !label ? await api.get("scores", { source, from_at: at - 1, to_at: at + 1 }) : null;
    const heard = this.sources.find(({ name }) => name === (source ?? newest?.source)) ?? this.sources[0];
    this.wanted = { source: source ?? newest?.source ?? heard?.name, label: label ?? near?.labels[0] ?? newest?.label ?? heard?.labels[0], at: at ?? (newest ? middleOf(newest) : heard?.last_at) };
    setLabels(this.sources.flatMap(({ labels }) => labels));
  }

  build() {
    this.source = h("select", { onchange: () => this.ask({ source: this.source.value }) });
    this.label = h("select", { "data-testid": "why-class", onchange: () => this.ask({ label: this.label.value }) });
    const onchange = () => fromLocal(this.moment.value) && this.ask({ at: fromLocal(this.moment.value) });
    this.moment = h("input", { type: "datetime-local", step: 1, required: true, "data-testid": "why-moment", onchange });
    this.answer = h("div", { class: "stack" });
    const isBrowsers = format.zoneName() === Intl.DateTimeFormat().resolvedOptions().timeZone;
    replace(
      this.root,
      h(
        "div",
        { class: "why stack" },
        h("div", {}, h("h1", {}, "Why?"), h("p", { class: "muted" }, "Why was a sound reported, or why was it not? Pick a class and a moment.")),
        h(
          "form",
          { class: "why-form", onsubmit: (event) => event.preventDefault() },
          field("Source", this.source),
          field("Class", this.label),
          field(isBrowsers ? "Moment" : `Moment in ${format.zoneName()}`, this.moment),
          tool("left", "One minute earlier", () => this.ask({ at: this.wanted.at - MINUTE_S }), { class: "square" }),
          tool("right", "One minute later", () => this.ask({ at: this.wanted.at + MINUTE_S }), { class: "square" }),
        ),
        this.answer,
      ),
    );
    this.ask({});
  }

  showForm() {
    const { source, label, at } = this.wanted;
    const labels = this.sources.find(({ name }) => name === source)?.labels ?? [];
    fill(this.source, this.sources.map(({ name }) => name), source);
    fill(this.label, [...labels].sort(), label);
    this.moment.value = toLocal(at);
  }

  async ask(change) {
    this.wanted = { ...this.wanted, ...change };
    const { source, label, at } = this.wanted;
    this.asked.abort();
    const { signal } = (this.asked = new AbortController());
    this.state.replaceParams({ source, label, at: at.toFixed(2) });
    this.showForm();
    this.answer.setAttribute("aria-busy", "true");
    try {
      let why = await api.get("why", { source, label, at }, { signal });
      this.show(why);
      this.answer.removeAttribute("aria-busy");
      while (why.text.includes(NOT_YET)) {
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
        why = await api.get("why", { source, label, at }, { signal });
        if (!why.text.includes(NOT_YET)) this.show(why);
      }
    } catch (error) {
      if (signal.aborted) return;
      replace(this.answer, empty("warning", "This could not be explained", error.detail ?? error.message));
    }
    this.answer.removeAttribute("aria-busy");
  }

  show(why) {
    const { label, stage, text, event, steps, top } = why;
    const hadFocus = document.activeElement.className; // what is made anew keeps the focus
    const number = (value) => (value === null ? "–" : value.toFixed(2));
    const figures = { Threshold: number(why.threshold), Release: number(why.release), "Least length": why.min_length_s === null ? "–" : format.duration(why.min_length_s), [stage === "reported" ? "Reported up to a threshold of" : "Would be reported from"]: number(why.would_report_at) };
    this.chart?.destroy();
    this.chart = steps.length > 0 ? makeChart(why, (at) => this.ask({ at })) : null;
    replace(
      this.answer,
      h(
        "section",
        { class: "card why-verdict", "aria-live": "polite" },
        h("p", {}, h("b", {}, stageDot(stage), STAGES[stage]), h("span", { class: "muted" }, ` · ${label} · ${format.dayTime(why.at)}`)),
        h("p", { class: "why-text", "data-testid": "why-text" }, text.split("`").map((part, i) => (i % 2 === 1 ? h("code", {}, part) : part))),
        event && h("a", { class: "button", href: `#events?event=${event.key}`, "data-testid": "why-event" }, icon("events"), "Open the event"),
      ),
      h(
        "section",
        { class: "card", "aria-label": "Score, step by step" },
        h("dl", { class: "why-figures" }, Object.entries(figures).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
        this.chart?.element ?? h("p", { class: "muted" }, "No scores are stored around this moment."),
      ),
      top.length > 0 && h("section", { class: "card", "data-testid": "why-top" }, h("h2", {}, "Highest at this moment"), h("ul", { class: "why-top" }, top.map((one) => this.topClass(one, label)))),
    );
    if (hadFocus.startsWith("why-")) this.answer.querySelector(`.${hadFocus}`)?.focus();
  }

  topClass({ label, score, threshold }, chosen) {
    const props = { type: "button", class: "why-class", "aria-pressed": String(label === chosen), style: { "--hue": hueOf(label), "--score": score, "--threshold": threshold ?? 2 } };
    return h(
      "li",
      {},
      h(
        "button",
        { ...props, onclick: () => this.ask({ label }) },
        h("span", {}, label),
        h("i", { class: "why-bar" }),
        h("span", {}, score.toFixed(2), h("small", {}, threshold === null ? " not reported" : ` of ${threshold.toFixed(2)}`)),
      ),
    );
  }
}

function fill(select, names, chosen) {
  replace(select, [...new Set([...names, chosen])].map((name) => h("option", { value: name }, name))).value = chosen;
}
