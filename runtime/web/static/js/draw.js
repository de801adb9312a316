/* Draws on a canvas what lies on an axis of time.

canvasOf(canvas, draw) -> stop      fits the canvas to its element, sharp on every screen, and calls draw(ctx, width, height), in
                                    CSS pixels, where the size or the colour scheme has changed; `canvas.redraw()` calls it, too
new TimeScale(from, to, left, right)   x(t) and t(x): seconds to pixels and back; `perSecond`
timeAxis(ctx, scale, {y, offset, text})   ticks and their texts below y; `offset` makes t a time of day (t + offset), and
                                    text(at, stepS) writes it
drawScores(ctx, box, scale, lanes)  one lane a class: its score as an area, bright where it is above its threshold (dashed).
                                    lane: {label, threshold or null, parts: [{start, stepS, values, final}], value, name}; `start` is
                                    that of the first step; from the step `final` on, scores are not final and drawn fainter
drawEvents(ctx, box, scale, events) brackets with their labels: {label, from, to or null while it goes on, faint}; drawEvents keeps
                                    `row` in the event, so that brackets stay where they are
drawGaps(ctx, box, scale, gaps)     hatched: {from, to}
drawPlayhead(ctx, box, x)
frequencyAxis(ctx, box, lowHz, highHz)   lines and texts at round frequencies of a mel axis
melOf(hz), hzOf(mel)                Slaney's scale, as runtime/dsp/log_mel.py has it
Also all of colors.js and spectrogram.js. */

import { colorOf, token } from "./colors.js";
import * as format from "./format.js";

export * from "./colors.js";
export * from "./spectrogram.js";

const TICKS_S = [
  0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400,
];
const TICK_PX = 84;
const FREQUENCIES = [100, 200, 500, 1000, 2000, 4000, 8000, 16000];
const FONT_FAMILY = () => token("font") || "sans-serif";
const EVENT_ROW_PX = 20;

export const font = (px = 11, weight = 500) => `${weight} ${px}px ${FONT_FAMILY()}`;

export function canvasOf(canvas, draw) {
  const ctx = canvas.getContext("2d");
  const redraw = () => {
    const { clientWidth: width, clientHeight: height } = canvas;
    if (!width || !height) return;
    const ratio = Math.min(window.devicePixelRatio || 1, 3);
    const [pixels, lines] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== pixels || canvas.height !== lines) Object.assign(canvas, { width: pixels, height: lines });
    ctx.setTransform(pixels / width, 0, 0, lines / height, 0, 0);
    ctx.clearRect(0, 0, width, height);
    draw(ctx, width, height);
  };
  const observer = new ResizeObserver(redraw);
  observer.observe(canvas);
  document.addEventListener("themechange", redraw);
  canvas.redraw = redraw;
  return () => {
    observer.disconnect();
    document.removeEventListener("themechange", redraw);
  };
}

export class TimeScale {
  constructor(from, to, left, right) {
    Object.assign(this, { from, to, left, right, perSecond: (right - left) / (to - from) });
  }

  x(t) {
    return this.left + (t - this.from) * this.perSecond;
  }

  t(x) {
    return this.from + (x - this.left) / this.perSecond;
  }
}

export function timeAxis(ctx, scale, { y, offset = 0, text = axisText } = {}) {
  const step = TICKS_S.find((s) => s * scale.perSecond >= TICK_PX) ?? TICKS_S.at(-1);
  ctx.font = font();
  ctx.fillStyle = token("muted");
  ctx.strokeStyle = token("line-strong");
  ctx.lineWidth = 1;
  ctx.textBaseline = "top";
  ctx.textAlign = "center";
  ctx.beginPath();
  for (let n = Math.ceil((scale.from + offset) / step); n * step <= scale.to + offset; n++) {
    const x = Math.round(scale.x(n * step - offset)) + 0.5;
    ctx.moveTo(x, y);
    ctx.lineTo(x, y + 4);
    const label = text(n * step, step);
    const half = ctx.measureText(label).width / 2;
    if (x - half >= scale.left - 30 && x + half <= scale.right + 2) ctx.fillText(label, x, y + 7);
  }
  ctx.stroke();
}

const axisText = (at, step) =>
  step >= 60 ? format.clock(at) : step >= 1 ? format.time(at) : format.timeMs(at).slice(0, -1);

