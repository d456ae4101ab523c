"""Sounds to encode, what decoders make of files, and how like two sounds are."""

import io
from itertools import accumulate

import av
import numpy as np

from stream_server.audio.encoders import Chunk, make_encoder
from stream_server.audio.format import AudioFormat

MODEL_RATES = (24_000, 32_000)
AUDIBLE = 2_500  # Hz, that even 8 kHz keeps


def glide(samples: int, rate: int, at: float = 0.0) -> np.ndarray:
    """A tone that rises and falls between 200 and AUDIBLE Hz twice a second, so that any shift in time is heard; the
    same at every rate."""
    t = np.arange(samples) / rate + at
    middle, swing = (200 + AUDIBLE) / 2, (AUDIBLE - 200) / 2
    phase = 2 * np.pi * middle * t - swing / 2 * np.cos(4 * np.pi * t)
    return (0.3 * np.sin(phase)).astype(np.float32)


def encoded(pcm: np.ndarray, format: AudioFormat, rate: int, cuts: list[int] | None = None) -> list[Chunk]:
    encoder = make_encoder(format, rate)
    pieces = np.split(pcm, sorted(min(cut, len(pcm)) for cut in cuts or []))
    return [chunk for piece in pieces for chunk in encoder.encode(piece)] + encoder.finish()


def together(chunks: list[Chunk]) -> bytes:
    return b"".join(chunk.data for chunk in chunks)


def assert_contiguous(chunks: list[Chunk], samples: int) -> None:
    ends = list(accumulate(chunk.duration for chunk in chunks))
    assert [chunk.pts for chunk in chunks] == [0, *ends][: len(chunks)]
    assert (ends[-1] if ends else 0) == samples
    assert all(chunk.duration > 0 for chunk in chunks[1:])
    assert all(chunk.data for chunk in chunks)


def decoded(data: bytes, container: str, options: dict[str, str] | None = None) -> tuple[np.ndarray, int]:
    """float [n] and its rate, by FFmpeg's demuxer and decoder of that name."""
    with av.open(io.BytesIO(data), format=container, options=options or {}) as file:
        frames = [frame.to_ndarray()[0] for frame in file.decode(audio=0)]
        rate = file.streams.audio[0].codec_context.sample_rate
    pcm = np.concatenate([*frames, np.zeros(0, frames[0].dtype if frames else np.float32)])
    return (pcm / 32_768 if pcm.dtype == np.int16 else pcm), rate


def snr_db(heard: np.ndarray, said: np.ndarray) -> float:
    """Of the loudness that fits best; ends, where codecs fade in and out, are left aside."""
    edge = len(said) // 10
    heard, said = heard[: len(said)][edge:-edge].astype(float), said[edge:-edge].astype(float)
    noise = heard - said * (heard @ said) / (said @ said)
    return float(10 * np.log10((heard @ heard) / max(noise @ noise, 1e-12)))


def lag(heard: np.ndarray, said: np.ndarray, reach: int = 100) -> int:
    """Samples by which `heard` comes late, within `reach` either way."""
    inner = said[reach : min(len(said), len(heard)) - reach].astype(float)
    return max(range(-reach, reach + 1), key=lambda late: float(heard[reach + late :][: len(inner)] @ inner))
