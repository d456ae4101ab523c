"""Is it the same speech in every format?  Each is decoded by FFmpeg and read by a recogniser.

    python benchmarks/formats.py [--sentences 20] [--quick]

Every format of the native protocol, at the rates that clients ask for, from a real server: the same sentences, voice
and seeds.  `length_error` is the decoded length beside the samples that were made, in codec frames at most one (raw
ones: none).  `wer` is what a listener who knows the words makes of it (`readback.py`).  The bounds are on what a
format loses beside WAV, one of 8 kHz beside plain 16-bit samples of that rate, and G.711 beside what FFmpeg's own
encoder makes of these samples, each with its 95 % interval; and on what the listener must not miss, sound that is truly
damaged.  Needs the extra `[train]` (pocketsphinx).

How soon: over OpenAI's door and ElevenLabs', on the wall, from the text to the moment when what had come could be
decoded to the first sample behind the lead-in, less the same for plain samples: sentence by sentence, the median.
"""

import argparse
import asyncio
import base64
import io
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from itertools import accumulate
from multiprocessing import get_context
from statistics import median
from typing import Any, NamedTuple

import av
import av.error
import numpy as np
import soxr
from readback import KNOWN, misread
from report import conclude, table
from server import server
from texts import SENTENCES
from websockets import Subprotocol
from websockets.asyncio.client import connect
from websockets.sync.client import connect as connect_plainly

from stream_server.training.word_errors import interval
from stream_server.training.word_errors import rate as word_error_rate

RATE = 24_000
NARROW = 8_000
AAC_LEAD = 1_024  # samples that ADTS cannot tell a decoder to drop
VOICE = "slt"
PLAIN = f"pcm_s16le {NARROW}"
LAWS = ("mulaw", "alaw")
DAMAGED = ("µ-law read as A-law", "bytes swapped", "every fourth 20 ms lost", "nothing above 1.5 kHz")
LOST_FRAME = 160  # samples at 8 kHz
READERS = 2  # processes
LISTENED_S = 0.5  # from the first bytes
# Format, rate, how to decode it where it says nothing of itself, and its frame in samples.
FORMATS: tuple[tuple[str, int | None, str | None, int], ...] = (
    ("wav", None, None, 0),
    ("pcm_s16le", None, "s16le", 0),
    ("pcm_s16le", 8_000, "s16le", 0),
    ("pcm_s16le", 48_000, "s16le", 0),
    ("pcm_f32le", 44_100, "f32le", 0),
    ("mulaw", 8_000, "mulaw", 0),
    ("alaw", 8_000, "alaw", 0),
    ("ogg_opus", None, None, 960),
    ("webm", None, None, 960),
    ("mp3", None, None, 576),
    ("mp3", 22_050, None, 576),
    ("mp3", 44_100, None, 1152),
    ("aac", None, None, 2048),
    ("flac", None, None, 0),
)


class Reading(NamedTuple):
    """How to decode it where it is too short to be known by its looks, at which rate, and the samples to drop."""

    raw: str | None = None
    rate: int = RATE
    lead: int = 0


Sound = tuple[np.ndarray, int]  # float32 [n], its rate
Arrivals = list[tuple[float, bytes]]  # seconds since the text was sent
Door = Callable[[int, str, int, str], Arrivals]  # port, text, seed, format
FLOORS = {
    "largest_length_error_frames": 1.0,
    "wer_over_wav": 0.03,
    "narrow_wer_over_pcm": 0.03,
    "g711_wer_over_ffmpeg": 0.03,
    "least_damage_over_pcm": 0.2,
    "first_sound_over_pcm_ms": 60.0,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sentences", type=int, default=len(SENTENCES), help=f"fewer are quicker, {len(KNOWN)} at most"
    )
    parser.add_argument("--quick", action="store_true", help="one sentence, nothing kept")
    options = parser.parse_args()
    sentences = KNOWN[: 1 if options.quick else options.sentences]
    os.environ["STREAM_SERVER_LIMITS__STREAMS"] = str(len(FORMATS))  # all at once, whatever comes of it
    lengths: dict[str, float] = {}  # the largest error, in frames
    asked: dict[str, list[Future[tuple[int, int]]]] = {}
    with ProcessPoolExecutor(READERS, get_context("spawn")) as readers, server() as served:
        soon = {name: over_pcm(served.port, *door, sentences[:10]) for name, door in DOORS.items()}
        for seed, text in enumerate(sentences):
            read: dict[tuple[bytes, int], Future[tuple[int, int]]] = {}  # what is the same to the bit is read once
            for name, (pcm, rate) in sounds(asyncio.run(in_every_format(served.port, text, seed)), lengths).items():
                key = pcm.tobytes(), rate
                read[key] = read.get(key) or readers.submit(misread, text, pcm, rate)
                asked.setdefault(name, []).append(read[key])
        found = {name: Heard(*zip(*(future.result() for future in futures))) for name, futures in asked.items()}
    rows = [[name, heard.wer, *heard.over(found[plain(name)]), lengths.get(name, "")] for name, heard in found.items()]
    table("decoded and read", ["", "WER", "over plain", "from", "to", "longest error, frames"], rows)
    rows = [[door, name, *row.values()] for door, ways in soon.items() for name, row in ways.items()]
    table("first sound, ms", ["", "format", "after the text", "after plain samples", "at worst"], rows)
    heard_more = {
        "wer_over_wav": max(found[name].over(found["wav"]) for name in lengths if plain(name) == "wav"),
        "narrow_wer_over_pcm": max(found[name].over(found[PLAIN]) for name in lengths if plain(name) == PLAIN),
        "g711_wer_over_ffmpeg": max(found[f"{law} {NARROW}"].over(found[theirs(law)]) for law in LAWS),
        "least_damage_over_pcm": min(found[name].over(found[PLAIN]) for name in DAMAGED),
    }
    figures: dict[str, Any] = {
        "sentences": len(sentences),
        "wer": {name: heard.wer for name, heard in found.items()},
        "length_error_frames": lengths,
        **{name: more for name, (more, _, _) in heard_more.items()},
        "intervals": {name: [low, high] for name, (_, low, high) in heard_more.items()},
        "largest_length_error_frames": max(lengths.values()),
        "first_sound": soon,
        "first_sound_over_pcm_ms": max(row["over_pcm_ms"] for ways in soon.values() for row in ways.values()),
    }
    conclude("formats", figures, FLOORS, keep=not options.quick)


