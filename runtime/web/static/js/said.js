/* waitFor(states, onSaid) -> {ready, stop}   waits for a status of the daemon: live, or from the store, since the live connection is cut
where the daemon makes its parts anew. onSaid(message) may be called twice with the same. Those that come once `ready` (a promise) is
kept are not missed. It gives up after TRIES. */

import { api } from "./api.js";
import { feed } from "./feed.js";

const AGAIN_S = 3;
const TRIES = 40;

export function waitFor(states, onSaid) {
  let newest = null; // the last that was stored, by the device's clock
  let tries = 0;
  let timer = 0;
  let stopped = false;
  const off = feed.on("message", (message) => message.type === "status" && states.includes(message.state) && onSaid(message));

  async function look() {
    const device = await api.get("device").catch(() => null);
    const stored = (device?.statuses ?? []).filter(({ state }) => states.includes(state));
    const fresh = newest === null ? [] : stored.filter(({ at }) => at > newest);
    if (device) newest = Math.max(newest ?? 0, ...stored.map(({ at }) => at));
    for (const { message } of fresh.reverse()) if (!stopped) onSaid(message);
    if (!stopped && ++tries < TRIES) timer = setTimeout(look, AGAIN_S * 1000);
  }

  function stop() {
    stopped = true;
    clearTimeout(timer);
    off();
  }

  return { ready: look(), stop };
}