export function drawScores(ctx, box, scale, lanes) {
  const height = box.height / Math.max(lanes.length, 1);
  lanes.forEach((lane, i) => drawLane(ctx, { ...box, y: box.y + i * height, height }, scale, lane));
}

function drawLane(ctx, box, scale, lane) {
  const top = box.y + 5;
  const bottom = Math.round(box.y + box.height) - 0.5;
  const yOf = (score) => bottom - 0.5 - score * (bottom - top);
  ctx.save();
  ctx.beginPath();
  ctx.rect(box.x, box.y, box.width, box.height);
  ctx.clip();
  for (const part of lane.parts) {
    drawPart(ctx, box, scale, lane, part, yOf, 0, part.final ?? part.values.length, 1);
    drawPart(ctx, box, scale, lane, part, yOf, part.final ?? part.values.length, part.values.length, 0.5);
  }
  ctx.strokeStyle = token("line");
  ctx.lineWidth = 1;
  line(ctx, box.x, bottom, box.x + box.width, bottom);
  if (lane.threshold !== null && lane.threshold !== undefined) {
    ctx.strokeStyle = colorOf(lane.label, 0.75);
    ctx.setLineDash([2, 4]);
    const y = Math.round(yOf(lane.threshold)) + 0.5;
    line(ctx, box.x, y, box.x + box.width, y);
    ctx.setLineDash([]);
  }
  ctx.restore();
}

/* The steps from..to of a part; the first of what is not final joins the last that is. */
function drawPart(ctx, box, scale, lane, part, yOf, from, to, strength) {
  const begin = Math.max(from > 0 ? from - 1 : 0, Math.floor((scale.from - part.start) / part.stepS) - 1);
  const end = Math.min(to, Math.ceil((scale.to - part.start) / part.stepS) + 2);
  if (end - begin < 1 || to <= from) return;
  const xOf = (i) => scale.x(part.start + (i + 0.5) * part.stepS);
  const bottom = yOf(0);
  const edges = [
    begin === 0 ? scale.x(part.start) : xOf(begin),
    end === part.values.length ? scale.x(part.start + end * part.stepS) : xOf(end - 1),
  ];
  const trace = () => {
    ctx.moveTo(edges[0], yOf(part.values[begin]));
    for (let i = begin; i < end; i++) ctx.lineTo(xOf(i), yOf(part.values[i]));
    ctx.lineTo(edges[1], yOf(part.values[end - 1]));
  };
  const area = () => {
    ctx.beginPath();
    trace();
    ctx.lineTo(edges[1], bottom);
    ctx.lineTo(edges[0], bottom);
    ctx.fill();
  };
  ctx.fillStyle = colorOf(lane.label, 0.2 * strength);
  area();
  if (lane.threshold !== null && lane.threshold !== undefined) {
    ctx.save();
    ctx.beginPath();
    ctx.rect(box.x, box.y, box.width, yOf(lane.threshold) - box.y);
    ctx.clip();
    ctx.fillStyle = colorOf(lane.label, 0.6 * strength);
    area();
    ctx.restore();
  }
  ctx.beginPath();
  trace();
  ctx.strokeStyle = colorOf(lane.label, 0.35 + 0.65 * strength * strength);
  ctx.lineWidth = 1.5;
  ctx.lineJoin = "round";
  ctx.stroke();
}

export function drawEvents(ctx, box, scale, events) {
  ctx.save();
  ctx.beginPath();
  ctx.rect(box.x, box.y, box.width, box.height);
  ctx.clip();
  ctx.font = font(11, 600);
  const rows = Math.max(1, Math.floor((box.height - 4) / EVENT_ROW_PX));
  for (const event of events) {
    event.row ??= freeRow(ctx, scale, event, events, rows);
    drawBracket(ctx, box, scale, event);
  }
  ctx.restore();
}

function freeRow(ctx, scale, event, events, rows) {
  const end = reach(ctx, scale, event);
  const overlaps = (other) => other.from < end && reach(ctx, scale, other) > event.from;
  const taken = new Set(events.filter((other) => other.row !== undefined && overlaps(other)).map((other) => other.row));
  let row = 0;
  while (row < rows - 1 && taken.has(row)) row++;
  return row;
}

/* Where an event's bracket or its label ends, whichever is later. */
function reach(ctx, scale, event) {
  return Math.max(event.to ?? Infinity, event.from + (ctx.measureText(event.label).width + 14) / scale.perSecond);
}

