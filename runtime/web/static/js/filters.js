/* What the list of events is filtered by: in the address, so that a link can be shared, and as the server takes it.

A filter: {from, to, sources, labels, devices, places, decision, minScore, locked, clip}. `from` and `to` are days, "2025-11-27", of which the last
counts too, or times, "2025-11-27T07:00", in the device's zone. ANY lets everything through.
parse(URLSearchParams) -> filter     toParams(filter) -> URLSearchParams     toQuery(filter) -> parameters of the API
activeCount(filter)    how many limits there are */

import { dayAfter, dayStart, fromLocal } from "./zoned.js";

const TIME = /^\d{4}-\d\d-\d\d(T\d\d:\d\d)?$/;

export const ANY = { from: null, to: null, sources: [], labels: [], devices: [], places: [], decision: null, minScore: 0, locked: false, clip: false };

const startOf = (text) => (text.includes("T") ? fromLocal(text) : dayStart(text));

export function parse(params) {
  const time = (name) => (TIME.test(params.get(name)) && startOf(params.get(name)) !== null ? params.get(name) : null);
  const minScore = Number(params.get("min_score"));
  return {
    from: time("from"),
    to: time("to"),
    sources: params.getAll("source"),
    labels: params.getAll("label"),
    devices: params.getAll("device"),
    places: params.getAll("place"),
    decision: ["none", "correct", "wrong"].find((decision) => decision === params.get("decision")) ?? null,
    minScore: minScore > 0 && minScore <= 1 ? minScore : 0,
    locked: params.has("locked"),
    clip: params.has("clip"),
  };
}

export function toParams({ from, to, sources, labels, devices, places, decision, minScore, locked, clip }) {
  const single = { from, to, decision, min_score: minScore, locked, clip };
  const pairs = Object.entries(single).filter(([, value]) => value);
  const lists = Object.entries({ source: sources, label: labels, device: devices, place: places });
  return new URLSearchParams([...pairs, ...lists.flatMap(([name, values]) => values.map((value) => [name, value]))]);
}

export function toQuery({ from, to, sources, labels, devices, places, decision, minScore, locked, clip }) {
  return {
    from_at: from && startOf(from),
    to_at: to && (to.includes("T") ? fromLocal(to) : dayStart(dayAfter(to))),
    source: sources,
    label: labels,
    device: devices,
    place: places,
    decision,
    min_score: minScore || null,
    locked: locked || null,
    has_clip: clip || null,
  };
}

export function activeCount({ from, to, sources, labels, devices, places, decision, minScore, locked, clip }) {
  return [sources, labels, devices, places].flat().length + [from || to, decision, minScore, locked, clip].filter(Boolean).length;
}
