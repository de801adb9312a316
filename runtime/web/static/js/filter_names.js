/* What the list of events can be filtered by: {sources, labels}, and in a fleet {places, devices: [[topic, name]]}. */

import { api } from "./api.js";
import { setLabels } from "./colors.js";
import { fleet } from "./fleet_feed.js";

const LABELS_S = 31 * 86400; // of a fleet's events, whose classes are offered

export async function namesOfDevice() {
  const sources = await api.get("sources");
  const labels = [...new Set(sources.flatMap((source) => source.labels))].sort();
  setLabels(labels);
  return { sources: sources.map(({ name }) => name), labels };
}

export async function namesOfFleet() {
  const from = Math.floor(Date.now() / 1000 - LABELS_S);
  const [figures] = await Promise.all([api.get("figures", { from_at: from }), fleet.ready()]);
  const places = [...new Set(fleet.devices.map(({ place }) => place).filter((place) => place !== null))].sort();
  const labels = figures.labels.map(({ label }) => label).sort();
  return { sources: [], labels, places, devices: fleet.devices.map(({ device, name }) => [device, name]) };
}
