"""A stream of Opus packets, bare or in a container: what leads in, what trails, and where the last packet is cut.

Knows nothing of a container but the three things it does: begin, carry a packet, end.
"""

from typing import Protocol

import numpy as np

from stream_server.audio.coder import Piece
from stream_server.audio.opus import PACKETS_PER_SECOND, OpusEncoder
from stream_server.audio.pcm import Float, to_int16

CONTAINER_RATE = 48_000  # at which containers count samples of Opus, whatever went in
CONTAINER_FRAME = CONTAINER_RATE // PACKETS_PER_SECOND


class OpusCoder:
    """20 ms a packet.  What a decoder gives is late by the codec's lookahead, so `finish` pushes the last speech out
    with silence."""

    def __init__(self, rate: int, bit_rate: int) -> None:
        self._encoder = OpusEncoder(rate, bit_rate)
        self.block = self._encoder.frame
        self.lead = self.pre_skip = self._encoder.lookahead
        self.packets = 0

    def encode(self, pcm: Float) -> list[Piece]:
        self.packets += 1
        return [Piece(self._encoder.encode(to_int16(pcm)), self.block)]

    def finish(self, pcm: Float) -> list[Piece]:
        if not self.packets and not len(pcm):
            return []
        whole = -(-(len(pcm) + self.lead) // self.block) * self.block
        frames = np.pad(pcm, (0, whole - len(pcm))).reshape(-1, self.block)
        return [piece for frame in frames for piece in self.encode(frame)]


class Container(Protocol):
    def begin(self, last: bool) -> bytes:
        """The head; `last` where no packet follows."""
        ...

    def packet(self, data: bytes) -> bytes: ...

    def end(self, data: bytes, trim: int) -> bytes:
        """The last packet, whose last `trim` samples at 48 kHz are none of the speech."""
        ...


def opus_head(rate: int, pre_skip: int) -> bytes:
    """19 bytes that Ogg and WebM share: mono, `pre_skip` at 48 kHz."""
    numbers = b"".join(value.to_bytes(size, "little") for value, size in ((pre_skip, 2), (rate, 4), (0, 2)))
    return b"OpusHead\x01\x01" + numbers + b"\x00"


class ContainedOpus:
    """The same packets, carried."""

    pre_skip = 0

    def __init__(self, opus: OpusCoder, container: Container) -> None:
        self.block = opus.block
        self.lead = opus.lead
        self._opus = opus
        self._container = container
        self._begun = False

    def encode(self, pcm: Float) -> list[Piece]:
        return [self._carried(piece) for piece in self._opus.encode(pcm)]

    def finish(self, pcm: Float) -> list[Piece]:
        samples = self._opus.packets * self.block + len(pcm)
        pieces = self._opus.finish(pcm)
        if not pieces:
            return [Piece(self._container.begin(last=True), 0)]
        trim = (self._opus.packets * self.block - self.lead - samples) * CONTAINER_FRAME // self.block
        *others, last = pieces
        return [*map(self._carried, others), Piece(self._head() + self._container.end(last.data, trim), last.decoded)]

    def _carried(self, piece: Piece) -> Piece:
        return Piece(self._head() + self._container.packet(piece.data), piece.decoded)

    def _head(self) -> bytes:
        head = b"" if self._begun else self._container.begin(last=False)
        self._begun = True
        return head
