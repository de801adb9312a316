/* The devices of a fleet, a row each: those that somebody should look after come first.

makeDeviceTable() -> {element, show(devices)} */

import { button } from "./controls.js";
import { h, setText } from "./dom.js";
import { isTroubled } from "./fleet_feed.js";
import * as format from "./format.js";
import { icon } from "./icons.js";

const HOT_C = 85;
const BUSY = 0.9;
const ENOUGH = 0.995; // of a day that is to be heard, as in the Device view
const TOO_LITTLE = 0.9;
const FEW = 8; // devices that need no search
const MOST_LINES = 4; // of what is wrong with one
const HEADINGS = ["Device", "State", "Heard, 24 h", "Today", "Last message", "Model", "Load", "Hottest", "Queue", "Lost", "Page"];
const FIGURES = new Set(["Heard, 24 h", "Today", "Last message", "Load", "Hottest", "Queue", "Lost"]);
const STATES = {
  online: ["good", "Up"],
  silent: ["bad", "Silent"],
  offline: ["bad", "Down"],
  unknown: ["off", "Not known"],
};

const rankOf = (device) => (["offline", "silent"].includes(device.state) ? 0 : isTroubled(device) ? 1 : 2);

export function makeDeviceTable() {
  const rows = new Map(); // by topic
  let devices = [];
  let onlyTroubled = false;

  const search = h("input", { type: "search", placeholder: "Name or place", "aria-label": "Find devices", oninput: () => show(devices) });
  const choices = [false, true].map((troubled) => button(null, null, () => ((onlyTroubled = troubled), show(devices))));
  const body = h("tbody", { role: "rowgroup" });
  const none = h("p", { class: "muted", role: "status" });
  const head = HEADINGS.map((text) => h("th", { scope: "col", role: "columnheader", class: FIGURES.has(text) && "number" }, text));
  const tools = h("div", { class: "row" }, h("div", { class: "segmented", role: "group", "aria-label": "Which devices" }, choices), search);
  const element = h(
    "section",
    { class: "card", "aria-label": "Devices" },
    h("header", {}, h("h2", { class: "grow" }, "Devices"), tools),
    h(
      "div",
      { class: "table-scroll", tabindex: 0, role: "region", "aria-label": "Table of devices" },
      // A narrow screen lays the table out as cards, which would take its roles away.
      h("table", { class: "table fleet-table", role: "table", "data-testid": "devices" }, h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, head)), body),
    ),
    none,
  );

  function show(now) {
    devices = now;
    const troubled = devices.filter(isTroubled).length;
    setText(choices[0], `All ${devices.length}`);
    setText(choices[1], `In trouble ${troubled}`);
    choices.forEach((choice, i) => choice.setAttribute("aria-pressed", onlyTroubled === Boolean(i)));
    tools.hidden = devices.length < 2;
    search.hidden = devices.length <= FEW;
    const wanted = search.value.trim().toLowerCase();
    const fits = (device) => [device.name, device.place ?? "", device.device].some((text) => text.toLowerCase().includes(wanted));
    const listed = devices.filter((device) => (!onlyTroubled || isTroubled(device)) && fits(device));
    listed.sort((a, b) => rankOf(a) - rankOf(b)); // it is stable: within, by place and name
    place(listed.map(rowOf));
    setText(none, listed.length > 0 ? "" : onlyTroubled && !wanted ? "No device is in trouble." : "No device has such a name or place.");
    none.hidden = listed.length > 0;
  }

  /* Rows that stay are left where they are, and cells that say the same, so that no link loses the focus. */
  function place(wanted) {
    const stay = new Set(wanted);
    for (const row of [...body.children]) if (!stay.has(row)) row.remove();
    wanted.forEach((row, i) => body.children[i] !== row && body.insertBefore(row, body.children[i] ?? null));
  }

  function rowOf(device) {
    const row = rows.get(device.device) ?? h("tr", { role: "row", "data-testid": "device-row" });
    rows.set(device.device, row);
    row.dataset.state = device.state === "online" && isTroubled(device) ? "trouble" : device.state;
    cellsOf(device).forEach((cell, i) => {
      if (i === row.cells.length) row.append(cell);
      else if (!row.cells[i].isEqualNode(cell)) row.cells[i].replaceWith(cell);
    });
    return row;
  }

  return { element, show };
}

