"""mp3 by LAME, at a constant bit rate.  The only importer of lameenc, once a listener asks."""

from stream_server.audio.coder import Piece
from stream_server.audio.pcm import Float, to_int16

MPEG_1 = 32_000  # Hz, from which on a frame holds two granules
GRANULE = 576
QUALITY = 5  # of 0 (best) to 9: half the work of 2, and what 2 has more no voice needs
LAME_DELAY, DECODER_DELAY = 576, 529
BLOCKS_PER_SECOND = 100  # shorter than a frame: of one block comes one frame at most


class Mp3Coder:
    """A bit rate that MPEG does not have at this rate becomes the nearest that it has."""

    lead = pre_skip = LAME_DELAY + DECODER_DELAY

    def __init__(self, rate: int, bit_rate: int) -> None:
        import lameenc

        self.block = rate // BLOCKS_PER_SECOND
        self._frame = 2 * GRANULE if rate >= MPEG_1 else GRANULE
        self._lame = lameenc.Encoder()
        self._lame.silence()
        self._lame.set_channels(1)
        self._lame.set_in_sample_rate(rate)
        self._lame.set_out_sample_rate(rate)
        self._lame.set_bit_rate(bit_rate // 1_000)
        self._lame.set_quality(QUALITY)
        self._fed = 0
        self._decoded = 0

    def encode(self, pcm: Float) -> list[Piece]:
        data = self._encoded(pcm)
        if not data:
            return []
        self._decoded += self._frame
        return [Piece(data, self._frame)]

    def finish(self, pcm: Float) -> list[Piece]:
        if not self._fed and not len(pcm):
            return []
        data = self._encoded(pcm) + bytes(self._lame.flush())
        return [Piece(data, self._fed + self.lead - self._decoded)]

    def _encoded(self, pcm: Float) -> bytes:
        self._fed += len(pcm)
        return bytes(self._lame.encode(to_int16(pcm).tobytes()))
