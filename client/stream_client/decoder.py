"""A context's audio messages to exact samples, where the format is one that it decodes.

Knows the formats, what Opus puts before the speech and after it, and how long the speech is said to be.  Does not
know sockets, contexts or players.
"""

import numpy as np
from numpy.typing import NDArray

from stream_client.errors import WireError
from stream_client.opus import OpusDecoder, decode_rate
from stream_client.wire import Packet, Started

WAV_HEADER_BYTES = 44
PLAIN = ("pcm_s16le", "wav")


class Decoder:
    """One context's decoder; `rate` is that of the samples it returns, which are none where it does not decode.

    Opus begins with `pre_skip` samples of nothing and ends with padding.  Both go: what comes out, in all, is as many
    samples as the durations add up to, at `rate` and rounded to the nearest.
    """

    def __init__(self, started: Started) -> None:
        self._opus = OpusDecoder(decode_rate(started.sample_rate)) if started.format == "opus" else None
        self.rate = decode_rate(started.sample_rate) if self._opus else started.sample_rate
        self._started = started
        self._skip = started.pre_skip
        self._announced = 0  # speech in the messages so far, at the context's sample rate
        self._returned = 0  # samples handed out so far, at `rate`
        self._waiting = np.zeros(0, np.int16)  # decoded, but not yet announced as speech

    def decode(self, packet: Packet) -> NDArray[np.int16]:
        self._announced += packet.duration
        if self._opus is None:
            return self._plain(packet) if self._started.format in PLAIN else np.zeros(0, np.int16)
        decoded = np.concatenate([self._waiting, self._after_skip(self._opus.decode(packet.data))])
        due = self._speech() - self._returned
        ready, self._waiting = decoded[:due], decoded[due:]
        self._returned += len(ready)
        return ready

    def _speech(self) -> int:
        """The announced speech at `rate`, to the nearest sample."""
        base = self._started.sample_rate
        return (2 * self._announced * self.rate + base) // (2 * base)

    def _after_skip(self, pcm: NDArray[np.int16]) -> NDArray[np.int16]:
        dropped = min(self._skip, len(pcm))
        self._skip -= dropped
        return pcm[dropped:]

    def _plain(self, packet: Packet) -> NDArray[np.int16]:
        data = packet.data
        if self._started.format == "wav" and packet.sequence == 0:
            data = _without_header(data)
        if len(data) != 2 * packet.duration:
            raise WireError(f"an audio message of {packet.duration} samples that carries {len(data)} bytes")
        return np.frombuffer(data, dtype="<i2").astype(np.int16, copy=False)


def _without_header(data: bytes) -> bytes:
    """A stream's WAV header states no sizes, so it says nothing that `started` did not."""
    if len(data) < WAV_HEADER_BYTES or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise WireError("a WAV stream that does not begin with a WAV header")
    return data[WAV_HEADER_BYTES:]
