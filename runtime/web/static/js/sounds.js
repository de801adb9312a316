/* The Sounds view: sounds that were taught on this device, and the way to teach another. */

import { api } from "./api.js";
import { button, tool } from "./controls.js";
import { h, replace } from "./dom.js";
import { feed } from "./feed.js";
import * as format from "./format.js";
import { icon } from "./icons.js";
import { hush } from "./listen.js";
import { alarmsOf, recallOf, reportParts } from "./sound_report.js";
import { makeTeach } from "./teach.js";
import { thresholdText } from "./tune_chart.js";
import { empty, labelChip, openDialog, problem, spinner, toast } from "./widgets.js";

const STATES = { in_use: ["good", "In use"], stale: ["wait", "Learned for another model"], problem: ["bad", "Cannot be used"] };
const LEARN_S = 600;

export function mount(root, state) {
  const view = new SoundsView(root, state);
  view.load();
  return () => view.destroy();
}

class SoundsView {
  constructor(root, state) {
    this.asked = new AbortController();
    this.known = new Set(); // labels
    this.list = h("div", {}, spinner());
    this.notice = h("div", { role: "alert" });
    const file = h("input", { type: "file", accept: ".zip,application/zip", hidden: true, onchange: () => this.bringIn(file) });
    this.bring = button("upload", "Import", () => file.click(), { "data-testid": "sounds-import" });
    this.teach = makeTeach({ known: () => this.known, onTaught: () => this.load() });
    replace(
      root,
      h(
        "div",
        { class: "stack" },
        h("div", { class: "page-head" }, h("div", { class: "grow" }, h("h1", {}, "Sounds"), h("p", { class: "muted" }, "Sounds of your own, such as your doorbell, that the detector has learned from a few recordings.")), this.bring, file),
        this.notice,
        this.teach.element,
        this.list,
      ),
    );
    this.off = feed.on("message", ({ type, state: said }) => type === "status" && said === "enrolled" && this.load());
    const keys = state.params.getAll("event").map(Number).filter(Boolean);
    state.replaceParams({}); // else they would be added again where the page is loaded anew
    this.teach.addEvents(keys);
  }

  destroy() {
    this.asked.abort();
    this.off();
    this.teach.destroy();
    hush();
    document.querySelector("dialog[open]")?.close();
  }

  async load() {
    this.asked.abort();
    const { signal } = (this.asked = new AbortController());
    try {
      const { can_enroll: can, reason, sounds } = await api.get("sounds", {}, { signal });
      this.known = new Set(sounds.map(({ label }) => label));
      this.bring.disabled = !can;
      this.teach.allow(can);
      replace(this.notice, !can && h("p", { class: "card row problem", "data-testid": "sounds-why-not" }, icon("warning"), h("span", { class: "grow" }, reason)));
      replace(this.list, sounds.length > 0 ? this.listOf(sounds, can) : can && this.nothing());
    } catch (error) {
      if (!signal.aborted) replace(this.list, empty("warning", "The sounds could not be read", error.detail ?? error.message, button(null, "Try again", () => this.load())));
    }
  }

  nothing() {
    return empty("sounds", "No sound was taught yet", "Give it a name, add three recordings or more, and press Teach: it takes some seconds. Then it is reported like any other class.");
  }

  listOf(sounds, can) {
    return h("section", { class: "stack", "aria-label": "Taught sounds" }, h("h2", {}, "Taught sounds"), h("ul", { class: "stack" }, sounds.map((sound) => this.item(sound, can))));
  }

  item(sound, can) {
    const { name, label, threshold, recordings, report, enrolled_at: taught } = sound;
    const [kind, text] = STATES[sound.state];
    const facts = [
      report && ["Heard again", ...recallOf(report)],
      report && ["False alarms an hour", ...alarmsOf(report)],
      threshold !== null && ["Threshold", thresholdText(threshold)],
      ["Recordings", format.count(recordings)],
      taught && ["Taught", format.day(Date.parse(taught) / 1000)],
    ].filter(Boolean);
    const refresh = button("swap", "Learn again", () => this.refresh(sound, refresh), { class: "small", disabled: !can, title: "With its false alarms: events of it that were judged wrong" });
    return h(
      "li",
      { class: "card stack sound", "data-testid": "sound" },
      h("div", { class: "row" }, h("h3", { class: "grow" }, labelChip(label)), h("span", { class: "pill", "data-kind": kind }, text)),
      sound.problem && h("p", { class: "problem small" }, sound.problem),
      h("dl", { class: "sound-facts" }, facts.map(([title, value, more]) => h("div", {}, h("dt", {}, title), h("dd", {}, value, more && h("small", {}, ` ${more}`))))),
      report?.confusions.some(({ fired }) => fired > 0) && h("details", {}, h("summary", {}, "How well it is told apart"), h("div", { class: "stack" }, reportParts(report))),
      h(
        "div",
        { class: "row" },
        h("a", { class: "button small", href: `#events?${new URLSearchParams({ label })}` }, icon("events"), "Events"),
        sound.state === "in_use" && h("a", { class: "button small", href: `#tune?${new URLSearchParams({ label })}` }, icon("tune"), "Tune"),
        threshold !== null && refresh,
        threshold !== null && button("note", "Rename", () => this.rename(sound), { class: "small" }),
        threshold !== null && button("download", "Export", () => api.download(`sounds/${name}/export`, `${name}.zip`).catch(problem), { class: "small" }),
        tool("bin", `Remove ${label}`, () => this.remove(sound), { class: "quiet square danger small" }),
      ),
    );
  }

  async refresh({ name, label }, pressed) {
    pressed.disabled = true;
    pressed.lastChild.textContent = "Learning …";
    try {
      const { sound, report } = await api.post(`sounds/${name}/refresh`, {}, { timeoutS: LEARN_S });
      const title = sound ? `${label} was learned again` : `${label} stays as it was`;
      openDialog(title, [!sound && h("p", { class: "problem" }, report.reason), reportParts(report)]);
    } catch (error) {
      problem(error);
    }
    await this.load();
  }

  rename({ name, label }) {
    const input = h("input", { value: label, maxlength: 100, required: true, autocomplete: "off", autofocus: true, "aria-label": "New name" });
    const onclick = () => this.change(api.patch(`sounds/${name}`, { label: input.value.trim() }), "Renamed.");
    openDialog(`Rename ${label}`, [input, h("p", { class: "muted small" }, "What was stored under the old name keeps it.")], [{ label: "Rename", submit: true, onclick }]);
  }

  remove({ name, label }) {
    const text = "It is no longer listened for, and its recordings are deleted. Events that were stored stay. Export it first to keep it.";
    const onclick = () => this.change(api.delete(`sounds/${name}`), `${label} was removed.`);
    openDialog(`Remove ${label}?`, h("p", {}, text), [{ label: "Remove", class: "danger", onclick }]);
  }

  /* false, which keeps the dialog open, where it failed. */
  async change(request, said) {
    try {
      await request;
      toast(said);
    } catch (error) {
      problem(error);
      return false;
    }
    await this.load();
    return true;
  }

  async bringIn(input) {
    const [file] = input.files;
    input.value = "";
    if (!file) return;
    const body = new Blob([file], { type: "application/zip" });
    await this.change(api.post("sounds/import", body, { timeoutS: LEARN_S }), "The sound was imported.");
  }
}
