// Bare Opus packets → 48 kHz mono samples, with what is no speech cut off.  Knows no playback.
// Where the origin is not secure a browser has no AudioDecoder: libopus in wasm does the same there.

export const RATE = 48_000; // what Opus decodes to, whatever went in
const PACKET_US = 20_000;
const CONFIG = { codec: "opus", sampleRate: RATE, numberOfChannels: 1 };

/** A maker of decoders: `open(started, onSamples, onError)`, one per context.  Loads only what this browser needs. */
export async function chooseDecoder() {
  if (await hasWebCodecs()) {
    return { name: "WebCodecs", open: (...context) => new NativeDecoder(...context) };
  }
  const library = await loadScript(new URL("vendor/opus-decoder/opus-decoder.min.js", import.meta.url));
  const { OpusDecoder } = library["opus-decoder"];
  const make = () => new OpusDecoder({ channels: 1, sampleRate: RATE });
  let spare = make(); // takes milliseconds to be ready: always one ahead
  await spare.ready;
  const next = () => {
    const decoder = spare;
    spare = make();
    return decoder;
  };
  return { name: "wasm", open: (...context) => new WasmDecoder(next(), ...context) };
}

async function hasWebCodecs() {
  if (!("AudioDecoder" in globalThis)) return false;
  try {
    return (await AudioDecoder.isConfigSupported(CONFIG)).supported;
  } catch {
    return false;
  }
}

function loadScript(url) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.charset = "utf-8";
    script.src = url;
    script.onload = () => resolve(globalThis);
    script.onerror = () => reject(new Error("the decoder did not load"));
    document.head.append(script);
  });
}

/** Decoded samples in, speech out: without the pre-skip before it and the padding behind it. */
class Trimmer {
  constructor(started, onSamples) {
    const decodeRate = started.sample_rate === 32_000 ? RATE : started.sample_rate; // Opus knows no 32 kHz
    this._skip = Math.round((started.pre_skip * RATE) / decodeRate);
    this._scale = RATE / started.sample_rate;
    this._duration = 0; // samples announced, at the context's rate
    this._given = 0;
    this._onSamples = onSamples;
  }

  announce(duration) {
    this._duration += duration;
  }

  take(pcm) {
    const skipped = Math.min(this._skip, pcm.length);
    this._skip -= skipped;
    const wanted = Math.round(this._duration * this._scale) - this._given;
    const speech = pcm.subarray(skipped, skipped + Math.max(0, Math.min(wanted, pcm.length - skipped)));
    this._given += speech.length;
    if (speech.length) this._onSamples(speech.slice());
  }
}

class NativeDecoder {
  constructor(started, onSamples, onError) {
    this._trimmer = new Trimmer(started, onSamples);
    this._packets = 0;
    this._decoder = new AudioDecoder({ output: (data) => this._output(data), error: onError });
    this._decoder.configure(CONFIG);
  }

  push({ duration, data }) {
    if (this._decoder.state !== "configured") return;
    this._trimmer.announce(duration);
    const timestamp = PACKET_US * this._packets++;
    this._decoder.decode(new EncodedAudioChunk({ type: "key", timestamp, duration: PACKET_US, data }));
  }

  /** Resolves when all samples are out. */
  async finish() {
    if (this._decoder.state === "configured") await this._decoder.flush().catch(() => {});
    this.close();
  }

  close() {
    if (this._decoder.state !== "closed") this._decoder.close();
  }

  _output(data) {
    const pcm = new Float32Array(data.numberOfFrames);
    data.copyTo(pcm, { planeIndex: 0, format: "f32-planar" });
    data.close();
    this._trimmer.take(pcm);
  }
}

class WasmDecoder {
  constructor(decoder, started, onSamples, onError) {
    this._trimmer = new Trimmer(started, onSamples);
    this._onError = onError;
    this._decoder = decoder;
    this._waiting = []; // packets that came before wasm was ready
    decoder.ready.then(() => this._begin());
  }

  push(packet) {
    if (this._waiting) this._waiting.push(packet);
    else this._decode(packet);
  }

  async finish() {
    await this._decoder?.ready;
    this.close();
  }

  close() {
    const decoder = this._decoder;
    this._decoder = null;
    decoder?.ready.then(() => decoder.free());
  }

  _begin() {
    const waiting = this._waiting;
    this._waiting = null;
    waiting.forEach((packet) => this._decode(packet));
  }

  _decode({ duration, data }) {
    if (this._decoder === null) return;
    this._trimmer.announce(duration);
    const { channelData, errors } = this._decoder.decodeFrame(data);
    if (errors.length) this._onError(new Error(errors[0].message));
    else this._trimmer.take(channelData[0]);
  }
}
