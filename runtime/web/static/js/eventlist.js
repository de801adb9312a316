/* The list of events by day.

makeEventList({onOpen, onSelection, onMore}) -> list
  show(page, days)     a new list; `days` (DayCount) gives the counts beside the days       append(page)   its next page
  failed()             no next page came           events     those that are there, the newest first        find(key)
  current, open(event) the one that is open        focus(event)      next(step)   the event that many places from the current one
  selected()           select(event, {range, on})         selectAll(on)
  update(event)        shows what has changed in it */

import { hueOf } from "./colors.js";
import { button, eventCount } from "./controls.js";
import { h, replace } from "./dom.js";
import { nameOf, placeOf } from "./fleet_feed.js";
import * as format from "./format.js";
import { icon } from "./icons.js";
import { verdictOf } from "./verdicts.js";
import { spinner } from "./widgets.js";

export function makeEventList({ onOpen, onSelection, onMore }) {
  let rows = new Map(); // key -> {event, row, box, open}, in the order of the list
  const selection = new Set();
  let dayCounts = new Map();
  let day = null; // the last heading's
  let anchor = null; // where a selected range begins
  let loading = false;

  const days = h("div");
  const more = button(null, "Show more", load);
  const foot = h("div", { class: "list-foot" });
  const seen = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && load(), { rootMargin: "600px" });

  async function load() {
    if (loading) return;
    loading = true;
    replace(foot, spinner());
    await onMore();
    loading = false;
  }

  const list = {
    element: h("div", { "data-testid": "events" }, days, foot),
    current: null,

    get events() {
      return [...rows.values()].map(({ event }) => event);
    },

    show(page, counts) {
      dayCounts = new Map(counts.map((count) => [count.day, count.count]));
      rows = new Map();
      selection.clear();
      day = null;
      replace(days);
      list.append(page);
      onSelection();
    },

    append(page) {
      for (const event of page.events) if (!rows.has(event.key)) place(event);
      if (rows.has(list.current?.key)) list.open(list.find(list.current.key));
      seen.disconnect();
      replace(foot, page.next && more);
      if (page.next) seen.observe(more);
    },

    failed() {
      seen.disconnect(); // a person may try again; the page does not do so without end
      replace(foot, more);
    },

    find: (key) => rows.get(key)?.event,

    open(event) {
      rows.get(list.current?.key)?.open.removeAttribute("aria-current");
      list.current = event;
      rows.get(event?.key)?.open.setAttribute("aria-current", "true");
    },

    focus(event) {
      const open = rows.get(event?.key)?.open;
      open?.focus({ preventScroll: true });
      open?.scrollIntoView({ block: "nearest" });
    },

    next(step) {
      const { events, current } = list;
      const index = events.findIndex((event) => event.key === current?.key);
      return events[index < 0 ? 0 : Math.min(Math.max(index + step, 0), events.length - 1)];
    },

    selected: () => list.events.filter((event) => selection.has(event.key)),

    select({ key }, { range = false, on = !selection.has(key) } = {}) {
      const keys = [...rows.keys()];
      const ends = [keys.indexOf(key), range && rows.has(anchor) ? keys.indexOf(anchor) : keys.indexOf(key)].sort((a, b) => a - b);
      for (const one of keys.slice(ends[0], ends[1] + 1)) mark(one, on);
      anchor = key;
      onSelection();
    },

    selectAll(on) {
      for (const key of rows.keys()) mark(key, on);
      onSelection();
    },

    update: (event) => rows.has(event.key) && fillRow(rows.get(event.key), event),
    destroy: () => seen.disconnect(),
  };

  function mark(key, on) {
    const { box, row } = rows.get(key);
    selection[on ? "add" : "delete"](key);
    box.checked = on;
    row.classList.toggle("selected", on);
  }

  function place(event) {
    const key = format.dayKey(event.at);
    if (key !== day) {
      day = key;
      const id = `day-${key}`;
      const heading = h("h2", { id }, format.relativeDay(key), dayCounts.has(key) && h("small", {}, eventCount(dayCounts.get(key))));
      days.append(h("section", { "aria-labelledby": id }, heading, h("ul")));
    }
    days.lastElementChild.lastElementChild.append(makeRow(event));
  }

  function makeRow(event) {
    const onclick = (click) => list.select(event, { range: click.shiftKey, on: box.checked });
    const box = h("input", { type: "checkbox", "aria-label": `Select ${event.label}, ${format.time(event.at)}`, onclick });
    const open = button(null, null, () => onOpen(event), { class: "event-open" });
    const props = { class: "event-row", "data-testid": "event", "data-key": event.key, style: { "--hue": hueOf(event.label) } };
    const held = { event, box, open, row: h("li", props, h("label", {}, box), open) };
    rows.set(event.key, held);
    fillRow(held, event);
    return held.row;
  }

  return list;
}

/* Where it was heard: the source, and in a fleet first of all the device, with its place where its name does not say it. */
export function whereOf({ device, source }) {
  if (device === null) return source;
  const [name, place] = [nameOf(device), placeOf(device)];
  return [name, place && !name.toLowerCase().includes(place.toLowerCase()) && place, source].filter(Boolean).join(" · ");
}

export const lengthOf = (event) => (event.offset === null ? "goes on" : format.duration(event.offset - event.onset));

function fillRow({ row, open }, event) {
  const { decision, label, note, locked } = verdictOf(event);
  row.dataset.decision = decision ?? "none";
  const sign = (is, name, title) => is && icon(name, { size: 15, title });
  const really = label && [h("span", { class: "visually-hidden" }, " really "), h("b", { class: "event-really" }, label)];
  replace(
    open,
    h("i", { class: "dot" }),
    h("span", { class: "event-main" }, h("b", { class: "event-label" }, event.label), really, h("small", {}, ` ${whereOf(event)} · ${lengthOf(event)} `)),
    h(
      "span",
      { class: "event-marks" },
      sign(note, "note", "has a note"),
      sign(locked, "lock", "locked"),
      sign(decision, decision === "wrong" ? "cross" : "check", decision),
    ),
    h("span", { class: "event-when" }, ` ${format.time(event.at)} `, h("small", {}, format.score(event.score))),
    h("span", { class: "event-clip" }, sign(event.clip, "play", "with a clip")),
  );
}
