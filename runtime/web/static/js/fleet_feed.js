/* The devices of a fleet, which the page of a collector shows; asked for every REFRESH_S while somebody looks.

startFleet(), stopFleet()
fleet.state       "connecting", "live", "no-broker", "no-server", "no-store"; fleet.since: when it began; fleet.detail: what is wrong
fleet.devices     [DeviceSummary], by place and name
fleet.on(handler) -> off        called with every answer
fleet.ready()     a promise: the devices are there, or cannot be had
nameOf(topic)     what people call a device         placeOf(topic)   where it is, or null         pageOf(topic)   its own page, ending with /, or null
isTroubled(device)   whether somebody should look after it */

import { api } from "./api.js";

const REFRESH_S = 10;
const AWAY_S = 5; // a broker that is back by then is not missed

const handlers = new Set();
let running = false;
let timer = 0;
let asked = Promise.resolve();

export const fleet = {
  state: "connecting",
  since: Date.now() / 1000,
  detail: "",
  devices: [],

  on(handler) {
    handlers.add(handler);
    return () => handlers.delete(handler);
  },

  ready: () => asked,
};

const find = (topic) => fleet.devices.find((device) => device.device === topic);
export const nameOf = (topic) => find(topic)?.name ?? topic;
export const placeOf = (topic) => find(topic)?.place ?? null;
export const pageOf = (topic) => find(topic)?.page?.replace(/\/*$/, "/") ?? null;
export const isTroubled = ({ state, healthy, problems }) => ["offline", "silent"].includes(state) || healthy === false || problems.length > 0;

export function startFleet() {
  running = true;
  document.addEventListener("visibilitychange", look);
  look();
}

export function stopFleet() {
  running = false;
  document.removeEventListener("visibilitychange", look);
  clearTimeout(timer);
}

function look() {
  clearTimeout(timer);
  if (running && !document.hidden) asked = ask();
}

async function ask() {
  try {
    const { at, broker, devices } = await api.get("fleet");
    fleet.devices = devices;
    if (broker && !broker.connected && at - broker.since >= AWAY_S) setState("no-broker", broker.since);
    else setState("live");
  } catch (error) {
    fleet.detail = error.detail ?? String(error);
    setState(error.status === 0 ? "no-server" : "no-store");
  }
  if (!running) return; // whoever looked has to log in first
  for (const handler of [...handlers]) handler();
  clearTimeout(timer);
  timer = setTimeout(look, REFRESH_S * 1000);
}

function setState(state, since) {
  if (since !== undefined || state !== fleet.state) fleet.since = since ?? Date.now() / 1000;
  fleet.state = state;
}
