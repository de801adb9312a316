/* How well an enrolled sound is told from everything else, in figures.

recallOf(report)   "9 of 10"-like share with its interval         alarmsOf(report)   false alarms an hour with theirs
reportParts(report)  both as figures, and what the sound is confused with */

import { labelChip, stat } from "./widgets.js";
import { h } from "./dom.js";
import * as format from "./format.js";
import { thresholdText } from "./tune_chart.js";

const between = ({ low, high }, write) => `${write(low)} to ${write(high)}`;

export const recallOf = ({ recall }) => [format.score(recall.value), between(recall, format.score)];
export const alarmsOf = ({ false_alarms_per_h: alarms }) => [format.figure(alarms.value), between(alarms, format.figure)];

export function reportParts(report) {
  const [[heard, heardRange], [alarms, alarmsRange]] = [recallOf(report), alarmsOf(report)];
  const confusions = report.confusions.filter(({ fired }) => fired > 0);
  return [
    h(
      "dl",
      { class: "stats", "data-testid": "sound-report" },
      stat("Heard again", heard, `of ${report.recordings} recordings that were held back; ${heardRange}`),
      stat("False alarms an hour", alarms, `in ${format.duration(report.background_h * 3600)} of other sound; ${alarmsRange}`),
      stat("Threshold", thresholdText(report.threshold), "as Tune can change it"),
    ),
    confusions.length > 0
      ? h(
          "div",
          {},
          h("h3", {}, "Confused with"),
          h("ul", { class: "sound-confusions" }, confusions.map(({ label, fired, of }) => h("li", {}, labelChip(label), h("span", { class: "muted" }, `${format.count(fired)} of ${format.count(of)} recordings`)))),
        )
      : h("p", { class: "muted" }, "It is confused with no class that the model knows."),
  ];
}
