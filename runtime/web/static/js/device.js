/* The Device view: how the device gets on, how much of the day was heard, and what went wrong. */

import { api } from "./api.js";
import { h, replace } from "./dom.js";
import { feed } from "./feed.js";
import * as format from "./format.js";
import { coverageCard, logCard } from "./device_day.js";
import { enginePart, figures, outputsCard, sourcesCard, storeKeys } from "./device_parts.js";
import { icon } from "./icons.js";
import { spinner } from "./widgets.js";

const REFRESH_S = 30;

export function mount(root, state) {
  const gone = new AbortController();
  let info = null;
  let timer = 0;

  const trouble = h("div", { role: "alert" });
  const since = h("p", { class: "muted", "data-testid": "uptime" });
  const stats = h("dl", { class: "stats" });
  const coverage = h("div");
  const sources = h("div");
  const outputs = h("div");
  const log = h("div");
  const model = h("div");
  const store = h("div");
  const parts = h(
    "div",
    { class: "stack" },
    stats,
    coverage,
    sources,
    h("div", { class: "two" }, outputs, log),
    h("div", { class: "two" }, model, store),
  );
  const waiting = spinner();
  root.append(h("div", { class: "page-head" }, h("h1", null, "Device"), since), trouble, waiting);

  function showStatus() {
    const status = feed.device ?? info?.status ?? null;
    const runs = feed.state === "live" || (feed.state === "connecting" && info?.daemon);
    const now = runs ? status : null;
    replace(
      since,
      now
        ? `htsat-edge ${now.version}, running for ${format.duration(now.uptime_s)}`
        : `htsat-edge ${state.session.version}, the daemon is not running`,
    );
    replace(stats, figures(now, info?.store ?? null, feed.history));
    replace(sources, sourcesCard(now));
    replace(outputs, outputsCard(now));
    replace(model, enginePart(now));
  }

  function showStored() {
    replace(coverage, coverageCard(info, feed.device?.sources ?? []));
    replace(log, logCard(info));
    replace(store, storeKeys(info.store, state.session));
  }

  async function load() {
    clearTimeout(timer);
    try {
      info = await api.get("device", {}, { signal: gone.signal });
      replace(trouble);
      if (waiting.isConnected) waiting.replaceWith(parts);
      showStored();
      showStatus();
    } catch (error) {
      if (error.name === "AbortError") return;
      replace(
        trouble,
        h(
          "div",
          { class: "card row problem" },
          icon("warning"),
          h("span", { class: "grow" }, error.detail ?? error.message),
          h("button", { onclick: load }, "Try again"),
        ),
      );
      waiting.remove();
    }
    timer = setTimeout(load, REFRESH_S * 1000);
  }

  load();
  const off = [feed.on("device", () => info && showStatus()), feed.on("state", () => info && load())];
  return () => {
    gone.abort();
    clearTimeout(timer);
    off.forEach((stop) => stop());
  };
}
