/* How many events there are at each place, by class, of a span that a person chooses.

makePlaces() -> {element, look(), destroy()}     look() asks anew, where enough time has passed for the span */

import { api } from "./api.js";
import { hueOf } from "./colors.js";
import { button, eventCount } from "./controls.js";
import { h, replace } from "./dom.js";
import { fleet } from "./fleet_feed.js";
import * as format from "./format.js";
import { dayAfter, dayStart, toLocal } from "./zoned.js";

const MOST_CHIPS = 5;
const MOST_PLACES = 8; // more are behind a button
const LONG_S = 60; // after which a span of more than a day is looked at again: it takes a large store a moment to count

const today = () => format.dayKey(Date.now() / 1000);
/* [name, when it begins, the same as the list of events has it in its address] */
const SPANS = [
  ["Today", () => dayStart(today()), today],
  ["24 hours", () => Date.now() / 1000 - 86400, () => toLocal(Date.now() / 1000 - 86400).slice(0, 16)],
  ["7 days", () => dayStart(dayAfter(today(), -6)), () => dayAfter(today(), -6)],
  ["30 days", () => dayStart(dayAfter(today(), -29)), () => dayAfter(today(), -29)],
];

export function makePlaces() {
  let span = SPANS[0];
  let asked = new AbortController();
  let askedAt = 0;
  let all = false;
  let shown = ""; // what is there, so that nothing is made anew in vain
  const list = h("div");
  const spans = SPANS.map((one) => button(null, one[0], () => choose(one), { "aria-pressed": String(one === span) }));
  const element = h(
    "section",
    { class: "card", "aria-label": "Events by place", "data-testid": "places" },
    h("header", {}, h("h2", { class: "grow" }, "Events by place"), h("div", { class: "segmented", role: "group", "aria-label": "Time" }, spans)),
    list,
  );

  function choose(one) {
    span = one;
    spans.forEach((node, i) => node.setAttribute("aria-pressed", SPANS[i] === span));
    askedAt = 0;
    look();
  }

  async function look() {
    if (SPANS.indexOf(span) > 1 && Date.now() / 1000 - askedAt < LONG_S) return;
    askedAt = Date.now() / 1000;
    asked.abort();
    const { signal } = (asked = new AbortController());
    try {
      const places = await api.get("places", { from_at: span[1](), to_at: Date.now() / 1000 + 60 }, { signal });
      show(places);
    } catch (error) {
      if (signal.aborted) return;
      askedAt = 0; // it is asked again at the next occasion
      say(error.detail ?? String(error), "problem");
    }
  }

  function say(text, kind) {
    shown = "";
    replace(list, h("p", { class: kind }, text));
  }

  function show(places) {
    const key = JSON.stringify([places, span[0], all]);
    if (key === shown) return;
    if (places.length === 0) say(span === SPANS[0] ? "No event yet today." : `No event in the last ${span[0]}.`, "muted");
    else {
      const most = places[0].count;
      const some = all ? places : places.slice(0, MOST_PLACES);
      const more = places.length > some.length && button(null, `All ${places.length} places`, () => ((all = true), show(places)), { class: "quiet small" });
      replace(list, h("ul", { class: "places" }, some.map((place) => row(place, most))), more);
    }
    shown = key;
  }

  function row({ place, count, labels }, most) {
    const href = (label) => `#events?${new URLSearchParams([["from", span[2]()], ...of(place), ...(label ? [["label", label]] : [])])}`;
    const chips = labels.slice(0, MOST_CHIPS);
    const rest = labels.length - chips.length;
    const segments = labels.map(({ label, count: n }) => h("i", { style: { "--hue": hueOf(label), "--share": n / most } }));
    return h(
      "li",
      { "data-testid": "place" },
      h("a", { class: "place-name", href: href(), title: place }, place ?? "No place given"),
      h("div", { class: "place-bar", role: "img", "aria-label": labels.map(({ label, count: n }) => `${label} ${n}`).join(", ") }, segments),
      h("b", { class: "number", title: eventCount(count) }, format.count(count)),
      h(
        "div",
        { class: "place-chips row" },
        chips.map(({ label, count: n }) => h("a", { class: "chip", href: href(label), style: { "--hue": hueOf(label) } }, h("i", { class: "dot" }), h("span", { title: label }, label), h("b", {}, format.count(n)))),
        rest > 0 && h("span", { class: "muted small" }, `and ${rest} more ${rest === 1 ? "class" : "classes"}`),
      ),
    );
  }

  return { element, look, destroy: () => asked.abort() };
}

/* The list of events knows no place without a name: there its devices stand for it. */
const of = (place) =>
  place !== null ? [["place", place]] : fleet.devices.filter((device) => device.place === null).map(({ device }) => ["device", device]);
