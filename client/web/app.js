// The page: what a person does becomes speech, what happens becomes visible.  The one file that knows all the others.

import { Caption } from "./captions.js";
import { Connection } from "./connection.js";
import { chooseDecoder } from "./decoder.js";
import { inPlainWords } from "./plain.js";
import { choosePlayer, makeContext } from "./player.js";
import { Scope } from "./scope.js";
import { Speech } from "./speech.js";
import { Timeline } from "./timeline.js";

const PAUSE_MS = 700; // in typing, after which the last word is taken as whole
const QUIET_END_MS = 4_000; // nothing typed and nothing left to speak: the context is ended, its place is another's
const LEAST_HOLD_S = 3; // after a refusal, before typed text is offered again
const LOAD_MS = 2_000;
const CLOCK_MS = 250;
const MUTE_MS = 2_000; // with sound to play and none played, after which it is said
const UTTERANCES = 20; // kept on the page
const SAMPLES = [
  ["Tell me a story", "Once, at the edge of a cold grey sea, there stood a lighthouse that nobody had lit for forty years. Every evening a boy from the village climbed its stairs, one hundred and twelve of them, and looked out over the water. He never saw a ship. But one night in November, when the wind had blown the clouds away, he heard somebody singing, far out, in a language that he did not know. So he carried up dry wood, and oil, and his grandmother's matches, and he made a light. It burned until morning. When the sun came up there was a small white boat on the beach, and no footprints led away from it. He went up again the next evening, and the one after that, and the lamp has not gone dark since."],
  ["Explain yourself", "I am a small voice that runs on a plain processor. While you read this, the words are still being written, and I do not wait for them to end. Interrupt me whenever you like."],
  ["Read some numbers", "The train leaves at 7:45 from platform 12. It costs $3.50, takes 28 minutes, and has been late 4 times since January 1st, 2026."],
];

const $ = (id) => document.getElementById(id);
const page = new URL(location.href);
const server = new URL(page.searchParams.get("server") ?? "v1/stream", document.baseURI);
server.protocol = server.protocol.replace(/^http/, "ws");
if (server.pathname === "/") server.pathname = "/v1/stream";
const KEY = `key ${server.host}`; // a key is told to the server it was given for, and to no other

const connection = new Connection(server.href);
const scope = new Scope($("scope"));
const timeline = new Timeline($("timeline"));
const utterances = []; // {speech, caption}, the newest last
let sound = null; // {context, player, decoders} once a person has done something
let soundComing = null;
let count = 0;
let live = null; // {speech, prefix, from, holdUntil, refused}: what of the composer's text is sent; see `nothingSent`
let bot = null; // {speech, words, timer}
let asked = null; // what a person asked for before there were sound and a connection; the last thing only
let pauseTimer = 0;
let quietTimer = 0;

// Sound

/** Browsers make no sound before a gesture: called from every one that means speech. */
async function makeSound() {
  soundComing ??= (async () => {
    const context = makeContext();
    const [player, decoders] = await Promise.all([choosePlayer(context), chooseDecoder()]);
    scope.attach(player.output);
    $("server-path").textContent = `${decoders.name}, ${player.name}`;
    sound = { context, player, decoders };
  })();
  await soundComing;
  if (sound.context.state !== "running") sound.context.resume();
}

/** Does it once there are sound and a connection; asked for twice before that, it is done once. */
async function soon(does) {
  asked = does;
  await makeSound();
  if (asked === null) return;
  if (ready()) doAsked();
  else if (connection.state === "waiting") connection.connect();
}

function doAsked() {
  const does = asked;
  asked = null;
  does();
}

// Speaking

function newest() {
  return utterances.at(-1)?.speech ?? null;
}

function begin() {
  const settings = { voice: $("voice").value, speed: Number($("speed").value) };
  if (/^\d+$/.test($("seed").value)) settings.seed = $("seed").value;
  const rates = connection.hello.sample_rates;
  settings.sample_rate = rates.includes(24_000) ? 24_000 : rates[0];
  const speech = new Speech(`u${++count}`, { connection, ...sound, settings });
  const caption = new Caption();
  utterances.push({ speech, caption });
  $("welcome")?.remove();
  $("log").append(caption.element);
  if (utterances.length > UTTERANCES) utterances.shift().caption.element.remove();
  follow(speech, caption);
  scope.start();
  return speech;
}

