/* Parts of the Device view that show how the daemon gets on now. `status` is a DeviceStatus, or null where it does not run. */

import { h, s } from "./dom.js";
import * as format from "./format.js";
import { stat } from "./widgets.js";

const HOT_C = 85;
const SPARK = { width: 120, height: 26 };

export function figures(status, store, history) {
  const [zone, hottest] = Object.entries(status?.temperatures ?? {}).sort((a, b) => b[1] - a[1])[0] ?? [];
  const failing = status?.outputs.filter((output) => !output.works).length ?? 0;
  const unheard =
    status?.sources.filter((source) => source.failure || (!source.paused && (!source.heard || source.problems.length > 0))).length ?? 0;
  return [
    stat(
      "Health",
      healthOf(status),
      status && (failing + unheard > 0 ? words(unheard, failing) : wellAs(status)),
      "health",
    ),
    stat(
      "Load",
      status ? format.share(Math.min(status.load, 9.99)) : "–",
      [status && "of the time the model runs", status && spark(history, "load", 1)],
      "load",
    ),
    stat(
      "A window takes",
      status ? `${status.inference_ms.toFixed(0)} ms` : "–",
      [status && `slowest ${status.slowest_ms.toFixed(0)} ms`, status && spark(history, "inferenceMs", 0)],
      "inference",
    ),
    hottest !== undefined &&
      stat(
        "Temperature",
        `${hottest.toFixed(0)} °C`,
        [hottest > HOT_C ? `${zone}: hot` : zone, spark(history, "temperature", 60)],
        "temperature",
      ),
    store && stat("Disk free", format.size(store.free_mb), `the store takes ${format.size(store.size_mb)}`, "disk"),
    store &&
      stat(
        "Events",
        format.count(store.events),
        store.oldest_at && `since ${format.day(store.oldest_at)}`,
        "event-count",
      ),
  ].filter(Boolean);
}

function healthOf(status) {
  const [kind, text] = !status ? ["bad", "Stopped"] : status.healthy ? ["good", "Good"] : ["wait", "Attention"];
  return h("span", { class: "health", style: { color: `var(--${kind === "wait" ? "warn" : kind})` } }, text);
}

function wellAs({ sources }) {
  const paused = sources.filter((source) => source.paused).map(({ name }) => name);
  return paused.length > 0 ? `Paused: ${paused.join(", ")}` : "Every source is heard, every output works";
}

function words(sources, outputs) {
  const of = (n, name) => n > 0 && `${n} ${name}${n > 1 ? "s" : ""}`;
  return `${[of(sources, "source"), of(outputs, "output")].filter(Boolean).join(" and ")} with a fault`;
}