class Heard(NamedTuple):
    """Sentence by sentence."""

    errors: tuple[int, ...]
    words: tuple[int, ...]

    @property
    def wer(self) -> float:
        return word_error_rate(list(self.errors), list(self.words))

    def over(self, other: "Heard") -> tuple[float, float, float]:
        """How much larger the rate is, and the 95 % interval of that: sentences are redrawn, with both their errors."""
        more = [mine - its for mine, its in zip(self.errors, other.errors)]
        return word_error_rate(more, list(self.words)), *interval(more, list(self.words))


def plain(name: str) -> str:
    """What it is compared with: the same speech in the same band, as samples."""
    return PLAIN if name.endswith(f" {NARROW}") or name in DAMAGED or name in map(theirs, LAWS) else "wav"


def theirs(law: str) -> str:
    return f"FFmpeg's {law}"


def sounds(encoded: list[tuple[bytes, int]], lengths: dict[str, float]) -> dict[str, Sound]:
    """Decoded, each by its name: all formats, FFmpeg's G.711 of the samples that ours was made of, and damaged ones."""
    found: dict[str, Sound] = {}
    bytes_of: dict[str, bytes] = {}
    for (format, rate, raw, frame), (data, samples) in zip(FORMATS, encoded):
        name = format if rate is None else f"{format} {rate}"
        pcm, decoded_rate = found[name] = decoded(data, raw, rate or RATE)
        error = abs(len(pcm) - samples * decoded_rate / RATE) / max(1, frame)
        lengths[name], bytes_of[name] = max(error, lengths.get(name, 0.0)), data
    samples_8k = bytes_of[PLAIN]
    found |= {theirs(law): decoded(by_ffmpeg(samples_8k, law), law, NARROW) for law in LAWS}
    return found | damaged(samples_8k, bytes_of[f"mulaw {NARROW}"])