function follow(speech, caption) {
  const on = (type, does) => speech.addEventListener(type, ({ detail }) => does(detail));
  on("text", (text) => {
    caption.append(text);
    scrollTo(caption);
  });
  on("mark", (mark) => caption.mark(mark));
  on("started", showState);
  on("change", showState);
  on("over", () => showEnd(speech, caption));
  on("finished", () => {
    if (!speech.cut) caption.finish(!speech.error && !speech.times.interrupted);
    scrollTo(utterances.at(-1).caption);
    showState();
  });
  on("interrupted", (cut) => showCut(speech, caption, cut));
  on("failed", (error) => showFailure(speech, caption, error));
}

function interrupt() {
  asked = null;
  stopBot();
  const speech = newest();
  if (speech && !speech.isFinished) speech.interrupt();
  if (live?.speech === speech) live.speech = null;
  showState();
}

// What is typed

/**
 * `prefix` of the composer's text is sent, the running context's from `from` on.  Nothing goes before `holdUntil`; then
 * it goes in the place of `refused`, the caption of the try before.
 */
function nothingSent() {
  return { speech: null, prefix: "", from: 0, holdUntil: 0, refused: null };
}

/** Whole words go at once; a word being typed may still be mended. */
function typed() {
  clearTimeout(pauseTimer);
  clearTimeout(quietTimer);
  resizeText();
  const speech = newest();
  if (speech?.submitted && !speech.isFinished && $("text").value.trim()) interrupt();
  showState();
  if (mode() !== "live" || !ready()) return;
  const value = $("text").value;
  live ??= nothingSent();
  const hold = live.holdUntil - performance.now();
  if (hold > 0) {
    pauseTimer = setTimeout(typed, hold);
    return;
  }
  if (!value.startsWith(live.prefix)) correct(value);
  const fresh = value.slice(live.prefix.length);
  const whole = fresh.slice(0, fresh.search(/\S*$/));
  sendLive(whole);
  pauseTimer = setTimeout(paused, PAUSE_MS);
}

/** Words already spoken were changed: that is an interruption, and speech goes on from the change. */
function correct(value) {
  if (live.speech) interrupt();
  let same = 0;
  while (same < value.length && value[same] === live.prefix[same]) same++;
  live.prefix = value.slice(0, value.slice(0, same).search(/\S*$/));
}

function sendLive(text) {
  if (!text) return;
  if (live.speech?.isFinished || live.speech?.ended || live.speech?.error) live.speech = null;
  if (!live.speech) live.from = live.prefix.length;
  live.prefix += text;
  if (!live.speech && !text.trim()) return;
  live.speech ??= beginLive();
  live.speech.say(text);
}

function beginLive() {
  live.refused?.element.remove();
  live.refused = null;
  return begin();
}

function paused() {
  if (!live || mode() !== "live" || !ready()) return;
  sendLive($("text").value.slice(live.prefix.length));
  live.speech?.flush();
  quietTimer = setTimeout(endWhenQuiet, QUIET_END_MS);
}

function endWhenQuiet() {
  const speech = live?.speech;
  if (!speech || speech.isFinished) return;
  if (speech.isDry) speech.end();
  else quietTimer = setTimeout(endWhenQuiet, QUIET_END_MS);
}

/** Enter: nothing more belongs to this. */
function submit() {
  clearTimeout(pauseTimer);
  clearTimeout(quietTimer);
  if ($("text").value.trim()) soon(speakTyped);
}

function speakTyped() {
  const text = $("text").value;
  if (!text.trim()) return;
  if (mode() === "bot") {
    clearText();
    speakAsBot(text);
    return;
  }
  live ??= nothingSent();
  if (!text.startsWith(live.prefix)) correct(text);
  sendLive(text.slice(live.prefix.length));
  live.speech?.end();
  live = null;
  clearText();
  showState();
}

function clearText() {
  $("text").value = "";
  resizeText();
}

// A chat bot

