/* The picture of a sound: columns of bytes, drawn in colour.

new Spectrogram({rows, columnS, seconds})
                            room for the newest `seconds`; `rows` bands from low to high, a column every `columnS`
push(bytes, onsetS)         columns one after another, `rows` bytes each, of which the first begins at onsetS. What is skipped
                            stays empty; what is older than what is held, as after a new start, begins anew.
draw(ctx, box, from, to)    the seconds from..to into box {x, y, width, height}
start, end                  the seconds that are held
clear(), destroy()          forgets all; also lets go of the document

Bytes are FLOOR_DB + DB_STEP * byte, as runtime/daemon/live/frames.py has them. The range of colours follows what is held: the
quietest third is dark, the loudest is bright, and at least LEAST_RANGE_DB lie between them, so that silence stays calm. */

import { spectrum } from "./colors.js";

export const FLOOR_DB = -100;
export const DB_STEP = 0.5;

const LEAST_RANGE_DB = 45;
const QUIET_SHARE = 0.35;
const QUIET_MARGIN_DB = 2;
const LOUD_SHARE = 0.998;
const ADAPT_DB = 4; // smaller changes are not worth a picture that flickers

export class Spectrogram {
  #rows;
  #columnS;
  #capacity;
  #bytes;
  #held; // whether a column of the ring holds sound
  #first = 0; // columns since the source began
  #end = 0;
  #image;
  #pixels;
  #range = null; // [low, high] bytes
  #colours = null;
  #sinceAdapted = 0;

  constructor({ rows, columnS, seconds }) {
    this.#rows = rows;
    this.#columnS = columnS;
    this.#capacity = Math.max(2, Math.ceil(seconds / this.#columnS) + 2);
    this.#bytes = new Uint8Array(this.#capacity * rows);
    this.#held = new Uint8Array(this.#capacity);
    const canvas = document.createElement("canvas");
    canvas.width = this.#capacity;
    canvas.height = rows;
    this.#image = canvas.getContext("2d");
    this.#pixels = new ImageData(this.#capacity, rows);
    document.addEventListener("themechange", this.#recolour);
  }

  get start() {
    return this.#first * this.#columnS;
  }

  get end() {
    return this.#end * this.#columnS;
  }

  destroy() {
    document.removeEventListener("themechange", this.#recolour);
  }

  clear() {
    this.#held.fill(0);
    this.#first = this.#end = 0;
    this.#range = null;
    this.#image.clearRect(0, 0, this.#capacity, this.#rows);
  }

  push(bytes, onsetS) {
    const index = Math.round(onsetS / this.#columnS);
    const count = Math.floor(bytes.length / this.#rows);
    if (count === 0) return;
    if (index + count <= this.#end - this.#capacity) this.clear();
    if (this.#end === 0) this.#first = this.#end = index;
    for (let column = Math.max(this.#end, index - this.#capacity); column < index; column++) this.#empty(column);
    for (let i = Math.max(0, count - this.#capacity); i < count; i++) {
      const slot = (index + i) % this.#capacity;
      this.#bytes.set(bytes.subarray(i * this.#rows, (i + 1) * this.#rows), slot * this.#rows);
      this.#held[slot] = 1;
    }
    this.#end = Math.max(this.#end, index + count);
    this.#first = Math.max(this.#first, this.#end - this.#capacity);
    this.#sinceAdapted += count;
    if (this.#range === null || this.#sinceAdapted * this.#columnS > 1) this.#adapt();
    this.#paint(index, index + count);
  }

  draw(ctx, box, from, to) {
    const first = Math.max(from / this.#columnS, this.#first);
    const end = Math.min(to / this.#columnS, this.#end);
    const perColumn = (box.width * this.#columnS) / (to - from);
    const ratio = ctx.getTransform().a || 1;
    const snap = (x) => Math.round(x * ratio) / ratio; // two pieces that meet within a pixel would show a seam
    for (let at = first; at < end;) {
      const next = Math.min(end, (Math.floor(at / this.#capacity) + 1) * this.#capacity);
      const left = snap(box.x + (at - from / this.#columnS) * perColumn);
      const right = snap(box.x + (next - from / this.#columnS) * perColumn);
      const slot = at % this.#capacity;
      if (right > left)
        ctx.drawImage(this.#image.canvas, slot, 0, next - at, this.#rows, left, box.y, right - left, box.height);
      at = next;
    }
  }

  #empty(column) {
    const slot = column % this.#capacity;
    this.#held[slot] = 0;
    this.#image.clearRect(slot, 0, 1, this.#rows);
  }

  #adapt() {
    this.#sinceAdapted = 0;
    const counts = new Uint32Array(256);
    let total = 0;
    for (let column = this.#first; column < this.#end; column++) {
      const slot = column % this.#capacity;
      if (!this.#held[slot]) continue;
      for (let i = slot * this.#rows; i < (slot + 1) * this.#rows; i++) counts[this.#bytes[i]]++;
      total += this.#rows;
    }
    const level = (part) => {
      let sum = 0;
      for (let byte = 0; byte < 256; byte++) if ((sum += counts[byte]) >= part * total) return byte;
      return 255;
    };
    const low = level(QUIET_SHARE) + QUIET_MARGIN_DB / DB_STEP;
    const high = Math.max(level(LOUD_SHARE), low + LEAST_RANGE_DB / DB_STEP);
    const [oldLow, oldHigh] = this.#range ?? [-1e9, -1e9];
    if (Math.max(Math.abs(low - oldLow), Math.abs(high - oldHigh)) * DB_STEP < ADAPT_DB) return;
    this.#range = [low, high];
    this.#recolour();
  }

  #recolour = () => {
    if (this.#range === null) return;
    const [low, high] = this.#range;
    const map = spectrum();
    this.#colours = new Uint8ClampedArray(256 * 4);
    for (let byte = 0; byte < 256; byte++) {
      const [red, green, blue] = map[Math.min(255, Math.max(0, Math.round((255 * (byte - low)) / (high - low))))];
      this.#colours.set([red, green, blue, 255], byte * 4);
    }
    this.#paint(this.#first, this.#end);
  };

  #paint(from, to) {
    const begin = Math.max(from, this.#end - this.#capacity, 0);
    for (let column = begin; column < to; column++) {
      const slot = column % this.#capacity;
      if (this.#held[slot]) this.#paintColumn(slot);
    }
    const slot = begin % this.#capacity;
    const head = Math.min(to - begin, this.#capacity - slot);
    this.#image.putImageData(this.#pixels, 0, 0, slot, 0, head, this.#rows);
    if (to - begin > head) this.#image.putImageData(this.#pixels, 0, 0, 0, 0, to - begin - head, this.#rows);
    for (let column = begin; column < to; column++) if (!this.#held[column % this.#capacity]) this.#empty(column);
  }

  #paintColumn(slot) {
    const { data } = this.#pixels;
    for (let row = 0; row < this.#rows; row++) {
      const colour = this.#bytes[slot * this.#rows + row] * 4;
      const pixel = ((this.#rows - 1 - row) * this.#capacity + slot) * 4;
      for (let i = 0; i < 4; i++) data[pixel + i] = this.#colours[colour + i];
    }
  }
}
