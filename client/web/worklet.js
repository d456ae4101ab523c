// The audio callback: speech from a queue, silence where there is none, and an honest count of which was which.
// Runs on the audio thread.  Knows samples and quanta; knows no network and no page.

const REPORT_EVERY = 8; // quanta: 21 ms
const HELD_BACK_S = 0.15; // less than a cushion is not held back for longer

class Playback extends AudioWorkletProcessor {
  constructor({ processorOptions }) {
    super();
    this._cushion = Math.round(processorOptions.cushionS * sampleRate);
    this._patience = Math.round(HELD_BACK_S * sampleRate);
    this._quanta = 0;
    this._begin(0);
    this.port.onmessage = ({ data }) => this._obey(data);
  }

  _begin(run) {
    this._run = run; // which utterance this is; 0 is none
    this._queue = [];
    this._offset = 0; // into the first piece
    this._held = 0;
    this._waited = 0; // samples of silence since something was held
    this._dry = 0; // samples of silence since speech ran out
    this._played = 0;
    this._playing = false;
    this._complete = false;
    this._stopping = false;
  }

  _obey({ type, run, pcm }) {
    if (type === "begin") this._begin(run);
    if (run !== this._run) return;
    if (type === "push") {
      this._queue.push(pcm);
      this._held += pcm.length;
    } else if (type === "finish") {
      this._complete = true;
    } else if (type === "stop") {
      this._stopping = true;
    }
  }

  process(_inputs, [[out]]) {
    if (this._run === 0) return true;
    if (this._stopping) this._fadeOut(out);
    else if (this._playing || this._mayPlay(out.length)) this._play(out);
    if (this._run !== 0 && ++this._quanta % REPORT_EVERY === 0) this._tell("position");
    return true;
  }

  _mayPlay(samples) {
    if (this._played > 0) this._dry += samples;
    if (this._held > 0) this._waited += samples;
    const may = this._held >= this._cushion || this._waited >= this._patience || this._complete;
    if (!may || (this._held === 0 && !this._complete)) return false;
    this._playing = true;
    if (this._held > 0) this._tell(this._played === 0 ? "first" : "resumed", { dry: this._dry });
    this._waited = this._dry = 0;
    return true;
  }

  _play(out) {
    const filled = this._fill(out);
    if (filled === out.length) return;
    this._playing = false;
    this._dry = out.length - filled;
    if (this._complete) this._leave("drained");
    else this._tell("dry");
  }

  _fill(out) {
    let filled = 0;
    while (filled < out.length && this._queue.length) {
      const piece = this._queue[0];
      const taken = Math.min(piece.length - this._offset, out.length - filled);
      out.set(piece.subarray(this._offset, this._offset + taken), filled);
      filled += taken;
      this._offset += taken;
      if (this._offset === piece.length) {
        this._queue.shift();
        this._offset = 0;
      }
    }
    this._held -= filled;
    this._played += filled;
    return filled;
  }

  /** One quantum down to nothing: a cut would click. */
  _fadeOut(out) {
    if (this._playing) this._fill(out);
    for (let i = 0; i < out.length; i++) out[i] *= 1 - (i + 1) / out.length;
    this._leave("stopped");
  }

  _leave(type) {
    this._tell(type);
    this._begin(0);
  }

  _tell(type, more) {
    this.port.postMessage({ type, run: this._run, played: this._played, at: Date.now(), ...more });
  }
}

registerProcessor("playback", Playback);
