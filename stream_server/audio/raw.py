"""Samples as they are: PCM and G.711 bare, and PCM behind a WAV header."""

import struct
from collections.abc import Callable

from stream_server.audio import g711
from stream_server.audio.coder import Piece
from stream_server.audio.pcm import Float, to_int16

BLOCKS_PER_SECOND = 50  # 20 ms each, as Opus


class RawCoder:
    """`pack` makes the bytes of samples; `header` goes before the first of them."""

    lead = pre_skip = 0

    def __init__(self, rate: int, pack: Callable[[Float], bytes], header: bytes = b"") -> None:
        self.block = rate // BLOCKS_PER_SECOND
        self._pack = pack
        self._header = header

    def encode(self, pcm: Float) -> list[Piece]:
        data, self._header = self._header + self._pack(pcm), b""
        return [Piece(data, len(pcm))]

    def finish(self, pcm: Float) -> list[Piece]:
        return self.encode(pcm) if len(pcm) or self._header else []


def s16le(pcm: Float) -> bytes:
    return to_int16(pcm).astype("<i2").tobytes()


def f32le(pcm: Float) -> bytes:
    return pcm.astype("<f4").tobytes()


def mulaw(pcm: Float) -> bytes:
    return g711.mulaw(to_int16(pcm))


def alaw(pcm: Float) -> bytes:
    return g711.alaw(to_int16(pcm))


def wav_header(sample_rate: int) -> bytes:
    """44 bytes, mono int16; sizes are all ones, as players expect of a stream."""
    unknown = 0xFFFF_FFFF
    layout = (b"RIFF", unknown, b"WAVE", b"fmt ", 16, 1, 1, sample_rate, 2 * sample_rate, 2, 16, b"data", unknown)
    return struct.pack("<4sI4s4sIHHIIHH4sI", *layout)
