/* The shell: header, banner, and the view that the address asks for, as in #events?label=Dog.

A view is a module that exports mount(root, state) -> unmount. State:
  params                 URLSearchParams of the address
  session                SessionInfo
  go(view, params)       opens a view
  replaceParams(params)  changes the address without opening the view anew */

import { api, onUnauthorized, ApiError } from "./api.js";
import { h, replace } from "./dom.js";
import { feed, startFeed, stopFeed } from "./feed.js";
import { fleet, startFleet, stopFleet } from "./fleet_feed.js";
import * as format from "./format.js";
import { makeHeader, makeBanner } from "./header.js";
import { empty, spinner, problem } from "./widgets.js";

const VIEWS = {
  fleet: { title: "Fleet", load: () => import("./fleet.js") },
  live: { title: "Live", load: () => import("./live.js") },
  events: { title: "Events", load: () => import("./events.js") },
  why: { title: "Why?", load: () => import("./why.js") },
  tune: { title: "Tune", load: () => import("./tune.js") },
  sounds: { title: "Sounds", load: () => import("./sounds.js") },
  device: { title: "Device", load: () => import("./device.js") },
};
const OF_DEVICE = ["live", "events", "why", "tune", "sounds", "device"];
const OF_FLEET = ["fleet", "events"];
const RETRY_S = 3;

const root = document.getElementById("main");
const header = makeHeader(document.getElementById("header"), { onLogout: logout });
const banner = makeBanner(document.getElementById("banner"), { onRetry: () => location.reload() });
let session = null;
let unmount = () => {};
let opening = 0; // number of the view that is being opened: a later one overtakes it

function address() {
  const [name, query] = location.hash.slice(1).split("?");
  const views = session?.fleet ? OF_FLEET : OF_DEVICE;
  return { name: views.includes(name) ? name : views[0], params: new URLSearchParams(query ?? "") };
}

const hashOf = (name, params) => {
  const text = new URLSearchParams(params ?? {}).toString();
  return `#${name}${text && "?"}${text}`;
};

async function show() {
  const { name, params } = address();
  const number = ++opening;
  header.select(name);
  document.title = `${VIEWS[name].title} · htsat-edge`;
  const late = setTimeout(() => number === opening && leave(spinner()), 300);
  try {
    const view = await VIEWS[name].load();
    clearTimeout(late);
    if (number !== opening) return;
    leave();
    root.dataset.view = name;
    const state = {
      params,
      session,
      go: (to, with_) => (location.hash = hashOf(to, with_)),
      replaceParams: (with_) => history.replaceState(null, "", hashOf(name, with_)),
    };
    unmount = view.mount(root, state) ?? (() => {});
  } catch (error) {
    clearTimeout(late);
    if (number !== opening) return;
    leave(empty("warning", "This view could not be opened", String(error.message ?? error)));
    console.warn(error);
  }
}

function leave(...content) {
  unmount();
  unmount = () => {};
  replace(root, ...content);
  window.scrollTo(0, 0);
}

async function login() {
  root.dataset.view = "login";
  stopFeed();
  stopFleet();
  opening++;
  const { mount } = await import("./login.js");
  leave();
  header.hide(true);
  banner.update(null);
  document.title = "Log in · htsat-edge";
  unmount = mount(root, { onDone: begin });
}

async function logout() {
  try {
    await api.post("logout");
    location.reload();
  } catch (error) {
    problem(error);
  }
}

async function begin() {
  try {
    session = await api.get("session");
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    leave(
      empty("warning", "The page's server does not answer", `${error.detail} It is tried again every few seconds.`),
    );
    setTimeout(begin, RETRY_S * 1000);
    return;
  }
  format.setZone(session.zone);
  if (!session.logged_in) return login();
  header.start(session, session.fleet ? OF_FLEET : OF_DEVICE);
  feed.wantFrames(address().name === "live"); // else Live would connect again at once
  if (session.fleet) startFleet();
  else startFeed();
  await show();
}

onUnauthorized(() => root.dataset.view !== "login" && login());
feed.on("state", () => {
  header.update();
  banner.update(feed);
});
fleet.on(() => {
  header.update();
  banner.update(fleet);
});
window.addEventListener("hashchange", () => session?.logged_in && show());
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address is that of the view
  root.focus();
});
replace(root, spinner());
begin();
