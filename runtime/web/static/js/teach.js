/* Teaches a sound: its name, its recordings, how it goes, and what became of it.

makeTeach({known, onTaught}) -> {element, addEvents(keys), allow(can), destroy}
known() gives the labels of sounds that there are, onTaught() is called when another was learned. What was begun is kept while other
views are open, so that recordings can be chosen from events. */

import { api } from "./api.js";
import { hueOf } from "./colors.js";
import { button, field, tool } from "./controls.js";
import { h, replace, setText } from "./dom.js";
import { feed } from "./feed.js";
import * as format from "./format.js";
import { icon } from "./icons.js";
import { listenButton } from "./listen.js";
import { LONGEST_S, record, whyNotHere } from "./recorder.js";
import { waitFor } from "./said.js";
import { reportParts } from "./sound_report.js";
import { problem } from "./widgets.js";

const LEAST = 3;
const MOST = 50;
const UPLOAD_S = 120;
const LEARN_S = 600;
const NO_ENTRY = { NotAllowedError: "The browser was not allowed to use the microphone.", NotFoundError: "There is no microphone here." };

/* Of a take: {name, seconds, url, state: "sending" | "ready" | "failed", problem, upload: id or null, event: key or null} */
const draft = { label: "", takes: [], since: 0, outcome: null, awaited: "", isHeard: false };
let onDraft = () => {};

let daemon = null; // what waits for it

/* It may be quicker than the answer, or speak when another view is open. */
function heed({ labels }) {
  if (!labels.includes(draft.awaited)) return;
  daemon.stop();
  draft.isHeard = true;
  onDraft();
}

