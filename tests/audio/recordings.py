"""Recordings as people send them: tones that come and go like syllables, in any file format."""

import io
import struct

import av
import numpy as np

RATE = 24_000


def speechlike(seconds: float, rate: int = RATE, level: float = 0.2) -> np.ndarray:
    """float32: four syllables a second, of three tones."""
    t = np.arange(round(seconds * rate)) / rate
    voice = sum(np.sin(2 * np.pi * 150 * harmonic * t) / harmonic for harmonic in (1, 2, 3))
    return (level * voice / 1.5 * np.sin(4 * np.pi * t) ** 2).astype(np.float32)


def wav(
    pcm: np.ndarray, rate: int = RATE, channels: int = 1, bits: int = 16, kind: int = 1, data_bytes: int | None = None
) -> bytes:
    """pcm float [n] or [n, channels]; kind 3 is float32.  data_bytes: what the header says."""
    data = pcm.astype("<f4").tobytes() if kind == 3 else np.rint(pcm * 32_767).astype("<i2").tobytes()
    bits = 32 if kind == 3 else bits
    each = channels * bits // 8 & 0xFFFF
    form = struct.pack("<HHIIHH", kind, channels, rate, rate * each & 0xFFFF_FFFF, each, bits)
    said = len(data) if data_bytes is None else data_bytes
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", said) + data
    return b"RIFF" + struct.pack("<I", min(len(body), 0xFFFF_FFFF)) + body


def encoded(pcm: np.ndarray, container: str, codec: str, rate: int = RATE, video: bool = False) -> bytes:
    """A file by FFmpeg's names, a film with it where asked for."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        sound = out.add_stream(codec, rate=rate, layout="mono")
        film = out.add_stream("mpeg4", rate=25, width=64, height=64, pix_fmt="yuv420p") if video else None
        frame = av.AudioFrame.from_ndarray(np.rint(pcm * 32_767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate = rate
        resampled = av.AudioResampler(sound.format.name, "mono", rate, frame_size=sound.frame_size or 1024)
        for piece in [*resampled.resample(frame), *resampled.resample(None)]:
            out.mux(sound.encode(piece))
        out.mux(sound.encode(None))
        if film is not None:
            picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            out.mux([*film.encode(picture), *film.encode(None)])
    return file.getvalue()
