"""mp3 by LAME, at a constant bit rate.  The only importer of lameenc, once a listener asks."""

from stream_server.audio.coder import Piece
from stream_server.audio.lame_tag import PADDED, tag_frame
from stream_server.audio.pcm import Float, to_int16

MPEG_1 = 32_000  # Hz, from which on a frame holds two granules
GRANULE = 576
QUALITY = 5  # of 0 (best) to 9: half the work of 2, and what 2 has more no voice needs
LAME_DELAY, DECODER_DELAY = 576, 529
BLOCKS_PER_SECOND = 100  # shorter than a frame: of one block comes one frame at most
KBPS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)  # by the index in a header
KBPS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)


class Mp3Coder:
    """A bit rate that MPEG does not have at this rate becomes the nearest that it has.

    Every piece is a whole frame, the first behind a tag that tells the lead-in.  LAME gives a frame in two parts: what
    it leaves free is the next one's to fill.
    """

    lead = LAME_DELAY + DECODER_DELAY
    pre_skip = 0

    def __init__(self, rate: int, bit_rate: int) -> None:
        import lameenc

        self.block = rate // BLOCKS_PER_SECOND
        self._rate = rate
        self._frame = 2 * GRANULE if rate >= MPEG_1 else GRANULE
        self._kbps = KBPS_1 if rate >= MPEG_1 else KBPS_2
        self._lame = lameenc.Encoder()
        self._lame.silence()
        self._lame.set_channels(1)
        self._lame.set_in_sample_rate(rate)
        self._lame.set_out_sample_rate(rate)
        self._lame.set_bit_rate(bit_rate // 1_000)
        self._lame.set_quality(QUALITY)
        self._fed = 0
        self._decoded = 0
        self._begun = b""  # of a frame that is not whole yet

    def encode(self, pcm: Float) -> list[Piece]:
        return self._whole(self._encoded(pcm))

    def finish(self, pcm: Float) -> list[Piece]:
        """LAME's last frame may hold nothing but padding: what no sample is waiting for is left out."""
        if not self._fed and not len(pcm):
            return []
        before, due = self._decoded, self._fed + len(pcm) + self.lead
        pieces = self._whole(self._encoded(pcm) + bytes(self._lame.flush()))
        return pieces[: -(-(due - before) // self._frame)]

    def _encoded(self, pcm: Float) -> bytes:
        self._fed += len(pcm)
        return bytes(self._lame.encode(to_int16(pcm).tobytes()))

    def _whole(self, data: bytes) -> list[Piece]:
        self._begun += data
        pieces = []
        while len(self._begun) >= 4 and len(self._begun) >= (length := self._length(self._begun)):
            tag = b"" if self._decoded else self._tag(self._begun)
            pieces.append(Piece(tag + self._begun[:length], self._frame))
            self._decoded += self._frame
            self._begun = self._begun[length:]
        return pieces

    def _tag(self, first: bytes) -> bytes:
        padded = bool(first[2] & PADDED)
        return tag_frame(first[:4], self._length(first) - padded, LAME_DELAY)

    def _length(self, header: bytes) -> int:
        """Bytes of the frame that begins so."""
        unpadded = self._frame // 8 * 1_000 * self._kbps[header[2] >> 4] // self._rate
        return unpadded + bool(header[2] & PADDED)
