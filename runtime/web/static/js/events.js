/* The events view: what was heard, day by day; listen, judge, undo. */

import { api } from "./api.js";
import { button, eventCount, isNarrow } from "./controls.js";
import { makeDetail } from "./detail.js";
import { askLabel, showExport, showKeys } from "./dialogs.js";
import { h, replace, setText } from "./dom.js";
import { makeEventList } from "./eventlist.js";
import { feed } from "./feed.js";
import { makeFilterBar } from "./filterbar.js";
import { namesOfDevice, namesOfFleet } from "./filter_names.js";
import { ANY, activeCount, parse, toParams, toQuery } from "./filters.js";
import { fleet } from "./fleet_feed.js";
import * as format from "./format.js";
import { dayStrip, heatMap } from "./heatmap.js";
import { icon } from "./icons.js";
import { Judge, verdictOf } from "./verdicts.js";
import { empty, problem, spinner } from "./widgets.js";

const PAGE = 100;
const MOST_COUNTED = 1_000_000; // the store counts no further
const MOST_GOING_ON = 10; // events of a fleet that are looked at again each time, whether they have ended
const NO_FIGURES = { labels: [], hours: [], days: [] };
const STORED_AFTER_MS = 1500; // the daemon stores a message soon, not at once

export function mount(root, state) {
  const view = new EventsView(root, state);
  view.start();
  return () => view.destroy();
}

const orError = (answer) => answer.catch((error) => error);

class EventsView {
  constructor(root, state) {
    this.state = state;
    this.filter = parse(state.params);
    this.asked = new AbortController(); // the present request for a list
    this.next = null; // where the next page begins
    this.detail = null;
    this.fresh = 0; // events that came since the list was made
    this.scroll = 0; // of the list, while a narrow screen shows an event in its place
    this.judge = new Judge((verdicts) => this.showVerdicts(verdicts));
    this.list = makeEventList({ onOpen: (event) => this.open(event), onSelection: () => this.showBulk(), onMore: () => this.more() });
    this.inFleet = state.session.fleet;
    this.off = this.inFleet ? fleet.on(() => this.look()) : feed.on("message", (message) => this.heard(message));
    document.addEventListener("keydown", this.onKey);
    document.addEventListener("keyup", this.onKeyUp);
    this.build(root);
  }

  build(root) {
    this.total = h("p", { class: "events-total muted grow", role: "status", "data-testid": "total" });
    this.freshButton = button(null, null, () => this.refresh(), { class: "events-fresh", hidden: true, "data-testid": "fresh" });
    this.filters = h("div");
    this.overview = h("div", { class: "events-overview card" });
    this.side = h("div", { class: "events-side" }, this.overview);
    this.main = h("div", { class: "events-main card" }, spinner());
    this.bulk = h("div", { class: "bulk", role: "toolbar", "aria-label": "Selected events", "data-testid": "bulk", hidden: true });
    this.element = h(
      "div",
      { class: "events stack" },
      h(
        "div",
        { class: "page-head" },
        h("h1", {}, "Events"),
        this.total,
        this.freshButton,
        button(null, ["Keys", h("kbd", { "aria-hidden": "true" }, "?")], () => showKeys(this.inFleet), { class: "events-keys", "aria-keyshortcuts": "?" }),
        !this.inFleet && button("download", "Export", showExport, { "data-testid": "export-open" }),
      ),
      this.filters,
      h("div", { class: "events-body" }, this.main, this.side),
      this.bulk,
    );
    replace(root, this.element);
  }

  async start() {
    const names = await (this.inFleet ? namesOfFleet() : namesOfDevice()).catch((error) => (problem(error), { sources: [], labels: [] }));
    if (this.gone) return;
    this.labels = names.labels;
    this.bar = makeFilterBar({ filter: this.filter, ...names, onChange: (filter) => this.setFilter(filter) });
    replace(this.filters, this.bar.element);
    await this.refresh();
    const key = Number(this.state.params.get("event"));
    if (key && !this.gone) this.open(this.list.find(key) ?? (await api.get(`events/${key}`).catch(problem)));
  }

