/* icon(name, {size, title})   a line icon in the colour of the text; without a title it is hidden from screen readers. */

import { s } from "./dom.js";

/* Paths on a grid of 24. */
const PATHS = {
  fleet: "M4 4h6v6H4zM14 4h6v6h-6zM4 14h6v6H4zM14 14h6v6h-6z",
  open: "M14 4h6v6M20 4l-9 9M18 14v6H4V6h6",
  live: "M3 12h2m2-4v8m3-12v16m3-13v10m3-14v18m3-12v6m2-3h0",
  events: "M8 6h13M8 12h13M8 18h13M3.5 6h.01M3.5 12h.01M3.5 18h.01",
  why: "M9.2 9a3 3 0 1 1 4.4 2.6c-1 .6-1.6 1.2-1.6 2.4M12 17.5h.01M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z",
  tune: "M5 3v7m0 4v7M12 3v3m0 4v11M19 3v11m0 4v3M3 12h4M10 8h4M17 16h4",
  sounds: "M10 6.5h10v10M10 6.5v11M7.5 15a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5zM17.5 14a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5z",
  device: "M7 7h10v10H7zM10 10.5h4v3h-4zM9 3v4m6-4v4M9 17v4m6-4v4M3 9h4m-4 6h4m10-6h4m-4 6h4",
  light:
    "M12 7.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9zM12 2v2m0 16v2M2 12h2m16 0h2M5 5l1.4 1.4m11.2 11.2L19 19M5 19l1.4-1.4M17.6 6.4 19 5",
  dark: "M20 14.5A8.5 8.5 0 1 1 9.5 4a7 7 0 0 0 10.5 10.5z",
  auto: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM12 3v18M12 7h4.8M12 11h6.8M12 15h5.6",
  logout: "M15 4h4v16h-4M3 12h11m-4-4 4 4-4 4",
  play: "M7 4.5v15l12-7.5z",
  pause: "M8 5v14M16 5v14",
  check: "M4.5 12.5l5 5 10-11",
  cross: "M6 6l12 12M18 6L6 18",
  lock: "M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 0 1 7 0v3",
  unlock: "M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 0 1 6.6-1.6",
  note: "M5 4h14v11l-5 5H5zM14 20v-5h5M8.5 8.5h7M8.5 12h4",
  undo: "M8 5L4 9l4 4M4 9h10a5.5 5.5 0 0 1 0 11h-3",
  filter: "M4 5h16l-6 8v6l-4-2v-4z",
  download: "M12 4v11m-4.5-4.5L12 15l4.5-4.5M5 19.5h14",
  upload: "M12 15V4M7.5 8.5L12 4l4.5 4.5M5 19.5h14",
  record: "M12 3a3 3 0 0 0-3 3v5a3 3 0 0 0 6 0V6a3 3 0 0 0-3-3zM5.5 11a6.5 6.5 0 0 0 13 0M12 17.5V21",
  stop: "M7 7h10v10H7z",
  bin: "M4 7h16M9 7V4h6v3M6.5 7l1 13h9l1-13M10 11v5m4-5v5",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  swap: "M4 8h14m-4-4 4 4-4 4M20 16H6m4-4-4 4 4 4",
  left: "M15 5l-7 7 7 7",
  right: "M9 5l7 7-7 7",
  down: "M5 9l7 7 7-7",
  warning: "M12 4L2.5 20h19zM12 10v4.5M12 17.3h.01",
  info: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM12 11v5.5M12 7.7h.01",
  clock: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM12 7v5l3.5 2",
  search: "M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zM15.5 15.5L20 20",
};

export function icon(name, { size = 18, title } = {}) {
  const label = title ? { role: "img", "aria-label": title } : { "aria-hidden": "true" };
  return s(
    "svg",
    { class: "icon", viewBox: "0 0 24 24", width: size, height: size, ...label },
    s("path", { d: PATHS[name] }),
  );
}
