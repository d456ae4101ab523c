import pytest

from stream_server.audio.format import CODECS, ENDINGS, FORMATS, RATES, AudioFormat
from stream_server.errors import InvalidSetting, UnsupportedFormat


def test_an_unknown_codec_names_the_choices() -> None:
    with pytest.raises(UnsupportedFormat) as caught:
        AudioFormat("midi")
    assert (caught.value.field, caught.value.limit) == ("format", ", ".join(FORMATS))
    assert "midi" not in caught.value.message


@pytest.mark.parametrize(
    ("codec", "rate", "limit"),
    [
        ("mp3", 22_051, "8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000"),
        ("pcm_s16le", 0, "8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000"),
        ("opus", 44_100, "8000, 12000, 16000, 24000, 48000"),
        ("webm", -8_000, "8000, 12000, 16000, 24000, 48000"),
    ],
)
def test_a_rate_the_codec_does_not_take(codec: str, rate: int, limit: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        AudioFormat(codec, rate)
    assert (caught.value.field, caught.value.limit) == ("sample_rate", limit)


@pytest.mark.parametrize(
    ("codec", "bit_rate", "limit"),
    [
        ("mp3", 31_999, 32_000),
        ("mp3", 320_001, 320_000),
        ("opus", 0, 6_000),
        ("aac", 1_000_000, 256_000),
        ("flac", 64_000, "opus, ogg_opus, webm, mp3, aac"),
    ],
)
def test_a_bit_rate_the_codec_does_not_take(codec: str, bit_rate: int, limit: float | str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        AudioFormat(codec, bit_rate=bit_rate)
    assert (caught.value.field, caught.value.limit) == ("bit_rate", limit)


def test_the_rate_is_the_model_s_where_none_is_asked() -> None:
    assert AudioFormat("mp3").rate_from(32_000) == 32_000
    assert AudioFormat("mp3", 8_000).rate_from(32_000) == 8_000
    assert [AudioFormat("webm").rate_from(rate) for rate in (24_000, 32_000)] == [24_000, 48_000]


def test_every_codec_has_a_media_type_and_known_rates() -> None:
    assert [AudioFormat(name).media_type for name in FORMATS] == [
        "audio/opus",
        "audio/ogg",
        "audio/webm",
        "audio/pcm",
        "audio/pcm",
        "audio/wav",
        "audio/mpeg",
        "audio/flac",
        "audio/aac",
        "audio/basic",
        "audio/x-alaw-basic",
    ]
    assert all(set(codec.rates) <= set(RATES) for codec in CODECS.values())
    assert set(ENDINGS.values()) <= set(FORMATS)