  destroy() {
    this.gone = true;
    this.asked.abort();
    this.detail?.destroy();
    this.list.destroy();
    this.off();
    document.querySelector("dialog[open]")?.close();
    document.removeEventListener("keydown", this.onKey);
    document.removeEventListener("keyup", this.onKeyUp);
  }

  setFilter(change) {
    this.filter = { ...this.filter, ...change };
    this.bar.update(this.filter);
    this.showAddress();
    this.refresh();
  }

  showAddress() {
    const params = toParams(this.filter);
    if (this.list.current) params.set("event", this.list.current.key);
    this.state.replaceParams(params);
  }

  async refresh() {
    this.asked.abort();
    const { signal } = (this.asked = new AbortController());
    this.setFresh(0);
    this.element.setAttribute("aria-busy", "true");
    const query = toQuery(this.filter);
    try {
      const [page, figures, days] = await Promise.all([
        api.get("events", { ...query, limit: PAGE }, { signal }),
        orError(api.get("figures", query, { signal })),
        orError(api.get("days", { ...query, from_at: null, to_at: null }, { signal })),
      ]);
      this.next = page.next;
      [this.newest, this.shownTotal] = [page.events[0]?.key ?? null, page.total];
      setText(this.total, page.total > MOST_COUNTED ? `more than ${eventCount(MOST_COUNTED)}` : eventCount(page.total));
      this.list.show(page, figures.days ?? []);
      replace(this.main, page.total > 0 ? this.list.element : this.nothing());
      this.showOverview(figures, days);
    } catch (error) {
      if (signal.aborted) return;
      replace(this.main, empty("warning", "The events could not be read", error.detail ?? error.message, button(null, "Try again", () => this.refresh())));
    }
    this.element.removeAttribute("aria-busy");
  }

  nothing() {
    if (activeCount(this.filter) > 0) return empty("filter", "No event passes the filters", "Try a longer time, another class or a lower score.", button(null, "Clear filters", () => this.setFilter(ANY)));
    if (this.inFleet) return empty("events", "Nothing was heard yet", "An event is here as soon as a device reports one.");
    const text = "An event appears here as soon as the detector reports one. Play a sound to it; if nothing comes, see why.";
    return empty("events", "Nothing was heard yet", text, h("a", { class: "button", href: "#why" }, icon("why"), "Why?"));
  }

  /* Of very many events the list is there at once, but to count them may take longer than is waited for. */
  showOverview(figures, allDays) {
    const failed = [figures, allDays].find((one) => one instanceof Error);
    const { labels, hours, days: shown } = figures instanceof Error ? NO_FIGURES : figures;
    const days = allDays instanceof Error ? shown : allDays;
    const [from, to] = [this.filter.from?.slice(0, 10), this.filter.to?.slice(0, 10)];
    const isChosen = (day) => Boolean(from || to) && !(day < from) && !(day > to);
    const onDay = (day) => this.setFilter(this.filter.from === day && this.filter.to === day ? { from: null, to: null } : { from: day, to: day });
    const onLabel = (label) => this.setFilter({ labels: [label] });
    const time = (hour) => (hour < 24 ? `${from}T${String(hour).padStart(2, "0")}:00` : from);
    const onHour = from && from === to && ((label, hour) => this.setFilter({ labels: [label], from: time(hour), to: time(hour + 1) }));
    const open = this.overview.querySelector("details")?.open ?? !isNarrow();
    const span = shown.length === 1 ? format.relativeDay(shown[0].day) : `${shown.length} days`;
    const summary = h("summary", {}, h("h2", {}, "By hour"), h("span", { class: "muted" }, span));
    replace(
      this.overview,
      failed && empty("warning", "Not all could be counted", failed.detail ?? failed.message),
      days.length > 1 && dayStrip(days, { isChosen, onDay }),
      labels.length > 0 && h("details", { open }, summary, heatMap({ labels, hours }, { onLabel, onHour })),
    );
  }

