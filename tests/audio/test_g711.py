"""G.711 against bytes known from the recommendation and against FFmpeg's decoder; ours only encodes."""

import numpy as np
import pytest

from stream_server.audio import g711
from tests.audio.sound import decoded

EVERY = np.arange(-32_768, 32_768).astype(np.int16)
LAWS = [("mulaw", g711.mulaw), ("alaw", g711.alaw)]
laws = pytest.mark.parametrize(("law", "encode"), LAWS, ids=["mulaw", "alaw"])


def heard(data: bytes, law: str) -> np.ndarray:
    return np.rint(decoded(data, law, {"sample_rate": "8000"})[0] * 32_768).astype(int)


@pytest.mark.parametrize(
    ("encode", "bytes_of"),
    [
        (g711.mulaw, {0: 0xFF, 1: 0xFF, -1: 0x7F, 8: 0xFE, 1_000: 0xCE, -1_000: 0x4E, 32_767: 0x80, -32_768: 0x00}),
        (g711.alaw, {0: 0xD5, 15: 0xD5, 16: 0xD4, -1: 0x55, 1_000: 0xFA, -1_000: 0x7A, 32_767: 0xAA, -32_768: 0x2A}),
    ],
)
def test_known_bytes(encode: "type[g711.mulaw]", bytes_of: dict[int, int]) -> None:
    assert {value: encode(np.array([value], np.int16))[0] for value in bytes_of} == bytes_of


@laws
def test_every_byte_survives_being_decoded_and_encoded_again(law: str, encode: "type[g711.mulaw]") -> None:
    every = bytes(range(256))
    again = encode(heard(every, law).astype(np.int16))
    two_zeros = {0x7F: 0xFF} if law == "mulaw" else {}  # minus nothing is nothing
    assert list(again) == [two_zeros.get(byte, byte) for byte in every]


@laws
def test_every_sample_is_within_half_a_step(law: str, encode: "type[g711.mulaw]") -> None:
    """A step is at least 8, and a sixteenth of its segment."""
    off = np.abs(heard(encode(EVERY), law) - EVERY.astype(int))
    half_step = np.maximum((np.abs(EVERY.astype(int)) + 132) / 32, 16 if law == "alaw" else 4)
    clipped = np.abs(EVERY.astype(int)) > 32_124
    assert (off <= half_step)[~clipped].all()


@laws
def test_louder_is_never_encoded_as_softer(law: str, encode: "type[g711.mulaw]") -> None:
    assert (np.diff(heard(encode(EVERY), law)) >= 0).all()