function speakAsBot(text) {
  interrupt();
  live = null;
  const words = text.match(/\s*\S+\s*/g) ?? [];
  bot = { speech: begin(), words, timer: 0 };
  bot.speech.submitted = true;
  bot.speech.script = text;
  writeOn();
}

function writeOn() {
  const { speech, words } = bot;
  speech.say(words.shift());
  if (words.length === 0 || speech.error || speech.isFinished) {
    speech.end();
    bot = null;
  } else {
    bot.timer = setTimeout(writeOn, 1000 / Number($("rate").value));
  }
  showState();
}

function stopBot() {
  clearTimeout(bot?.timer);
  bot = null;
}

// What is shown

function showState() {
  const speech = newest();
  const busy = speech !== null && !speech.isFinished;
  let [state, words] = ["idle", "Quiet"];
  if (busy && speech.error) [state, words] = ["speaking", "Playing the rest"];
  else if (busy && speech.times.firstSample && !speech.isDry) [state, words] = ["speaking", "Speaking"];
  else if (busy && isMute(speech)) [state, words] = ["mute", "No sound output"];
  else if (busy) [state, words] = ["waiting", speech.text ? "Waiting for words" : "Listening"];
  else if (speech?.times.interrupted) [state, words] = ["interrupted", "Interrupted"];
  if (state === "waiting" && speech.ended) words = "One moment";
  if ($("state-text").textContent !== words) $("state-text").textContent = words;
  $("state").dataset.state = state;
  $("stop").hidden = !busy;
  $("voice-later").hidden = !busy || speech.settings.voice === $("voice").value;
  $("speak").disabled = !$("text").value.trim();
}

/** A browser without a device to play on says nothing: its audio clock stands still. */
function isMute({ times }) {
  return sound.context.state !== "running" && performance.now() - times.firstPacket > MUTE_MS;
}

function showEnd(speech, caption) {
  if (speech.cut || speech.error) return;
  caption.note(...facts(speech));
}

function facts({ started, times }, ...more) {
  const parts = [span("voice", started.voice), span("", `seed ${started.seed}`)];
  if (times.firstSample) parts.push(span("", `first sound after ${Math.round(times.firstSample - times.firstText)} ms`));
  return [...more, ...parts];
}

function showCut(speech, caption, cut) {
  caption.cut(cut);
  if (!speech.started) return;
  const unheard = cut.unheard.split(/\s+/).filter((word) => /[\p{L}\p{N}]/u.test(word)).length;
  const left = unheard ? `${unheard} ${unheard === 1 ? "word" : "words"} not heard` : "all of it heard";
  const at = `Interrupted at ${(cut.played / speech.rate).toFixed(1)} s, ${left}`;
  caption.note(...facts(speech, span("interrupted", at)));
  timeline.show(speech);
  scrollTo(utterances.at(-1).caption);
}

function showFailure(speech, caption, error) {
  stopBot();
  if (live?.speech === speech) holdBack(error, caption);
  let action = null;
  if (error.code === "overloaded" || error.code === "connection_lost" || error.retryable) {
    action = againButton(speech.script ?? speech.text, error.retry_after ?? 0);
  }
  caption.fail(inPlainWords(error), action);
  showState();
}

/** What was refused unheard goes again, later; what failed otherwise is not said twice. */
function holdBack({ code, retry_after: after }, caption) {
  live.speech = null;
  if (code !== "overloaded") return;
  live.refused = caption;
  live.prefix = live.prefix.slice(0, live.from);
  live.holdUntil = performance.now() + Math.max(after ?? 0, LEAST_HOLD_S) * 1000;
  clearTimeout(pauseTimer);
  pauseTimer = setTimeout(typed, live.holdUntil - performance.now());
}

function againButton(text, after) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button quiet";
  const until = performance.now() + after * 1000;
  const count = () => {
    const left = Math.ceil((until - performance.now()) / 1000);
    button.disabled = left > 0;
    button.textContent = left > 0 ? `Try again in ${left} s` : "Try again";
    if (left > 0) setTimeout(count, 250);
  };
  count();
  button.addEventListener("click", () =>
    soon(() => {
      button.remove();
      sayAgain(text);
    }),
  );
  return button;
}

function sayAgain(text) {
  interrupt();
  live = null;
  clearTimeout(pauseTimer);
  clearText();
  const speech = begin();
  speech.say(text);
  speech.end();
}