  async more() {
    const { signal } = this.asked;
    try {
      const page = await api.get("events", { ...toQuery(this.filter), limit: PAGE, after: this.next }, { signal });
      this.next = page.next;
      this.list.append(page);
    } catch (error) {
      if (signal.aborted) return;
      problem(error);
      this.list.failed();
    }
  }

  open(event) {
    if (!event) return;
    if (this.detail) this.detail.destroy();
    else this.scroll = window.scrollY;
    this.list.open(event);
    this.detail = makeDetail(event, {
      labels: this.labels,
      onDecide: (decision) => this.decide(decision, [event]),
      onLock: () => this.lock([event]),
      onChange: (change, said) => this.judgeAll([event], change, said),
      onClose: () => this.close(),
      onMove: (step) => this.move(step),
    });
    replace(this.side, this.detail.element);
    this.element.classList.add("has-detail");
    this.showAddress();
    if (!isNarrow()) return this.list.focus(event);
    window.scrollTo(0, 0);
    this.element.querySelector("#detail-title").focus();
  }

  close() {
    if (!this.detail) return;
    const event = this.list.current;
    this.detail.destroy();
    this.detail = null;
    this.list.open(null);
    replace(this.side, this.overview);
    this.element.classList.remove("has-detail");
    this.showAddress();
    if (isNarrow()) window.scrollTo(0, this.scroll);
    this.list.focus(event);
  }

  async move(step) {
    const { events, current } = this.list;
    if (step > 0 && this.next && current?.key === events.at(-1)?.key) await this.more();
    const event = this.list.next(step);
    if (event && event.key !== this.list.current?.key) this.open(event);
  }

  showVerdicts(verdicts) {
    const { list } = this;
    for (const verdict of verdicts) {
      const isOpen = list.current?.key === verdict.event;
      for (const event of [list.find(verdict.event), isOpen && list.current]) if (event) event.verdict = verdict;
      if (list.find(verdict.event)) list.update(list.find(verdict.event));
      if (isOpen) this.detail.update();
    }
  }

  /* What a key or a button of the toolbar judges: what is selected, else what is open. */
  chosen() {
    const selected = this.list.selected();
    return selected.length > 0 ? selected : [this.list.current].filter(Boolean);
  }

  /* What all of these have already is taken back. */
  decide(decision, events = this.chosen()) {
    const isUndone = events.every((event) => verdictOf(event).decision === decision);
    this.judgeAll(events, { decision: isUndone ? null : decision, label: null }, isUndone ? "not judged" : decision);
  }

  lock(events = this.chosen()) {
    const locked = !events.every((event) => verdictOf(event).locked);
    this.judgeAll(events, { locked }, locked ? "locked, kept whatever its age" : "unlocked");
  }

  askLabel() {
    const selected = this.list.selected();
    if (selected.length === 0) return this.detail?.askLabel();
    askLabel(eventCount(selected.length), this.labels, (label) => this.judgeAll(selected, { decision: "wrong", label }, `really ${label}`));
  }

  judgeAll(events, change, said) {
    if (events.length === 0) return;
    this.judge.judge(events, change, `${events.length === 1 ? events[0].label : eventCount(events.length)}: ${said}`);
  }

  showBulk() {
    const count = this.list.selected().length;
    const isNew = this.bulk.hidden;
    this.bulk.hidden = count === 0;
    if (isNew && count > 0)
      replace(
        this.bulk,
        h("b", { role: "status" }),
        button(null, "All listed", () => this.list.selectAll(true), { class: "quiet" }),
        button(null, "None", () => this.list.selectAll(false), { class: "quiet" }),
        h("hr"),
        button("check", "Correct", () => this.decide("correct")),
        button("cross", "Wrong", () => this.decide("wrong")),
        button("swap", "Really …", () => this.askLabel()),
        button("lock", "Lock", () => this.lock()),
        !this.inFleet && (this.teachButton = button("sounds", "Teach this sound", () => this.teach(), { "data-testid": "teach-events" })),
      );
    if (count === 0) return;
    setText(this.bulk.firstElementChild, `${format.count(count)} selected`);
    if (this.teachButton) this.teachButton.disabled = !this.list.selected().some((event) => event.clip);
  }

