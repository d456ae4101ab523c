"""A recording of somebody speaking, from which a voice can be made: read, measured, and never changed.

What will not do is refused in words its sender can act on; nothing is trimmed, turned up or repaired in silence.
Knows no model: `at` gives the samples at the rate that one wants.
"""

from dataclasses import dataclass

import numpy as np
import soxr

from stream_server.audio.apart import Refused, decode_apart
from stream_server.audio.pcm import Float
from stream_server.errors import InvalidAudio, MessageTooLarge
from stream_server.limits import Limits

FIELD = "file"
QUIETEST_DB = -45.0  # of full scale, over the whole recording
SILENT_DB = -60.0
MAX_CLIPPED = 0.01  # of all samples


@dataclass(frozen=True)
class Reference:
    pcm: Float  # float32 [n] in [-1, 1]: the mean of all channels
    first: Float  # float32 [n]: the first channel; the same array where there is no other
    rate: int  # Hz

    @property
    def seconds(self) -> float:
        return len(self.pcm) / self.rate

    def at(self, rate: int) -> "Reference":
        """The same sound at another rate: n * rate / self.rate samples, rounded."""
        if rate == self.rate:
            return self
        pcm = resampled(self.pcm, self.rate, rate)
        return Reference(pcm, pcm if self.first is self.pcm else resampled(self.first, self.rate, rate), rate)


def resampled(pcm: Float, rate: int, wanted: int) -> Float:
    return np.asarray(soxr.resample(pcm, rate, wanted, quality="VHQ"), np.float32)


def read_reference(data: bytes, limits: Limits) -> Reference:
    """Any common sound file → its recording.  Raises `MessageTooLarge` or `InvalidAudio`; takes a moment, so not for
    a thread that has others waiting."""
    if len(data) > limits.reference_bytes:
        raise MessageTooLarge("the recording's file is too large", field=FIELD, limit=limits.reference_bytes)
    if not data:
        raise InvalidAudio("the file is empty", field=FIELD)
    try:
        decoded = decode_apart(data, limits.reference_max_s, limits.reference_decode_s)
    except Refused as refused:
        raise InvalidAudio(refused.why, field=FIELD, limit=refused.limit) from None
    recording = Reference(decoded.pcm[0], decoded.pcm[-1] if len(decoded.pcm) > 1 else decoded.pcm[0], decoded.rate)
    if recording.seconds < limits.reference_min_s:
        raise InvalidAudio(
            f"the recording lasts {recording.seconds:.1f} s: too short", field=FIELD, limit=limits.reference_min_s
        )
    check_level(recording, decoded.clipped)
    return recording


def check_level(recording: Reference, clipped: float) -> None:
    """Both of what is listened to must be loud enough: channels can cancel each other out, or the first be empty."""
    level = min(loudness_db(recording.pcm), loudness_db(recording.first))
    if level < SILENT_DB:
        raise InvalidAudio(
            "the recording, or its first channel, is silent or nearly so", field=FIELD, limit=f"{SILENT_DB:g} dB"
        )
    if level < QUIETEST_DB:
        raise InvalidAudio(
            f"the recording, or its first channel, is too quiet: {level:.0f} dB",
            field=FIELD,
            limit=f"{QUIETEST_DB:g} dB",
        )
    if clipped > MAX_CLIPPED:
        raise InvalidAudio(
            f"the recording is clipped: {clipped:.1%} of its samples are at full scale",
            field=FIELD,
            limit=f"{MAX_CLIPPED:.0%}",
        )


def loudness_db(pcm: Float) -> float:
    """Root mean square, in dB of full scale."""
    return float(20 * np.log10(max(1e-10, np.sqrt(np.mean(np.square(pcm, dtype=np.float64))))))
