/* The controls that filter the list of events.

makeFilterBar({filter, sources, labels, devices, places, onChange}) -> {element, update(filter)}
devices and places are of a fleet: [[topic, name]], and names.
onChange(filter) is called with the whole new filter; update shows one that came from elsewhere, such as the heat map. */

import { hueOf } from "./colors.js";
import { button, field } from "./controls.js";
import { h, replace, setText } from "./dom.js";
import { ANY, activeCount } from "./filters.js";
import * as format from "./format.js";
import { icon } from "./icons.js";
import { dayAfter } from "./zoned.js";

export function makeFilterBar({ filter, sources, labels, devices = [], places = [], onChange }) {
  let now = filter;
  const change = (part) => {
    now = { ...now, ...part };
    show();
    onChange(now);
  };
  const today = format.dayKey(Date.now() / 1000);
  const dayOf = (text) => text?.slice(0, 10) ?? "";
  const day = (name) => h("input", { type: "date", onchange: (event) => change({ [name]: event.target.value || null }) });
  const tick = (name) => h("input", { type: "checkbox", onchange: (event) => change({ [name]: event.target.checked }) });

  const [from, to, locked, clip] = [day("from"), day("to"), tick("locked"), tick("clip")];
  const source = adder("source", sources, (name) => change({ sources: [...now.sources, name] }));
  const device = adder("device", devices, (topic) => change({ devices: [...now.devices, topic] }));
  const place = adder("place", places, (name) => change({ places: [...now.places, name] }));
  const nameOf = (topic) => devices.find(([one]) => one === topic)?.[1] ?? topic;
  const label = adder("class", labels, (name) => change({ labels: [...now.labels, name] }));
  const verdicts = [["", "Any"], ["none", "Not judged"], ["correct", "Correct"], ["wrong", "Wrong"]];
  const decision = h("select", { onchange: () => change({ decision: decision.value || null }) }, verdicts.map(([value, text]) => h("option", { value }, text)));
  const scoreText = h("output");
  const score = h("input", {
    type: "range",
    max: 0.95,
    step: 0.05,
    oninput: () => showScore(Number(score.value)),
    onchange: () => change({ minScore: Number(score.value) }),
  });
  const spans = [["All", null, null], ["Today", today, today], ["7 days", dayAfter(today, -6), today]];
  const presets = spans.map(([text, first, last]) => Object.assign(button(null, text, () => change({ from: first, to: last })), { first, last }));
  const toggle = button("filter", h("span"), () => toggle.setAttribute("aria-expanded", toggle.getAttribute("aria-expanded") === "false"), {
    class: "filter-toggle",
    "aria-expanded": "false",
  });
  const fields = h(
    "form",
    { class: "filter-fields", onsubmit: (event) => event.preventDefault() },
    h("div", { class: "segmented", role: "group", "aria-label": "Time" }, presets),
    field("From", from),
    field("To", to),
    sources.length > 1 && field("Source", source),
    places.length > 1 && field("Place", place),
    devices.length > 1 && field("Device", device),
    field("Class", label),
    field("Verdict", decision),
    field("Lowest score", h("span", { class: "filter-score" }, score, scoreText)),
    h("span", { class: "filter-checks" }, h("label", { class: "check" }, locked, "Locked"), h("label", { class: "check" }, clip, "With clip")),
  );
  const chips = h("div", { class: "row" });

  function showScore(value) {
    setText(scoreText, value > 0 ? format.score(value) : "any");
    score.setAttribute("aria-valuetext", scoreText.textContent);
  }

  function show() {
    from.value = dayOf(now.from);
    to.value = dayOf(now.to);
    decision.value = now.decision ?? "";
    score.value = now.minScore;
    showScore(now.minScore);
    locked.checked = now.locked;
    clip.checked = now.clip;
    source.show(now.sources);
    label.show(now.labels);
    device.show(now.devices);
    place.show(now.places);
    for (const preset of presets) preset.setAttribute("aria-pressed", preset.first === now.from && preset.last === now.to);
    const count = activeCount(now);
    setText(toggle.lastElementChild, count > 0 ? `Filters · ${count}` : "Filters");
    const hours = [now.from, now.to].filter((text) => text?.includes("T")).map((text) => text.slice(11));
    const whole = dayOf(now.from) || dayOf(now.to);
    replace(
      chips,
      hours.length > 0 && chip(hours.join(" to "), () => change({ from: whole, to: whole })),
      now.sources.map((name) => chip(name, () => change({ sources: now.sources.filter((other) => other !== name) }))),
      now.places.map((name) => chip(name, () => change({ places: now.places.filter((other) => other !== name) }))),
      now.devices.map((topic) => chip(nameOf(topic), () => change({ devices: now.devices.filter((other) => other !== topic) }))),
      now.labels.map((name) => chip(name, () => change({ labels: now.labels.filter((other) => other !== name) }), hueOf(name))),
      count > 0 && button(null, "Clear filters", () => change(ANY), { class: "quiet small", "data-testid": "clear-filters" }),
    );
  }

  const update = (next) => {
    now = next;
    show();
  };
  show();
  return { element: h("div", { class: "filter", role: "search", "aria-label": "Filter events", "data-testid": "filters" }, toggle, fields, chips), update };
}

function chip(text, onclick, hue) {
  const props = { class: "chip", "aria-label": `Remove the filter ${text}`, style: hue === undefined ? {} : { "--hue": hue } };
  return button(null, [hue !== undefined && h("i", { class: "dot" }), h("span", {}, text), icon("cross", { size: 12 })], onclick, props);
}

/* A list of which each choice adds a chip; of names, or of [value, name]. */
function adder(what, names, onAdd) {
  const onchange = () => select.value && onAdd(select.value);
  const select = h("select", { onchange }, h("option", { value: "" }), names.map((item) => h("option", { value: [item].flat()[0] }, [item].flat().at(-1))));
  select.show = (chosen) => {
    select.options[0].textContent = `${chosen.length > 0 ? "Add a" : "Any"} ${what}`;
    for (const option of select.options) option.disabled = chosen.includes(option.value);
    select.value = "";
  };
  return select;
}
