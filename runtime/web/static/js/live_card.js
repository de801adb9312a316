/* The card of a live source: how it gets on, its picture, and what is heard now.

makeCard(source, {onPick}) -> {node, setInfo(liveSource, otherwise), frame(), draw(force), message(message), setPast(events),
setStale(stale), destroy()}; `otherwise` says why there is no liveSource */

import { h, replace, setText } from "./dom.js";
import { hueOf } from "./colors.js";
import * as format from "./format.js";
import { icon } from "./icons.js";
import { makePicture } from "./live_picture.js";

const ROWS = 5;
const RECENT = 4;
const A_MOMENT_S = 3;
const LINGER_S = 5; // how long an event is "hearing now" after its end: else short sounds could not be read

export function makeCard(source, { onPick }) {
  const title = `source-${encodeURIComponent(source.name)}`;
  const picture = makePicture(source, { onPick });
  const pill = h("span", { class: "pill", "data-kind": "off", "data-testid": "source-state" }, "Waiting");
  const facts = h("dl", { class: "facts" });
  const problem = h("p", { class: "source-problem", role: "status", hidden: true });
  const why = h(
    "button",
    {
      class: "quiet small button-why",
      title: "Why something was reported, or was not, a moment ago",
      onclick: () => onPick((source.edge() ?? 0) - A_MOMENT_S + source.offset),
    },
    "Why?",
    h("span", { class: "visually-hidden" }, ` (${source.name})`),
  );
  const heard = h("ul", { class: "heard" });
  const calm = h("p", { class: "calm" });
  const bars = Array.from({ length: ROWS }, makeBar);
  const recent = h("ul", { class: "recent" });
  const recentBlock = h("div", { class: "now-recent", hidden: true }, h("h3", null, "Lately"), recent);
  const chips = new Map();
  let past = []; // the newest events, also of before the page was opened

  const node = h(
    "section",
    { class: "card source", "aria-labelledby": title, "data-testid": "source", dataset: { source: source.name } },
    h("header", null, h("h2", { id: title }, source.name), pill, facts),
    problem,
    h(
      "div",
      { class: "source-body" },
      picture.node,
      h(
        "div",
        { class: "now" },
        h(
          "div",
          { class: "now-heard" },
          h("h3", null, "Hearing now"),
          why,
          h("div", { "aria-live": "polite", "data-testid": "hearing-now" }, heard, calm),
        ),
        h(
          "div",
          { class: "now-scores" },
          h("h3", null, "Scores"),
          h(
            "ul",
            { class: "bars" },
            bars.map((bar) => bar.node),
          ),
        ),
        recentBlock,
      ),
    ),
  );

  function showHeard() {
    const edge = source.edge() ?? 0;
    const now = source.events.filter((event) => event.to === null || event.to > edge - LINGER_S);
    const newest = new Map(now.sort((a, b) => a.from - b.from).map((event) => [event.label, event]));
    for (const [label, chip] of chips)
      if (!newest.has(label)) {
        chip.node.remove();
        chips.delete(label);
      }
    for (const [label, event] of newest) {
      if (!chips.has(label)) {
        const chip = makeChip(event);
        chips.set(label, chip);
        heard.append(chip.node);
      }
      chips.get(label).show(event, edge);
    }
    const last = past[0];
    const words = last ? `Nothing at present; last ${last.label}, ${format.ago(last.at)}` : "Nothing at present";
    setText(calm, chips.size > 0 ? "" : words);
  }

  function showScores() {
    const scores = source.scores().slice(0, ROWS);
    bars.forEach((bar, i) => bar.show(scores[i]));
  }

  function showRecent() {
    recentBlock.hidden = past.length === 0;
    replace(
      recent,
      past
        .slice(0, RECENT)
        .map((event) =>
          h(
            "li",
            null,
            h(
              "a",
              { href: eventLink(event), style: { "--hue": hueOf(event.label) } },
              h("i", { class: "dot" }),
              h("span", { class: "grow" }, event.label),
              h("time", null, format.time(event.at)),
            ),
          ),
        ),
    );
  }

  const eventLink = ({ key, label }) =>
    `#events?${new URLSearchParams(key ? { event: key } : { source: source.name, label })}`;

  showScores();

  return {
    node,
    setInfo(info, otherwise) {
      const [kind, text] = info ? stateOf(info) : ["off", otherwise];
      pill.dataset.kind = kind;
      setText(pill, text);
      const say = info?.failure ?? (info?.problems.length > 0 ? `Input fault: ${info.problems.join(", ")}` : "");
      problem.hidden = !say;
      if (say && problem.textContent !== say) replace(problem, icon("warning", { size: 16 }), say);
      replace(facts, info ? factsOf(info) : []);
    },
    frame() {
      picture.refresh();
      showHeard();
      showScores();
    },
    draw: (force) => picture.draw(force),
    message(message) {
      if (message.type === "start") {
        past = [
          { id: message.id, label: message.label, at: format.seconds(message.time) ?? Date.now() / 1000 },
          ...past,
        ].slice(0, RECENT);
        showRecent();
      }
      showHeard();
    },
    setPast(events) {
      past = events;
      showRecent();
      showHeard();
    },
    setStale(stale) {
      node.classList.toggle("stale", stale);
    },
    destroy() {
      picture.destroy();
      source.destroy();
    },
  };
}

