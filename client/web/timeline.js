// One request on one axis of time, and where the time to its first sound went.  Knows a Speech's times.

const LANES = ["text", "sound", "heard"];
const STAGES = ["text_wait", "queue", "prefill", "first_token", "vocoder", "encode", "send"]; // the server's own
const PARTS = {
  text_wait: "Waiting for words",
  queue: "Queue",
  prefill: "Prefill",
  first_token: "First token",
  vocoder: "Vocoder",
  encode: "Opus",
  send: "Send",
  network: "Network",
  cushion: "Decode and cushion",
};

export class Timeline {
  /** `root` holds elements with data-figure, data-lane, data-split and data-axis, as in index.html. */
  constructor(root) {
    this._root = root;
    this._find = (name, value) => root.querySelector(`[data-${name}="${value}"]`);
    this._split({});
  }

  show(speech) {
    this._root.dataset.state = speech.isFinished ? "over" : "running";
    this._figures(speech);
    this._lanes(speech);
    this._split(partsOf(speech));
  }

  _figures(speech) {
    const { times, done } = speech;
    const spoken = speech.received / speech.rate;
    const since = (name) => (times[name] === undefined ? null : times[name] - times.firstText);
    const longest = Math.max(0, ...speech.gaps.map(({ from, to }) => to - from));
    const rtf = done && spoken ? done.wall / spoken : null;
    this._say("first", ms(since("firstSample")));
    this._say("ttfa", ms(done ? done.timing.ttfa * 1000 : null));
    this._say("rtf", rtf === null ? "–" : rtf.toFixed(2));
    this._say("speech", spoken ? `${spoken.toFixed(1)} s` : "–");
    this._say("gaps", speech.started ? `${speech.gaps.length}` : "–");
    this._find("figure", "gaps").dataset.bad = speech.gaps.length > 0;
    const waits = `${speech.waits.length} silences while it waited for text`;
    this._find("figure", "gaps").title = longest ? `the longest ${Math.round(longest)} ms; ${waits}` : waits;
  }

  _lanes(speech) {
    const { times } = speech;
    const zero = times.firstText;
    if (zero === undefined) return;
    const now = performance.now();
    const over = times.end ?? now;
    const span = Math.max(over, times.done ?? 0, times.lastText) - zero;
    const at = (moment) => `${Math.min(100, Math.max(0, ((moment - zero) / span) * 100))}%`;
    const bars = {
      text: [zero, times.lastText],
      sound: [times.firstPacket, times.lastPacket],
      heard: [times.firstSample, over],
    };
    for (const lane of LANES) {
      const bar = this._find("lane", lane);
      const [from, to] = bars[lane];
      bar.hidden = from === undefined;
      if (from === undefined) continue;
      bar.style.left = at(from);
      bar.style.width = `calc(${at(to)} - ${at(from)})`;
      bar.parentElement.title = `${seconds(from - zero)} to ${seconds(to - zero)}`;
    }
    const silences = [...speech.gaps.map((gap) => ["gap", gap]), ...speech.waits.map((wait) => ["wait", wait])];
    const holes = silences.map(([kind, { from, to }]) => {
      const hole = document.createElement("i");
      hole.className = `hole is-${kind}`;
      hole.style.left = at(from);
      hole.style.width = `calc(${at(to)} - ${at(from)})`;
      return hole;
    });
    this._find("holes", "").replaceChildren(...holes);
    this._find("axis", "end").textContent = seconds(span);
    const points = { started: times.started, done: speech.done || speech.cut ? times.done : undefined };
    for (const [name, moment] of Object.entries(points)) {
      const point = this._find("point", name);
      point.hidden = moment === undefined;
      if (moment !== undefined) point.style.left = at(moment);
    }
  }

  /** `lengths` in milliseconds by part; none where they are not known. */
  _split(lengths) {
    const bars = Object.entries(lengths).map(([part, length]) => {
      const piece = document.createElement("i");
      piece.dataset.stage = part;
      piece.style.flexGrow = length;
      return piece;
    });
    const items = Object.entries(PARTS).map(([part, name]) => {
      const item = document.createElement("li");
      item.dataset.stage = part;
      const value = document.createElement("b");
      value.textContent = ms(lengths[part] ?? null);
      item.append(name, value);
      return item;
    });
    this._find("split", "bar").replaceChildren(...bars);
    this._find("split", "list").replaceChildren(...items);
  }

  _say(name, value) {
    this._find("figure", name).textContent = value;
  }
}

/** The server's own stages, then the way to this page, then decoding and the cushion: once the server has told. */
function partsOf({ times, done }) {
  if (times.firstSample === undefined || !done) return {};
  const parts = Object.fromEntries(STAGES.map((stage) => [stage, done.timing[stage] * 1000]));
  parts.network = Math.max(0, times.firstPacket - times.firstText - done.timing.ttfa * 1000);
  parts.cushion = Math.max(0, times.firstSample - times.firstPacket);
  return parts;
}

function ms(milliseconds) {
  if (milliseconds === null) return "–";
  if (milliseconds >= 9_950) return `${(milliseconds / 1000).toFixed(1)} s`;
  return `${milliseconds < 9.95 ? milliseconds.toFixed(1) : Math.round(milliseconds)} ms`;
}

function seconds(milliseconds) {
  return `${(milliseconds / 1000).toFixed(milliseconds < 10_000 ? 2 : 1)} s`;
}
