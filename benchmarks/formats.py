"""Is it the same speech in every format?  Each is decoded by FFmpeg and read by a recogniser.

    python benchmarks/formats.py [--sentences 20] [--quick]

Every format of the native protocol, at the rates that clients ask for, from a real server: the same sentences, voice
and seeds.  `length_error` is the decoded length beside the samples that were made, in codec frames at most one (raw
ones: none).  `wer` is what the recogniser makes of it.  Some codecs cost a recogniser a word here or there, and 8 kHz
costs it several: the bounds are on what a format loses beside WAV, and one of 8 kHz beside plain 16-bit samples of that
rate; and G.711 beside what FFmpeg's own encoder makes of these samples.  Needs the extra `[train]` (pocketsphinx).

How soon: over OpenAI's door and ElevenLabs', on the wall, from the text to the moment when what had come could be
decoded to the first sample behind the lead-in, less the same for plain samples: sentence by sentence, the median.
"""

import argparse
import asyncio
import base64
import io
import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from itertools import accumulate
from statistics import median
from typing import Any, NamedTuple

import av
import av.error
import numpy as np
from report import conclude, table
from server import server
from texts import SENTENCES
from websockets import Subprotocol
from websockets.asyncio.client import connect
from websockets.sync.client import connect as connect_plainly

from stream_server.training.recognise import recognise
from stream_server.training.word_errors import word_errors

RATE = 24_000
NARROW = 8_000
AAC_LEAD = 1_024  # samples that ADTS cannot tell a decoder to drop
VOICE = "slt"
LAWS = ("mulaw", "alaw")
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


Arrivals = list[tuple[float, bytes]]  # seconds since the text was sent
Door = Callable[[int, str, int, str], Arrivals]  # port, text, seed, format
FLOORS = {
    "largest_length_error_frames": 1.0,
    "wer_over_wav": 0.03,
    "narrow_wer_over_pcm": 0.03,
    "g711_wer_over_ffmpeg": 0.03,
    "first_sound_over_pcm_ms": 60.0,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=len(SENTENCES), help="fewer are quicker")
    parser.add_argument("--quick", action="store_true", help="one sentence, nothing kept")
    options = parser.parse_args()
    sentences = SENTENCES[: 1 if options.quick else options.sentences]
    found: dict[str, dict[str, float]] = {}
    ffmpeg: dict[str, float] = {}  # WER
    with server() as served:
        for format, rate, raw, frame in FORMATS:
            errors = words = 0
            theirs = dict.fromkeys(LAWS, 0) if (format, rate) == ("pcm_s16le", NARROW) else {}
            lengths: list[float] = []
            for seed, text in enumerate(sentences):
                data, samples = asyncio.run(spoken(served.port, text, seed, format, rate))
                pcm, decoded_rate = decoded(data, raw, rate or RATE)
                expected = samples * decoded_rate / RATE
                lengths.append(abs(len(pcm) - expected) / max(1, frame))
                wrong, said = word_errors(text, recognise(pcm, decoded_rate))
                errors, words = errors + wrong, words + said
                for law in theirs:
                    theirs[law] += word_errors(text, recognise(*decoded(by_ffmpeg(data, law), law, NARROW)))[0]
            name = format if rate is None else f"{format} {rate}"
            found[name] = {"wer": errors / words, "length_error_frames": max(lengths)}
            ffmpeg |= {law: wrong / words for law, wrong in theirs.items()}
        soon = {name: over_pcm(served.port, *door, sentences[:10]) for name, door in DOORS.items()}
    rows = [[name, *row.values()] for name, row in found.items()]
    table("decoded and read", ["", "WER", "longest error, frames"], rows)
    rows = [[door, name, *row.values()] for door, ways in soon.items() for name, row in ways.items()]
    table("first sound, ms", ["", "format", "after the text", "after plain samples", "at worst"], rows)
    figures: dict[str, Any] = {
        "sentences": len(sentences),
        "formats": found,
        "wer_over_wav": over(found, "wav", [name for name in found if not name.endswith(f" {NARROW}")]),
        "narrow_wer_over_pcm": over(
            found, f"pcm_s16le {NARROW}", [name for name in found if name.endswith(f" {NARROW}")]
        ),
        "largest_length_error_frames": max(row["length_error_frames"] for row in found.values()),
        "ffmpeg_wer": ffmpeg,
        "g711_wer_over_ffmpeg": max(found[f"{law} {NARROW}"]["wer"] - ffmpeg[law] for law in LAWS),
        "first_sound": soon,
        "first_sound_over_pcm_ms": max(row["over_pcm_ms"] for ways in soon.values() for row in ways.values()),
    }
    conclude("formats", figures, FLOORS, keep=not options.quick)


def by_ffmpeg(data: bytes, law: str) -> bytes:
    """int16 at 8 kHz → G.711 by an encoder that is not ours."""
    encoder = av.AudioCodecContext.create(f"pcm_{law}", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = NARROW, "mono", "s16"
    frame = av.AudioFrame.from_ndarray(np.frombuffer(data, "<i2")[None], format="s16", layout="mono")
    frame.sample_rate = NARROW
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def over(found: dict[str, dict[str, float]], plain: str, names: list[str]) -> float:
    """What the worst of them costs beside the plain one."""
    return max(found[name]["wer"] for name in names) - found[plain]["wer"]


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


def decoded(data: bytes, raw: str | None, rate: int) -> tuple[np.ndarray, int]:
    """→ float32 [n], its rate."""
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
