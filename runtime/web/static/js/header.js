/* The header with its navigation and the state of the connection, and the banner below it that says what is wrong. */

import { h, replace } from "./dom.js";
import { feed } from "./feed.js";
import { fleet, isTroubled } from "./fleet_feed.js";
import * as format from "./format.js";
import { icon } from "./icons.js";

const LINKS = {
  fleet: "Fleet",
  live: "Live",
  events: "Events",
  why: "Why?",
  tune: "Tune",
  sounds: "Sounds",
  device: "Device",
};
const STATES = {
  connecting: ["wait", "Connecting"],
  live: ["good", "Listening"],
  "no-daemon": ["bad", "Daemon stopped"],
  "no-broker": ["bad", "No broker"],
  "no-server": ["bad", "No connection"],
  "no-store": ["bad", "No store"],
  "sent-away": ["wait", "Waiting"],
};
const THEMES = { auto: "as the system", light: "light", dark: "dark" };

export function makeHeader(root, { onLogout }) {
  let links = {};
  let state;
  let ofFleet = false;
  let selected = "live";

  const themeButton = () => {
    const button = h("button", {
      class: "quiet square",
      "data-testid": "theme",
      onclick: () => {
        window.theme.next();
        paint();
      },
    });
    const paint = () => {
      const { choice } = window.theme;
      replace(button, icon(choice));
      button.setAttribute("aria-label", `Colours: ${THEMES[choice]}. Change`);
      button.title = `Colours: ${THEMES[choice]}`;
    };
    paint();
    return button;
  };

  const header = {
    start(session, views) {
      root.hidden = false;
      ofFleet = session.fleet;
      links = Object.fromEntries(
        views.map((name) => [
          name,
          h("a", { href: `#${name}` }, icon(name, { size: 20 }), h("span", null, LINKS[name])),
        ]),
      );
      state = h(
        "a",
        { class: "state", href: ofFleet ? "#fleet" : "#device", "data-testid": "connection" },
        h("i", { class: "dot" }),
        h("span"),
      );
      replace(
        root,
        h(
          "a",
          { class: "brand", href: `#${views[0]}`, "aria-label": "htsat-edge" },
          h("img", { src: "static/icon.svg", alt: "", width: 26, height: 26 }),
          h("b", null, "htsat-edge"),
          session.demo && h("span", { class: "tag" }, "demo"),
          ofFleet && h("span", { class: "tag" }, "fleet"),
        ),
        h("nav", { "aria-label": "Views" }, Object.values(links)),
        state,
        themeButton(),
        session.needs_password &&
          h(
            "button",
            { class: "quiet square", "aria-label": "Log out", title: "Log out", onclick: onLogout },
            icon("logout"),
          ),
      );
      header.select(selected);
      header.update();
    },

    hide(hidden) {
      root.hidden = hidden;
    },

    select(name) {
      selected = name;
      for (const [link, node] of Object.entries(links))
        if (link === name) node.setAttribute("aria-current", "page");
        else node.removeAttribute("aria-current");
    },

    update() {
      if (!state) return;
      const [kind, text] = ofFleet ? fleetState() : deviceState();
      state.dataset.kind = kind;
      state.lastElementChild.textContent = text;
    },
  };
  feed.on("device", header.update);
  return header;
}

function deviceState() {
  const unwell = feed.state === "live" && feed.device && !feed.device.healthy;
  return unwell ? ["wait", "Needs attention"] : STATES[feed.state];
}

function fleetState() {
  if (fleet.state !== "live") return STATES[fleet.state];
  const down = fleet.devices.filter((device) => device.state === "offline").length;
  const troubled = fleet.devices.filter(isTroubled).length;
  if (down > 0) return ["bad", `${down} of ${fleet.devices.length} down`];
  if (troubled > 0) return ["wait", `${troubled} of ${fleet.devices.length} ${troubled > 1 ? "need" : "needs"} attention`];
  if (fleet.devices.length === 0) return ["wait", "No device yet"];
  const up = fleet.devices.filter((device) => device.state === "online").length;
  return up === fleet.devices.length ? ["good", "All up"] : ["wait", `${up} of ${fleet.devices.length} up`];
}

export function makeBanner(root, { onRetry }) {
  const text = {
    "no-daemon": () => [
      "The daemon is not running",
      `${feed.wasLive ? `Nothing is heard since ${format.time(feed.since)}.` : "Nothing is heard at present."} What was stored can still be read; this page goes on by itself when the daemon is back.`,
    ],
    "no-broker": (now) => [
      "The collector does not reach its broker",
      `What is shown of the devices is from ${format.time(now.since)}. It is tried again every few seconds.`,
    ],
    "no-server": (now) => [
      "The page’s server does not answer",
      `No connection since ${format.time(now.since)}. It is tried again every few seconds.`,
    ],
    "no-store": (now) => ["The store cannot be read", `${now.detail}. It is tried again every few seconds.`],
    "sent-away": () => [
      "Too many browsers watch",
      "This one waits half a minute and tries again. Close the page elsewhere to watch here.",
    ],
  };
  return {
    update(now) {
      const say = text[now?.state];
      if (!say) return replace(root);
      const [title, detail] = say(now);
      replace(
        root,
        h(
          "div",
          { class: "banner", "data-testid": "banner", "data-state": now.state },
          icon("warning"),
          h("p", null, h("b", null, title), " ", detail),
          now.state !== "no-daemon" && h("button", { onclick: onRetry }, "Try now"),
        ),
      );
    },
  };
}