function span(className, text) {
  const made = document.createElement("span");
  made.className = className;
  made.textContent = text;
  return made;
}

/** To the word that is spoken; where none is, to the end, but not past the place where it was cut. */
function scrollTo(caption) {
  const log = $("log");
  const { top, bottom } = log.getBoundingClientRect();
  if (caption.current) {
    log.scrollTop += Math.max(0, caption.current.getBoundingClientRect().bottom - bottom + 60);
  } else {
    const cut = caption.element.querySelector(".cut");
    const past = cut ? cut.getBoundingClientRect().top - top - 60 : Infinity;
    log.scrollTop += Math.min(log.scrollHeight, past);
  }
}

function tick() {
  requestAnimationFrame(tick);
  const now = utterances.at(-1);
  if (!now || !now.speech.isSounding) return;
  if (now.caption.light(now.speech.heard)) scrollTo(now.caption);
}

function showClock() {
  const speech = newest();
  if (speech && (!speech.isFinished || $("timeline").dataset.state !== "over")) timeline.show(speech);
  if (speech && !speech.isFinished) showState();
  if (speech?.isFinished && performance.now() - (speech.times.end ?? 0) > 8_000) scope.stop();
  if (connection.state === "waiting") showConnection();
}

function resizeText() {
  const text = $("text");
  if (CSS.supports("field-sizing", "content")) return;
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight}px`;
}

// The server

/** Whether a context can begin now; wakes a connection that sleeps. */
function ready() {
  if (connection.isOpen) return sound !== null;
  if (connection.state === "asleep") connection.connect();
  return false;
}

/** A page is not told why a handshake was refused; whether the server answers, and answers us, it can ask. */
let answers = null; // "us", "others", "nobody"
let isKeyAskedFor = false;

function mayWantKey() {
  return connection.hello === null && connection.error === null && answers === "us";
}

function whyNot() {
  if (connection.error) return inPlainWords(connection.error);
  if (connection.hello !== null) return "Connection lost.";
  if (mayWantKey()) {
    return `The server refused the connection. ${connection.key ? "Is the key right?" : "It may want a key."}`;
  }
  if (answers === "others") return `The server lets in no page from ${location.host}.`;
  return answers === "nobody" ? "The server does not answer." : "Cannot connect.";
}

function showConnection() {
  const { state, retryAt, isFailing } = connection;
  const failing = state === "waiting" || (state === "connecting" && isFailing);
  const words = failing
    ? whyNot()
    : { connecting: "Connecting", open: "Connected", asleep: "Resting, wakes as you type" }[state];
  const left = Math.max(1, Math.ceil((retryAt - performance.now()) / 1000));
  if ($("connection-text").textContent !== words) $("connection-text").textContent = words;
  const again = state === "waiting" ? `Again in ${left} s` : "Again now …"; // beside the status, not to be read out
  $("connection-again").textContent = failing ? again : "";
  $("connection").dataset.state = state;
  $("connection-retry").hidden = !failing;
  $("connection-retry").textContent = mayWantKey() ? "Enter the key" : "Try now";
  if (failing && mayWantKey() && !isKeyAskedFor) $("server").open = isKeyAskedFor = true;
}

function greet() {
  const { voices, model } = connection.hello;
  const chosen = $("voice").value;
  $("voice").replaceChildren(...voices.map((voice) => new Option(voice, voice)));
  if (voices.includes(chosen)) $("voice").value = chosen;
  $("voice").disabled = false;
  $("server-model").textContent = model;
}

async function showLoad() {
  if (document.hidden) return;
  const ask = new URL("../ready", server);
  ask.protocol = ask.protocol.replace(/^ws/, "http");
  let load = null;
  try {
    load = await (await fetch(ask)).json();
    answers = "us";
  } catch {
    answers = (await answersOthers(ask)) ? "others" : "nobody";
  }
  $("load").hidden = load === null;
  if (load === null) return;
  const { speaking, room } = load;
  $("load-speaking").textContent = `${speaking} speaking`;
  $("load-room").textContent = speaking < room ? `, room for ${room - speaking} more` : ", no room for more";
  $("load-bar").style.width = `${Math.min(100, (speaking / Math.max(1, room)) * 100)}%`;
  $("load-bar").dataset.full = speaking >= room;
}

/** Whether there is a server that only does not let a page of this origin read what it answers. */
async function answersOthers(url) {
  if (url.origin === location.origin) return false;
  return fetch(url, { mode: "no-cors" }).then(() => true, () => false);
}

connection.addEventListener("state", async ({ detail: state }) => {
  if (state === "open") {
    greet();
    if (asked !== null && sound) doAsked();
    else if ($("text").value && sound) typed();
  } else if (state === "waiting" || state === "asleep") {
    utterances.at(-1)?.speech.lose();
  }
  showConnection();
});

connection.addEventListener("message", ({ detail: message }) => {
  utterances.find(({ speech }) => speech.name === message.context)?.speech.receive(message);
});

connection.addEventListener("audio", ({ detail: audio }) => {
  utterances.findLast(({ speech }) => speech.started?.number === audio.number)?.speech.receiveAudio(audio);
});

// What a person does

function mode() {
  return document.querySelector("[name=mode]:checked").value;
}

$("text").addEventListener("input", async (event) => {
  if (event.isComposing) return;
  await makeSound();
  typed();
});

$("text").addEventListener("compositionend", () => makeSound().then(typed));

$("text").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  submit();
});

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});

addEventListener("keydown", (event) => {
  if (event.key === "Escape") interrupt();
});

$("stop").addEventListener("click", () => {
  interrupt();
  $("text").focus();
});

for (const choice of document.querySelectorAll("[name=mode]")) {
  choice.addEventListener("change", () => {
    $("pace").hidden = mode() !== "bot";
    $("composer-hint").hidden = mode() === "bot";
    $("text").placeholder = mode() === "bot" ? "What the bot will write …" : "Say something …";
  });
}

$("voice").addEventListener("change", showState);

$("rate").addEventListener("input", () => ($("rate-value").value = `${$("rate").value} words/s`));

$("speed").addEventListener("input", () => {
  $("speed-value").value = `${Number($("speed").value).toFixed(2)}×`;
  newest()?.setSpeed(Number($("speed").value));
});

$("connection-retry").addEventListener("click", () => {
  if (!mayWantKey()) {
    connection.connect();
    return;
  }
  $("server").open = true;
  $("key").focus();
});

$("server").addEventListener("toggle", () => {
  const { parentElement: aside } = $("server");
  if ($("server").open) aside.scrollTop = aside.scrollHeight;
});

$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  connection.key = $("key").value;
  sessionStorage.setItem(KEY, connection.key);
  connection.connect();
});

for (const [name, text] of SAMPLES) {
  const chip = document.createElement("button");
  chip.type = "button";
  chip.className = "chip";
  chip.textContent = name;
  chip.addEventListener("click", () => soon(() => speakAsBot(text)));
  $("samples").append(chip);
}

if (page.searchParams.has("key")) {
  sessionStorage.setItem(KEY, page.searchParams.get("key"));
  page.searchParams.delete("key"); // not to be seen over a shoulder, nor kept in a history
  history.replaceState(null, "", page);
}
connection.key = $("key").value = sessionStorage.getItem(KEY) ?? "";
$("server-address").textContent = server.host;
showState();
showLoad();
setInterval(showLoad, LOAD_MS);
setInterval(showClock, CLOCK_MS);
requestAnimationFrame(tick);
connection.connect();

/** What a test wants to know of the newest utterance. */
export function figures() {
  const speech = newest();
  return {
    connection: connection.state,
    context: sound?.context.state ?? null,
    path: sound ? `${sound.decoders.name}, ${sound.player.name}` : null,
    firstSampleMs: speech?.firstSampleMs ?? null,
    ...(speech && {
      name: speech.name,
      state: $("state").dataset.state,
      text: speech.text,
      packets: speech.packets,
      received: speech.received,
      heard: speech.heard,
      gaps: speech.gaps.map(({ from, to }) => to - from),
      waits: speech.waits.map(({ from, to }) => to - from),
      isFinished: speech.isFinished,
      done: speech.done,
      cut: speech.cut,
      error: speech.error,
      times: speech.times,
    }),
  };
}
