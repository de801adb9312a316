/* The Tune view: how often each class is reported, what other thresholds would change, and the way to put them in force. */

import { api } from "./api.js";
import { hueOf, setLabels } from "./colors.js";
import { button, field, isNarrow } from "./controls.js";
import { h, replace, setText } from "./dom.js";
import * as format from "./format.js";
import { icon } from "./icons.js";
import { hush } from "./listen.js";
import { makeChanges } from "./tune_changes.js";
import { logShare, rateText, thresholdText } from "./tune_chart.js";
import { makeClassCard } from "./tune_class.js";
import { empty, spinner } from "./widgets.js";

const DAYS = [1, 7, 30];
const USUAL_DAYS = 7;
const DAY_S = 86400;
const TIMEOUT_S = 180; // hundreds of classes of a month
const AGAIN_S = 15; // while there is nothing yet
const MANY = 20; // classes, of which one is found by typing

export function mount(root, state) {
  const view = new TuneView(root, state);
  view.start();
  return () => view.destroy();
}

class TuneView {
  constructor(root, { params, replaceParams }) {
    const days = Number(params.get("days"));
    this.wanted = { source: params.get("source"), days: DAYS.includes(days) ? days : USUAL_DAYS, label: params.get("label") };
    this.replaceParams = replaceParams;
    this.root = root;
    this.asked = new AbortController();
    replace(root, spinner());
  }

  destroy() {
    this.gone = true;
    clearTimeout(this.again);
    this.asked.abort();
    this.card?.destroy();
    this.changes?.destroy();
    hush();
    document.querySelector("dialog[open]")?.close();
  }

  async start() {
    let sources;
    try {
      sources = await api.get("sources", {}, { signal: this.asked.signal });
    } catch (error) {
      if (!this.gone) replace(this.root, empty("warning", "The store could not be read", error.detail ?? error.message, button(null, "Try again", () => this.start())));
      return;
    }
    setLabels(sources.flatMap(({ labels }) => labels));
    if (sources.length === 0) return void replace(this.root, this.nothing());
    this.sources = sources.map(({ name }) => name);
    if (!this.sources.includes(this.wanted.source)) this.wanted.source = this.sources[0];
    this.build();
    this.load();
  }

  nothing() {
    return empty("tune", "Nothing to tune yet", "While the detector listens it keeps the scores of all classes. After some hours you see here how many events a day each threshold gives.", h("a", { class: "button", href: "#live" }, icon("live"), "Live"));
  }

  build() {
    const source = h("select", { value: this.wanted.source, "data-testid": "tune-source", onchange: () => this.ask({ source: source.value }) }, this.sources.map((value) => h("option", { value }, value)));
    this.periods = DAYS.map((days) => Object.assign(button(null, days === 1 ? "1 day" : `${days} days`, () => this.ask({ days })), { days }));
    this.note = h("p", { class: "muted small", "data-testid": "tune-note" });
    this.table = h("section", { class: "card tune-classes", "aria-label": "Classes" });
    this.curve = h("div", { class: "tune-curve" });
    this.changes = makeChanges({
      isMany: this.sources.length > 1,
      span: () => this.span,
      days: () => this.wanted.days,
      onDrop: (source, label) => this.dropped(source, label),
      onInForce: () => this.load(),
    });
    this.body = h("div", { class: "tune-body" }, this.table, h("div", { class: "stack" }, this.curve, this.changes.element));
    this.main = h("div", {}, spinner());
    replace(
      this.root,
      h(
        "div",
        { class: "stack" },
        h("div", {}, h("h1", {}, "Tune"), h("p", { class: "muted" }, "Too many events of a class, or too few? Pick it, move its threshold, see what would have been, and apply it.")),
        h(
          "div",
          { class: "toolbar tune-bar" },
          this.sources.length > 1 && field("Source", source),
          h("div", { class: "segmented", role: "group", "aria-label": "Period" }, this.periods),
          this.note,
        ),
        this.main,
      ),
    );
  }

  ask(change) {
    this.wanted = { ...this.wanted, ...change };
    this.load();
  }

  async load() {
    const { source, days } = this.wanted;
    this.asked.abort();
    const { signal } = (this.asked = new AbortController());
    const now = Math.floor(Date.now() / 1000);
    this.span = { from_at: now - days * DAY_S, to_at: now };
    this.curves = new Map(); // by label, of this span
    clearTimeout(this.again);
    for (const period of this.periods) period.setAttribute("aria-pressed", period.days === days);
    this.showAddress();
    const slow = setTimeout(() => replace(this.main, spinner(`Going through ${days === 1 ? "a day" : `${days} days`} of scores …`)), this.overview ? 400 : 0);
    try {
      this.overview = await api.get("tune", { source, ...this.span }, { signal, timeoutS: TIMEOUT_S });
      clearTimeout(slow);
      this.show();
      this.changes.refresh();
    } catch (error) {
      clearTimeout(slow);
      if (!signal.aborted) replace(this.main, empty("tune", "No curves for this period", error.detail ?? error.message, button(null, "Try again", () => this.load())));
    }
  }

  showAddress() {
    const { source, days, label } = this.wanted;
    this.replaceParams({ source, days, ...(label && { label }) });
  }

