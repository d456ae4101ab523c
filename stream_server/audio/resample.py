"""One continuous stream of samples from one rate to another, anti-aliased, the same wherever it is cut.

soxr's LQ, for what it holds back: at most 41 ms into any rate here, where MQ and HQ hold up to 116 ms.  It is flat up
to 0.76 of the lower Nyquist frequency and lets nothing through beyond it (-104 dB).  32 kHz to 8 kHz would hold 62 ms;
by way of 24 kHz it is 49.
"""

from itertools import pairwise

import numpy as np
import soxr

from stream_server.audio.pcm import Float

BY_WAY_OF = {(32_000, 8_000): (24_000,)}
SILENCE_S = 0.01  # behind the last sample, so that it is not the filter's end that is heard


class Resampler:
    """`push` and at last `flush`.  n samples give exactly ceil(n * target / source); equal rates give what they get."""

    def __init__(self, source: int, target: int) -> None:
        self._source, self._target = source, target
        steps = pairwise((source, *BY_WAY_OF.get((source, target), ()), target))
        self._stages = [soxr.ResampleStream(a, b, 1, dtype="float32", quality="LQ") for a, b in steps if a != b]
        self._taken = 0
        self._given = 0

    def push(self, pcm: Float) -> Float:
        self._taken += len(pcm)
        resampled = self._through(pcm)
        self._given += len(resampled)
        return resampled

    def flush(self) -> Float:
        due = -(-self._taken * self._target // self._source) - self._given
        if not due:
            return np.zeros(0, np.float32)
        return self._through(np.zeros(round(SILENCE_S * self._source), np.float32), last=True)[:due]

    def _through(self, pcm: Float, last: bool = False) -> Float:
        for stage in self._stages:
            pcm = stage.resample_chunk(pcm, last=last)
        return pcm
