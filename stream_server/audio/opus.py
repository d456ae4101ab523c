"""Opus in packets of 20 ms, mono: the one importer of opuslib.

Lazily, because opuslib loads libopus at import and raises a bare `Exception` without it.  Its other traps stay in this
file too: a short buffer is read past its end, `str()` of its own error raises, and its classes complain when they
outlive the interpreter, so we use the functions beneath them.  Knows nothing of contexts or positions in time: what
leads in and what trails is `encoders`' affair.
"""

import ctypes.util
import functools
import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes.util import find_library
from importlib import import_module
from pathlib import Path
from types import ModuleType
from weakref import finalize

import numpy as np

from stream_server.audio.pcm import Int16
from stream_server.errors import OpusMissing, StreamServerError

RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
PACKETS_PER_SECOND = 50
MAX_PACKET_BYTES = 1_275

VARIABLE = "STREAM_SERVER_LIBOPUS"
CURES = f"`apt-get install libopus0`, or `pip install av`, or name a libopus in {VARIABLE}"


class OpusEncoder:
    """One listener's encoder; the packets depend on all that went before."""

    def __init__(self, sample_rate: int = 24_000, bitrate: int = 32_000, complexity: int = 5) -> None:
        self.frame = _frame(sample_rate)
        with _libopus() as opuslib:
            api, ctl = opuslib.api.encoder, opuslib.api.ctl
            self._state = api.create_state(sample_rate, 1, opuslib.APPLICATION_AUDIO)
            finalize(self, api.destroy, self._state).atexit = False
            api.encoder_ctl(self._state, ctl.set_bitrate, bitrate)
            api.encoder_ctl(self._state, ctl.set_complexity, complexity)
            #: Samples by which the decoded sound comes late.
            self.lookahead: int = api.encoder_ctl(self._state, ctl.get_lookahead)

    def encode(self, pcm: Int16) -> bytes:
        """pcm: int16 [frame] → one packet."""
        if pcm.shape != (self.frame,) or pcm.dtype != np.int16:
            raise ValueError(f"an Opus frame is int16 [{self.frame}], not {pcm.dtype} {list(pcm.shape)}")
        with _libopus() as opuslib:
            packet: bytes = opuslib.api.encoder.encode(self._state, pcm.tobytes(), self.frame, MAX_PACKET_BYTES)
        return packet


class OpusDecoder:
    def __init__(self, sample_rate: int = 24_000) -> None:
        self.frame = _frame(sample_rate)
        with _libopus() as opuslib:
            self._state = opuslib.api.decoder.create_state(sample_rate, 1)
            finalize(self, opuslib.api.decoder.destroy, self._state).atexit = False

    def decode(self, packet: bytes) -> Int16:
        """One packet → int16 [frame]; an empty packet stands for a lost one and is concealed."""
        with _libopus() as opuslib:
            pcm = opuslib.api.decoder.decode(self._state, packet, len(packet), self.frame, False, channels=1)
        return np.frombuffer(pcm, np.int16)


def library() -> str:
    """The path or name of the libopus to load; `OpusMissing` says how to come by one."""
    path = os.environ.get(VARIABLE) or find_library("opus") or _copy_of_pyav()
    if path is None:
        raise OpusMissing(f"no libopus on this machine: {CURES}")
    return path


def _copy_of_pyav() -> str | None:
    """PyAV's wheel carries a libopus; finding the package does not import it."""
    found = importlib.util.find_spec("av")
    if found is None or found.origin is None:
        return None
    copies = sorted((Path(found.origin).parent.parent / "av.libs").glob("libopus-*.so*"))
    return str(copies[0]) if copies else None


@functools.cache
def _opuslib() -> ModuleType:
    path = library()
    ctypes.util.find_library = lambda name: path  # opuslib asks this, and nothing else, at its import
    try:
        return import_module("opuslib")
    except (OSError, AttributeError) as error:  # not a library; not that library
        raise OpusMissing(f"{path} is not a libopus that loads: {CURES}") from error
    finally:
        ctypes.util.find_library = find_library


@contextmanager
def _libopus() -> Iterator[ModuleType]:
    """opuslib, its errors turned into ours."""
    opuslib = _opuslib()
    try:
        yield opuslib
    except opuslib.OpusError as error:
        raise StreamServerError(f"libopus refused: {error.code}") from None  # a number, or already a sentence


def _frame(sample_rate: int) -> int:
    if sample_rate not in RATES:
        raise ValueError(f"Opus knows {RATES} Hz, not {sample_rate}")
    return sample_rate // PACKETS_PER_SECOND
