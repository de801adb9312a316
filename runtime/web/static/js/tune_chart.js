/* The curve of a class: how many events a day each threshold gives, on a scale of powers of ten.

thresholdText(x)       0.62, 0.995
rateText(rate)         "3.2 a day (2.1 to 4.6)" of anything with per_day, low and high
logShare(x, low, high) where x lies between low and high, 0 to 1, by its logarithm
makeCurve(curve, {onPick}) -> {element, pick(index), destroy}
                       curve is a TuneCurve; onPick(index) where a person has moved the line to another of its points: by mouse, by
                       touch, or with the slider beneath, whose arrow keys go from point to point */

import { h } from "./dom.js";
import * as draw from "./draw.js";
import * as format from "./format.js";

const LEFT = 46;
const RIGHT = 14;
const BOTTOM = 40;
const MOST_SPAN = 1e5;
const KEYS = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10, Home: -Infinity, End: Infinity };

export const thresholdText = (x) => x.toFixed(3).replace(/0$/, "");
export const rateText = ({ per_day, low, high }) => `${format.figure(per_day)} a day (${format.figure(low)} to ${format.figure(high)})`;

export function logShare(x, low, high) {
  return Math.min(Math.max(Math.log(Math.max(x, 1e-9) / low) / Math.log(high / low), 0), 1);
}

