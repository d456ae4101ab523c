"""Speech → the bytes a listener asked for: format name → encoder.  Ten lines a format, all of them here.

An encoder lives as long as its context and runs through the borders of sentences.  Chunks' `pts` and `duration` count
samples of speech at the context's rate and never the codec's own lead-in or padding, so durations always sum to what
was encoded.  Knows nothing of wire messages, listeners or time on the wall.
"""

import struct
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import soxr

from stream_server.audio.opus import RATES, OpusEncoder
from stream_server.audio.pcm import Float, Int16, Reframer, to_int16
from stream_server.errors import UnsupportedFormat

BLOCKS_PER_SECOND = 50  # of raw PCM: 20 ms each, as Opus


@dataclass(frozen=True)
class Chunk:
    data: bytes
    pts: int
    duration: int


class Encoder(Protocol):
    #: Samples to drop at the very beginning, at the rate they are decoded at: the context's own, or 48 000 for Opus
    #: where that is none of its rates (32 000).
    pre_skip: int

    def encode(self, pcm: Float) -> list[Chunk]:
        """float32 [n], any n."""
        ...

    def finish(self) -> list[Chunk]:
        """What was held back; the encoder is of no use afterwards."""
        ...


class PcmEncoder:
    """Little-endian int16 and nothing else."""

    pre_skip = 0

    def __init__(self, sample_rate: int) -> None:
        self._blocks = Reframer(sample_rate // BLOCKS_PER_SECOND, np.int16)
        self._pts = 0

    def encode(self, pcm: Float) -> list[Chunk]:
        return [self._chunk(block) for block in self._blocks.push(to_int16(pcm))]

    def finish(self) -> list[Chunk]:
        tail, length = self._blocks.flush()
        return [self._chunk(tail[:length])] if length else []

    def _chunk(self, pcm: Int16) -> Chunk:
        chunk = Chunk(pcm.astype("<i2").tobytes(), self._pts, len(pcm))
        self._pts += len(pcm)
        return chunk


class WavEncoder(PcmEncoder):
    """The same after a header that says "unknown length"; it travels in the first chunk."""

    def __init__(self, sample_rate: int) -> None:
        super().__init__(sample_rate)
        self._header = wav_header(sample_rate)

    def encode(self, pcm: Float) -> list[Chunk]:
        return self._headed(super().encode(pcm))

    def finish(self) -> list[Chunk]:
        chunks = super().finish()
        if not chunks and self._header:  # not one sample was said: still a valid file
            chunks = [Chunk(b"", 0, 0)]
        return self._headed(chunks)

    def _headed(self, chunks: list[Chunk]) -> list[Chunk]:
        if chunks:
            chunks[0] = replace(chunks[0], data=self._header + chunks[0].data)
            self._header = b""
        return chunks


class OpusStreamEncoder:
    """Opus packets of 20 ms.

    What a decoder gives out is late by the codec's lookahead, so the first packet holds that much less speech
    (324 of its 480 samples at 24 kHz) and `finish` pushes the last speech out with silence.  A rate that Opus does not
    know goes in at 48 kHz: soxr's LQ because it holds back 10 ms where HQ holds 18, and a voice has nothing for HQ.
    """

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._opus_rate = sample_rate if sample_rate in RATES else max(RATES)
        self._resampler = self._new_resampler() if self._opus_rate != sample_rate else None
        self._encoder = OpusEncoder(self._opus_rate)
        self._frames = Reframer(self._encoder.frame, np.int16)
        self._fed = 0  # samples of speech, at the context's rate
        self._packets = 0
        self._pts = 0
        self.pre_skip = self._encoder.lookahead

    def encode(self, pcm: Float) -> list[Chunk]:
        self._fed += len(pcm)
        return self._packed(self._resampled(pcm))

    def finish(self) -> list[Chunk]:
        chunks = self._packed(self._resampled(np.zeros(0, np.float32), last=True))
        silence = np.zeros(self._encoder.frame, np.float32)
        while self._pts < self._fed:
            chunks += self._packed(silence)
        return chunks

    def _new_resampler(self) -> soxr.ResampleStream:
        return soxr.ResampleStream(self._rate, self._opus_rate, 1, dtype="float32", quality="LQ")

    def _resampled(self, pcm: Float, last: bool = False) -> Float:
        if self._resampler is None:
            return pcm
        resampled: Float = self._resampler.resample_chunk(pcm, last=last)
        return resampled

    def _packed(self, pcm: Float) -> list[Chunk]:
        return [self._chunk(frame) for frame in self._frames.push(to_int16(pcm))]

    def _chunk(self, frame: Int16) -> Chunk:
        data = self._encoder.encode(frame)
        self._packets += 1
        start, self._pts = self._pts, min(self._decodable(), self._fed)
        return Chunk(data, start, self._pts - start)

    def _decodable(self) -> int:
        """Samples of speech, at the context's rate, that a decoder has once it has all packets so far."""
        decoded = self._packets * self._encoder.frame - self._encoder.lookahead
        return max(0, decoded) * self._rate // self._opus_rate


def wav_header(sample_rate: int) -> bytes:
    """44 bytes, mono int16; sizes are all ones, as players expect of a stream."""
    unknown = 0xFFFF_FFFF
    layout = (b"RIFF", unknown, b"WAVE", b"fmt ", 16, 1, 1, sample_rate, 2 * sample_rate, 2, 16, b"data", unknown)
    return struct.pack("<4sI4s4sIHHIIHH4sI", *layout)


_ENCODERS: dict[str, type[OpusStreamEncoder] | type[PcmEncoder]] = {
    "opus": OpusStreamEncoder,
    "pcm_s16le": PcmEncoder,
    "wav": WavEncoder,
}
FORMATS = tuple(_ENCODERS)


def make_encoder(format: str, sample_rate: int) -> Encoder:
    if format not in _ENCODERS:
        raise UnsupportedFormat("no such format here", field="format", limit=", ".join(FORMATS))
    return _ENCODERS[format](sample_rate)
