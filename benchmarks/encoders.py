"""What an encoded second costs, and how much speech the first bytes wait for, by format.

    python benchmarks/encoders.py [--quick]

Speech of the bundled voice, given to each encoder in the frames that the engine makes (40 ms); CPU microseconds a
second of speech, resampling and containers with it, the median of rounds in which formats take turns.  For the delays
the same speech comes a millisecond at a time: `first` is the speech given before there were bytes, `speech` before
there were bytes that hold some of it.
"""

import argparse
from statistics import median
from typing import Any

import numpy as np
from lap import timed, use_one_thread
from report import conclude, table
from spoken import warm_engine
from texts import SENTENCES

from stream_server.audio.encoders import make_encoder
from stream_server.audio.format import AudioFormat
from stream_server.engine.messages import Controls
from stream_server.offline import synthesise

FRAME_S = 0.04
RATES = (24_000, 32_000)
PROMPT = [
    AudioFormat("opus"),
    AudioFormat("ogg_opus"),
    AudioFormat("webm"),
    AudioFormat("pcm_s16le"),
    AudioFormat("pcm_f32le"),
    AudioFormat("wav"),
    *(AudioFormat("pcm_s16le", rate) for rate in (8_000, 16_000, 22_050, 44_100, 48_000)),
    AudioFormat("mulaw", 8_000),
    AudioFormat("alaw", 8_000),
    AudioFormat("flac"),
]
SLOW = [
    AudioFormat("mp3"),
    AudioFormat("mp3", 22_050, 32_000),
    AudioFormat("mp3", 44_100, 128_000),
    AudioFormat("mp3", 8_000, 32_000),
    AudioFormat("aac"),
    AudioFormat("aac", 44_100),
]  # by their frames' length, and a frame of mp3 is whole when the next has begun
FLOORS = {"first_ms_max": 60.0}  # of those that can be prompt, at either rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one sentence, two rounds, nothing kept")
    options = parser.parse_args()
    rounds = 2 if options.quick else 9
    use_one_thread()
    sounds = {rate: spoken(rate, SENTENCES[: 1 if options.quick else 4]) for rate in RATES}
    figures: dict[str, Any] = {"model": "lark", "rounds": rounds, "audio_s": len(sounds[RATES[0]]) / RATES[0]}
    for rate, pcm in sounds.items():
        costs = cpu_us(pcm, rate, rounds)
        found = {name(format): costs[format] | delays(pcm, format, rate) for format in [*PROMPT, *SLOW]}
        rows = [[label, *columns.values()] for label, columns in found.items()]
        table(f"from {rate} Hz", ["", "CPU µs/s", "kbit/s", "first ms", "speech ms"], rows)
        figures[f"from_{rate}"] = found
    figures["first_ms_max"] = max(figures[f"from_{rate}"][name(f)]["first_ms"] for rate in RATES for f in PROMPT)
    conclude("encoders", figures, FLOORS, keep=not options.quick)


def spoken(rate: int, sentences: tuple[str, ...]) -> np.ndarray:
    core = warm_engine()
    return synthesise(core, " ".join(sentences), Controls(core.spec.voices[0], seed=1, sample_rate=rate)).pcm


def cpu_us(pcm: np.ndarray, rate: int, rounds: int) -> dict[AudioFormat, dict[str, float]]:
    """CPU microseconds and kilobits a second of speech."""
    taken: dict[AudioFormat, list[float]] = {format: [] for format in [*PROMPT, *SLOW]}
    sizes: dict[AudioFormat, int] = {}
    seconds = len(pcm) / rate
    for _ in range(rounds):
        for format, laps in taken.items():
            laps.append(timed(lambda f=format: sizes.update({f: encode(pcm, f, rate)})).cpu / seconds * 1e6)
    return {f: {"cpu_us_per_s": median(laps), "kbps": sizes[f] * 8 / seconds / 1_000} for f, laps in taken.items()}


def encode(pcm: np.ndarray, format: AudioFormat, rate: int) -> int:
    """Bytes in all."""
    encoder, frame = make_encoder(format, rate), round(FRAME_S * rate)
    chunks = [chunk for at in range(0, len(pcm), frame) for chunk in encoder.encode(pcm[at : at + frame])]
    return sum(len(chunk.data) for chunk in chunks + encoder.finish())


def delays(pcm: np.ndarray, format: AudioFormat, rate: int) -> dict[str, float]:
    return {key: first_ms(pcm, format, rate, least) for key, least in (("first_ms", 0), ("speech_ms", 1))}


def first_ms(pcm: np.ndarray, format: AudioFormat, rate: int, least: int) -> int:
    """Milliseconds given when a chunk came that holds `least` samples of speech."""
    encoder, step = make_encoder(format, rate), rate // 1_000
    for ms, at in enumerate(range(0, len(pcm), step), 1):
        if any(chunk.duration >= least for chunk in encoder.encode(pcm[at : at + step])):
            return ms
    raise AssertionError("a second of speech and no bytes")


def name(format: AudioFormat) -> str:
    rate = "" if format.sample_rate is None else f" {format.sample_rate}"
    return format.codec + rate + ("" if format.bit_rate is None else f" {format.bit_rate // 1_000}k")


if __name__ == "__main__":
    main()
