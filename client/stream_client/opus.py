"""Opus packets to samples, through whichever libopus this machine has.

Knows opuslib and its traps (it is the only importer), and where a libopus may lie.  Does not know messages, pre-skip
or the end of a stream.
"""

import ctypes.util
import functools
import importlib
import importlib.util
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_client.errors import OpusMissing, WireError

ENVIRONMENT = "STREAM_SERVER_LIBOPUS"
RATES = (8000, 12000, 16000, 24000, 48000)
LONGEST_PACKET_MS = 120


def decode_rate(sample_rate: int) -> int:
    """The rate at which speech of `sample_rate` is decoded: Opus has no 32 kHz, nor 44.1."""
    return sample_rate if sample_rate in RATES else 48000


class OpusDecoder:
    """A stream of Opus packets, mono, to int16 samples at `rate`."""

    def __init__(self, rate: int) -> None:
        self._longest = rate * LONGEST_PACKET_MS // 1000
        self._decoder = load().Decoder(rate, 1)

    def decode(self, packet: bytes) -> NDArray[np.int16]:
        try:
            pcm = self._decoder.decode(packet, self._longest)
        except load().OpusError as error:  # its text is not always printable, its code is
            raise WireError(f"an Opus packet that cannot be decoded (libopus error {error.code})") from None
        return np.frombuffer(pcm, dtype=np.int16)


@functools.cache
def load() -> Any:
    """opuslib, bound to a libopus.  It asks `find_library` while it is imported, so that is where it is told."""
    path = next(_candidates(), None)
    if path is None:
        raise OpusMissing(
            "no libopus here: `apt-get install libopus0` or `pip install av` brings one, "
            f"or name its file in {ENVIRONMENT}; without it ask for the format pcm_s16le"
        )
    find_library = ctypes.util.find_library
    ctypes.util.find_library = lambda name: path
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its source makes newer compilers frown
            return importlib.import_module("opuslib")
    except OSError as error:
        raise OpusMissing(f"{path} cannot be loaded: {error}") from error
    finally:
        ctypes.util.find_library = find_library


def _candidates() -> Iterator[str]:
    """Where libopus may be, best first: as told, the system's, PyAV's own copy (found without importing PyAV)."""
    if told := os.environ.get(ENVIRONMENT):
        yield told
    if found := ctypes.util.find_library("opus"):
        yield found
    spec = importlib.util.find_spec("av")
    if spec and spec.origin:
        beside = Path(spec.origin).parent.parent / "av.libs"
        yield from map(str, sorted(beside.glob("libopus-*.so*")))