  /* What has a clip becomes recordings of a sound of one's own. */
  teach() {
    const keys = this.list.selected().filter((event) => event.clip).map((event) => ["event", event.key]);
    this.state.go("sounds", keys);
  }

  heard({ type, source, id, label }) {
    const { sources, labels, decision, locked, to } = this.filter;
    const passes = (list, item) => list.length === 0 || list.includes(item);
    const isShown = (decision ?? "none") === "none" && !locked && !(to < format.dayKey(Date.now() / 1000));
    if (type === "start" && isShown && passes(sources, source) && passes(labels, label)) this.setFresh(this.fresh + 1);
    const event = type === "end" && this.list.events.find((other) => other.offset === null && other.source === source && other.id === id);
    if (event) setTimeout(() => this.reload(event), STORED_AFTER_MS);
  }

  /* What is new in a fleet is shown at once where nobody is at work on the list; else it is offered. */
  async look() {
    if (document.hidden || this.element.hasAttribute("aria-busy")) return;
    const page = await api.get("events", { ...toQuery(this.filter), limit: 1 }).catch(() => null);
    if (this.gone || !page || this.element.hasAttribute("aria-busy")) return;
    for (const event of this.list.events.filter((one) => one.offset === null).slice(0, MOST_GOING_ON)) this.reload(event);
    const newest = page.events[0]?.key ?? null;
    if (newest === null || newest === this.newest) return;
    const isAtWork = this.detail || this.list.selected().length > 0 || window.scrollY > 100 || this.element.contains(document.activeElement);
    if (isAtWork) this.setFresh(Math.max(1, page.total - this.shownTotal));
    else this.refresh();
  }

  setFresh(count) {
    this.fresh = count;
    this.freshButton.hidden = count === 0;
    setText(this.freshButton, `Show ${count === 1 ? "a new event" : `${count} new events`}`);
  }

  /* An event that went on has ended: show how, and with its clip. */
  async reload(event) {
    const now = await api.get(`events/${event.key}`).catch(() => null);
    if (this.gone || !now) return;
    this.list.update(Object.assign(event, now));
    if (this.list.current === event && !this.side.contains(document.activeElement)) this.open(event);
  }

  onKey = (event) => {
    const { target, key } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (target.closest("textarea, select, input:not([type=checkbox], [type=range])")) return key === "Escape" && target.blur();
    if (key.startsWith("Arrow") && target.matches("[type=range]")) return;
    if (key === " " && target.closest("button:not(.event-open), a, input, summary")) return;
    if (!this.actions[key]) return;
    event.preventDefault();
    this.actions[key]();
  };

  /* A space that plays must not press the row that has the focus, which some browsers do when the key comes up. */
  onKeyUp = (event) => event.key === " " && event.target.closest?.(".event-open") && event.preventDefault();

  actions = {
    j: () => this.move(1),
    ArrowDown: () => this.move(1),
    k: () => this.move(-1),
    ArrowUp: () => this.move(-1),
    " ": () => (this.detail ? this.detail.toggle() : this.move(0)),
    ArrowLeft: () => this.detail?.seekBy(-1),
    ArrowRight: () => this.detail?.seekBy(1),
    c: () => this.decide("correct"),
    w: () => this.decide("wrong"),
    r: () => this.askLabel(),
    n: () => this.detail?.editNote(),
    l: () => this.lock(),
    x: () => this.list.current && this.list.select(this.list.current),
    u: () => this.judge.undo(),
    "?": () => showKeys(this.inFleet),
    Escape: () => (this.list.selected().length > 0 ? this.list.selectAll(false) : this.close()),
  };
}