function drawBracket(ctx, box, scale, event) {
  const left = Math.max(scale.x(event.from), box.x - 4);
  const right = event.to === null ? box.x + box.width + 4 : Math.max(scale.x(event.to), left + 2);
  if (right < box.x || left > box.x + box.width) return;
  const y = box.y + 4 + event.row * EVENT_ROW_PX;
  ctx.globalAlpha = event.faint ? 0.45 : 1;
  ctx.fillStyle = colorOf(event.label, 0.1);
  ctx.fillRect(left, y, right - left, box.y + box.height - y);
  ctx.strokeStyle = colorOf(event.label);
  ctx.lineWidth = 2;
  ctx.lineJoin = "miter";
  ctx.beginPath();
  ctx.moveTo(left, y + 8);
  ctx.lineTo(left, y + 1);
  ctx.lineTo(right, y + 1);
  if (event.to !== null) ctx.lineTo(right, y + 8);
  ctx.stroke();
  const x = Math.max(box.x + 2, left);
  ctx.fillStyle = token("tag");
  ctx.beginPath();
  ctx.roundRect(x, y + 2, ctx.measureText(event.label).width + 10, 16, [0, 4, 4, 4]);
  ctx.fill();
  ctx.fillStyle = colorOf(event.label);
  ctx.textAlign = "left";
  ctx.textBaseline = "middle";
  ctx.fillText(event.label, x + 5, y + 10.5);
  ctx.globalAlpha = 1;
}

export function drawGaps(ctx, box, scale, gaps) {
  ctx.save();
  ctx.strokeStyle = token("line-strong");
  ctx.lineWidth = 1;
  for (const { from, to } of gaps) {
    const left = Math.max(scale.x(from), box.x);
    const right = Math.min(Math.max(scale.x(to), left + 1), box.x + box.width);
    if (right <= left) continue;
    ctx.save();
    ctx.beginPath();
    ctx.rect(left, box.y, right - left, box.height);
    ctx.clip();
    ctx.fillStyle = token("sunken");
    ctx.fillRect(left, box.y, right - left, box.height);
    ctx.beginPath();
    const phase = ((scale.x(from) % 8) + 8) % 8; // the hatching moves with the sound
    for (let x = left - box.height - 8 + phase; x < right; x += 8) {
      ctx.moveTo(x, box.y + box.height);
      ctx.lineTo(x + box.height, box.y);
    }
    ctx.stroke();
    ctx.restore();
  }
  ctx.restore();
}

export function drawPlayhead(ctx, box, x) {
  ctx.fillStyle = token("ink");
  ctx.fillRect(Math.round(x) - 0.5, box.y, 1, box.height);
  ctx.beginPath();
  ctx.moveTo(x - 4.5, box.y);
  ctx.lineTo(x + 4.5, box.y);
  ctx.lineTo(x, box.y + 6);
  ctx.fill();
}

export const melOf = (hz) => (hz < 1000 ? (hz * 3) / 200 : 15 + (27 * Math.log(hz / 1000)) / Math.log(6.4));
export const hzOf = (mel) => (mel < 15 ? (mel * 200) / 3 : 1000 * Math.exp((Math.log(6.4) * (mel - 15)) / 27));

export function frequencyAxis(ctx, box, lowHz, highHz, { gutter = true } = {}) {
  const [low, high] = [melOf(lowHz), melOf(highHz)];
  ctx.font = font(10, 500);
  ctx.textBaseline = "middle";
  ctx.textAlign = gutter ? "right" : "left";
  ctx.lineWidth = 1;
  let last = Infinity;
  for (const hz of FREQUENCIES) {
    const y = Math.round(box.y + box.height * (1 - (melOf(hz) - low) / (high - low))) + 0.5;
    if (hz <= lowHz || hz >= highHz || last - y < 22 || y < box.y + 8) continue;
    last = y;
    ctx.strokeStyle = token("grid");
    line(ctx, box.x, y, box.x + box.width, y);
    ctx.fillStyle = token("muted");
    const text = hz < 1000 ? `${hz} Hz` : `${hz / 1000} kHz`;
    if (gutter) ctx.fillText(text, box.x - 8, y);
    else ctx.fillText(text, box.x + 4, y - 7);
  }
}

function line(ctx, x0, y0, x1, y1) {
  ctx.beginPath();
  ctx.moveTo(x0, y0);
  ctx.lineTo(x1, y1);
  ctx.stroke();
}
