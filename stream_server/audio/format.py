"""What a listener can ask of the sound: a codec, its rate, its bit rate.  Codecs are data: what each is called,
what it takes and how the web names it.

Knows no encoder, no model and no wire.
"""

from dataclasses import dataclass
from typing import NamedTuple

from stream_server.errors import InvalidSetting, UnsupportedFormat

RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)


class BitRates(NamedTuple):
    """Bits a second."""

    lowest: int
    highest: int
    default: int


@dataclass(frozen=True)
class Codec:
    media_type: str
    rates: tuple[int, ...] = RATES
    bit_rates: BitRates | None = None  # None: there is nothing to choose
    rate: int | None = None  # where none is asked for; None: the model's, or the highest where it does not know that


OPUS_BIT_RATES = BitRates(6_000, 510_000, 32_000)

CODECS = {
    "opus": Codec("audio/opus", OPUS_RATES, OPUS_BIT_RATES),
    "ogg_opus": Codec("audio/ogg", OPUS_RATES, OPUS_BIT_RATES),
    "webm": Codec("audio/webm", OPUS_RATES, OPUS_BIT_RATES),
    "pcm_s16le": Codec("audio/pcm"),
    "pcm_f32le": Codec("audio/pcm"),
    "wav": Codec("audio/wav"),
    "mp3": Codec("audio/mpeg", bit_rates=BitRates(32_000, 320_000, 64_000)),
    "flac": Codec("audio/flac"),
    "aac": Codec("audio/aac", bit_rates=BitRates(16_000, 256_000, 64_000), rate=48_000),
    "mulaw": Codec("audio/basic"),
    "alaw": Codec("audio/x-alaw-basic"),
}
FORMATS = tuple(CODECS)

ENDINGS = {
    ".wav": "wav",
    ".mp3": "mp3",
    ".flac": "flac",
    ".ogg": "ogg_opus",
    ".opus": "ogg_opus",
    ".webm": "webm",
    ".aac": "aac",
}  # of a file's name → its codec


@dataclass(frozen=True)
class AudioFormat:
    """Raises `UnsupportedFormat`, or `InvalidSetting` for a rate or a bit rate that the codec does not take."""

    codec: str
    sample_rate: int | None = None  # of the encoded sound; None: the model's
    bit_rate: int | None = None  # bits/s; None: the codec's default
    chunk_s: float = 0.02  # of speech gathered into each chunk after the first, at least

    def __post_init__(self) -> None:
        if self.codec not in CODECS:
            raise UnsupportedFormat("no such format here", field="format", limit=", ".join(FORMATS))
        codec = CODECS[self.codec]
        if self.sample_rate is not None and self.sample_rate not in codec.rates:
            choices = ", ".join(map(str, codec.rates))
            raise InvalidSetting("not a rate of this format", field="sample_rate", limit=choices)
        if self.bit_rate is not None:
            _check_bit_rate(self.bit_rate, codec.bit_rates)

    @property
    def media_type(self) -> str:
        return CODECS[self.codec].media_type

    def rate_from(self, sample_rate: int) -> int:
        """The rate of the encoded sound, from the model's.

        AAC's frames are so many samples whatever the rate, and it holds back two: at 48 kHz they are short enough for a
        first sound within 60 ms.
        """
        if self.sample_rate is not None:
            return self.sample_rate
        codec = CODECS[self.codec]
        return codec.rate or (sample_rate if sample_rate in codec.rates else max(codec.rates))


def _check_bit_rate(asked: int, there: BitRates | None) -> None:
    if there is None:
        lossy = ", ".join(name for name, codec in CODECS.items() if codec.bit_rates)
        raise InvalidSetting("this format has no bit rate to choose", field="bit_rate", limit=lossy)
    if asked < there.lowest:
        raise InvalidSetting("the bit rate is too low", field="bit_rate", limit=there.lowest)
    if asked > there.highest:
        raise InvalidSetting("the bit rate is too high", field="bit_rate", limit=there.highest)
