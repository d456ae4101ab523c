"""Speech → the bytes a listener asked for: which codec is made how, and one encoder around whichever it is.

An encoder lives as long as its context and runs through the borders of sentences.  Chunks' `pts` and `duration` count
samples of speech at the model's rate and never the codec's own lead-in or padding, so durations always sum to what
was encoded.  Knows nothing of wire messages, listeners or time on the wall.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from stream_server.audio import raw
from stream_server.audio.av_codecs import AacCoder, FlacCoder
from stream_server.audio.coder import Coder, Piece
from stream_server.audio.format import CODECS, AudioFormat
from stream_server.audio.mp3 import Mp3Coder
from stream_server.audio.ogg import OggOpus
from stream_server.audio.packets import CONTAINER_FRAME, ContainedOpus, Container, OpusCoder
from stream_server.audio.pcm import Float, Reframer
from stream_server.audio.raw import RawCoder, wav_header
from stream_server.audio.resample import Resampler
from stream_server.audio.webm import WebmOpus

PROMPT_S = 0.01  # mp3's first frame with speech holds a millisecond of it


@dataclass(frozen=True)
class Chunk:
    data: bytes
    pts: int
    duration: int  # 0 where the bytes hold no speech yet, only the codec's lead-in


class Encoder(Protocol):
    #: Samples to drop at the very beginning, at the rate they are decoded at: that of the encoded sound.
    pre_skip: int

    def encode(self, pcm: Float) -> list[Chunk]:
        """float32 [n], any n."""
        ...

    def release(self) -> list[Chunk]:
        """What was gathered so far, though it is less than a chunk; what the codec itself holds back stays there."""
        ...

    def finish(self) -> list[Chunk]:
        """What was held back; the encoder is of no use afterwards."""
        ...


class StreamEncoder:
    """Resample, cut into the coder's blocks, encode, gather.

    A chunk goes as soon as there are bytes until PROMPT_S of speech has gone.  Each later one holds `gather` samples,
    as decoded, at least; with 0 it is one piece of the coder's.
    """

    def __init__(self, coder: Coder, sample_rate: int, rate: int, gather: int) -> None:
        self.pre_skip = coder.pre_skip
        self._coder = coder
        self._model_rate, self._rate = sample_rate, rate
        self._gather = gather
        self._resampler = Resampler(sample_rate, rate)
        self._blocks = Reframer(coder.block, np.float32)
        self._fed = 0  # samples of speech, at the model's rate
        self._pts = 0
        self._decoded = 0  # samples a decoder gives out of all pieces so far
        self._waiting: list[bytes] = []
        self._due = 0  # `_decoded` at which what waits goes out

    def encode(self, pcm: Float) -> list[Chunk]:
        self._fed += len(pcm)
        return self._encoded(self._resampler.push(audible(pcm)))

    def release(self) -> list[Chunk]:
        return [self._chunk()] if self._waiting else []

    def finish(self) -> list[Chunk]:
        chunks = self._encoded(self._resampler.flush())
        tail, length = self._blocks.flush()
        chunks += self._gathered(self._coder.finish(tail[:length]))
        return chunks + self.release()

    def _encoded(self, pcm: Float) -> list[Chunk]:
        return [chunk for block in self._blocks.push(pcm) for chunk in self._gathered(self._coder.encode(block))]

    def _gathered(self, pieces: list[Piece]) -> list[Chunk]:
        chunks = []
        for piece in pieces:
            self._waiting.append(piece.data)
            self._decoded += piece.decoded
            if self._decoded >= self._due:
                chunks.append(self._chunk())
        return chunks

    def _chunk(self) -> Chunk:
        """All that waits; its speech is what a decoder can give now and could not before."""
        data = b"".join(self._waiting)
        self._waiting.clear()
        start, self._pts = self._pts, min(self._decodable(), self._fed)
        self._due = self._decoded + self._gather if self._pts >= PROMPT_S * self._model_rate else 0
        return Chunk(data, start, self._pts - start)

    def _decodable(self) -> int:
        """Samples of speech, at the model's rate."""
        return max(0, self._decoded - self._coder.lead) * self._model_rate // self._rate


def audible(pcm: Float) -> Float:
    """Full scale at most: a codec that is given more, or no number at all, may not come back."""
    return np.clip(np.nan_to_num(pcm), -1.0, 1.0)


def contained(container: Callable[[int, int], Container], rate: int, bit_rate: int) -> ContainedOpus:
    opus = OpusCoder(rate, bit_rate)
    return ContainedOpus(opus, container(rate, opus.lead * CONTAINER_FRAME // opus.block))


LOSSY: dict[str, Callable[[int, int], Coder]] = {
    "opus": OpusCoder,
    "ogg_opus": partial(contained, OggOpus),
    "webm": partial(contained, WebmOpus),
    "mp3": Mp3Coder,
    "aac": AacCoder,
}  # of a rate and a bit rate
LOSSLESS: dict[str, Callable[[int], Coder]] = {
    "pcm_s16le": lambda rate: RawCoder(rate, raw.s16le),
    "pcm_f32le": lambda rate: RawCoder(rate, raw.f32le),
    "wav": lambda rate: RawCoder(rate, raw.s16le, wav_header(rate)),
    "flac": FlacCoder,
    "mulaw": lambda rate: RawCoder(rate, raw.mulaw),
    "alaw": lambda rate: RawCoder(rate, raw.alaw),
}  # of a rate


def make_encoder(format: AudioFormat, sample_rate: int) -> Encoder:
    """`sample_rate` is the model's: what goes in, and what positions are counted at."""
    rate = format.rate_from(sample_rate)
    gather = 0 if format.codec == "opus" else round(format.chunk_s * rate)  # bare packets have nothing to part them
    return StreamEncoder(_make_coder(format, rate), sample_rate, rate, gather)


def load_codecs() -> None:
    """Load every library now (0.1 s): else the first listener to ask for FLAC waits, and everybody with it."""
    for codec in CODECS:
        make_encoder(AudioFormat(codec), max(CODECS[codec].rates))


def _make_coder(format: AudioFormat, rate: int) -> Coder:
    bit_rates = CODECS[format.codec].bit_rates
    if bit_rates is None:
        return LOSSLESS[format.codec](rate)
    return LOSSY[format.codec](rate, format.bit_rate or bit_rates.default)
