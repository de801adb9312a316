/* The Fleet view: which devices are up, how much of the day they have heard, and how many events there are at each place. */

import { h, replace, setText } from "./dom.js";
import { makeDeviceTable } from "./fleet_devices.js";
import { fleet, isTroubled } from "./fleet_feed.js";
import { makePlaces } from "./fleet_places.js";
import * as format from "./format.js";
import { empty, setStat, spinner, stat } from "./widgets.js";

export function mount(root) {
  const total = h("p", { class: "muted", "data-testid": "fleet-total" });
  const up = stat("Devices up", "–", null, "fleet-up");
  const today = stat("Events today", "–", null, "fleet-today");
  const heard = stat("Heard in the last 24 hours", "–", null, "fleet-heard");
  const lost = stat("Messages lost", "–", null, "fleet-lost");
  const places = makePlaces();
  const table = makeDeviceTable();
  const content = h("div", { class: "stack" }, h("dl", { class: "stats" }, up, today, heard, lost), places.element, table.element);
  const body = h("div", {}, spinner());
  replace(root, h("div", { class: "page-head" }, h("h1", {}, "Fleet"), total), body);

  function show() {
    const { devices, state } = fleet;
    if (!["live", "no-broker"].includes(state) && devices.length === 0) return; // they are not known
    setText(total, devices.length === 1 ? "1 device" : `${format.count(devices.length)} devices`);
    if (devices.length === 0) return void replace(body, nothing());
    showFigures(devices);
    table.show(devices);
    places.look();
    if (!content.isConnected) replace(body, content);
  }

  function showFigures(devices) {
    const down = devices.filter((device) => device.state === "offline").length;
    const troubled = devices.filter(isTroubled).length - down;
    const online = devices.filter((device) => device.state === "online").length;
    const unknown = devices.filter((device) => device.state === "unknown").length;
    const known = devices.map((device) => device.coverage).filter((share) => share !== null);
    const sum = (name) => devices.reduce((before, device) => before + device[name], 0);
    const losing = devices.filter((device) => device.lost > 0).length;
    const faults = [down > 0 && `${down} down`, troubled > 0 && `${troubled} with a problem`, unknown > 0 && `${unknown} not known`].filter(Boolean).join(", ");
    setStat(up, `${format.count(online)} of ${format.count(devices.length)}`, faults || "none has a problem");
    setStat(today, format.count(sum("events_today")), "at all places");
    setStat(heard, known.length > 0 ? format.share(known.reduce((before, share) => before + share, 0) / known.length) : "–", known.length > 0 ? `${known.length === 1 ? "of 1 device" : `mean of ${known.length} devices`}` : "no hour is over yet");
    setStat(lost, format.count(sum("lost")), losing > 0 ? `of ${losing === 1 ? "1 device" : `${losing} devices`}` : "every message came");
  }

  show();
  const off = fleet.on(show);
  return () => {
    off();
    places.destroy();
  };
}

const nothing = () =>
  empty(
    "fleet",
    "No device has been heard yet",
    "A device is here as soon as it publishes to the collector’s broker. Give each a topic of its own in its configuration:",
    h("code", {}, "outputs: {mqtt: {host: …, topic: htsat-edge/barn, place: Barn}}"),
  );
