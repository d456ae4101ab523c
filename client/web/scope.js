// What is playing, as a waveform that runs along with the audio clock.  Knows an AudioNode and a canvas.

const BAR_S = 0.04;
const BAR_PX = 3;
const GAP_PX = 2;
const FLOOR = 0.03; // of the height: silence is a line, not nothing
const CALM_MS = 250; // between two pictures where motion is to be reduced

export class Scope {
  constructor(canvas) {
    this._canvas = canvas;
    this._paint = canvas.getContext("2d");
    this._bars = new Map(); // index in time → peak
    this._analyser = null;
    this._calm = matchMedia("(prefers-reduced-motion: reduce)");
    this._drawn = 0;
    this._frame = 0;
    this.resize = this.resize.bind(this);
    new ResizeObserver(this.resize).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", this.resize);
  }

  attach(node) {
    this._analyser = new AnalyserNode(node.context, { fftSize: 2048 });
    this._samples = new Float32Array(this._analyser.fftSize);
    node.connect(this._analyser);
    this.resize();
  }

  start() {
    if (this._frame === 0) this._frame = requestAnimationFrame((now) => this._tick(now));
  }

  stop() {
    cancelAnimationFrame(this._frame);
    this._frame = 0;
  }

  resize() {
    const scale = devicePixelRatio;
    this._canvas.width = Math.round(this._canvas.clientWidth * scale);
    this._canvas.height = Math.round(this._canvas.clientHeight * scale);
    const style = getComputedStyle(this._canvas);
    this._ink = style.getPropertyValue("--scope-ink").trim();
    this._glow = style.getPropertyValue("--scope-now").trim();
    this._draw();
  }

  _tick(now) {
    this._frame = requestAnimationFrame((later) => this._tick(later));
    if (this._analyser === null) return;
    this._measure();
    if (this._calm.matches && now - this._drawn < CALM_MS) return;
    this._drawn = now;
    this._draw();
  }

  _measure() {
    this._analyser.getFloatTimeDomainData(this._samples);
    const peak = this._samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
    const index = Math.floor(this._analyser.context.currentTime / BAR_S);
    this._bars.set(index, Math.max(peak, this._bars.get(index) ?? 0));
  }

  _draw() {
    const { width, height } = this._canvas;
    const scale = devicePixelRatio;
    const step = (BAR_PX + GAP_PX) * scale;
    const now = (this._analyser?.context.currentTime ?? 0) / BAR_S;
    const count = Math.ceil(width / step) + 1;
    const paint = this._paint;
    paint.clearRect(0, 0, width, height);
    for (let back = 0; back < count; back++) {
      const index = Math.floor(now) - back;
      const peak = Math.max(FLOOR, Math.min(1, Math.sqrt(this._bars.get(index) ?? 0))); // near to how loud it sounds
      const x = width - (now - index + 1) * step;
      const tall = peak * height;
      paint.globalAlpha = Math.max(0, Math.min(1, (x / width) * 3)); // old sound fades out
      paint.fillStyle = back < 3 && peak > FLOOR ? this._glow : this._ink;
      paint.beginPath();
      paint.roundRect(x, (height - tall) / 2, BAR_PX * scale, tall, (BAR_PX * scale) / 2);
      paint.fill();
    }
    for (const index of this._bars.keys()) {
      if (index < now - count) this._bars.delete(index);
      else break; // in order of time
    }
  }
}
