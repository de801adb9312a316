/* What is known of a live source: its picture, scores, events and gaps of the last seconds.

source.takeFrame(frame), .takeMessage(message), .takeStored(event)   as the stream and /api/events bring them; takeFrame returns whether
                                a picture begins, of which the events are to be asked for
source.edge()                   the moment that is shown at the right, in seconds since the source began; null before sound
source.offset                   makes seconds since the source began a time of day
source.spectrogram              null before the first columns
source.lanes(count)             what drawScores wants, the classes of most interest; each stays in its place
source.scores()                 [{label, score, threshold}], what scores highest now, the highest first
source.events, .gaps            what drawEvents and drawGaps want; an event that goes on has `to` null
source.open()                   the events that go on
source.level, .peak             dBFS, null where unknown */

import { LiveClock } from "./live_clock.js";
import { Spectrogram } from "./spectrogram.js";
import { seconds } from "./format.js";

export const SPAN_S = 30; // what is shown
const KEPT_S = SPAN_S + 12;
const NOW_S = 1.2; // "now" is as long as a sound that one could miss
const INTERESTING = 0.12; // a score from which a class is worth a lane
const WORTH_A_WORD = 0.005;
const BETTER = 0.15; // by which another must be more interesting to take a lane
const PEAK_HOLD_S = 2;
const PEAK_FALL_DB_S = 18;

export class LiveSource {
  spectrogram = null;
  offset = null;
  level = null;
  peak = null;
  stepS = 0.32;
  frequencies = null;
  events = [];
  gaps = [];
  #thresholds;
  #clock = new LiveClock();
  #steps = new Map(); // number of the step -> {label: score}
  #final = -Infinity; // steps before this one are final
  #last = -Infinity;
  #shown = []; // labels of the lanes
  #peakAt = 0;

  constructor(name, thresholds = {}) {
    this.name = name;
    this.#thresholds = thresholds;
  }

  get thresholds() {
    return this.#thresholds;
  }

  set thresholds(thresholds) {
    this.#thresholds = thresholds;
  }

  edge() {
    return this.#clock.edge();
  }

  takeFrame(frame) {
    const bytes = decode(frame.columns);
    const count = bytes.length / frame.mels;
    const end = frame.onset + count * frame.column_s;
    // The daemon has started anew, or the stream has, which begins with the last seconds.
    if (this.spectrogram && end < this.spectrogram.end - 2) this.#forget();
    const isFirst = this.spectrogram === null && count > 0;
    if (!this.spectrogram && count > 0)
      this.spectrogram = new Spectrogram({ rows: frame.mels, columnS: frame.column_s, seconds: KEPT_S });
    if (count > 0) {
      this.spectrogram.push(bytes, frame.onset);
      this.#clock.arrive(end);
      this.offset = (seconds(frame.time) ?? Date.now() / 1000 - (end - frame.onset)) - frame.onset;
    }
    if (frame.low_hz && frame.high_hz) this.frequencies = [frame.low_hz, frame.high_hz];
    this.#takeLevel(frame.level_dbfs);
    this.#takeScores(frame.newest);
    this.#prune(end);
    return isFirst;
  }

  takeMessage(message) {
    const known = this.events.find((event) => event.id === message.id);
    if (message.type === "start" && !known)
      this.events.push({ id: message.id, label: message.label, from: message.onset, to: null, score: message.score });
    if (message.type === "end") {
      const ended = {
        id: message.id,
        label: message.label,
        from: message.onset,
        to: message.offset,
        score: message.score,
      };
      if (known) Object.assign(known, ended);
      else this.events.push(ended);
    }
    if (message.type === "gap") this.gaps.push({ from: message.onset, to: message.offset, reason: message.reason });
  }

  /* An event from the store, for what began before this page was opened. */
  takeStored(event, positionS) {
    const from = event.at - this.offset;
    const isOfThisRun = Math.abs(from - event.onset) < 1.5 && from < positionS;
    if (!isOfThisRun || this.events.some((known) => known.id === event.id)) return;
    this.events.push({
      id: event.id,
      key: event.key,
      label: event.label,
      from: event.onset,
      to: event.offset,
      score: event.score,
    });
    this.events.sort((a, b) => a.from - b.from);
  }

