"""Cut anywhere, same bytes; and what a client keeps by the documented rule is exactly what was said."""

import io
import wave

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_server.audio.encoders import LOSSLESS, LOSSY, Chunk, make_encoder
from stream_server.audio.format import CODECS, FORMATS, AudioFormat
from stream_server.audio.opus import OpusDecoder
from stream_server.audio.pcm import to_float, to_int16
from stream_server.audio.raw import wav_header
from tests.audio.sound import MODEL_RATES, assert_contiguous, encoded, glide

WAYS = [
    (AudioFormat(codec, out, chunk_s=chunk_s), rate)
    for codec in FORMATS
    for rate in MODEL_RATES
    for out, chunk_s in ((None, 0.02), (16_000, 0.1))
]
ways = pytest.mark.parametrize(("format", "rate"), WAYS, ids=[f"{f.codec}-{rate}-{f.sample_rate}" for f, rate in WAYS])
LONGEST_LEAD, LONGEST_FRAME = 1_105, 1_024  # mp3 and AAC
OPUS, PCM, WAV = map(AudioFormat, ("opus", "pcm_s16le", "wav"))


def heard(chunks: list[Chunk], rate: int) -> np.ndarray:
    """A client's part of the rule, in full: one decoder, drop `pre_skip`, keep the durations' sum."""
    decode_rate = 48_000 if rate == 32_000 else rate
    decoder, pre_skip = OpusDecoder(decode_rate), make_encoder(OPUS, rate).pre_skip
    decoded = [decoder.decode(chunk.data) for chunk in chunks]
    keep = round(sum(chunk.duration for chunk in chunks) * decode_rate / rate)
    return np.concatenate([*decoded, np.zeros(0, np.int16)])[pre_skip : pre_skip + keep]


@ways
@settings(max_examples=20, deadline=None)
@given(samples=st.integers(0, 5_000), cuts=st.lists(st.integers(0, 5_000), max_size=8))
def test_cut_anywhere_same_chunks(format: AudioFormat, rate: int, samples: int, cuts: list[int]) -> None:
    pcm = glide(samples, rate)
    chunks = encoded(pcm, format, rate, cuts)
    assert chunks == encoded(pcm, format, rate)
    assert_contiguous(chunks, samples)


@pytest.mark.parametrize("rate", MODEL_RATES)
@settings(max_examples=40, deadline=None)
@given(samples=st.integers(0, 5_000))
def test_decoded_opus_is_as_long_as_what_was_said(rate: int, samples: int) -> None:
    chunks = encoded(glide(samples, rate), OPUS, rate)
    assert len(heard(chunks, rate)) == (samples if rate == 24_000 else round(samples * 1.5))
    assert all(len(chunk.data) <= 1_275 for chunk in chunks)


def test_opus_at_24_khz_packet_by_packet() -> None:
    chunks = encoded(glide(1_000, 24_000), OPUS, 24_000)
    assert make_encoder(OPUS, 24_000).pre_skip == 156
    assert [(chunk.pts, chunk.duration) for chunk in chunks] == [(0, 324), (324, 480), (804, 196)]


def test_opus_at_32_khz_packet_by_packet() -> None:
    chunks = encoded(glide(1_300, 32_000), OPUS, 32_000)
    assert make_encoder(OPUS, 32_000).pre_skip == 312  # at 48 000, where it is decoded
    assert [(chunk.pts, chunk.duration) for chunk in chunks] == [(0, 432), (432, 640), (1072, 228)]


@pytest.mark.parametrize("rate", MODEL_RATES)
def test_opus_says_the_same_at_the_same_time(rate: int) -> None:
    pcm = heard(encoded(glide(rate, rate), OPUS, rate), rate)
    said = to_int16(glide(len(pcm), len(pcm)))  # one second, at the decoder's rate
    assert np.corrcoef(pcm, said)[0, 1] > 0.995
    assert max(range(-5, 6), key=lambda shift: float(np.dot(np.roll(pcm, shift).astype(float), said))) == 0