/* The last ten minutes of a figure, from 0 to its highest, or to `least`. */
function spark(history, key, least) {
  const points = history.filter((entry) => entry[key] !== null);
  if (points.length < 3) return null;
  const { width, height } = SPARK;
  const [begin, end] = [points[0].at, points.at(-1).at];
  const top = Math.max(least, ...points.map((entry) => entry[key])) * 1.1 || 1;
  const xy = points.map(
    (entry) =>
      `${((width * (entry.at - begin)) / (end - begin || 1)).toFixed(1)} ${(height * (1 - entry[key] / top)).toFixed(1)}`,
  );
  const path = `M${xy.join("L")}`;
  return s(
    "svg",
    { class: "spark", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    s("path", { class: "area", d: `${path}V${height}H0Z` }),
    s("path", { d: path }),
  );
}

function table(headings, rows, testId) {
  const head = headings.map(([text, number]) => h("th", { scope: "col", class: number && "number" }, text));
  const body = rows.map((cells) =>
    h(
      "tr",
      null,
      cells.map((cell, i) => h("td", { class: headings[i][1] && "number" }, cell)),
    ),
  );
  return h(
    "div",
    { class: "table-scroll", tabindex: 0, role: "region", "aria-label": `Table of ${testId}` },
    h(
      "table",
      { class: "table", "data-testid": testId },
      h("thead", null, h("tr", null, head)),
      h("tbody", null, body),
    ),
  );
}

const N = true; // a column of figures

export function sourcesCard(status) {
  if (!status) return null;
  const headings = [
    ["Source"],
    ["State"],
    ["Level", N],
    ["Hop", N],
    ["Latency", N],
    ["Behind", N],
    ["Coverage", N],
    ["Gaps", N],
    ["Lost", N],
    ["Held back by rules", N],
  ];
  const rows = status.sources.map((source) => [
    h("b", null, source.name),
    pill(...sourceState(source)),
    source.level_dbfs === null ? "–" : `${format.db(source.level_dbfs)}FS`,
    `${source.hop_s.toFixed(2)} s`,
    `${source.latency_s.toFixed(1)} s`,
    `${source.behind_s.toFixed(1)} s`,
    format.share(source.coverage),
    format.count(source.gaps),
    source.lost_s > 0 ? format.duration(source.lost_s) : "–",
    format.count(source.suppressed),
  ]);
  return h(
    "section",
    { class: "card", "aria-label": "Sources" },
    h("header", null, h("h2", null, "Sources")),
    table(headings, rows, "sources"),
  );
}

export function sourceState(source) {
  if (source.failure) return ["bad", source.failure];
  if (source.paused) return ["off", "Paused"];
  if (!source.heard) return ["bad", "Lost"];
  if (source.problems.length > 0) return ["wait", source.problems.join(", ")];
  return ["good", "Heard"];
}

export function outputsCard(status) {
  if (!status) return null;
  const headings = [["Output"], ["State"], ["Sent", N], ["Waiting", N], ["Lost", N], ["Failed tries", N]];
  const rows = status.outputs.map((output) => [
    h("b", null, output.name),
    output.works ? pill("good", "Works") : pill("bad", "Fails"),
    format.count(output.sent),
    format.count(output.waiting),
    format.count(output.dropped),
    format.count(output.failures),
  ]);
  return h(
    "section",
    { class: "card", "aria-label": "Outputs" },
    h("header", null, h("h2", null, "Outputs")),
    rows.length > 0 ? table(headings, rows, "outputs") : h("p", { class: "muted" }, "None"),
  );
}

export function enginePart(status) {
  if (!status) return null;
  const engine = Object.entries(status.engine ?? {}).filter(([, value]) => value !== null && value !== "");
  return h(
    "section",
    { class: "card", "aria-label": "Model", "data-testid": "model" },
    h("header", null, h("h2", null, "Model")),
    h(
      "dl",
      { class: "keys" },
      keys([
        ["Model", status.model],
        ["Runs on", status.backend],
        ...(status.engine ? [] : [["Engine", "none: the graph runs as it is"]]),
      ]),
    ),
    engine.length > 0 && h("h3", { class: "keys-title" }, "Engine manifest"),
    engine.length > 0 &&
      h("dl", { class: "keys" }, keys(engine.map(([name, value]) => [name.replaceAll("_", " "), plain(value)]))),
  );
}

export function storeKeys(store, session) {
  const entries = [
    ["File", h("code", null, store.path)],
    ["Size", format.size(store.size_mb)],
    ["Scores", `${format.size(store.score_mb)} in ${format.count(store.score_rows)} rows`],
    ["Events", format.count(store.events)],
    ["Oldest", store.oldest_at ? format.dayTime(store.oldest_at) : "nothing yet"],
    ["Disk free", format.size(store.free_mb)],
    ["Time zone", session.zone ?? `unknown; shown in this browser's, ${format.zoneName()}`],
    ["Page", `htsat-edge ${session.version}`],
  ];
  return h(
    "section",
    { class: "card", "aria-label": "Store", "data-testid": "store" },
    h("header", null, h("h2", null, "Store")),
    h("dl", { class: "keys" }, keys(entries)),
  );
}

const keys = (entries) => entries.map(([name, value]) => [h("dt", null, name), h("dd", null, value)]);
const pill = (kind, text) => h("span", { class: "pill", "data-kind": kind }, text);

function plain(value) {
  if (Array.isArray(value)) return value.map(plain).join(", ");
  if (typeof value === "object")
    return Object.entries(value ?? {})
      .map(([name, inner]) => `${name} ${plain(inner)}`)
      .join(", ");
  return String(value);
}
