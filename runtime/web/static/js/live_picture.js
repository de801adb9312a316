/* The moving picture of a source: spectrogram with its events, the scores beneath, the axis of time, and the level at the right.

makePicture(source, {onPick}) -> {node, refresh(), draw(), destroy()}
  refresh()    a frame has come
  draw(force)  draws, where the picture has moved by a pixel since
  onPick(at)   somebody has clicked at this time of day */

import { h } from "./dom.js";
import {
  canvasOf,
  colorOf,
  drawEvents,
  drawGaps,
  drawScores,
  font,
  frequencyAxis,
  hzOf,
  melOf,
  timeAxis,
  TimeScale,
  token,
} from "./draw.js";
import * as format from "./format.js";
import { SPAN_S } from "./live_source.js";

const AXIS_PX = 26;
const GUTTER_PX = 112;
const METER_PX = 38;
const NARROW_PX = 640;
const LANES_SHARE = 0.42;
const METER_RANGE_DB = [-80, 0];
const PHONE_SPAN_S = 15;
const RADIUS_PX = 6;

export function makePicture(source, { onPick }) {
  let lanes = [];
  let shown = null; // the edge that is drawn, in pixels
  let layout = null;
  let hover = null; // {x, y} of the pointer

  const canvas = h("canvas", {
    class: "live-canvas",
    role: "img",
    "aria-label": `Spectrogram, scores and events of ${source.name}, the last ${SPAN_S} seconds. What is heard is beside it as text.`,
    "data-testid": "spectrogram",
    onpointermove: (event) => point({ x: event.offsetX, y: event.offsetY }),
    onpointerleave: () => point(null),
    onclick: (event) => pick(event.offsetX),
  });
  let visible = true;
  const watch = new IntersectionObserver(([entry]) => (visible = entry.isIntersecting));
  watch.observe(canvas);
  const stop = canvasOf(canvas, (ctx, width, height) => {
    layout = layOut(width, height);
    paint(ctx);
  });

  function point(at) {
    hover = at;
    canvas.redraw();
  }

  function pick(x) {
    if (!layout?.scale || source.offset === null || x < layout.picture.x || x > layout.scale.right) return;
    onPick(layout.scale.t(x) + source.offset);
  }

  function paint(ctx) {
    const { picture, scores, meter, narrow, ratio } = layout;
    fillBox(ctx, picture, token("spectrogram"), RADIUS_PX);
    const edge = source.edge();
    const span = narrow ? PHONE_SPAN_S : SPAN_S;
    // Whole pixels: so each column of sound looks the same wherever it is, and nothing shimmers.
    const pixelS = span / (picture.width * ratio);
    shown = edge === null ? null : Math.floor(edge / pixelS);
    const to = shown === null ? 0 : shown * pixelS;
    const scale = new TimeScale(to - span, to, picture.x, picture.x + picture.width);
    layout.scale = shown === null ? null : scale;
    if (shown !== null) {
      ctx.save();
      ctx.beginPath();
      ctx.roundRect(picture.x, picture.y, picture.width, picture.height, RADIUS_PX);
      ctx.clip();
      source.spectrogram?.draw(ctx, picture, scale.from, scale.to);
      drawGaps(ctx, picture, scale, source.gaps);
      ctx.restore();
      if (source.frequencies) frequencyAxis(ctx, picture, ...source.frequencies, { gutter: !narrow });
      drawEvents(ctx, picture, scale, source.events);
      drawScores(ctx, scores, scale, padded(lanes, layout.lanes));
      timeAxis(ctx, scale, { y: scores.y + scores.height, offset: source.offset ?? 0 });
    }
    drawLaneNames(ctx);
    drawMeter(ctx, meter);
    if (hover && shown !== null) drawHover(ctx, scale);
  }

  function drawLaneNames(ctx) {
    const { scores, narrow } = layout;
    const height = scores.height / layout.lanes;
    ctx.font = font(11.5, 550);
    lanes.forEach((lane, i) => {
      const y = scores.y + (i + 1) * height - height / 2 + 2;
      ctx.textBaseline = "middle";
      if (narrow) {
        const width = ctx.measureText(lane.label).width;
        fillBox(ctx, { x: scores.x + 2, y: y - height / 2 + 2, width: width + 8, height: 15 }, token("tag"), 4);
        ctx.textAlign = "left";
        ctx.fillStyle = colorOf(lane.label);
        ctx.fillText(lane.label, scores.x + 6, y - height / 2 + 10);
        return;
      }
      ctx.textAlign = "right";
      ctx.fillStyle = colorOf(lane.label);
      ctx.fillText(clip(ctx, lane.label, GUTTER_PX - 16), scores.x - 8, y);
    });
    if (lanes.length > 0 || shown === null) return;
    ctx.fillStyle = token("muted");
    ctx.textAlign = "center";
    ctx.textBaseline = "middle";
    ctx.fillText("No class scores above 12 %", scores.x + scores.width / 2, scores.y + scores.height / 2);
  }

  function drawMeter(ctx, box) {
    const [low, high] = METER_RANGE_DB;
    const yOf = (db) => box.y + box.height * (1 - Math.min(1, Math.max(0, (db - low) / (high - low))));
    fillBox(ctx, { ...box, width: 8 }, token("sunken"), 4);
    if (source.level !== null) {
      const fill = ctx.createLinearGradient(0, yOf(low), 0, yOf(high));
      const stops = [
        [0, "good"],
        [0.74, "good"],
        [0.88, "warn"],
        [1, "bad"],
      ];
      for (const [at, name] of stops) fill.addColorStop(at, token(name));
      ctx.save();
      ctx.beginPath();
      ctx.roundRect(box.x, box.y, 8, box.height, 4);
      ctx.clip();
      ctx.fillStyle = fill;
      const top = yOf(source.level);
      ctx.fillRect(box.x, top, 8, box.y + box.height - top);
      ctx.restore();
      if (source.peak !== null) {
        ctx.fillStyle = token("ink");
        ctx.fillRect(box.x - 1, Math.round(yOf(source.peak)) - 1, 10, 2);
      }
    }
    ctx.font = font(10);
    ctx.fillStyle = token("muted");
    ctx.textAlign = "left";
    for (const db of [0, -20, -40, -60, -80]) {
      ctx.textBaseline = db === 0 ? "top" : db === low ? "bottom" : "middle";
      ctx.fillText(db === 0 ? "0" : `−${-db}`, box.x + 13, yOf(db));
    }
  }

  function drawHover(ctx, scale) {
    const { picture, scores } = layout;
    const { x, y } = hover;
    if (x < picture.x || x > picture.x + picture.width || y > scores.y + scores.height) return;
    ctx.fillStyle = token("ink");
    ctx.globalAlpha = 0.5;
    ctx.fillRect(Math.round(x), picture.y, 1, scores.y + scores.height - picture.y);
    ctx.globalAlpha = 1;
    const words = [format.timeMs(scale.t(x) + (source.offset ?? 0)).slice(0, -1)];
    if (source.frequencies && y < picture.y + picture.height)
      words.push(frequencyAt((picture.y + picture.height - y) / picture.height));
    const text = words.join(" · ");
    ctx.font = font(11, 550);
    const width = ctx.measureText(text).width + 12;
    const left = Math.min(Math.max(x + 8, picture.x), picture.x + picture.width - width);
    const top = Math.max(y - 26, picture.y + 2);
    fillBox(ctx, { x: left, y: top, width, height: 20 }, token("surface"), 6);
    ctx.fillStyle = token("ink");
    ctx.textAlign = "left";
    ctx.textBaseline = "middle";
    ctx.fillText(text, left + 6, top + 10.5);
  }

  function frequencyAt(part) {
    const [low, high] = source.frequencies.map(melOf);
    const hz = hzOf(low + part * (high - low));
    return hz < 1000 ? `${Math.round(hz / 10) * 10} Hz` : `${(hz / 1000).toFixed(1)} kHz`;
  }

  return {
    node: h("div", { class: "live-picture" }, canvas),
    refresh() {
      if (layout) lanes = source.lanes(layout.lanes);
    },
    draw(force = false) {
      if (!layout || !visible) return;
      const edge = source.edge();
      const pixelS = (layout.narrow ? PHONE_SPAN_S : SPAN_S) / (layout.picture.width * layout.ratio);
      if (force || (edge !== null && Math.floor(edge / pixelS) !== shown)) canvas.redraw();
    },
    destroy() {
      watch.disconnect();
      stop();
    },
  };
}