def damaged(samples: bytes, mulaw: bytes) -> dict[str, Sound]:
    """What must be heard: a reader that hears what it expects would find every format as good as another."""
    pcm, _ = decoded(samples, "s16le", NARROW)
    lost = pcm[: len(pcm) // LOST_FRAME * LOST_FRAME].reshape(-1, LOST_FRAME).copy()
    lost[3::4] = 0
    sounds = (
        decoded(mulaw, "alaw", NARROW),
        decoded(samples, "s16be", NARROW),
        (lost.reshape(-1), NARROW),
        (np.asarray(soxr.resample(pcm, NARROW, 3_000)), 3_000),
    )
    return dict(zip(DAMAGED, sounds))


def by_ffmpeg(data: bytes, law: str) -> bytes:
    """int16 at 8 kHz → G.711 by an encoder that is not ours."""
    encoder = av.AudioCodecContext.create(f"pcm_{law}", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = NARROW, "mono", "s16"
    frame = av.AudioFrame.from_ndarray(np.frombuffer(data, "<i2")[None], format="s16", layout="mono")
    frame.sample_rate = NARROW
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


async def in_every_format(port: int, text: str, seed: int) -> list[tuple[bytes, int]]:
    """At once: nobody's speech depends on the company it is made in."""
    return await asyncio.gather(*(spoken(port, text, seed, format, rate) for format, rate, _, _ in FORMATS))


async def spoken(port: int, text: str, seed: int, format: str, rate: int | None) -> tuple[bytes, int]:
    """→ the encoded sound, samples made."""
    asked = {"type": "start", "context": "c", "format": format, "output_rate": rate, "seed": seed, "paced": False}
    url, protocol = f"ws://127.0.0.1:{port}/v1/stream", Subprotocol("stream-server.v1")
    async with connect(url, subprotocols=[protocol], compression=None) as socket:
        for message in (asked, {"type": "text", "context": "c", "text": text}, {"type": "end", "context": "c"}):
            await socket.send(json.dumps({name: value for name, value in message.items() if value is not None}))
        data = b""
        while True:
            message = await socket.recv()
            if isinstance(message, bytes):
                data += message[20:]
            elif (event := json.loads(message))["type"] == "done":
                return data, event["samples"]
            elif event["type"] == "error":
                raise SystemExit(event["message"])


def decoded(data: bytes, raw: str | None, rate: int) -> Sound:
    options = {"sample_rate": str(rate)} if raw else {}
    with av.open(io.BytesIO(data), format=raw, options=options) as container:
        resampler = av.AudioResampler("flt", "mono")
        frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
        frames += resampler.resample(None)
        return np.concatenate([frame.to_ndarray()[0] for frame in frames]), frames[0].sample_rate


def over_pcm(
    port: int, door: Door, plain: str, ways: dict[str, Reading], sentences: tuple[str, ...]
) -> dict[str, dict[str, float]]:
    """The formats take turns, and each has plain samples just before it."""
    sounds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for seed, text in enumerate(sentences):
        for name, reading in ways.items():
            base = first_sound(door(port, text, seed, plain), ways[plain])
            sounds[name].append((first_sound(door(port, text, seed, name), reading), base))
    return {
        name: {
            "p50_ms": 1000 * median(at for at, _ in both),
            "over_pcm_ms": 1000 * median(at - base for at, base in both),
            "over_pcm_max_ms": 1000 * max(at - base for at, base in both),
        }
        for name, both in sounds.items()
    }


def first_sound(arrivals: Arrivals, reading: Reading) -> float:
    """When what had come, were it all, held a sample of speech for a decoder."""
    whole = accumulate(data for _, data in arrivals)
    return next(at for (at, _), data in zip(arrivals, whole) if decodable(data, reading) > reading.lead)


def decodable(data: bytes, reading: Reading) -> int:
    try:
        return len(decoded(data, reading.raw, reading.rate)[0])
    except (av.error.FFmpegError, IndexError):  # not a file yet, or one without a stream
        return 0


def openai(port: int, text: str, seed: int, format: str) -> Arrivals:
    asked = {"input": text, "voice": VOICE, "response_format": format, "seed": seed}
    with closing(HTTPConnection("127.0.0.1", port)) as connection:
        connection.connect()
        begun = time.monotonic()
        connection.request("POST", "/v1/audio/speech", json.dumps(asked))
        answer = connection.getresponse()
        return listened(begun, iter(answer.read1, b""))


def elevenlabs(port: int, text: str, seed: int, format: str) -> Arrivals:
    query = f"output_format={format}&auto_mode=true&seed={seed}"
    url = f"ws://127.0.0.1:{port}/v1/text-to-speech/{VOICE}/stream-input?{query}"
    with connect_plainly(url, compression=None) as socket:
        socket.send(json.dumps({"text": " "}))
        time.sleep(0.05)
        begun = time.monotonic()
        socket.send(json.dumps({"text": text + " ", "flush": True}))
        socket.send(json.dumps({"text": ""}))
        return listened(begun, (base64.b64decode(json.loads(message).get("audio") or "") for message in socket))


def listened(begun: float, pieces: Iterator[bytes]) -> Arrivals:
    arrivals: Arrivals = []
    for piece in filter(None, pieces):
        arrivals.append((time.monotonic() - begun, piece))
        if arrivals[-1][0] > arrivals[0][0] + LISTENED_S:
            break
    return arrivals


DOORS: dict[str, tuple[Door, str, dict[str, Reading]]] = {
    "openai": (
        openai,
        "pcm",
        {
            "pcm": Reading("s16le"),
            "wav": Reading(),
            "flac": Reading(),
            "opus": Reading(),
            "mp3": Reading("mp3"),
            "aac": Reading(lead=AAC_LEAD),
        },
    ),
    "elevenlabs": (
        elevenlabs,
        "pcm_24000",
        {
            "pcm_24000": Reading("s16le"),
            "pcm_16000": Reading("s16le", 16_000),
            "ulaw_8000": Reading("mulaw", NARROW),
            "alaw_8000": Reading("alaw", NARROW),
            "mp3_22050_32": Reading("mp3"),
            "mp3_24000_48": Reading("mp3"),
            "mp3_44100_128": Reading("mp3"),
            "opus_48000_32": Reading(),
        },
    ),
}  # what opens it, its plain samples, its formats

if __name__ == "__main__":
    main()