function stateOf(info) {
  if (info.failure) return ["bad", "Not detecting"];
  if (info.paused) return ["off", "Paused"];
  if (!info.heard) return ["bad", "Lost"];
  if (info.problems.length > 0) return ["wait", "Input fault"];
  return info.behind_s > 2 * info.hop_s + 2 ? ["wait", "Behind"] : ["good", "Heard"];
}

function factsOf(info) {
  const facts = [
    ["Level", info.level_dbfs === null ? "–" : `${format.db(info.level_dbfs)}FS`],
    ["Latency", `${info.latency_s.toFixed(1)} s`, "From the onset of a sound to its message"],
    ["Hop", `${info.hop_s.toFixed(2)} s`, "From one run of the model to the next", "detail"],
    ["Behind", `${info.behind_s.toFixed(1)} s`, "Audio that waits for detection", "detail"],
    ["Coverage", format.share(info.coverage), "Of the time since the start"],
  ];
  return facts.map(([name, value, title, detail]) =>
    h("div", { title, class: detail }, h("dt", null, name), h("dd", null, value)),
  );
}

function makeChip(event) {
  const value = h("b");
  const time = h("small");
  const node = h(
    "li",
    { class: "heard-chip", style: { "--hue": hueOf(event.label) } },
    h("i", { class: "dot" }),
    h("span", null, event.label),
    h("span", { class: "heard-figures", "aria-hidden": "true" }, value, time),
  );
  return {
    node,
    show({ score, from, to }, edge) {
      node.classList.toggle("over", to !== null);
      setText(value, format.score(score));
      setText(time, `${Math.max(0, (to ?? edge) - from).toFixed(1)} s`);
    },
  };
}

function makeBar() {
  const name = h("span", { class: "bar-name" });
  const value = h("span", { class: "bar-value" });
  const mark = h("b", { class: "bar-mark" });
  const track = h("div", { class: "bar" }, h("i"));
  const node = h("li", null, name, value, h("div", { class: "bar-track" }, track, mark));
  return {
    node,
    show(entry) {
      node.style.visibility = entry ? "visible" : "hidden";
      if (!entry) return;
      setText(name, entry.label);
      setText(value, format.score(entry.score));
      node.style.setProperty("--hue", hueOf(entry.label));
      node.style.setProperty("--value", entry.score);
      node.classList.toggle("passed", entry.threshold !== null && entry.score >= entry.threshold);
      mark.hidden = entry.threshold === null;
      if (entry.threshold !== null) mark.style.setProperty("left", `${entry.threshold * 100}%`);
    },
  };
}
