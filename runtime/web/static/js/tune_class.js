/* One class: its curve, what a threshold gives, and the threshold for a wanted rate.

makeClassCard(curve, {threshold, onThreshold}) -> {element, reset(), destroy}
curve is a TuneCurve, `threshold` a change of it that was made before, or null; onThreshold(threshold) when a person has chosen one */

import { hueOf } from "./colors.js";
import { button } from "./controls.js";
import { h, replace, setText } from "./dom.js";
import * as format from "./format.js";
import { makeCurve, nearest, thresholdText } from "./tune_chart.js";
import { stat } from "./widgets.js";

/* What may be limited: [value, upper end of its interval]. */
const LIMITS = { events: ["per_day", "high"], "false alarms": ["false_per_day", "false_high"] };

/* After so many days without an event, no more than one a day can be promised: ln 40, as intervals of 95 % have it. */
const NONE_DAYS = Math.log(40);

export function makeClassCard(curve, { threshold, onThreshold }) {
  const { label, points } = curve;
  const now = nearest(points, curve.threshold);
  const hasVerdicts = points[0].false_per_day !== null;
  const chart = makeCurve(curve, { onPick: picked });
  const figures = h("dl", { class: "stats tune-figures", "data-testid": "tune-figures" });
  const wanted = h("input", { type: "number", min: 0, step: "any", value: 1, "aria-label": "At most so many a day", "data-testid": "tune-wanted", oninput: choose });
  const what = h("select", { "aria-label": "Of what", onchange: choose }, Object.keys(LIMITS).map((value) => h("option", { value, disabled: LIMITS[value][0] !== "per_day" && !hasVerdicts }, value)));
  const promise = h("p", { class: "small muted tune-promise", role: "status", "data-testid": "tune-promise" });
  const back = button("undo", "As it is", () => picked(now), { class: "quiet small" });
  const find = button(null, "Find the threshold", choose, { "data-testid": "tune-find" });
  const judge = `#events?${new URLSearchParams({ source: curve.source, label })}`;
  const element = h(
    "section",
    { class: "card stack", "aria-label": `Curve of ${label}`, style: { "--hue": hueOf(label) }, "data-testid": "tune-curve" },
    h("header", { class: "row" }, h("h2", { class: "row grow" }, h("i", { class: "dot" }), label), back),
    chart.element,
    h("p", { class: "muted small tune-legend" }, h("i"), "events a day, with the interval of 95 %", hasVerdicts && [h("i", { class: "false" }), "of these, false alarms"]),
    figures,
    h("form", { class: "row", onsubmit: (event) => (event.preventDefault(), choose()) }, h("span", {}, "At most"), wanted, what, h("span", {}, "a day"), find),
    promise,
    (curve.note || !hasVerdicts) && h("p", { class: "muted small" }, curve.note, !hasVerdicts && [" ", h("a", { href: judge }, "Judge its events"), ", and false alarms are shown, too."]),
  );

  function picked(index) {
    setText(promise, "");
    show(index);
    onThreshold(points[index].threshold === curve.threshold || index === now ? null : points[index].threshold);
  }

  function show(index) {
    const point = points[index];
    const between = (low, high, write) => `${write(low)} to ${write(high)}`;
    chart.pick(index);
    back.hidden = index === now;
    replace(
      figures,
      stat("Threshold", thresholdText(point.threshold), index === now ? "as it is" : `now ${thresholdText(curve.threshold)}`),
      stat("Events a day", format.figure(point.per_day), between(point.low, point.high, format.figure)),
      point.false_per_day !== null && stat("False alarms a day", format.figure(point.false_per_day), between(point.false_low, point.false_high, format.figure)),
      point.precision !== null && stat("Of them right", percent(point.precision), between(point.precision_low, point.precision_high, percent)),
      point.recall !== null && stat("Right ones kept", percent(point.recall), between(point.recall_low, point.recall_high, percent)),
    );
  }

  /* The lowest threshold from which on there are no more than wanted, and what can be promised of it. It is lowered only where that
  is certain: that little was heard in a short time says little. */
  function choose() {
    const most = Number(wanted.value);
    const [value, high] = LIMITS[what.value];
    if (wanted.value === "" || !(most >= 0)) return setText(promise, "Say how many a day you can bear, such as 1.");
    const from = lowest(points, (point) => point[value] <= most);
    const sure = lowest(points, (point) => point[high] <= most);
    const name = `${most} a day`;
    if (from === null) return setText(promise, `No threshold has kept to ${name}.`);
    const index = from >= now ? from : Math.min(sure ?? now, now);
    picked(index);
    const upTo = `it may be up to ${format.figure(points[index][high])} a day`;
    if (sure === null) return setText(promise, `Listened for ${format.duration(curve.listened_h * 3600)}: too short to promise ${name}; ${upTo}. Without any it takes ${format.duration((NONE_DAYS / most) * 86400)}.`);
    if (index >= sure) return setText(promise, `With 95 % certainty no more than ${name}.`);
    replace(promise, `Likely, but ${upTo}. To be certain (95 %): `, button(null, thresholdText(points[sure].threshold), () => picked(sure), { class: "small" }));
  }

  show(threshold === null ? now : nearest(points, threshold));
  return { element, reset: () => (setText(promise, ""), show(now)), destroy: chart.destroy };
}

function lowest(points, holds) {
  const last = points.findLastIndex((point) => !holds(point));
  return last + 1 < points.length ? last + 1 : null;
}

const percent = (share) => format.score(share);
