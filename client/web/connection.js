// The wire: stream-server.v1 over one websocket that comes back by itself.  Knows messages; knows no sound and no page.

export const PROTOCOL = "stream-server.v1";
const HEADER_BYTES = 20;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;
const ASLEEP_CODES = [1000, 4408]; // nobody had anything to say: connect again when somebody has

/**
 * Events: `state` (its `detail` is the state), `message` (a parsed message), `audio`
 * ({number, sequence, pts, duration, data}).  States: `connecting`, `open`, `waiting` (until `retryAt`), `asleep`.
 */
export class Connection extends EventTarget {
  constructor(url) {
    super();
    this.url = url;
    this.key = "";
    this.hello = null;
    this.state = "asleep";
    this.retryAt = 0; // performance.now(), ms
    this.closeCode = null;
    this.error = null; // what the server said about the connection before it closed it
    this._socket = null;
    this._tries = 0;
    this._timer = 0;
    addEventListener("online", () => this.state === "waiting" && this.connect());
  }

  /** Whether it was tried in vain since somebody wanted it. */
  get isFailing() {
    return this._tries > 0;
  }

  get isOpen() {
    return this.state === "open";
  }

  /** Now, whatever was planned; drops the connection that there is. */
  connect() {
    this._tries = 0;
    this._try();
  }

  _try() {
    clearTimeout(this._timer);
    this._drop();
    this._become("connecting");
    const url = new URL(this.url);
    if (this.key) url.searchParams.set("api_key", this.key);
    const socket = new WebSocket(url, PROTOCOL);
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => this._receive(data);
    socket.onclose = ({ code }) => this._closed(code);
    socket.onerror = () => this._closed(1006); // Chromium closes nothing that a policy forbade to open
    this._socket = socket;
  }

  /** `seed` may be a string of digits: it has more of them than a number here can hold. */
  send(message) {
    if (!this.isOpen) return false;
    this._socket.send(JSON.stringify(message).replace(/"seed":"(\d+)"/, '"seed":$1'));
    return true;
  }

  _receive(data) {
    if (data instanceof ArrayBuffer) {
      this._emit("audio", parseAudio(data));
      return;
    }
    const message = JSON.parse(data.replace(/"seed":(\d+)/, '"seed":"$1"'));
    if (message.type === "hello") {
      this.hello = message;
      this._tries = 0;
      this.error = null;
      this._become("open");
    } else if (message.type === "error" && message.context === null) {
      this.error = message;
    } else {
      this._emit("message", message);
    }
  }

  _closed(code) {
    this._drop();
    this.closeCode = code;
    if (ASLEEP_CODES.includes(code)) {
      this._become("asleep");
      return;
    }
    const told = (this.error?.retry_after ?? 0) * 1000;
    const backoff = Math.min(FIRST_WAIT_MS * 2 ** this._tries, LONGEST_WAIT_MS);
    const wait = Math.max(told, backoff * (0.75 + Math.random() / 2)); // not all at once after a restart
    this._tries += 1;
    this.retryAt = performance.now() + wait;
    this._timer = setTimeout(() => this._try(), wait);
    this._become("waiting");
  }

  _drop() {
    if (this._socket === null) return;
    this._socket.onclose = this._socket.onerror = this._socket.onmessage = null;
    this._socket.close();
    this._socket = null;
  }

  _become(state) {
    this.state = state;
    this._emit("state", state);
  }

  _emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

function parseAudio(buffer) {
  const view = new DataView(buffer);
  return {
    number: view.getUint16(2),
    sequence: view.getUint32(4),
    pts: Number(view.getBigUint64(8)),
    duration: view.getUint32(16),
    data: new Uint8Array(buffer, HEADER_BYTES),
  };
}
