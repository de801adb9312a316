/* Plays the clip of an event, with its spectrogram and, on the same axis of time, the scores of its classes.

makePlayer(event) -> {element, toggle, seekBy(s), destroy}
An event without a clip, or with one that is gone, still gets its scores. */

import { api } from "./api.js";
import { button } from "./controls.js";
import { h, replace, setText } from "./dom.js";
import * as draw from "./draw.js";
import { HIGHEST_HZ, LOWEST_HZ, MELS, RATE, melSpectrogram } from "./fft.js";
import * as format from "./format.js";
import { icon } from "./icons.js";

const AROUND_S = 6; // what is shown beside an event without a clip
const LONGEST_S = 600; // a longer clip is played, but not drawn
const COLUMNS_PER_S = 100;
const MOST_COLUMNS = 1200;
const MOST_LANES = 4;
const LEAST_SCORE = 0.15; // of a class that gets a lane
const LANE_PX = 38;
const PATIENCE_MS = 120; // who hurries through the list loads nothing

export function makePlayer(event) {
  const stopped = new AbortController();
  const { signal } = stopped;
  const { clip } = event;
  const lastsS = (event.offset ?? event.onset + 1) - event.onset;
  const base = clip?.at ?? event.at - AROUND_S;
  const picture = { base, lengthS: clip ? clip.offset - clip.onset : lastsS + 2 * AROUND_S, positionS: 0, plays: clip !== null, lanes: [], events: [], gaps: [] };
  const audio = new Audio();
  audio.preload = "none";
  let frame = 0;

  const canvas = h("canvas", { class: "player-canvas", role: "img", "aria-label": `Spectrogram and scores of ${event.label}`, "data-testid": "player-picture" });
  const note = h("p", { class: "player-note", role: "status" });
  const play = button(null, null, toggle, { class: "primary player-play" });
  const slider = h("input", { type: "range", class: "grow", step: 0.01, "aria-label": "Position", oninput: () => seek(Number(slider.value)) });
  const clock = h("span", { class: "number soft" });
  const bar = h("div", { class: "player-bar", hidden: !picture.plays }, play, slider, clock);
  const element = h("div", { class: "player", "data-testid": "player" }, h("div", { class: "player-picture" }, canvas, note), bar);
  const stopDrawing = draw.canvasOf(canvas, (ctx, width, height) => paint(ctx, width, height, picture));
  const say = (text) => signal.aborted || setText(note, text);

  function show() {
    canvas.redraw();
    slider.max = picture.lengthS;
    slider.value = picture.positionS;
    setText(clock, `${picture.positionS.toFixed(1)} / ${picture.lengthS.toFixed(1)} s`);
    slider.setAttribute("aria-valuetext", clock.textContent);
  }

  function showState() {
    const name = audio.paused ? "Play" : "Pause";
    replace(play, icon(name.toLowerCase()), name);
    cancelAnimationFrame(frame);
    if (!audio.paused) follow();
  }

  function follow() {
    picture.positionS = audio.currentTime;
    show();
    frame = requestAnimationFrame(follow);
  }

  function seek(s) {
    picture.positionS = Math.min(Math.max(s, 0), picture.lengthS - 0.01);
    audio.currentTime = picture.positionS;
    show();
  }

  async function toggle() {
    if (!picture.plays) return;
    if (!audio.paused) return audio.pause();
    if (picture.positionS > picture.lengthS - 0.05) seek(0);
    await audio.play().catch((error) => error.name === "AbortError" || say("This browser cannot play the clip."));
  }

  const drag = ({ clientX }) => picture.plays && seek(scaleOf(canvas.clientWidth, picture).t(clientX - canvas.getBoundingClientRect().left));
  canvas.addEventListener("pointerdown", (pointer) => {
    if (pointer.button !== 0) return;
    canvas.setPointerCapture(pointer.pointerId);
    drag(pointer);
  });
  canvas.addEventListener("pointermove", (pointer) => canvas.hasPointerCapture(pointer.pointerId) && drag(pointer));
  for (const type of ["play", "pause", "ended"]) audio.addEventListener(type, showState);
  show();
  showState();
  const timer = setTimeout(() => {
    if (clip) loadClip();
    else say(event.offset === null ? "The event goes on. Its clip comes when it ends." : "There is no clip of this event.");
    markEvent();
    if (event.device === null) loadScores();
    else showWithoutScores(); // a collector has none
  }, PATIENCE_MS);

  async function loadClip() {
    const url = api.url(`clips/${clip.name}`, { device: event.device });
    if (event.device === null) audio.src = url;
    else bar.hidden = true; // what a device does not give cannot be played
    say(event.device === null ? "Loading the clip …" : "Fetching the clip from the device …");
    try {
      const answer = await fetch(url, { signal });
      if (!answer.ok) throw new Error((await answer.json().catch(() => null))?.detail ?? `The clip could not be loaded (${answer.status}).`);
      const content = await answer.blob();
      if (event.device !== null) playHere(content);
      if (picture.lengthS > LONGEST_S) return say("The clip is too long to be drawn.");
      const sound = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(await content.arrayBuffer());
      if (signal.aborted) return;
      picture.lengthS = sound.duration;
      say("");
      show();
      await drawSound(sound);
    } catch (error) {
      if (signal.aborted) return;
      picture.plays = error.name === "EncodingError"; // what cannot be decoded here can perhaps be played
      bar.hidden = !picture.plays;
      say(picture.plays ? "This browser cannot draw the clip." : error.message);
      show();
    }
  }

  /* A clip that came from a device is fetched once, not again to be played. */
  function playHere(content) {
    audio.src = URL.createObjectURL(content);
    signal.addEventListener("abort", () => URL.revokeObjectURL(audio.src));
    bar.hidden = false;
  }

  async function drawSound(sound) {
    const columns = Math.min(MOST_COLUMNS, Math.ceil(sound.duration * COLUMNS_PER_S));
    const columnS = sound.duration / columns;
    picture.spectrogram = new draw.Spectrogram({ rows: MELS, columnS, seconds: sound.duration });
    signal.addEventListener("abort", () => picture.spectrogram.destroy());
    const onPart = (bytes, column) => {
      picture.spectrogram.push(bytes, column * columnS);
      canvas.redraw();
    };
    await melSpectrogram(sound.getChannelData(0), { columns, signal, onPart });
  }

  function markEvent() {
    picture.events = [{ label: event.label, from: event.at - base, to: event.offset === null ? null : event.at + lastsS - base }];
  }

  function showWithoutScores() {
    element.style.setProperty("--lanes", 0);
    show();
  }

  async function loadScores() {
    try {
      const span = await api.get("scores", { source: event.source, from_at: base, to_at: base + picture.lengthS }, { signal });
      picture.lanes = lanesOf(span, event.label, base);
      for (const { key, label, at, onset, offset } of span.events)
        if (key !== event.key) picture.events.push({ label, from: at - base, to: offset === null ? null : at - base + offset - onset, faint: true });
      picture.gaps = span.gaps.map(({ at, onset, offset }) => ({ from: at - base, to: at - base + offset - onset }));
      element.style.setProperty("--lanes", picture.lanes.length);
    } catch (error) {
      if (!note.textContent) say(error.detail ?? error.message);
    }
    if (!signal.aborted) show();
  }

  function destroy() {
    stopped.abort();
    clearTimeout(timer);
    cancelAnimationFrame(frame);
    stopDrawing();
    audio.pause();
    audio.removeAttribute("src");
    audio.load(); // else it goes on loading
  }

  return { element, toggle, seekBy: (s) => picture.plays && seek(picture.positionS + s), destroy };
}

