"""G.711: a byte a sample, by the µ-law of America and Japan and the A-law of everybody else.

Every int16 is looked up in a table of 65 536 bytes, made once by the recommendation's rules.  Knows no rates: a
telephone's is 8 kHz.
"""

import functools

import numpy as np
from numpy.typing import NDArray

from stream_server.audio.pcm import Int16

Bytes = NDArray[np.uint8]
EVERY = np.arange(65_536, dtype=np.uint16).view(np.int16)  # int16 in the order of their bits


def mulaw(pcm: Int16) -> bytes:
    return _mulaw_table()[pcm.view(np.uint16)].tobytes()


def alaw(pcm: Int16) -> bytes:
    return _alaw_table()[pcm.view(np.uint16)].tobytes()


@functools.cache
def _mulaw_table() -> Bytes:
    """14 bits of magnitude, 33 added; sign, exponent and four bits behind the leading one, all inverted."""
    magnitude = np.minimum((_magnitude() >> 2) + 33, 0x1FFF)
    exponent = _leading_bit(magnitude) - 5
    mantissa = (magnitude >> (exponent + 1)) & 15
    return ((_positive() << 7) | ((exponent << 4 | mantissa) ^ 0x7F)).astype(np.uint8)


@functools.cache
def _alaw_table() -> Bytes:
    """12 bits of magnitude; the lowest two segments are as they are, and every other bit is inverted."""
    magnitude = _magnitude() >> 4
    shift = np.maximum(_leading_bit(magnitude) - 4, 0)
    return ((_positive() << 7 | (shift << 4) + (magnitude >> shift)) ^ 0x55).astype(np.uint8)


def _magnitude() -> NDArray[np.int32]:
    """By one's complement: -1 is a negative nothing, and -32 768 is no exception."""
    return np.where(EVERY < 0, ~EVERY, EVERY).astype(np.int32)


def _positive() -> NDArray[np.int32]:
    return (EVERY >= 0).astype(np.int32)


def _leading_bit(values: NDArray[np.int32]) -> NDArray[np.int32]:
    """The place of the highest bit that is set; -1 for 0."""
    return np.frexp(values.astype(np.float64))[1].astype(np.int32) - 1