function cellsOf(device) {
  const cells = [
    deviceCell(device),
    stateCell(device),
    heardCell(device),
    h("a", { href: `#events?${new URLSearchParams({ from: format.dayKey(Date.now() / 1000), device: device.device })}` }, format.count(device.events_today)),
    device.last_at === null ? "–" : format.ago(device.last_at),
    modelCell(device),
    figure(device.load, format.share, device.load > BUSY),
    figure(device.temperature, (x) => `${Math.round(x)} °C`, device.temperature > HOT_C),
    figure(device.waiting, format.count, device.waiting > 0),
    figure(device.lost, format.count, device.lost > 0),
    device.page
      ? h("a", { href: device.page, target: "_blank", rel: "noreferrer", "aria-label": `Page of ${device.name}, in a new tab`, title: device.page }, icon("open", { size: 16 }))
      : h("span", { class: "muted", title: "It names none: page in outputs.mqtt" }, "–"),
  ];
  const isQuiet = (cell) => ["–", "0"].includes(cell.textContent ?? cell);
  return cells.map((cell, i) =>
    h("td", { role: "cell", class: [FIGURES.has(HEADINGS[i]) && "number", isQuiet(cell) && "fleet-quiet"].filter(Boolean).join(" "), dataset: { label: HEADINGS[i] } }, cell),
  );
}

function deviceCell({ device, name, place }) {
  const href = `#events?${new URLSearchParams({ device })}`;
  return h("div", { class: "fleet-device" }, h("a", { href, title: name === device ? name : `${name}\n${device}` }, name), h("small", { class: "muted", title: place }, place ?? "no place given"));
}

function stateCell(device) {
  const { state, since, problems, paused, healthy } = device;
  const [kind, text] = state === "online" && isTroubled(device) ? ["wait", "Attention"] : STATES[state];
  const lines = [...problems];
  if (healthy === false && problems.length === 0) lines.push("it says that it is not well");
  if (paused.length > 0) lines.push(`paused: ${paused.join(", ")}`);
  if (state === "silent") lines.push(`says nothing since ${moment(since)}`);
  if (state !== "unknown" && since !== null && lines.length === 0) lines.push(`since ${moment(since)}`);
  const shown = lines.length > MOST_LINES ? [...lines.slice(0, MOST_LINES - 1), `and ${lines.length - MOST_LINES + 1} more`] : lines;
  return h("div", { class: "fleet-state", title: lines.join("\n") }, h("span", { class: "pill", dataset: { kind } }, text), shown.map((line) => h("small", { class: "muted" }, line)));
}

const moment = (at) => (format.dayKey(at) === format.dayKey(Date.now() / 1000) ? format.clock(at) : `${format.day(at)}, ${format.clock(at)}`);

function heardCell({ coverage }) {
  if (coverage === null) return h("span", { class: "muted" }, "–");
  return h("span", { class: coverage < TOO_LITTLE ? "fleet-bad" : coverage < ENOUGH && "fleet-warn" }, format.share(coverage));
}

function modelCell({ version, model, bundle, backend, other_model: isOther }) {
  if (version === null) return h("span", { class: "muted" }, "–");
  const title = [`htsat-edge ${version}`, model && `model ${model}`, backend && `runs on ${backend}`, bundle && `bundle ${bundle}`].filter(Boolean).join("\n");
  return h(
    "div",
    { class: "fleet-model", title },
    h("span", {}, version),
    h("small", { class: "muted" }, [model, bundle?.slice(0, 8)].filter(Boolean).join(" · ")),
    isOther && h("span", { class: "pill", dataset: { kind: "wait" }, "data-testid": "other-model" }, "Another model"),
  );
}

function figure(value, say, isMuch) {
  if (value === null) return h("span", { class: "muted" }, "–");
  return h("span", { class: isMuch && "fleet-bad" }, say(value));
}
