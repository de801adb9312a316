/* Records from this computer's microphone.

whyNotHere()                  why this browser cannot record on this page; "" where it can
record(onLevel) -> Promise<{stop, cancel}>   records until stop() -> {blob, seconds}, a WAV of 16 bits, one channel, of LONGEST_S
                              at most; cancel() keeps nothing. onLevel(level, seconds) tells the level, 0 to 1, and for how long it goes on */

export const LONGEST_S = 30; // which the server takes
const RANGE_DB = 60; // of the level
const RAW = { echoCancellation: false, noiseSuppression: false, autoGainControl: false, channelCount: 1 };

export function whyNotHere() {
  if (!window.isSecureContext) return "Browsers let a page record only over https, or on the device itself.";
  if (!navigator.mediaDevices?.getUserMedia || !window.AudioWorkletNode) return "This browser cannot record.";
  return "";
}

export async function record(onLevel) {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: RAW });
  const context = new AudioContext();
  const blocks = [];
  let length = 0;
  const close = () => {
    for (const track of stream.getTracks()) track.stop();
    if (context.state !== "closed") context.close();
  };
  try {
    await context.audioWorklet.addModule("static/js/recorder_worklet.js");
    await context.resume();
  } catch (error) {
    close();
    throw error;
  }
  const taps = new AudioWorkletNode(context, "taps", { numberOfOutputs: 0 });
  taps.port.onmessage = ({ data }) => {
    if (length >= LONGEST_S * context.sampleRate) return;
    blocks.push(data);
    length += data.length;
    const peak = data.reduce((most, sample) => Math.max(most, Math.abs(sample)), 1e-6);
    onLevel(Math.max(0, 1 + (20 * Math.log10(peak)) / RANGE_DB), length / context.sampleRate);
  };
  context.createMediaStreamSource(stream).connect(taps);
  return {
    cancel: close,
    stop() {
      close();
      return { blob: wavOf(blocks, length, context.sampleRate), seconds: length / context.sampleRate };
    },
  };
}

function wavOf(blocks, length, rate) {
  const view = new DataView(new ArrayBuffer(44 + 2 * length));
  const text = (at, letters) => [...letters].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // channels
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * length, true);
  let at = 44;
  for (const block of blocks)
    for (const sample of block) {
      view.setInt16(at, 32767 * Math.min(Math.max(sample, -1), 1), true);
      at += 2;
    }
  return new Blob([view], { type: "audio/wav" });
}
