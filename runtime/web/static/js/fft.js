/* The spectrogram of a recording, as the model's front end makes it, so that a clip has the colours of the live picture.

melSpectrogram(samples, {columns, signal, onPart}) -> Promise   samples are of RATE. Calls onPart(bytes, column) whenever some columns
are ready, MELS bytes each, from low to high (see runtime/daemon/live/frames.py); in between the browser may draw and answer. */

import { hzOf, melOf } from "./draw.js";
import { DB_STEP, FLOOR_DB } from "./spectrogram.js";

export const RATE = 32000;
export const MELS = 64;
export const LOWEST_HZ = 50;
export const HIGHEST_HZ = 14000;
const SIZE = 1024;
const AT_ONCE = 64;

export async function melSpectrogram(samples, { columns, signal, onPart }) {
  const filters = melFilters();
  const hann = Float64Array.from({ length: SIZE }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / SIZE));
  for (let begin = 0; begin < columns; begin += AT_ONCE) {
    const bytes = new Uint8Array(Math.min(AT_ONCE, columns - begin) * MELS);
    for (let at = 0; at < bytes.length; at += MELS) {
      const first = Math.round(((begin + at / MELS + 0.5) * samples.length) / columns) - SIZE / 2;
      const real = hann.map((weight, i) => weight * (samples[first + i] ?? 0));
      const imaginary = new Float64Array(SIZE);
      transform(real, imaginary);
      filters.forEach(({ low, weights }, mel) => {
        const power = weights.reduce((sum, weight, i) => sum + weight * (real[low + i] ** 2 + imaginary[low + i] ** 2), 1e-10);
        bytes[at + mel] = Math.max(0, Math.min(255, Math.round((10 * Math.log10(power) - FLOOR_DB) / DB_STEP)));
      });
    }
    onPart(bytes, begin);
    await new Promise((resolve) => setTimeout(resolve));
    signal.throwIfAborted();
  }
}

/* Replaces a signal by its Fourier transform: radix 2, in place. */
export function transform(real, imaginary) {
  const n = real.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i >= j) continue;
    [real[i], real[j]] = [real[j], real[i]];
    [imaginary[i], imaginary[j]] = [imaginary[j], imaginary[i]];
  }
  for (let half = 1; half < n; half *= 2) {
    for (let k = 0; k < half; k++) {
      const c = Math.cos((Math.PI * k) / half);
      const d = -Math.sin((Math.PI * k) / half);
      for (let i = k, j = k + half; j < n; i += 2 * half, j += 2 * half) {
        const x = real[j] * c - imaginary[j] * d;
        const y = real[j] * d + imaginary[j] * c;
        real[j] = real[i] - x;
        imaginary[j] = imaginary[i] - y;
        real[i] += x;
        imaginary[i] += y;
      }
    }
  }
}

/* Triangles of equal area, evenly spaced in mel, as runtime/dsp/log_mel.py has them. */
function melFilters() {
  const low = melOf(LOWEST_HZ);
  const edge = (i) => hzOf(low + (i * (melOf(HIGHEST_HZ) - low)) / (MELS + 1));
  const bin = RATE / SIZE;
  return Array.from({ length: MELS }, (_, mel) => {
    const [from, peak, to] = [edge(mel), edge(mel + 1), edge(mel + 2)];
    const first = Math.ceil(from / bin);
    const weights = [];
    for (let hz = first * bin; hz <= to; hz += bin)
      weights.push((Math.min((hz - from) / (peak - from), (to - hz) / (to - peak)) * 2) / (to - from));
    return { low: first, weights };
  });
}
