"""An mp3 stream: whole frames behind LAME's tag, and as long as what was said within one of them."""

import io

import av
import pytest

from stream_server.audio.encoders import make_encoder
from stream_server.audio.format import RATES, AudioFormat
from stream_server.audio.lame_tag import crc16, tag_frame
from tests.audio.sound import decoded, encoded, glide, lag, together

MP3 = AudioFormat("mp3")
FRAME = 192  # bytes, at 24 kHz and 64 kbit/s
TAG = (
    "fff384c4 000000000000000000 496e666f 00000002 ffffffff"  # header, side information, Info, has bytes: any number
    "4c414d45332e313030 01 00 0000000000000000 00 ff 240000 00 00 0000 00000000 0000"  # LAME3.100 … a delay of 576
)


def test_the_checksum_is_the_known_one() -> None:
    assert crc16(b"123456789") == 0xBB3D


def test_the_tag_literally() -> None:
    tag = bytes.fromhex(TAG)
    frame = tag_frame(b"\xff\xf3\x86\xc4", FRAME, 576)
    assert frame[: len(tag) + 2] == tag + crc16(tag).to_bytes(2, "big")
    assert not any(frame[len(tag) + 2 :]) and len(frame) == FRAME


def test_the_tag_comes_with_the_first_frame() -> None:
    first, *others = encoded(glide(5_000, 24_000), MP3, 24_000)
    assert len(first.data) == 2 * FRAME and first.data[13:17] == b"Info" and first.data[FRAME:][:2] == b"\xff\xf3"
    assert b"Info" not in together(others)


def test_every_chunk_is_whole_frames() -> None:
    for chunk in encoded(glide(24_000, 24_000), AudioFormat("mp3", chunk_s=0.1), 24_000):
        frames = [chunk.data[at : at + FRAME] for at in range(0, len(chunk.data), FRAME)]
        assert all(frame.startswith(b"\xff\xf3") and len(frame) == FRAME for frame in frames)


@pytest.mark.parametrize("samples", range(4_000, 4_000 + 576, 23))
def test_no_frame_is_padding_alone(samples: int) -> None:
    data = together(encoded(glide(samples, 24_000), MP3, 24_000))
    assert len(data) // FRAME == 1 + -(-(samples + 1_105) // 576)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("kbps", [32, 64, 320])
def test_a_decoder_gives_what_was_said_and_less_than_a_frame_more(rate: int, kbps: int) -> None:
    for samples in (rate, rate + 170, rate + 340, rate + 510):
        pcm, heard_at = decoded(
            together(encoded(glide(samples, rate), AudioFormat("mp3", rate, kbps * 1_000), rate)), "mp3"
        )
        assert heard_at == rate and 0 <= len(pcm) - samples < (1_152 if rate >= 32_000 else 576)
        assert lag(pcm, glide(samples, rate)) == 0


def test_what_came_so_far_is_decoded_as_far_as_its_durations_say() -> None:
    """Whenever a client looks, and it need not wait for bytes of the next frame."""
    encoder, data, said = make_encoder(MP3, 24_000), b"", 0
    for at in range(0, 12_000, 240):
        for chunk in encoder.encode(glide(240, 24_000, at / 24_000)):
            data, said = data + chunk.data, said + chunk.duration
            assert not said or len(decoded(data, "mp3")[0]) == said  # FFmpeg opens no file of one frame


def test_a_second_stream_behind_the_first_is_heard_too() -> None:
    once = together(encoded(glide(12_000, 24_000), MP3, 24_000))
    with av.open(io.BytesIO(once * 2), format="mp3") as file:
        heard = sum(frame.samples for frame in file.decode(audio=0))
    assert 2 * 12_000 <= heard <= 2 * 12_000 + 2 * 576 + 576 + 1_105  # its tag is a frame of silence there
