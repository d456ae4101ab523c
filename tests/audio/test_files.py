"""Every format, decoded by FFmpeg: as long as what was said, and the same sound at the same time."""

from typing import NamedTuple

import numpy as np
import pytest

from stream_server.audio.encoders import make_encoder
from stream_server.audio.format import CODECS, AudioFormat
from stream_server.audio.pcm import to_int16
from tests.audio.sound import MODEL_RATES, assert_contiguous, decoded, encoded, glide, lag, snr_db, together


class Reader(NamedTuple):
    container: str
    frame: int  # samples by which a decoder may give more at the end
    snr_db: float  # of a glide, at least
    raw: bool = False  # has to be told its rate


READERS = {
    "ogg_opus": Reader("ogg", 0, 12),
    "webm": Reader("matroska", 0, 12),
    "pcm_s16le": Reader("s16le", 0, 60, raw=True),
    "pcm_f32le": Reader("f32le", 0, 60, raw=True),
    "wav": Reader("wav", 0, 60),
    "mp3": Reader("mp3", 1_152, 20),
    "flac": Reader("flac", 0, 60),
    "aac": Reader("aac", 1_024, 12),
    "mulaw": Reader("mulaw", 0, 30, raw=True),
    "alaw": Reader("alaw", 0, 30, raw=True),
}
OPUS = {"ogg_opus", "webm"}  # decoded at 48 kHz, whatever went in
FORMATS = [AudioFormat(codec, rate) for codec in READERS for rate in (None, 8_000, 16_000, *CODECS[codec].rates[-2:])]
FORMATS += [AudioFormat("mp3", 22_050, bit_rate) for bit_rate in (32_000, 160_000)]
FORMATS += [AudioFormat("mp3", 44_100, 320_000), AudioFormat("aac", 44_100, 128_000), AudioFormat("webm", None, 96_000)]
NAMES = [f"{f.codec}-{f.sample_rate}-{f.bit_rate}" for f in FORMATS]


def heard(data: bytes, format: AudioFormat, rate: int) -> tuple[np.ndarray, int]:
    reader = READERS[format.codec]
    options = {"sample_rate": str(format.rate_from(rate))} if reader.raw else {}
    return decoded(data, reader.container, options)


@pytest.mark.parametrize("format", FORMATS, ids=NAMES)
@pytest.mark.parametrize("rate", MODEL_RATES)
def test_it_is_what_was_said(format: AudioFormat, rate: int) -> None:
    chunks = encoded(glide(rate + 77, rate), format, rate)
    assert_contiguous(chunks, rate + 77)
    pcm, heard_at = heard(together(chunks), format, rate)
    out = 48_000 if format.codec in OPUS else format.rate_from(rate)
    pcm, samples = pcm[make_encoder(format, rate).pre_skip :], -(-(rate + 77) * out // rate)
    reader = READERS[format.codec]
    slack = max(-(-48_000 // format.rate_from(rate)) - 1, 2 * reader.frame)
    assert heard_at == out and 0 <= len(pcm) - samples <= slack
    said = glide(samples, out)
    assert lag(pcm, said) == 0
    assert snr_db(pcm, said) > reader.snr_db


def test_flac_loses_nothing() -> None:
    pcm = np.random.default_rng(0).uniform(-1, 1, 5_001).astype(np.float32)
    flac = decoded(together(encoded(pcm, AudioFormat("flac"), 24_000)), "flac")[0]
    assert np.array_equal(np.rint(flac * 32_768), to_int16(pcm))


def test_float_is_float_up_to_full_scale() -> None:
    pcm = np.array([0.1, -2.0, 1e-9], np.float32)
    heard = np.frombuffer(together(encoded(pcm, AudioFormat("pcm_f32le"), 24_000)), "<f4")
    assert np.array_equal(heard, np.array([0.1, -1.0, 1e-9], np.float32))


def test_a_bit_rate_is_kept_to() -> None:
    sizes = {
        kbps: len(together(encoded(glide(44_100, 24_000), AudioFormat("mp3", 44_100, kbps * 1_000), 24_000)))
        for kbps in (32, 64, 128, 320)
    }
    assert all(size * 8 / 1_000 == pytest.approx(kbps * 44_100 / 24_000, rel=0.05) for kbps, size in sizes.items())


@pytest.mark.parametrize("codec", READERS)
def test_nothing_said_is_a_file_all_the_same(codec: str) -> None:
    data = together(encoded(glide(0, 24_000), AudioFormat(codec), 24_000))
    bare = codec in {"mp3", "aac"} or READERS[codec].raw
    assert (data == b"") == bare
    if not bare:
        assert len(decoded(data, READERS[codec].container)[0]) <= (648 if codec == "webm" else 0)  # silence


# How soon.


def first_speech_ms(format: AudioFormat, rate: int) -> tuple[int, int]:
    """Milliseconds of speech that the first bytes wait for, and the first bytes that hold speech."""
    encoder, chunks, waited = make_encoder(format, rate), [], []
    for block in np.split(glide(rate, rate), 1_000):
        chunks += (new := encoder.encode(block))
        waited += [len(waited) + 1] if not any(chunk.duration for chunk in chunks) else []
        if any(chunk.duration for chunk in new):
            break
    begun = make_encoder(format, rate)
    first = next(ms for ms, block in enumerate(np.split(glide(rate, rate), 1_000), 1) if begun.encode(block))
    return first, len(waited) + 1


PROMPT = [
    AudioFormat(codec, rate) for codec in CODECS for rate in (None, *CODECS[codec].rates) if codec not in {"aac", "mp3"}
]


@pytest.mark.parametrize("rate", MODEL_RATES)
@pytest.mark.parametrize("format", PROMPT, ids=[f"{f.codec}-{f.sample_rate}" for f in PROMPT])
def test_first_bytes_within_60_ms_of_speech(format: AudioFormat, rate: int) -> None:
    first, speech = first_speech_ms(format, rate)
    assert first <= speech <= 60


@pytest.mark.parametrize(
    ("format", "rate", "bound_ms"),
    [
        (AudioFormat("aac"), 24_000, 60),
        (AudioFormat("aac"), 32_000, 60),
        (AudioFormat("aac", 24_000), 24_000, 86),
        (AudioFormat("aac", 44_100), 24_000, 48),
    ],
)
def test_codecs_whose_frames_are_longer(format: AudioFormat, rate: int, bound_ms: int) -> None:
    """AAC frames are 1024 samples and the encoder wants two."""
    assert first_speech_ms(format, rate)[0] <= bound_ms


@pytest.mark.parametrize("rate", MODEL_RATES)
@pytest.mark.parametrize(
    ("out", "bound_ms"),
    [(8_000, 270), (16_000, 150), (22_050, 100), (24_000, 100), (32_000, 85), (44_100, 65), (48_000, 85)],
)
def test_mp3_waits_for_two_whole_frames(out: int, bound_ms: int, rate: int) -> None:
    """Up to 24 kHz the first is lead-in; and LAME fills each up with bits of the next."""
    assert first_speech_ms(AudioFormat("mp3", out), rate)[1] <= bound_ms