  show() {
    const { classes, listened_h: hours, note } = this.overview;
    if (classes.length === 0) {
      setText(this.note, "");
      replace(this.main, empty("tune", "Nothing to tune yet", note || "No scores are stored of this time.", button(null, "Look again", () => this.load())));
      this.again = setTimeout(() => this.load(), AGAIN_S * 1000);
      return;
    }
    setText(this.note, [`Listened for ${format.duration(hours * 3600)}.`, note].filter(Boolean).join(" "));
    this.showTable();
    replace(this.main, this.body);
    const label = classes.some((one) => one.label === this.wanted.label) ? this.wanted.label : classes[0].label;
    this.open(label, { focus: false });
  }

  showTable() {
    const { classes } = this.overview;
    const rates = classes.map(({ rate }) => rate);
    const high = Math.max(1, ...rates.map((rate) => rate.high));
    const low = Math.max(high / 1e5, Math.min(1, ...rates.flatMap((rate) => [rate.low, rate.per_day]).filter((value) => value > 0)) / 2);
    this.rows = new Map(classes.map((one) => [one.label, this.makeRow(one, low, high)]));
    const search = h("input", { type: "search", placeholder: "Find a class", "aria-label": "Find a class", oninput: () => this.find(search.value) });
    const head = (text, props) => h("th", { scope: "col", ...props }, text);
    replace(
      this.table,
      classes.length > MANY && search,
      h(
        "div",
        { class: "tune-scroll", tabindex: 0, role: "region", "aria-label": "Table of classes" },
        h(
          "table",
          { class: "table", "data-testid": "tune-classes" },
          h("thead", {}, h("tr", {}, head("Class"), head("Threshold", { class: "number" }), head("Events a day"), head("Verdicts", { class: "number" }))),
          h("tbody", {}, [...this.rows.values()].map(({ row }) => row)),
        ),
      ),
    );
    for (const { label } of classes) this.showChange(label);
  }

  makeRow({ label, rate, correct, wrong }, low, high) {
    const open = button(null, [h("i", { class: "dot" }), label], () => this.open(label), { class: "tune-open" });
    const threshold = h("td", { class: "number" });
    const place = (value) => `${100 * logShare(value, low, high)}%`;
    const bar = h("span", { class: "tune-range", style: { "--low": place(rate.low), "--high": place(rate.high), "--at": place(rate.per_day) } }, rate.count > 0 && h("i"));
    const judged = correct + wrong > 0 ? [h("span", { class: "good" }, icon("check", { size: 13, title: "right" }), correct), " ", h("span", { class: "problem" }, icon("cross", { size: 13, title: "wrong" }), wrong)] : "–";
    const row = h(
      "tr",
      { style: { "--hue": hueOf(label) }, "data-testid": "tune-class", onclick: (event) => event.target.closest("button") || this.open(label) },
      h("td", {}, open),
      threshold,
      h("td", { class: "tune-rate" }, h("span", {}, figureOf(rate), h("small", {}, ` ${format.figure(rate.low)} – ${format.figure(rate.high)}`)), bar),
      h("td", { class: "number tune-judged" }, judged),
    );
    return { row, open, threshold };
  }

  find(text) {
    for (const [label, { row }] of this.rows) row.hidden = !label.toLowerCase().includes(text.trim().toLowerCase());
  }

  showChange(label) {
    const { threshold: now } = this.classOf(label);
    const next = this.changes.of(this.wanted.source, label);
    replace(this.rows.get(label).threshold, next === null ? thresholdText(now) : [h("s", { class: "muted" }, thresholdText(now)), " ", h("b", {}, thresholdText(next))]);
  }

  classOf(label) {
    return this.overview.classes.find((one) => one.label === label);
  }

  async open(label, { focus = true } = {}) {
    const { source } = this.wanted;
    const { curves, asked: { signal } } = this;
    for (const [name, { open, row }] of this.rows) {
      row.classList.toggle("selected", name === label);
      if (name === label) open.setAttribute("aria-current", "true");
      else open.removeAttribute("aria-current");
    }
    this.wanted.label = label;
    this.showAddress();
    const slow = setTimeout(() => this.showCurve(null, h("div", { class: "card" }, spinner())), 300);
    try {
      const curve = curves.get(label) ?? (await api.get("tune/curve", { source, label, ...this.span }, { signal, timeoutS: TIMEOUT_S }));
      curves.set(label, curve);
      clearTimeout(slow);
      if (signal.aborted || this.wanted.label !== label) return;
      const onThreshold = (threshold) => {
        this.changes.set({ source, label, now: curve.threshold, threshold });
        this.showChange(label);
      };
      const note = curve.note.replace(this.overview.note, "").trim(); // what is said above already
      this.showCurve(makeClassCard({ ...curve, note }, { threshold: this.changes.of(source, label), onThreshold }));
      if (focus && isNarrow()) this.curve.scrollIntoView({ block: "start" });
    } catch (error) {
      clearTimeout(slow);
      if (!signal.aborted) this.showCurve(null, h("div", { class: "card" }, empty("warning", `There is no curve of ${label}`, error.detail ?? error.message)));
    }
  }

  showCurve(card, element = card.element) {
    this.card?.destroy();
    this.card = card;
    replace(this.curve, element);
  }

  dropped(source, label) {
    if (source !== this.wanted.source || !this.rows.has(label)) return;
    this.showChange(label);
    if (label === this.wanted.label) this.card?.reset();
  }
}

const figureOf = (rate) => h("b", { title: rateText(rate) }, format.figure(rate.per_day));