export function makeTeach({ known, onTaught }) {
  let recording = null;
  let can = true;
  let timer = 0;

  const label = h("input", { value: draft.label, maxlength: 100, autocomplete: "off", placeholder: "Our doorbell", "data-testid": "teach-label", oninput: () => ((draft.label = label.value), show()) });
  const file = h("input", { type: "file", accept: "audio/*,.wav,.flac,.ogg,.mp3,.opus", multiple: true, hidden: true, "data-testid": "teach-files", onchange: () => (addFiles(file.files), (file.value = "")) });
  const recordButton = button("record", "Record", toggleRecording, { "data-testid": "teach-record" });
  const level = h("span", { class: "bar teach-level", hidden: true }, h("i"));
  const clock = h("span", { class: "number soft" });
  const whyNot = whyNotHere();
  const drop = h(
    "div",
    { class: "teach-drop", "data-testid": "teach-drop" },
    h("p", {}, h("b", {}, "Three recordings or more"), " of the sound, each of some seconds: drop files here, or"),
    h(
      "div",
      { class: "row" },
      button("upload", "Choose files", () => file.click()),
      !whyNot && recordButton,
      h("a", { class: "button", href: "#events?clip=1" }, icon("events"), "Choose events"),
      level,
      clock,
    ),
    whyNot && h("p", { class: "muted small" }, whyNot),
    h("p", { class: "muted small" }, "The more they differ, near and far, loud and soft, the better. Best are those of the device’s own microphone: events in which it was heard."),
    file,
  );
  const takes = h("ul", { class: "teach-takes", "aria-label": "Recordings" });
  const teach = button("check", "Teach", () => learn(), { class: "primary", "data-testid": "teach" });
  const missing = h("span", { class: "muted small", role: "status", "data-testid": "teach-missing" });
  const outcome = h("div", { class: "stack", role: "status", "data-testid": "teach-outcome" });
  const form = h("form", { class: "stack", onsubmit: (event) => (event.preventDefault(), teach.disabled || learn()) }, field("What is it called?", label), drop, takes, h("div", { class: "row" }, teach, missing));
  const element = h("section", { class: "card stack", "aria-label": "Teach a sound", "data-testid": "teach-card" }, h("h2", {}, "Teach a sound"), outcome, form);

  drop.addEventListener("dragover", (event) => (event.preventDefault(), drop.classList.add("over")));
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    addFiles(event.dataTransfer.files);
  });

  function addFiles(files) {
    for (const one of files) addTake({ name: one.name, blob: one });
  }

  async function addTake({ name, blob, seconds = null }) {
    const take = { name, seconds, url: URL.createObjectURL(blob), state: "sending", problem: "", upload: null, event: null };
    draft.takes.push(take);
    show();
    try {
      const body = new Blob([blob], { type: blob.type.startsWith("audio/") ? blob.type : "application/octet-stream" });
      const answer = await api.post("sounds/uploads", body, { params: { filename: name }, timeoutS: UPLOAD_S });
      Object.assign(take, { upload: answer.id, seconds: answer.seconds, state: "ready" });
      if (!draft.takes.includes(take)) await discard(take); // it was taken back meanwhile
    } catch (error) {
      Object.assign(take, { state: "failed", problem: error.detail ?? error.message });
    }
    onDraft();
  }

  async function addEvents(keys) {
    if (keys.length > 0) draft.outcome = null;
    for (const key of keys) {
      if (draft.takes.some((take) => take.event === key)) continue;
      const event = await api.get(`events/${key}`).catch(problem);
      if (!event?.clip) continue;
      const { clip, at } = event;
      draft.takes.push({ name: `${event.label}, ${format.day(at)} ${format.time(at)}`, seconds: clip.offset - clip.onset, url: api.url(`clips/${clip.name}`), state: "ready", problem: "", upload: null, event: key });
    }
    onDraft();
  }

  const forget = (take) => take.event === null && URL.revokeObjectURL(take.url);

  function discard(take) {
    forget(take);
    return take.upload && api.delete(`sounds/uploads/${take.upload}`).catch(() => {}); // it ends by itself
  }

  function takeBack(take) {
    draft.takes = draft.takes.filter((other) => other !== take);
    discard(take);
    show();
  }

  async function toggleRecording() {
    if (recording) {
      const { blob, seconds } = recording.stop();
      stopped();
      if (seconds > 0) addTake({ name: `Recording ${format.time(Date.now() / 1000)}.wav`, blob, seconds });
      return;
    }
    recordButton.disabled = true;
    try {
      recording = await record((value, seconds) => {
        level.style.setProperty("--value", value);
        setText(clock, `${seconds.toFixed(1)} s`);
        if (seconds >= LONGEST_S && recording) toggleRecording();
      });
      level.hidden = false;
      replace(recordButton, icon("stop"), "Stop");
      recordButton.setAttribute("aria-pressed", "true");
    } catch (error) {
      problem({ detail: NO_ENTRY[error.name] ?? `The browser cannot record: ${error.message}` });
    }
    recordButton.disabled = false;
  }

  function stopped() {
    recording = null;
    level.hidden = true;
    setText(clock, "");
    replace(recordButton, icon("record"), "Record");
    recordButton.removeAttribute("aria-pressed");
  }

  function show() {
    const ready = draft.takes.filter((take) => take.state === "ready").length;
    const name = draft.label.trim();
    const isKnown = known().has(name);
    const busy = draft.since > 0;
    replace(takes, draft.takes.map(takeItem));
    label.disabled = busy;
    teach.disabled = busy || !can || !name || ready < LEAST || ready > MOST || draft.takes.some((take) => take.state === "sending");
    setText(teach.lastChild, isKnown ? "Teach again, in place of the old" : "Teach");
    setText(missing, busy ? "" : stillNeeded(name, ready));
    form.hidden = busy || Boolean(draft.outcome?.sound);
    replace(outcome, busy ? progress() : outcomeOf(known, retry));
    clearTimeout(timer);
    if (busy) timer = setTimeout(show, 1000);
  }

  function takeItem(take) {
    const failed = take.state === "failed";
    const state = take.state === "sending" ? "sending …" : failed ? "" : format.duration(take.seconds);
    return h(
      "li",
      { class: "row", "data-testid": "take", "data-state": take.state },
      icon(take.event === null ? "sounds" : "events", { size: 15 }),
      h("span", { class: failed ? "grow problem" : "grow" }, failed ? take.problem : take.name),
      h("span", { class: "muted number" }, state),
      !failed && listenButton(take.url, take.name),
      tool("cross", `Leave out ${take.name}`, () => takeBack(take), { class: "quiet square small" }),
    );
  }

  function retry() {
    draft.outcome = null;
    show();
    label.focus();
  }

  async function learn() {
    const name = draft.label.trim();
    const ready = draft.takes.filter((take) => take.state === "ready");
    const events = ready.filter((take) => take.event !== null).map((take) => take.event);
    const uploads = ready.filter((take) => take.upload).map((take) => take.upload);
    Object.assign(draft, { since: Date.now() / 1000, outcome: null, awaited: name, isHeard: false });
    show();
    daemon?.stop();
    daemon = waitFor(["enrolled"], heed);
    await daemon.ready;
    try {
      const { sound, report } = await api.post("sounds", { label: name, events, uploads, replace: known().has(name) }, { timeoutS: LEARN_S });
      draft.outcome = { label: name, sound, report };
      if (sound) {
        ready.forEach(forget); // the server has done so
        Object.assign(draft, { label: "", takes: [] });
        onTaught();
      } else daemon.stop();
    } catch (error) {
      daemon.stop();
      draft.outcome = { label: name, failure: error.detail ?? error.message };
    }
    draft.since = 0;
    onDraft();
  }

  function destroy() {
    recording?.cancel();
    clearTimeout(timer);
    if (onDraft === redraw) onDraft = () => {};
  }

  const redraw = () => {
    if (label.value !== draft.label) label.value = draft.label;
    show();
  };
  onDraft = redraw;
  show();
  return { element, addEvents, destroy, allow: (is) => ((can = is), (element.hidden = !is), show()) };
}