  open() {
    return this.events.filter((event) => event.to === null);
  }

  lanes(count) {
    const first = Math.max(this.#last - Math.ceil(KEPT_S / this.stepS), Math.min(...this.#steps.keys()));
    const interest = new Map(this.open().map((event) => [event.label, 1]));
    for (const scores of this.#steps.values())
      for (const [label, score] of Object.entries(scores))
        interest.set(label, Math.max(score, interest.get(label) ?? 0));
    this.#chooseLanes(interest, count);
    return this.#shown.slice(0, count).map((label) => this.#lane(label, first));
  }

  scores() {
    const highest = new Map();
    for (let step = this.#last; step > this.#last - NOW_S / this.stepS; step--)
      for (const [label, score] of Object.entries(this.#steps.get(step) ?? {}))
        highest.set(label, Math.max(score, highest.get(label) ?? 0));
    return [...highest]
      .filter(([, score]) => score >= WORTH_A_WORD)
      .map(([label, score]) => ({ label, score, threshold: this.#thresholds[label] ?? null }))
      .sort((a, b) => b.score - a.score);
  }

  #chooseLanes(interest, count) {
    const of = (label) => interest.get(label) ?? 0;
    const rest = [...interest.keys()].filter((label) => !this.#shown.includes(label)).sort((a, b) => of(b) - of(a));
    for (const label of rest) {
      if (of(label) < INTERESTING) break;
      if (this.#shown.length < count) {
        this.#shown.push(label);
        continue;
      }
      const weakest = this.#shown.reduce((worst, shown, i) => (of(shown) < of(this.#shown[worst]) ? i : worst), 0);
      if (of(label) < of(this.#shown[weakest]) + BETTER) break;
      this.#shown[weakest] = label;
    }
  }

  #lane(label, first) {
    const values = [];
    for (let step = first; step <= this.#last; step++) values.push(this.#steps.get(step)?.[label] ?? 0);
    const final = Math.max(0, Math.min(values.length, this.#final - first));
    const parts = [{ start: first * this.stepS, stepS: this.stepS, values, final }];
    return { label, threshold: this.#thresholds[label] ?? null, parts };
  }

  #takeScores({ onset, step_s: stepS, final, scores }) {
    const count = Math.max(0, ...Object.values(scores).map((values) => values.length));
    if (count === 0) return;
    this.stepS = stepS;
    const first = Math.round(onset / stepS);
    for (let i = 0; i < count; i++) {
      const entries = Object.entries(scores).map(([label, values]) => [label, values[i]]);
      this.#steps.set(first + i, Object.fromEntries(entries));
    }
    this.#final = first + final;
    this.#last = first + count - 1;
  }

  #takeLevel(level) {
    this.level = level;
    if (level === null) return;
    const now = performance.now() / 1000;
    const held =
      this.peak === null ? -Infinity : this.peak - Math.max(0, now - this.#peakAt - PEAK_HOLD_S) * PEAK_FALL_DB_S;
    if (level >= held) [this.peak, this.#peakAt] = [level, now];
    else if (now - this.#peakAt > PEAK_HOLD_S) [this.peak, this.#peakAt] = [held, now - PEAK_HOLD_S];
  }

  #prune(end) {
    const oldest = end - KEPT_S;
    for (const step of this.#steps.keys()) if (step * this.stepS < oldest) this.#steps.delete(step);
    this.events = this.events.filter((event) => event.to === null || event.to > oldest);
    this.gaps = this.gaps.filter((gap) => gap.to > oldest);
  }

  #forget() {
    this.spectrogram.destroy();
    this.spectrogram = null;
    this.#clock = new LiveClock();
    this.#steps.clear();
    this.events = [];
    this.gaps = [];
  }

  destroy() {
    this.spectrogram?.destroy();
  }
}

function decode(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}
