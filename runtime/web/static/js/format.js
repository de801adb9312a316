/* Turns figures into text. `at` is a time of day in seconds since 1970; it is shown in the device's time zone.

setZone(zone)   the device's time zone, such as Europe/Berlin; null: the browser's
clock(at)       07:21          time(at)    07:21:05        timeMs(at)   07:21:05.32
day(at)         Thu 27 Nov     date(at)    27 November 2025              dayTime(at)  Thu 27 Nov, 07:21:05
dayKey(at)      2025-11-27     relativeDay("2025-11-27")   Today, Yesterday, Thu 27 Nov
ago(at)         just now, 14 s ago, 5 min ago, 3 h ago, Thu 27 Nov
duration(s)     0.32 s, 12.4 s, 2 min 05 s, 3 h 12 min, 4 d 2 h
score(x)        87 %           share(x)    99.4 %          db(x)        −42 dB
figure(x)       0.03, 1.4, 27, 1 234: a rate, to two digits
size(mb)        812 kB, 24 MB, 1.3 GB      count(n)   1 234      seconds(iso)   an ISO 8601 time as `at` */

let zone;
let formats = {};

export function setZone(name) {
  try {
    new Intl.DateTimeFormat("en-GB", { timeZone: name ?? undefined });
    zone = name ?? undefined;
  } catch {
    zone = undefined; // a name that this browser does not know
  }
  formats = {};
}

export const zoneName = () => zone ?? Intl.DateTimeFormat().resolvedOptions().timeZone;

function format(name, options, locale = "en-GB") {
  formats[name] ??= new Intl.DateTimeFormat(locale, { timeZone: zone, hourCycle: "h23", ...options });
  return formats[name];
}

const two = { hour: "2-digit", minute: "2-digit" };

export const clock = (at) => format("clock", two).format(at * 1000);
export const time = (at) => format("time", { ...two, second: "2-digit" }).format(at * 1000);
export const timeMs = (at) =>
  `${time(Math.floor(at + 1e-6))}.${String(Math.floor((at % 1) * 100 + 1e-4)).padStart(2, "0")}`;
export const date = (at) => format("date", { day: "numeric", month: "long", year: "numeric" }).format(at * 1000);
export const dayTime = (at) => `${day(at)}, ${time(at)}`;
export const dayKey = (at) =>
  format("dayKey", { year: "numeric", month: "2-digit", day: "2-digit" }, "en-CA").format(at * 1000);

export function day(at) {
  const thisYear = dayKey(at).slice(0, 4) === dayKey(Date.now() / 1000).slice(0, 4);
  const options = { weekday: "short", day: "numeric", month: "short" };
  const text = thisYear
    ? format("day", options).format(at * 1000)
    : format("dayYear", { ...options, year: "numeric" }).format(at * 1000);
  return text.replace(",", "");
}

export function relativeDay(key) {
  const now = Date.now() / 1000;
  if (key === dayKey(now)) return "Today";
  if (key === dayKey(now - 86400)) return "Yesterday";
  const [year, month, date_] = key.split("-").map(Number);
  const noon = Date.UTC(year, month - 1, date_, 12) / 1000;
  const options = { weekday: "short", day: "numeric", month: "short", timeZone: "UTC" };
  if (key.slice(0, 4) !== dayKey(now).slice(0, 4)) options.year = "numeric";
  return new Intl.DateTimeFormat("en-GB", options).format(noon * 1000).replace(",", "");
}

export function ago(at, now = Date.now() / 1000) {
  const s = now - at;
  if (s < 2) return "just now";
  if (s < 60) return `${Math.floor(s)} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ago`;
  return day(at);
}

export function duration(s) {
  if (s < 9.995) return `${s.toFixed(2)} s`;
  if (s < 59.95) return `${s.toFixed(1)} s`;
  const whole = Math.round(s);
  const pad = (n) => String(n).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${pad(whole % 60)} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${pad(Math.floor((whole % 3600) / 60))} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

export const score = (x) => `${Math.round(x * 100)} %`;
export const db = (x) => `${x < -0.5 ? "−" : ""}${Math.abs(Math.round(x))} dB`;
export const figure = (x) => (x >= 9.95 ? count(Math.round(x)) : x >= 0.995 ? x.toFixed(1) : x === 0 ? "0" : x.toFixed(2));
export const count = (n) => n.toLocaleString("en-GB").replaceAll(",", "\u202f");
export const seconds = (iso) => (iso ? Date.parse(iso) / 1000 : null);

export function share(x) {
  if (x >= 1) return `${Math.round(x * 100)} %`;
  return `${(Math.floor(x * 1000) / 10).toFixed(1)} %`; // 99.96 % is not all of it
}

export function size(mb) {
  if (mb < 1) return `${Math.round(mb * 1000)} kB`;
  if (mb < 1000) return `${mb < 10 ? mb.toFixed(1) : Math.round(mb)} MB`;
  return `${(mb / 1000).toFixed(mb < 10000 ? 1 : 0)} GB`;
}