/* The event's own class first, then what scored highest beside it. */
function lanesOf({ parts, labels, thresholds }, own, base) {
  const peak = (label) => Math.max(0, ...parts.flatMap((part) => part.scores[label] ?? []));
  const others = labels.filter((label) => label !== own && peak(label) >= LEAST_SCORE);
  return [own, ...others].slice(0, MOST_LANES).map((label) => ({
    label,
    threshold: thresholds[label],
    parts: parts.filter((part) => part.scores[label]).map((part) => ({ start: part.at - base, stepS: part.step_s, values: part.scores[label] })),
  }));
}

const scaleOf = (width, { lengthS }) => new draw.TimeScale(0, lengthS, width < 480 ? 0 : 52, width - 1);

function paint(ctx, width, height, { base, lengthS, positionS, plays, spectrogram, lanes, events, gaps }) {
  const scale = scaleOf(width, { lengthS });
  const x = scale.left;
  const all = { x, y: 0, width: width - x, height: height - 24 };
  const top = { ...all, height: all.height - lanes.length * LANE_PX };
  ctx.fillStyle = draw.token("sunken");
  ctx.fillRect(x, 0, top.width, top.height);
  if (spectrogram) {
    spectrogram.draw(ctx, top, 0, lengthS);
    draw.frequencyAxis(ctx, top, LOWEST_HZ, HIGHEST_HZ, { gutter: x > 0 });
  }
  draw.drawGaps(ctx, all, scale, gaps);
  draw.drawScores(ctx, { ...all, y: top.height, height: all.height - top.height }, scale, lanes);
  ctx.font = draw.font(11, 600);
  ctx.textAlign = "left";
  ctx.textBaseline = "top";
  ctx.strokeStyle = draw.token("surface");
  ctx.lineWidth = 3;
  lanes.forEach(({ label }, i) => {
    ctx.fillStyle = draw.colorOf(label);
    for (const write of ["strokeText", "fillText"]) ctx[write](label, x + 7, top.height + i * LANE_PX + 7);
  });
  draw.drawEvents(ctx, all, scale, events);
  draw.timeAxis(ctx, scale, { y: all.height, offset: base });
  if (plays) draw.drawPlayhead(ctx, all, scale.x(positionS));
}
