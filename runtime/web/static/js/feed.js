/* The one live connection of the page, and what it has brought last.

startFeed()                 connects; stopFeed() lets go
feed.state                  "connecting", "live", "no-daemon", "no-server", "sent-away"
feed.since                  when this state began, in seconds since 1970; feed.wasLive: whether the daemon was heard before
feed.device                 the last DeviceStatus; null where none has come, or the daemon is gone
feed.history                figures of the last ten minutes: [{at, load, inferenceMs, temperature}]
feed.on(type, handler) -> off
                            type "frame", "device", "message" (their data) or "state" (the state)
feed.wantFrames(want)       whether pictures are wanted: only while the Live view is open

A page that nobody looks at lets go after HIDDEN_S, and takes up again when it is seen. */

import { live } from "./api.js";

const HISTORY_S = 600;
const HIDDEN_S = 30;
const AWAY_S = 4; // for which a daemon that makes its parts anew is not missed

const handlers = { frame: new Set(), device: new Set(), message: new Set(), state: new Set() };
let close = null;
let frames = false;
let running = false;
let hiddenTimer = 0;
let awayTimer = 0;

export const feed = {
  state: "connecting",
  wasLive: false,
  since: Date.now() / 1000,
  device: null,
  history: [],

  on(type, handler) {
    handlers[type].add(handler);
    return () => handlers[type].delete(handler);
  },

  wantFrames(want) {
    if (want === frames) return;
    frames = want;
    if (close) connect();
  },
};

export function startFeed() {
  running = true;
  document.addEventListener("visibilitychange", visibility);
  connect();
}

export function stopFeed() {
  running = false;
  document.removeEventListener("visibilitychange", visibility);
  disconnect();
}

function visibility() {
  clearTimeout(hiddenTimer);
  if (document.hidden) hiddenTimer = setTimeout(disconnect, HIDDEN_S * 1000);
  else if (running && !close) connect();
}

function disconnect() {
  close?.();
  close = null;
}

function connect() {
  disconnect();
  close = live(receive, { frames });
}

function receive({ type, data }) {
  if (type === "daemon" || type === "state") clearTimeout(awayTimer);
  if (type === "daemon" && !data.running && feed.state === "live")
    return void (awayTimer = setTimeout(() => setState("no-daemon"), AWAY_S * 1000));
  if (type === "daemon") return setState(data.running ? "live" : "no-daemon");
  if (type !== "state") {
    if (type === "device") remember(data);
    return emit(type, data);
  }
  // Once it is open, the server says how the daemon does; until a try has succeeded, what was wrong is still wrong.
  if (data === "no-server" || data === "sent-away") setState(data);
}

function setState(state) {
  if (state === "no-daemon") feed.device = null;
  if (state === feed.state) return;
  feed.wasLive ||= feed.state === "live";
  feed.state = state;
  feed.since = Date.now() / 1000;
  emit("state", state);
}

function remember(device) {
  feed.device = device;
  const at = Date.parse(device.time) / 1000;
  const temperatures = Object.values(device.temperatures);
  const temperature = temperatures.length > 0 ? Math.max(...temperatures) : null;
  feed.history.push({ at, load: device.load, inferenceMs: device.inference_ms, temperature });
  while (feed.history[0].at < at - HISTORY_S) feed.history.shift();
}

function emit(type, data) {
  for (const handler of [...handlers[type]]) handler(data);
}
