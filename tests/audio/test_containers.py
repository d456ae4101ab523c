"""Ogg and WebM, byte by byte where their readers would forgive, and by FFmpeg where it would not."""

import io
import struct
from typing import NamedTuple

import av
import numpy as np
import pytest

from stream_server.audio.format import AudioFormat
from stream_server.audio.ogg import checksum
from tests.audio.sound import MODEL_RATES, decoded, encoded, glide, together


class Page(NamedTuple):
    flags: int
    granule: int
    number: int
    data: bytes


def pages(data: bytes) -> list[Page]:
    found = []
    while data:
        magic, _, flags, granule, _, number, told, segments = struct.unpack_from("<4sBBqIIIB", data)
        assert magic == b"OggS"
        size = 27 + segments + sum(data[27 : 27 + segments])
        assert told == slow_checksum(data[:22] + bytes(4) + data[26:size])
        found.append(Page(flags, granule, number, data[27 + segments : size]))
        data = data[size:]
    return found


def slow_checksum(page: bytes) -> int:
    remainder = 0
    for byte in page:
        remainder ^= byte << 24
        for _ in range(8):
            remainder = (remainder << 1 ^ (0x04C11DB7 if remainder & 0x80000000 else 0)) & 0xFFFFFFFF
    return remainder


@pytest.mark.parametrize("size", [0, 1, 27, 300])
def test_the_checksum_is_ogg_s(size: int) -> None:
    page = np.random.default_rng(size).bytes(size)
    assert checksum(page) == slow_checksum(page)


def test_a_page_a_packet_and_the_last_is_cut() -> None:
    head, tags, *sound = pages(together(encoded(glide(1_000, 24_000), AudioFormat("ogg_opus"), 24_000)))
    assert head == Page(2, 0, 0, b"OpusHead\x01\x01" + struct.pack("<HIHB", 312, 24_000, 0, 0))
    assert tags.data.startswith(b"OpusTags") and (tags.flags, tags.granule) == (0, 0)
    assert [(page.flags, page.granule, page.number) for page in sound] == [(0, 960, 2), (0, 1_920, 3), (4, 2_312, 4)]


def test_an_empty_ogg_holds_nothing_to_hear() -> None:
    found = pages(together(encoded(glide(0, 24_000), AudioFormat("ogg_opus"), 24_000)))
    assert [(page.flags, page.granule) for page in found] == [(2, 0), (0, 0), (4, 312)]  # all of it pre-skip


def test_a_packet_longer_than_a_lacing_byte_can_say() -> None:
    noise = np.random.default_rng(0).uniform(-0.9, 0.9, 4_800).astype(np.float32)
    *_, last = pages(together(encoded(noise, AudioFormat("ogg_opus", bit_rate=256_000), 24_000)))
    assert len(last.data) > 255 and last.flags == 4


def test_clusters_tell_when_and_the_track_how_to_begin() -> None:
    data = together(encoded(glide(1_000, 24_000), AudioFormat("webm"), 24_000))
    assert data[:4].hex() == "1a45dfa3" and b"\x42\x82\x84webm" in data and b"A_OPUS" in data
    assert bytes.fromhex("18538067 01ffffffffffffff") in data  # a segment of unknown size
    assert bytes.fromhex("56aa83 632ea0") in data  # CodecDelay: 6.5 ms
    assert bytes.fromhex("56bb84 04c4b400") in data  # SeekPreRoll: 80 ms
    with av.open(io.BytesIO(data), format="matroska") as file:
        times = [packet.pts * packet.time_base for packet in file.demux() if packet.pts is not None]
    assert np.allclose(np.diff([float(time) for time in times]), 0.02, atol=1e-6) and len(times) == 3


EXACT = [("ogg_opus", "ogg", samples) for samples in (1, 300, 640, 960, 12_345)]
EXACT += [("webm", "matroska", samples) for samples in (640, 960, 12_345)]  # of less FFmpeg cuts one end only


@pytest.mark.parametrize(("codec", "container", "samples"), EXACT)
@pytest.mark.parametrize("rate", MODEL_RATES)
def test_a_decoder_gives_exactly_what_was_said(codec: str, container: str, rate: int, samples: int) -> None:
    pcm, heard_at = decoded(together(encoded(glide(samples, rate), AudioFormat(codec), rate)), container)
    assert (len(pcm), heard_at) == (-(-samples * 48_000 // rate), 48_000)


@pytest.mark.parametrize(("codec", "container"), [("ogg_opus", "ogg"), ("webm", "matroska")])
def test_it_is_decodable_while_it_grows(codec: str, container: str) -> None:
    first, *_ = encoded(glide(24_000, 24_000), AudioFormat(codec), 24_000)
    assert len(decoded(first.data, container)[0]) == 960 - 312
