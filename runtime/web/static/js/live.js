/* The Live view: a card for each source, and what today has brought. */

import { api } from "./api.js";
import { setLabels } from "./colors.js";
import { h, replace } from "./dom.js";
import { feed } from "./feed.js";
import * as format from "./format.js";
import { icon } from "./icons.js";
import { makeCard } from "./live_card.js";
import { LiveSource } from "./live_source.js";
import { empty, labelChip, problem } from "./widgets.js";
import { dayStart } from "./zoned.js";

const TODAY_S = 60;
const TODAY_SOON_S = 3;
const LOOK_BACK_S = 6 * 3600;
const TODAY_LABELS = 8;
const RESTORE_MS = 300; // after the first frame, when others have come too

export function mount(root, state) {
  const cards = new Map(); // name of the source -> {source, card}
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const gone = new AbortController();
  let infos = new Map(); // what /api/sources says
  let paused = false;
  let frameRequest = 0;
  let todayTimer = 0;
  let restoring = 0;

  const list = h("div", { class: "sources" });
  const today = h("p", { class: "today", "data-testid": "today" });
  const pauseButton = h("button", {
    class: "hold",
    "aria-pressed": "false",
    title: "Hold the picture (space)",
    "data-testid": "pause",
    onclick: () => pause(!paused),
  });
  root.append(
    h("div", { class: "page-head" }, h("h1", { class: "visually-hidden" }, "Live"), today, pauseButton),
    list,
  );

  function pause(on) {
    paused = on;
    pauseButton.setAttribute("aria-pressed", String(on));
    replace(pauseButton, icon(on ? "play" : "pause", { size: 16 }), on ? "Go on" : "Hold");
    for (const { card } of cards.values()) card.draw(!on);
  }

  function onKey(event) {
    if (event.key !== " " || event.target.closest("a, button, input, select, textarea, dialog")) return;
    event.preventDefault();
    pause(!paused);
  }

  function entryOf(name) {
    if (!cards.has(name)) {
      const source = new LiveSource(name, infos.get(name)?.thresholds);
      const card = makeCard(source, { onPick: (at) => state.go("why", { source: name, at: at.toFixed(2) }) });
      cards.set(name, { source, card });
      if (cards.size === 1) replace(list);
      const after = [...cards.keys()].sort().find((other) => other > name);
      list.insertBefore(card.node, cards.get(after)?.card.node ?? null);
      list.dataset.count = cards.size;
    }
    return cards.get(name);
  }

  async function start() {
    try {
      const sources = await api.get("sources", {}, { signal: gone.signal });
      infos = new Map(sources.map((source) => [source.name, source]));
      setLabels(sources.flatMap((source) => source.labels));
      for (const info of sources)
        if (info.live) {
          const { source, card } = entryOf(info.name);
          source.thresholds = info.thresholds;
          card.setInfo(info.live);
        }
    } catch (error) {
      problem(error);
    }
    showState();
    countToday();
  }

  function onFrame(frame) {
    const { source, card } = entryOf(frame.source);
    if (source.takeFrame(frame)) {
      clearTimeout(restoring);
      restoring = setTimeout(restore, RESTORE_MS);
    }
    // A burst, as after connecting, is drawn once.
    card.dirty ||= (queueMicrotask(() => ((card.dirty = false), paused || card.frame())), true);
    if (still.matches && !paused) card.draw(true);
  }

  /* Events of before the page was opened, which the stream does not bring. */
  async function restore() {
    try {
      const names = [...cards.keys()];
      const from = Date.now() / 1000 - LOOK_BACK_S;
      const answers = await Promise.all(
        names.map((name) => api.get("events", { source: name, from_at: from, limit: 30 }, { signal: gone.signal })),
      );
      names.forEach((name, i) => {
        const { source, card } = cards.get(name);
        const position = source.spectrogram?.end ?? 0;
        if (source.offset !== null) for (const event of answers[i].events) source.takeStored(event, position);
        card.setPast(answers[i].events.slice(0, 4));
      });
    } catch (error) {
      problem(error);
    }
  }

  function onMessage(message) {
    if (!message.source || !["start", "end", "gap"].includes(message.type)) return;
    const { source, card } = entryOf(message.source);
    source.takeMessage(message);
    if (!paused) card.message(message);
    if (message.type === "start") countToday(TODAY_SOON_S);
  }

  function onDevice(device) {
    for (const info of device.sources) entryOf(info.name).card.setInfo(info);
  }

  function showState() {
    const live = feed.state === "live" || feed.state === "connecting";
    for (const { card } of cards.values()) {
      card.setStale(!live);
      if (!live) card.setInfo(null, feed.state === "no-daemon" ? "Not listening" : "Not known");
    }
    if (cards.size > 0) return;
    const texts = {
      "no-daemon": ["The daemon is not running", "Start it with htsat-edge listen; this page goes on by itself."],
      live: ["Nothing is heard yet", "The first picture comes with the first window of sound."],
    };
    const [title, text] = texts[feed.state] ?? ["Connecting", ""];
    replace(list, empty("live", title, text));
  }

  async function countToday(seconds = 0) {
    clearTimeout(todayTimer);
    if (seconds > 0) return void (todayTimer = setTimeout(countToday, seconds * 1000));
    try {
      const from = dayStart(format.dayKey(Date.now() / 1000));
      const { labels } = await api.get("figures", { from_at: from }, { signal: gone.signal });
      const total = labels.reduce((sum, label) => sum + label.count, 0);
      const chips = labels.slice(0, TODAY_LABELS).map(({ label, count }) => {
        const chip = labelChip(label, h("b", null, format.count(count)));
        return h(
          "a",
          {
            class: "chip",
            href: `#events?label=${encodeURIComponent(label)}`,
            style: { "--hue": chip.style.getPropertyValue("--hue") },
          },
          [...chip.childNodes],
        );
      });
      replace(
        today,
        h(
          "b",
          null,
          total === 0 ? "No events today" : `${format.count(total)} ${total === 1 ? "event" : "events"} today`,
        ),
        chips,
      );
    } catch (error) {
      if (error.name === "AbortError") return; // all else is said elsewhere; what was counted last stays
    }
    todayTimer = setTimeout(countToday, TODAY_S * 1000);
  }

  function animate() {
    if (!paused && !still.matches && feed.state === "live") for (const { card } of cards.values()) card.draw();
    frameRequest = requestAnimationFrame(animate); // the browser holds these where the page is hidden
  }

  const off = [
    feed.on("frame", onFrame),
    feed.on("message", onMessage),
    feed.on("device", onDevice),
    feed.on("state", showState),
  ];
  document.addEventListener("keydown", onKey);
  pause(false);
  start();
  feed.wantFrames(true);
  animate();

  return () => {
    feed.wantFrames(false);
    gone.abort();
    clearTimeout(todayTimer);
    clearTimeout(restoring);
    cancelAnimationFrame(frameRequest);
    document.removeEventListener("keydown", onKey);
    off.forEach((stop) => stop());
    for (const { card } of cards.values()) card.destroy();
  };
}