export function makeCurve(curve, { onPick }) {
  const { points, label } = curve;
  const now = nearest(points, curve.threshold);
  const picture = { ...curve, now, at: now, ...rangeOf(points) };
  const canvas = h("canvas", { class: "tune-canvas", role: "img", "aria-label": `Events a day of ${label} at each threshold; the slider beneath reads it` });
  const slider = h("input", { class: "tune-slider", type: "range", min: 0, max: 1, step: 0.001, "aria-label": "Threshold", "data-testid": "tune-slider" });
  const element = h("div", { class: "tune-chart" }, canvas, slider);
  const destroy = draw.canvasOf(canvas, (ctx, width, height) => paint(ctx, width, height, picture));

  function pick(index) {
    picture.at = index;
    const point = points[index];
    slider.value = point.threshold;
    slider.setAttribute("aria-valuetext", `${thresholdText(point.threshold)}: ${rateText(point)}`);
    canvas.redraw();
  }

  function moveTo(index) {
    const next = Math.min(Math.max(index, 0), points.length - 1);
    if (next === picture.at) return pick(next); // the slider's thumb goes back to the point
    pick(next);
    onPick(next);
  }

  const follow = ({ clientX }) => moveTo(nearest(points, (clientX - canvas.getBoundingClientRect().left - LEFT) / (canvas.clientWidth - LEFT - RIGHT)));
  canvas.addEventListener("pointerdown", (pointer) => {
    if (pointer.button !== 0) return;
    canvas.setPointerCapture(pointer.pointerId);
    follow(pointer);
  });
  canvas.addEventListener("pointermove", (pointer) => canvas.hasPointerCapture(pointer.pointerId) && follow(pointer));
  slider.addEventListener("input", () => moveTo(nearest(points, Number(slider.value))));
  slider.addEventListener("keydown", (event) => {
    if (!(event.key in KEYS) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    moveTo(picture.at + KEYS[event.key]);
  });
  pick(now);
  return { element, pick, destroy };
}

export function nearest(points, threshold) {
  const far = (index) => Math.abs(points[index].threshold - threshold);
  return points.reduce((best, _, index) => (far(index) < far(best) ? index : best), 0);
}

/* Whole powers of ten around all that is drawn. What is 0 lies on the lowest line. */
function rangeOf(points) {
  const values = points.flatMap(({ per_day, low, high, false_per_day }) => [per_day, low, high, false_per_day ?? 0]).filter((value) => value > 0);
  const top = 10 ** Math.ceil(Math.log10(Math.max(1, ...values)));
  const bottom = 10 ** Math.floor(Math.log10(Math.min(1, ...values.filter((value) => value > top / MOST_SPAN))));
  return { top, bottom: Math.min(bottom, top / 10) };
}

function paint(ctx, width, height, { points, label, now, at, top, bottom }) {
  const box = { x: LEFT, y: 18, width: width - LEFT - RIGHT, height: height - BOTTOM - 18 };
  const xOf = (index) => box.x + box.width * points[index].threshold;
  const yOf = (value) => box.y + box.height * (1 - logShare(value, bottom, top));
  axes(ctx, box, yOf, top, bottom);
  const trace = (name, { back = false } = {}) => {
    for (let i = 0; i < points.length; i++) {
      const index = back ? points.length - 1 - i : i;
      ctx.lineTo(xOf(index), yOf(points[index][name]));
    }
  };
  const band = (low, high, colour) => {
    ctx.beginPath();
    trace(high);
    trace(low, { back: true });
    ctx.fillStyle = colour;
    ctx.fill();
  };
  const curve = (name, colour, dash) => {
    ctx.beginPath();
    trace(name);
    ctx.strokeStyle = colour;
    ctx.lineWidth = 2;
    ctx.lineJoin = "round";
    ctx.setLineDash(dash);
    ctx.stroke();
    ctx.setLineDash([]);
  };
  band("low", "high", draw.colorOf(label, 0.2));
  if (points[0].false_per_day !== null) curve("false_per_day", draw.token("bad"), [5, 4]);
  curve("per_day", draw.colorOf(label), []);
  if (at !== now) upright(ctx, box, xOf(now), draw.token("muted"), [3, 3], "now", xOf(now) > xOf(at));
  upright(ctx, box, xOf(at), draw.token("ink"), [], `${thresholdText(points[at].threshold)}${at === now ? " now" : ""}`, xOf(at) >= xOf(now));
  ctx.beginPath();
  ctx.arc(xOf(at), yOf(points[at].per_day), 6, 0, 7);
  ctx.fillStyle = draw.colorOf(label);
  ctx.strokeStyle = draw.token("surface");
  ctx.lineWidth = 2;
  ctx.fill();
  ctx.stroke();
}

function axes(ctx, box, yOf, top, bottom) {
  ctx.font = draw.font(11);
  ctx.fillStyle = draw.token("muted");
  ctx.textBaseline = "middle";
  ctx.textAlign = "right";
  const last = box.y + box.height;
  for (let power = Math.round(Math.log10(bottom)); power <= Math.round(Math.log10(top)); power++) {
    const y = Math.round(yOf(10 ** power)) + 0.5;
    const text = power < 0 ? (10 ** power).toFixed(-power) : format.count(10 ** power);
    ctx.fillText(10 ** power === bottom ? "0" : text, box.x - 8, y);
    line(ctx, draw.token("line"), [], box.x, y, box.x + box.width, y);
  }
  ctx.textBaseline = "top";
  for (let tenth = 0; tenth <= 10; tenth += 2) {
    ctx.textAlign = "center";
    ctx.fillText(tenth / 10, box.x + (box.width * tenth) / 10, last + 6);
  }
  ctx.fillText("threshold", box.x + box.width / 2, last + 22);
  ctx.textAlign = "left";
  ctx.fillText("events a day", 0, 0);
}

/* A line from top to bottom with its name beside it, to the right where there is room. */
function upright(ctx, box, x, colour, dash, text, isRight) {
  line(ctx, colour, dash, Math.round(x) + 0.5, box.y, Math.round(x) + 0.5, box.y + box.height);
  ctx.font = draw.font(12, 600);
  const wide = ctx.measureText(text).width + 10;
  const right = isRight ? x + wide < box.x + box.width : x - wide < box.x;
  ctx.textAlign = right ? "left" : "right";
  ctx.textBaseline = "top";
  ctx.fillStyle = colour;
  ctx.fillText(text, x + (right ? 6 : -6), box.y + 2);
}

function line(ctx, colour, dash, x0, y0, x1, y1) {
  ctx.strokeStyle = colour;
  ctx.lineWidth = 1.25;
  ctx.setLineDash(dash);
  ctx.beginPath();
  ctx.moveTo(x0, y0);
  ctx.lineTo(x1, y1);
  ctx.stroke();
  ctx.setLineDash([]);
}