@pytest.mark.parametrize(("rate", "bound_ms"), [(24_000, 20), (32_000, 30)])
def test_how_much_speech_the_first_packet_waits_for(rate: int, bound_ms: int) -> None:
    encoder = make_encoder(OPUS, rate)
    assert encoder.encode(glide(rate // 50 - 1, rate)) == []
    assert len(encoder.encode(np.zeros(rate * bound_ms // 1_000 - rate // 50 + 1, np.float32))) == 1


@ways
def test_a_frame_from_a_read_only_buffer_is_taken(format: AudioFormat, rate: int) -> None:
    pcm = glide(2_000, rate)
    pcm.setflags(write=False)
    assert_contiguous(encoded(pcm, format, rate), 2_000)


@pytest.mark.parametrize("codec", [codec for codec in FORMATS if codec != "opus"])
def test_what_follows_the_first_speech_is_gathered(codec: str) -> None:
    chunks = encoded(glide(48_000, 24_000), AudioFormat(codec, chunk_s=0.2), 24_000)
    one, two, *others, last = [chunk for chunk in chunks if chunk.duration >= 240]  # before may come the lead-in
    assert one.duration <= 576  # a frame of mp3
    assert 4_800 - LONGEST_LEAD <= two.duration < 4_800 + LONGEST_FRAME
    assert all(4_800 <= chunk.duration < 4_800 + LONGEST_FRAME for chunk in others)
    assert last.duration < 4_800 + 3 * LONGEST_FRAME


def test_what_is_gathered_can_be_had_before_the_chunk_is_full() -> None:
    format, pcm = AudioFormat("pcm_s16le", chunk_s=0.2), glide(4_000, 24_000)
    encoder = make_encoder(format, 24_000)
    chunks = encoder.encode(pcm) + encoder.release()
    assert [(chunk.pts, chunk.duration) for chunk in chunks] == [(0, 480), (480, 3_360)]
    assert encoder.release() == []
    chunks += encoder.finish()
    assert_contiguous(chunks, 4_000)
    assert b"".join(chunk.data for chunk in chunks) == b"".join(chunk.data for chunk in encoded(pcm, format, 24_000))


def test_opus_packets_are_never_put_together() -> None:
    assert encoded(glide(9_600, 24_000), AudioFormat("opus", chunk_s=0.2), 24_000) == encoded(
        glide(9_600, 24_000), OPUS, 24_000
    )


def test_pcm_goes_out_in_blocks_of_20_ms() -> None:
    pcm = glide(1_500, 32_000)
    chunks = encoded(pcm, PCM, 32_000)
    assert [chunk.duration for chunk in chunks] == [640, 640, 220]
    assert np.array_equal(np.frombuffer(b"".join(chunk.data for chunk in chunks), "<i2"), to_int16(pcm))


def test_little_endian_literally() -> None:
    chunk = Chunk(b"\x01\x00\xff\xff\x00\x80", 0, 3)
    assert encoded(to_float(np.array([1, -1, -32768], np.int16)), PCM, 24_000) == [chunk]


def test_wav_header_literally() -> None:
    assert wav_header(24_000) == bytes.fromhex(
        "52494646 ffffffff 57415645 666d7420 10000000 0100 0100 c05d0000 80bb0000 0200 1000 64617461 ffffffff"
    )


@pytest.mark.parametrize("samples", [0, 1, 480, 5_000])
def test_a_wav_stream_is_a_wav_file(samples: int) -> None:
    pcm = glide(samples, 24_000)
    chunks = encoded(pcm, WAV, 24_000)
    with wave.open(io.BytesIO(b"".join(chunk.data for chunk in chunks))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 24_000)
        assert file.readframes(samples + 1) == to_int16(pcm).tobytes()
    assert sum(chunk.data.count(b"RIFF") for chunk in chunks) == 1
    assert chunks[0].data.startswith(b"RIFF")


def test_two_encoders_share_nothing() -> None:
    pcm, other = glide(3_000, 24_000), np.zeros(3_000, np.float32)
    one, two = make_encoder(OPUS, 24_000), make_encoder(OPUS, 24_000)
    chunks = []
    for start in range(0, 3_000, 100):
        chunks += one.encode(pcm[start : start + 100])
        two.encode(other[start : start + 100])
    assert chunks + one.finish() == encoded(pcm, OPUS, 24_000)


def test_every_codec_can_be_made() -> None:
    assert {**LOSSY, **LOSSLESS}.keys() == CODECS.keys()
    assert {name for name, codec in CODECS.items() if codec.bit_rates} == set(LOSSY)


@pytest.mark.parametrize("codec", FORMATS)
def test_what_no_loudspeaker_could_play_does_not_hold_a_codec_up(codec: str) -> None:
    """FFmpeg's AAC encoder never comes back from samples a million times too loud."""
    encoder = make_encoder(AudioFormat(codec), 24_000)
    for loud in (2e7, np.inf, -np.inf, np.nan):
        encoder.encode(np.full(9_600, loud, np.float32))
    encoder.finish()
