/* The score of a class against its threshold and its release, with the stage of each step.

STAGES                      names of the stages, as people read them
stageDot(stage)             its colour, which events.css gives
makeChart(why, onMoment) -> {element, destroy}     onMoment(at) when another moment is picked */

import { h, replace } from "./dom.js";
import * as draw from "./draw.js";
import * as format from "./format.js";

export const STAGES = {
  reported: "Reported",
  below_release: "Far below the threshold",
  below_threshold: "Below the threshold",
  too_short: "Too short",
  confirming: "Not confirmed yet",
  more_specific: "A more specific class was reported",
  suppress: "Suppressed by another sound",
  cooldown: "Too soon after the last one",
  quiet_hours: "Quiet hours",
  not_reported: "Class is not reported",
  gap: "Gap: no audio",
  input_fault: "Input fault",
  not_listening: "Not listening",
  not_stored: "No stored scores, or not yet",
};
const STRIP_PX = 14;
const AXIS_PX = 24;

export const stageDot = (stage) => h("i", { class: "stage-dot", "data-stage": stage });

export function makeChart(why, onMoment) {
  const { steps, at, label } = why;
  const stepS = steps.length > 1 ? (steps.at(-1).at - steps[0].at) / (steps.length - 1) : 0.32;
  const asked = Math.max(0, steps.findLastIndex((step) => step.at <= at + 1e-6));
  const picture = { ...why, stepS, cursor: asked, runs: runsOf(steps) };
  const pick = () => onMoment(steps[picture.cursor].at + stepS / 2);
  const canvas = h("canvas", { class: "why-canvas", role: "img", "aria-label": `Score of ${label}; the slider beneath reads it step by step` });
  const slider = h("input", { class: "why-slider", type: "range", max: steps.length - 1, "aria-label": "Step", oninput: () => point(Number(slider.value)), onchange: pick });
  const text = h("output", { "data-testid": "why-step" });
  const dots = legend(picture);
  const element = h("div", { class: "why-chart", "data-testid": "why-chart" }, canvas, slider, text, dots);
  const destroy = draw.canvasOf(canvas, (ctx, width, height) => paint(ctx, width, height, picture, dots));

  function point(index) {
    picture.cursor = Math.min(Math.max(index, 0), steps.length - 1);
    const { at: begin, score, stage } = steps[picture.cursor];
    const said = `${format.timeMs(begin)} · ${score === null ? "no score" : `score ${score.toFixed(2)}`} · ${STAGES[stage]}`;
    slider.value = picture.cursor;
    slider.setAttribute("aria-valuetext", said);
    replace(text, stageDot(stage), said);
    canvas.redraw();
  }

  const follow = ({ clientX }) => {
    const t = scaleOf(canvas.clientWidth, picture).t(clientX - canvas.getBoundingClientRect().left);
    point(Math.floor((t - steps[0].at) / stepS));
  };
  canvas.addEventListener("pointermove", follow);
  canvas.addEventListener("pointerleave", () => point(asked));
  canvas.addEventListener("click", (event) => (follow(event), pick()));
  point(asked);
  return { element, destroy };
}

const scaleOf = (width, { steps, stepS }) => new draw.TimeScale(steps[0].at, steps.at(-1).at + stepS, 30, width - 2);

/* Steps of one stage in a row. */
function runsOf(steps) {
  const runs = [];
  steps.forEach(({ stage }, i) => {
    if (runs.at(-1)?.stage !== stage) runs.push({ stage, from: i });
    runs.at(-1).to = i + 1;
  });
  return runs;
}

function legend({ runs, stepS }) {
  const counts = {};
  for (const { stage, from, to } of runs) counts[stage] = (counts[stage] ?? 0) + to - from;
  const items = Object.entries(counts).sort(([, one], [, other]) => other - one);
  return h("ul", { class: "why-legend", "aria-label": "Stages" }, items.map(([stage, count]) => h("li", {}, stageDot(stage), `${STAGES[stage]} `, h("small", {}, format.duration(count * stepS)))));
}

function paint(ctx, width, height, picture, dots) {
  const { steps, stepS, runs, cursor, label } = picture;
  const scale = scaleOf(width, picture);
  const box = { x: scale.left, y: 8, width: scale.right - scale.left, height: height - AXIS_PX - STRIP_PX - 12 };
  const yOf = (score) => Math.round(box.y + box.height * (1 - score));
  const stripY = box.y + box.height + 4;
  ctx.font = draw.font(10);
  ctx.textAlign = "right";
  ctx.textBaseline = "middle";
  for (const score of [0, 0.25, 0.5, 0.75, 1]) {
    ctx.fillStyle = draw.token("line");
    ctx.fillRect(box.x, yOf(score), box.width, 1);
    ctx.fillStyle = draw.token("muted");
    ctx.fillText(score, box.x - 5, yOf(score));
  }
  for (const { stage, from, to } of runs) {
    const left = scale.x(steps[from].at);
    const right = scale.x(steps[to - 1].at + stepS);
    ctx.fillStyle = getComputedStyle(dots.querySelector(`[data-stage=${stage}]`)).backgroundColor;
    ctx.fillRect(left, stripY, right - left, STRIP_PX);
    ctx.globalAlpha = 0.12;
    ctx.fillRect(left, box.y, right - left, box.height);
    ctx.globalAlpha = 1;
  }
  ctx.strokeStyle = draw.colorOf(label);
  ctx.lineWidth = 2;
  ctx.beginPath();
  steps.forEach(({ at, score }, i) => {
    const isOn = (steps[i - 1]?.score ?? null) !== null;
    if (score !== null) ctx[isOn ? "lineTo" : "moveTo"](scale.x(at + stepS / 2), yOf(score));
  });
  ctx.stroke();
  level(ctx, box, yOf, picture.threshold, "ink", [], "threshold", -4);
  level(ctx, box, yOf, picture.release, "muted", [3, 3], "release", -106);
  if (picture.stage !== "reported") level(ctx, box, yOf, picture.would_report_at, "accent", [7, 4], "would be reported at", 4);
  draw.timeAxis(ctx, scale, { y: stripY + STRIP_PX });
  draw.drawPlayhead(ctx, { ...box, height: stripY + STRIP_PX - box.y }, scale.x(steps[cursor].at + stepS / 2));
}

/* A line across at a score, with its name above it, or below where there is no room; `place` from the left, or the right. */
function level(ctx, box, yOf, score, colour, dash, name, place) {
  if (score === null) return;
  const y = yOf(score) + 0.5;
  const isHigh = y < box.y + 16;
  ctx.strokeStyle = ctx.fillStyle = draw.token(colour);
  ctx.lineWidth = 1.25;
  ctx.setLineDash(dash);
  ctx.beginPath();
  ctx.moveTo(box.x, y);
  ctx.lineTo(box.x + box.width, y);
  ctx.stroke();
  ctx.setLineDash([]);
  ctx.font = draw.font(11, 600);
  ctx.textBaseline = isHigh ? "top" : "bottom";
  ctx.textAlign = place < 0 ? "right" : "left";
  ctx.fillText(`${name} ${score.toFixed(2)}`, box.x + place + (place < 0 ? box.width : 0), y + (isHigh ? 3 : -2));
}
