// One context from its first word to its last sample: what was sent, what came, what was heard, and when.
// Joins wire, decoder and player; knows no page.

import { RATE } from "./decoder.js";

const PIECE = 8_000; // UTF-16 units of one text message
const REPORT_S = 0.25; // of speech between two `played`
const WORDS_HELD = 6; // what a server may hold back until it knows how a sentence goes on

/** Events: `text`, `started`, `mark`, `progress`, `change`, `interrupted`, `over`, `failed`, `finished`. */
export class Speech extends EventTarget {
  constructor(name, { connection, player, decoders, settings }) {
    super();
    this.name = name;
    this.settings = settings;
    this.text = ""; // sent so far
    this.script = null; // all that will be, where that is known
    this.started = null; // the server's messages, where they have come
    this.done = null;
    this.error = null;
    this.cut = null; // {heard, unheard, played}
    this.marks = [];
    this.submitted = false; // all of its text is known: what is typed now interrupts it
    this.ended = false; // the server knows that too
    this.isFinished = false; // nothing of it will sound any more
    this.received = 0; // samples, at the context's rate
    this.packets = 0;
    this.gaps = []; // {from, to} ms where sound was missing though its text was there
    this.waits = []; // the same where no text was there
    this.times = {}; // performance.now() of firstText, lastText, started, firstPacket, lastPacket, firstSample, ...
    this._connection = connection;
    this._player = player;
    this._decoders = decoders;
    this._decoder = null;
    this._reported = 0;
    this._dryAt = null;
    this._listeners = new AbortController();
  }

  get isSounding() {
    return this.started !== null && !this.isFinished;
  }

  get isDry() {
    return this._dryAt !== null;
  }

  get rate() {
    return this.started?.sample_rate ?? 24_000;
  }

  /** Samples that have left the loudspeaker, at the context's rate. */
  get heard() {
    return this.started ? Math.min(this.received, Math.floor((this._player.heard * this.rate) / RATE)) : 0;
  }

  say(text) {
    if (!text || this.ended || this.isFinished) return;
    const now = performance.now();
    if (!this.text) {
      this._send("start", { ...this.settings, format: "opus" });
      this.times.firstText = now;
    }
    for (const piece of pieces(text)) this._send("text", { text: piece });
    this.text += text;
    this.times.lastText = now;
    this._emit("text", text);
  }

  flush() {
    if (this.text && !this.ended) this._send("flush");
  }

  end() {
    this.submitted = true;
    if (!this.text || this.ended || this.isFinished) return;
    this.ended = true;
    this._send("end");
    this._emit("change");
  }

  setSpeed(speed) {
    if (this.text && !this.done && !this.isFinished) this._send("speed", { speed });
  }

  /** Barge-in: silence now; what was heard is known when the server has counted, or from the marks where it is done. */
  interrupt() {
    if (this.isFinished) return;
    const played = this.heard;
    this.times.interrupted = performance.now();
    if (this.started) this._silence();
    this._finish();
    if (this.done) this._cutAt(played);
    else if (this.text) this._send("cancel", { played });
    else this.isFinished = true;
  }

  /** The connection is gone: what has arrived is still played. */
  lose() {
    if (this.isFinished || this.done) return;
    this.error = { code: "connection_lost" };
    this._emit("failed", this.error);
    this._drain();
  }

  receive(message) {
    this[`_on_${message.type}`]?.(message);
  }

  receiveAudio(audio) {
    if (this.isFinished) return;
    this.times.lastPacket = performance.now();
    if (this.times.firstPacket === undefined) {
      this.times.firstPacket = this.times.lastPacket;
      this._firstPacketDate = Date.now();
    }
    this.packets += 1;
    this.received += audio.duration;
    this._decoder.push(audio);
  }

  _on_started(message) {
    if (this.isFinished) return;
    this.started = message;
    this.times.started = performance.now();
    this._listen();
    this._player.begin();
    this._decoder = this._decoders.open(
      message,
      (pcm) => this.isFinished || this._player.push(pcm),
      () => this.lose(),
    );
    this._emit("started");
  }

  _on_mark(message) {
    this.marks.push(message);
    this._emit("mark", message);
  }

  _on_done(message) {
    this.done = message;
    this.times.done = performance.now();
    if (this.isFinished) this._cutAt(this.heard); // a cancel and this crossed on the wire
    else this._drain();
    this._emit("over");
  }

  _on_cancelled(message) {
    this.times.done = performance.now();
    if (message.heard === null) this._cutAt(0);
    else this._cut(message);
  }

  _on_error(message) {
    this.error = message;
    this._emit("failed", message);
    this._drain();
  }

  async _drain() {
    if (!this.started) {
      this._finish();
      return;
    }
    await this._decoder.finish();
    if (!this.isFinished) this._player.finish();
  }

  _cutAt(played) {
    const begun = this.marks.findLast((mark) => mark.pts < played);
    const points = Array.from(this.text);
    const at = begun ? begun.end : 0;
    this._cut({ heard: points.slice(0, at).join(""), unheard: points.slice(at).join(""), played });
  }

  _cut({ heard, unheard, played }) {
    this.cut = { heard, unheard, played };
    this._emit("interrupted", this.cut);
  }

  _listen() {
    const on = (type, does) =>
      this._player.addEventListener(type, ({ detail }) => does(detail), { signal: this._listeners.signal });
    on("first", ({ at }) => {
      this.times.firstSample = at - Date.now() + performance.now();
      this.firstSampleMs = at - this._firstPacketDate; // both by one clock, of whole milliseconds
      this._emit("change");
    });
    on("position", () => this._progress());
    on("dry", ({ at }) => this._ranDry(at - Date.now() + performance.now()));
    on("resumed", ({ at }) => this._resumed(at - Date.now() + performance.now()));
    on("drained", () => this._finish());
  }

  _silence() {
    const stopped = ({ detail }) => (this.times.silent = detail.at - Date.now() + performance.now());
    this._player.addEventListener("stopped", stopped, { once: true });
    this._player.stop();
  }

  _progress() {
    this._emit("progress");
    if (this.heard - this._reported >= REPORT_S * this.rate) this._report();
  }

  _report() {
    if (this.done || this.error || this.isFinished) return;
    this._reported = this.heard;
    this._send("played", { played: this._reported });
  }

  _ranDry(at) {
    const unspoken = Array.from(this.text).slice(this.marks.at(-1)?.end ?? 0).join("");
    const owed = this.ended || unspoken.split(/\s+/).filter(Boolean).length > WORDS_HELD;
    this._dryAt = { at, owed };
    this._report();
    this._emit("change");
  }

  _resumed(at) {
    if (this._dryAt) (this._dryAt.owed ? this.gaps : this.waits).push({ from: this._dryAt.at, to: at });
    this._dryAt = null;
    this._emit("change");
  }

  _finish() {
    if (this.isFinished) return;
    this.times.end = performance.now();
    this._listeners.abort();
    this._decoder?.close();
    this.isFinished = true;
    this._emit("finished");
  }

  _send(type, fields) {
    this._connection.send({ type, context: this.name, ...fields });
  }

  _emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

function* pieces(text) {
  for (let at = 0; at < text.length; ) {
    let end = Math.min(at + PIECE, text.length);
    if (end < text.length && text.charCodeAt(end - 1) >> 10 === 0x36) end -= 1; // not through a surrogate pair
    yield text.slice(at, end);
    at = end;
  }
}
