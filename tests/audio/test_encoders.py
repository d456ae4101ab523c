"""Cut anywhere, same bytes; and what a client keeps by the documented rule is exactly what was said."""

import io
import wave
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_server.audio.encoders import LOSSLESS, LOSSY, Chunk, make_encoder
from stream_server.audio.format import CODECS, FORMATS, AudioFormat
from stream_server.audio.opus import OpusDecoder
from stream_server.audio.pcm import to_float, to_int16
from stream_server.audio.raw import wav_header

RATES = (24_000, 32_000)
ways = pytest.mark.parametrize(("format", "rate"), [(format, rate) for format in FORMATS for rate in RATES])


def speech(samples: int, rate: int) -> np.ndarray:
    """A glide, so that any shift in time is heard."""
    t = np.arange(samples) / rate
    return (0.3 * np.sin(2 * np.pi * (200 + 400 * t) * t)).astype(np.float32)


def encoded(pcm: np.ndarray, format: str, rate: int, cuts: list[int] | None = None) -> list[Chunk]:
    encoder = make_encoder(AudioFormat(format), rate)
    pieces = np.split(pcm, sorted(min(cut, len(pcm)) for cut in cuts or []))
    return [chunk for piece in pieces for chunk in encoder.encode(piece)] + encoder.finish()


def heard(chunks: list[Chunk], rate: int) -> np.ndarray:
    """A client's part of the rule, in full: one decoder, drop `pre_skip`, keep the durations' sum."""
    decode_rate = 48_000 if rate == 32_000 else rate
    decoder, pre_skip = OpusDecoder(decode_rate), make_encoder(AudioFormat("opus"), rate).pre_skip
    decoded = [decoder.decode(chunk.data) for chunk in chunks]
    keep = round(sum(chunk.duration for chunk in chunks) * decode_rate / rate)
    return np.concatenate([*decoded, np.zeros(0, np.int16)])[pre_skip : pre_skip + keep]


def assert_contiguous(chunks: list[Chunk], samples: int) -> None:
    ends = list(accumulate(chunk.duration for chunk in chunks))
    assert [chunk.pts for chunk in chunks] == [0, *ends][: len(chunks)]
    assert (ends[-1] if ends else 0) == samples
    assert all(chunk.duration > 0 for chunk in chunks[1:]) or not samples


@ways
@settings(max_examples=20, deadline=None)
@given(samples=st.integers(0, 5_000), cuts=st.lists(st.integers(0, 5_000), max_size=8))
def test_cut_anywhere_same_chunks(format: str, rate: int, samples: int, cuts: list[int]) -> None:
    pcm = speech(samples, rate)
    chunks = encoded(pcm, format, rate, cuts)
    assert chunks == encoded(pcm, format, rate)
    assert_contiguous(chunks, samples)


@pytest.mark.parametrize("rate", RATES)
@settings(max_examples=40, deadline=None)
@given(samples=st.integers(0, 5_000))
def test_decoded_opus_is_as_long_as_what_was_said(rate: int, samples: int) -> None:
    chunks = encoded(speech(samples, rate), "opus", rate)
    assert len(heard(chunks, rate)) == (samples if rate == 24_000 else round(samples * 1.5))
    assert all(len(chunk.data) <= 1_275 for chunk in chunks)


def test_opus_at_24_khz_packet_by_packet() -> None:
    chunks = encoded(speech(1_000, 24_000), "opus", 24_000)
    assert make_encoder(AudioFormat("opus"), 24_000).pre_skip == 156
    assert [(chunk.pts, chunk.duration) for chunk in chunks] == [(0, 324), (324, 480), (804, 196)]


def test_opus_at_32_khz_packet_by_packet() -> None:
    chunks = encoded(speech(1_300, 32_000), "opus", 32_000)
    assert make_encoder(AudioFormat("opus"), 32_000).pre_skip == 312  # at 48 000, where it is decoded
    assert [(chunk.pts, chunk.duration) for chunk in chunks] == [(0, 432), (432, 640), (1072, 228)]


@pytest.mark.parametrize("rate", RATES)
def test_opus_says_the_same_at_the_same_time(rate: int) -> None:
    pcm = heard(encoded(speech(rate, rate), "opus", rate), rate)
    said = to_int16(speech(len(pcm), len(pcm)))  # one second, at the decoder's rate
    assert np.corrcoef(pcm, said)[0, 1] > 0.995
    assert max(range(-5, 6), key=lambda shift: float(np.dot(np.roll(pcm, shift).astype(float), said))) == 0


@pytest.mark.parametrize(("rate", "bound_ms"), [(24_000, 20), (32_000, 30)])
def test_how_much_speech_the_first_packet_waits_for(rate: int, bound_ms: int) -> None:
    encoder = make_encoder(AudioFormat("opus"), rate)
    assert encoder.encode(speech(rate // 50 - 1, rate)) == []
    assert len(encoder.encode(np.zeros(rate * bound_ms // 1_000 - rate // 50 + 1, np.float32))) == 1


@ways
def test_a_frame_from_a_read_only_buffer_is_taken(format: str, rate: int) -> None:
    pcm = speech(2_000, rate)
    pcm.setflags(write=False)
    assert_contiguous(encoded(pcm, format, rate), 2_000)


def test_pcm_goes_out_in_blocks_of_20_ms() -> None:
    pcm = speech(1_500, 32_000)
    chunks = encoded(pcm, "pcm_s16le", 32_000)
    assert [chunk.duration for chunk in chunks] == [640, 640, 220]
    assert np.array_equal(np.frombuffer(b"".join(chunk.data for chunk in chunks), "<i2"), to_int16(pcm))


def test_little_endian_literally() -> None:
    chunk = Chunk(b"\x01\x00\xff\xff\x00\x80", 0, 3)
    assert encoded(to_float(np.array([1, -1, -32768], np.int16)), "pcm_s16le", 24_000) == [chunk]


def test_wav_header_literally() -> None:
    assert wav_header(24_000) == bytes.fromhex(
        "52494646 ffffffff 57415645 666d7420 10000000 0100 0100 c05d0000 80bb0000 0200 1000 64617461 ffffffff"
    )


@pytest.mark.parametrize("samples", [0, 1, 480, 5_000])
def test_a_wav_stream_is_a_wav_file(samples: int) -> None:
    pcm = speech(samples, 24_000)
    chunks = encoded(pcm, "wav", 24_000)
    with wave.open(io.BytesIO(b"".join(chunk.data for chunk in chunks))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 24_000)
        assert file.readframes(samples + 1) == to_int16(pcm).tobytes()
    assert sum(chunk.data.count(b"RIFF") for chunk in chunks) == 1
    assert chunks[0].data.startswith(b"RIFF")


def test_two_encoders_share_nothing() -> None:
    pcm, other = speech(3_000, 24_000), np.zeros(3_000, np.float32)
    one, two = make_encoder(AudioFormat("opus"), 24_000), make_encoder(AudioFormat("opus"), 24_000)
    chunks = []
    for start in range(0, 3_000, 100):
        chunks += one.encode(pcm[start : start + 100])
        two.encode(other[start : start + 100])
    assert chunks + one.finish() == encoded(pcm, "opus", 24_000)


def test_every_codec_can_be_made() -> None:
    assert {**LOSSY, **LOSSLESS}.keys() == CODECS.keys()
    assert {name for name, codec in CODECS.items() if codec.bit_rates} == set(LOSSY)