function stillNeeded(name, ready) {
  const more = LEAST - ready;
  if (ready > MOST) return `No more than ${MOST} recordings.`;
  const needed = [!name && "a name", more > 0 && (more === 1 ? "1 more recording" : `${more} ${ready > 0 ? "more " : ""}recordings`)].filter(Boolean);
  return needed.length > 0 ? `Still needed: ${needed.join(" and ")}.` : "";
}

function progress() {
  const seconds = Math.round(Date.now() / 1000 - draft.since);
  return h("p", { class: "spinner" }, h("i"), `Learning ${draft.awaited} … ${seconds} s. It takes ten seconds or so; you may look at other views meanwhile.`);
}

/* What became of the last one, on one screen. */
function outcomeOf(known, retry) {
  const { outcome } = draft;
  if (!outcome) return null;
  const { label, sound, report, failure } = outcome;
  const head = (kind, picture, title) => h("div", { class: "row teach-verdict", "data-kind": kind }, icon(picture, { size: 22 }), h("h3", {}, title));
  const again = button(null, sound ? "Teach another" : "Dismiss", retry, { class: sound ? "" : "quiet" });
  if (failure) return [head("bad", "warning", `${label} was not taught`), h("p", {}, failure), h("div", {}, again)];
  if (!sound) {
    const advice = "Nothing was changed. Add more recordings, of the sound alone and without talk or music over it, and leave out those in which it is hard to hear.";
    return [head("bad", "warning", `${label} was not taught`), h("p", { class: "teach-reason" }, report.reason), h("p", { class: "muted" }, advice), reportParts(report), h("div", {}, again)];
  }
  const waits = feed.state === "no-daemon" ? "Learned; it is listened for when the daemon runs." : "Learned; the daemon takes it over …";
  return [
    head("good", "check", draft.isHeard ? `Listening for ${label}` : waits),
    reportParts(report),
    h("div", { class: "row" }, h("a", { class: "button", href: "#live", style: { "--hue": hueOf(label) } }, icon("live"), "Try it in Live"), again),
  ];
}
