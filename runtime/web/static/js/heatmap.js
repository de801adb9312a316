/* Counts as pictures that are tables and links, too.

heatMap(figures, {onLabel, onHour})   classes × hours of the day; onLabel(label) and onHour(label, hour) when a class or a cell is
                                      picked; without onHour cells cannot be
dayStrip(days, {isChosen, onDay})     a bar a day, days without events too; isChosen(day) tells which are marked */

import { hueOf } from "./colors.js";
import { button, eventCount } from "./controls.js";
import { h } from "./dom.js";
import * as format from "./format.js";
import { dayAfter } from "./zoned.js";

const MOST_LABELS = 24;
const MOST_DAYS = 92;
const HOURS = Array.from({ length: 24 }, (_, hour) => hour);
const two = (n) => String(n).padStart(2, "0");
const hidden = (text) => h("span", { class: "visually-hidden" }, text);

export function heatMap(figures, { onLabel, onHour }) {
  const labels = figures.labels.slice(0, MOST_LABELS);
  const counts = new Map(figures.hours.map(({ label, hour, count }) => [`${hour} ${label}`, count]));
  const most = Math.max(...figures.hours.map(({ count }) => count));
  const left = figures.labels.length - labels.length;
  const head = HOURS.map((hour) => h("th", { scope: "col", class: hour % 3 === 0 ? "" : "heat-minor" }, h("span", {}, two(hour))));
  const row = ({ label, count }) =>
    h(
      "tr",
      { style: { "--hue": hueOf(label) } },
      h("th", { scope: "row" }, button(null, label, () => onLabel(label), { class: "heat-label", title: `Only ${label}` })),
      HOURS.map((hour) => cell(label, hour, counts.get(`${hour} ${label}`) ?? 0, most, onHour)),
      h("td", { class: "heat-total" }, format.count(count)),
    );
  return h(
    "div",
    { class: "heat", "data-testid": "heatmap" },
    h(
      "table",
      {},
      h("caption", { class: "visually-hidden" }, "Events by class and hour of the day"),
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, hidden("Class")), head, h("th", { scope: "col", class: "heat-total" }, "all"))),
      h("tbody", {}, labels.map(row)),
    ),
    left > 0 && h("p", { class: "muted small" }, `${left} more with fewer events`),
  );
}

/* The root spreads the colours: most cells are far below the busiest hour. */
function cell(label, hour, count, most, onHour) {
  if (count === 0) return h("td", {}, hidden("0"));
  const style = { "--share": Math.sqrt(count / most).toFixed(3) };
  const props = { class: "heat-cell", style, title: `${label}, ${two(hour)}–${two(hour + 1)} h: ${eventCount(count)}` };
  const text = h("span", {}, count > 999 ? "1k+" : String(count));
  return h("td", {}, onHour ? button(null, text, () => onHour(label, hour), props) : h("span", props, text));
}

export function dayStrip(days, { isChosen, onDay }) {
  const counts = new Map(days.map((day) => [day.day, day.count]));
  const most = Math.max(...counts.values());
  const all = [];
  for (let day = days[0].day; day >= days.at(-1).day && all.length < MOST_DAYS; day = dayAfter(day, -1)) all.unshift(day);
  const bar = (day) => {
    const count = counts.get(day) ?? 0;
    const name = `${format.relativeDay(day)}: ${eventCount(count)}`;
    const props = { class: "days-day", title: name, "aria-label": name, "aria-pressed": String(isChosen(day)), tabindex: -1 };
    const text = day.endsWith("-01") ? format.relativeDay(day).split(" ").at(2) ?? "1" : String(Number(day.slice(8)));
    return button(null, [h("i"), text], () => onDay(day), { ...props, style: { "--share": (count / most).toFixed(3) } });
  };
  const strip = h("div", { class: "days", role: "group", "aria-label": "Events by day", "data-testid": "days", onkeydown: moveFocus }, all.map(bar));
  const first = strip.querySelector("[aria-pressed=true]") ?? strip.lastElementChild;
  first.tabIndex = 0;
  requestAnimationFrame(() => (strip.scrollLeft = first.offsetLeft - strip.offsetLeft - strip.clientWidth / 2));
  return strip;
}

/* All days are one stop of the tab key; arrows move among them. */
function moveFocus(event) {
  const next = event.target[{ ArrowLeft: "previousElementSibling", ArrowRight: "nextElementSibling" }[event.key]];
  if (!next) return;
  event.preventDefault();
  event.stopPropagation();
  event.target.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}
