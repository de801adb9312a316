/* Times of day as <input type="datetime-local"> and <input type="date"> have them, in the device's time zone.

toLocal(at)     "2025-11-27T07:21:05"          fromLocal("2025-11-27T07:21:05")   seconds since 1970, null where it is no time
dayStart(key)   when a day begins, "2025-11-27"          dayAfter(key, n)         the day n days later, null where it is no day */

import { zoneName } from "./format.js";

const two = "2-digit";

/* Where a clock is set back, an hour comes twice: either may be meant. */
export function fromLocal(text) {
  const wanted = Date.parse(`${text}Z`) / 1000;
  if (!Number.isFinite(wanted)) return null;
  let at = wanted;
  for (let i = 0; i < 2; i++) at += wanted - Date.parse(`${toLocal(at)}Z`) / 1000;
  return at;
}

export function toLocal(at) {
  const parts = { year: "numeric", month: two, day: two, hour: two, minute: two, second: two, timeZone: zoneName() };
  return new Intl.DateTimeFormat("sv-SE", parts).format(Math.floor(at) * 1000).replace(" ", "T");
}

export const dayStart = (key) => fromLocal(`${key}T00:00:00`);

export function dayAfter(key, n = 1) {
  const noon = Date.parse(`${key}T12:00:00Z`);
  return Number.isFinite(noon) ? new Date(noon + n * 86400e3).toISOString().slice(0, 10) : null;
}
