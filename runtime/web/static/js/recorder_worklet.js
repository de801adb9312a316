/* Hands on what the microphone hears, block by block. */

class Taps extends AudioWorkletProcessor {
  process([[channel]]) {
    if (channel) this.port.postMessage(channel.slice());
    return true;
  }
}

registerProcessor("taps", Taps);