function layOut(width, height) {
  const narrow = width < NARROW_PX;
  const x = narrow ? 0 : GUTTER_PX;
  const inner = width - x - METER_PX - 6;
  const laneCount = narrow ? 4 : 6;
  const lanesHeight = Math.round((height - AXIS_PX) * LANES_SHARE);
  const picture = { x, y: 0, width: inner, height: height - AXIS_PX - lanesHeight - 4 };
  const scores = { x, y: picture.height + 4, width: inner, height: lanesHeight };
  const meter = { x: x + inner + 10, y: 0, width: METER_PX, height: picture.height };
  return {
    picture,
    scores,
    meter,
    narrow,
    lanes: laneCount,
    ratio: Math.min(window.devicePixelRatio || 1, 3),
    scale: null,
  };
}

/* So many lanes, whether or not there are classes for them: so nothing jumps. */
function padded(lanes, count) {
  return [
    ...lanes,
    ...Array.from({ length: Math.max(0, count - lanes.length) }, () => ({ label: "", threshold: null, parts: [] })),
  ];
}

function fillBox(ctx, { x, y, width, height }, colour, radius = 0) {
  ctx.fillStyle = colour;
  ctx.beginPath();
  ctx.roundRect(x, y, width, height, radius);
  ctx.fill();
}

function clip(ctx, text, width) {
  if (ctx.measureText(text).width <= width) return text;
  let end = text.length;
  while (end > 1 && ctx.measureText(`${text.slice(0, end)}…`).width > width) end--;
  return `${text.slice(0, end).trimEnd()}…`;
}
