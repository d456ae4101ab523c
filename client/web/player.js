// One utterance at a time, from samples to the loudspeaker, and how much of it has been heard.
// Two ways with one face: an AudioWorklet's queue, or scheduled buffers where the origin is not secure.
// Knows no words and no wire.

import { RATE } from "./decoder.js";

export const CUSHION_S = 0.08; // held before the first sample: what a network may be late by
const LEAD_S = 0.04; // how far ahead the scheduling way begins; everything behind it is scheduled as it comes
const TICK_MS = 20;
const FADE_S = 0.005;

// Firefox asks PulseAudio for it under the lock that its audio callback waits for: now and then both wait for ever, and
// the page with them.  There what is heard is told too early, by what the sound card holds.
const MAY_ASK_LATENCY = !/Linux.*Firefox/.test(navigator.userAgent);

/** The page's one AudioContext; `resume` it from a person's gesture. */
export function makeContext() {
  return new AudioContext({ latencyHint: "interactive", sampleRate: RATE });
}

/**
 * Events, each {played, at (Date.now())}: `first` sample out, `dry`, `resumed` ({dry} in samples), `drained`, `stopped`,
 * `position`.
 */
export async function choosePlayer(context) {
  if (context.audioWorklet) {
    await context.audioWorklet.addModule(new URL("worklet.js", import.meta.url));
    return new WorkletPlayer(context);
  }
  return new ScheduledPlayer(context);
}

class Player extends EventTarget {
  constructor(context) {
    super();
    this.context = context;
    this.output = context.createGain();
    this.output.connect(context.destination);
    this.active = false;
    this._played = 0;
  }

  /** Samples that have left the loudspeaker, at 48 kHz. */
  get heard() {
    const latency = (MAY_ASK_LATENCY && this.context.outputLatency) || this.context.baseLatency || 0;
    return Math.max(0, Math.round(this._played - (this.active ? latency * RATE : 0)));
  }

  _emit(type, detail) {
    if (type === "drained" || type === "stopped") this.active = false;
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

class WorkletPlayer extends Player {
  name = "AudioWorklet";

  constructor(context) {
    super(context);
    const processorOptions = { cushionS: CUSHION_S };
    this._run = 0;
    this._node = new AudioWorkletNode(context, "playback", {
      numberOfInputs: 0,
      outputChannelCount: [1],
      processorOptions,
    });
    this._node.port.onmessage = ({ data }) => this._hear(data);
    this._node.connect(this.output);
  }

  begin() {
    this._run += 1;
    this._played = 0;
    this.active = true;
    this._post("begin");
  }

  push(pcm) {
    this._post("push", pcm);
  }

  finish() {
    this._post("finish");
  }

  stop() {
    this._post("stop");
  }

  _post(type, pcm) {
    this._node.port.postMessage({ type, run: this._run, pcm }, pcm ? [pcm.buffer] : []);
  }

  _hear(report) {
    if (report.run !== this._run) return;
    this._played = report.played;
    this._emit(report.type, report);
  }
}

class ScheduledPlayer extends Player {
  name = "AudioBufferSource";

  constructor(context) {
    super(context);
    this._reset();
    this._gain = null; // of this utterance: faded when it is stopped, while the next one has its own
    this._timer = 0;
  }

  begin() {
    this.stop();
    this._reset();
    this._gain = this.context.createGain();
    this._gain.connect(this.output);
    this.active = true;
    this._timer = setInterval(() => this._tick(), TICK_MS);
  }

  push(pcm) {
    const now = this.context.currentTime;
    if (this._next === null || this._next < now) this._resume(now);
    const buffer = this.context.createBuffer(1, pcm.length, RATE);
    buffer.copyToChannel(pcm, 0);
    const source = this.context.createBufferSource();
    source.buffer = buffer;
    source.connect(this._gain);
    source.start(this._next);
    source.onended = () => this._sources.delete(source);
    this._sources.add(source);
    this._pieces.push({ at: this._next, samples: pcm.length });
    this._next += pcm.length / RATE;
  }

  finish() {
    this._complete = true;
  }

  stop() {
    if (!this.active) return;
    clearInterval(this._timer);
    this._count();
    const now = this.context.currentTime;
    this._gain.gain.setTargetAtTime(0, now, FADE_S / 3);
    this._sources.forEach((source) => source.stop(now + FADE_S));
    this._tell("stopped");
  }

  _reset() {
    this._next = null; // when the next piece begins, s of the context
    this._pieces = []; // scheduled and not yet over
    this._sources = new Set();
    this._over = 0; // samples of pieces that are over
    this._played = 0;
    this._complete = false;
    this._isDry = false;
    this._waiting = null; // {type, at}: told when its moment has come
  }

  _resume(now) {
    this._tellDue(now);
    const dry = this._next === null ? 0 : Math.round((now + LEAD_S - this._next) * RATE);
    this._waiting = { type: this._next === null ? "first" : "resumed", at: now + LEAD_S, dry };
    if (this._next !== null && !this._isDry) this._tell("dry"); // over before a tick could see it
    this._isDry = false;
    this._next = now + LEAD_S;
  }

  _tick() {
    const now = this.context.currentTime;
    this._count();
    this._tellDue(now);
    if (this._complete && (this._next === null || now >= this._next)) {
      clearInterval(this._timer);
      this._tell("drained");
    } else if (this._next !== null && now > this._next && !this._isDry) {
      this._isDry = true;
      this._tell("dry");
    } else {
      this._tell("position");
    }
  }

  _tellDue(now) {
    if (!this._waiting || now < this._waiting.at) return;
    const { type, at, dry } = this._waiting;
    this._waiting = null;
    this._tell(type, { dry, at: Date.now() - (now - at) * 1000 });
  }

  _count() {
    const now = this.context.currentTime;
    while (this._pieces.length && now >= this._pieces[0].at + this._pieces[0].samples / RATE) {
      this._over += this._pieces.shift().samples;
    }
    const begun = this._pieces.length ? Math.max(0, now - this._pieces[0].at) * RATE : 0;
    this._played = this._over + Math.round(begun);
  }

  _tell(type, more) {
    this._emit(type, { played: this._played, at: Date.now(), ...more });
  }
}
