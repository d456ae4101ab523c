"""AAC and FLAC by FFmpeg's encoders; what goes around their packets is ours.  The only importer of PyAV, once a
listener asks."""

import numpy as np

from stream_server.audio.coder import Piece
from stream_server.audio.pcm import Float, to_int16

BLOCKS_PER_SECOND = 50  # of FLAC: its own choice would be 100 ms and more
ADTS_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)


class AacCoder:
    """AAC-LC in ADTS.  A frame is 1024 samples and decodes one frame late, and the encoder looks one ahead."""

    block = lead = pre_skip = 1_024

    def __init__(self, rate: int, bit_rate: int) -> None:
        self._encoder = FfmpegEncoder("aac", "fltp", rate, {"b": str(bit_rate)})
        self._rate = rate
        self._fed = 0
        self._decoded = 0

    def encode(self, pcm: Float) -> list[Piece]:
        self._fed += len(pcm)
        packets = self._encoder.encode(pcm)
        self._decoded += len(packets) * self.block
        return [Piece(self._framed(packet), self.block) for packet in packets]

    def finish(self, pcm: Float) -> list[Piece]:
        pieces = self.encode(pcm) if len(pcm) else []
        if self._fed:
            last = b"".join(map(self._framed, self._encoder.finish()))
            pieces.append(Piece(last, self._fed + self.lead - self._decoded))
        return pieces

    def _framed(self, packet: bytes) -> bytes:
        return adts_header(self._rate, len(packet)) + packet


class FlacCoder:
    """16 bits; the header leaves open what only the end would know."""

    lead = pre_skip = 0

    def __init__(self, rate: int) -> None:
        self.block = rate // BLOCKS_PER_SECOND
        self._encoder = FfmpegEncoder("flac", "s16", rate, {"frame_size": str(self.block)})
        last, stream_info = 0x80, 0
        info = self._encoder.description
        self._header = b"fLaC" + bytes([last | stream_info]) + len(info).to_bytes(3, "big") + info

    def encode(self, pcm: Float) -> list[Piece]:
        return [Piece(self._headed(self._encoder.encode(to_int16(pcm))), len(pcm))]

    def finish(self, pcm: Float) -> list[Piece]:
        packets = self._encoder.encode(to_int16(pcm)) if len(pcm) else []
        data = self._headed(packets + self._encoder.finish())  # a short block is held until it is known to be the last
        return [Piece(data, len(pcm))] if data else []

    def _headed(self, packets: list[bytes]) -> bytes:
        data = b"".join([self._header, *packets])
        self._header = b""
        return data


class FfmpegEncoder:
    """Mono; `samples` and `options` by FFmpeg's names.  Blocks are of the encoder's size, but for the last."""

    def __init__(self, codec: str, samples: str, rate: int, options: dict[str, str]) -> None:
        import av

        context = av.AudioCodecContext.create(codec, "w")
        assert isinstance(context, av.AudioCodecContext)
        context.sample_rate = rate
        context.layout = "mono"
        context.format = samples
        context.options = options
        context.open()
        self._context = context
        self._frame_of = av.AudioFrame.from_ndarray
        self._samples = samples
        self._rate = rate
        self._fed = 0

    @property
    def description(self) -> bytes:
        """What a decoder has to know beside the packets."""
        return bytes(self._context.extradata or b"")

    def encode(self, pcm: np.ndarray) -> list[bytes]:
        frame = self._frame_of(np.ascontiguousarray(pcm)[None], format=self._samples, layout="mono")
        frame.sample_rate = self._rate
        frame.pts = self._fed
        self._fed += len(pcm)
        return [bytes(packet) for packet in self._context.encode(frame)]

    def finish(self) -> list[bytes]:
        return [bytes(packet) for packet in self._context.encode(None)]


def adts_header(rate: int, packet: int) -> bytes:
    """7 bytes before a packet of so many: MPEG-4, AAC-LC, mono, no checksum, any buffer's fullness."""
    low_complexity, mono, any_fullness = 1, 1, 0x7FF
    fields = (
        (0xFFF1, 16),
        (low_complexity, 2),
        (ADTS_RATES.index(rate), 4),
        (0, 1),  # private
        (mono, 3),
        (0, 4),  # original, home, copyright
        (packet + 7, 13),
        (any_fullness, 11),
        (0, 2),  # one block of sound, less one
    )
    bits = 0
    for value, width in fields:
        bits = bits << width | value
    return bits.to_bytes(7, "big")
