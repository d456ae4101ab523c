"""Raw samples, mono: float32 in [-1, 1] inside, int16 at the doors, and blocks of one size out of pieces of any.

Knows nothing of rates, codecs or what the samples say.
"""

from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Int16 = NDArray[np.int16]

FULL_SCALE = 32_768.0

Sample = TypeVar("Sample", np.float32, np.int16)


def to_int16(pcm: Float) -> Int16:
    """Rounds and clips: 1.0 itself is one step past the top of int16."""
    steps: Float = np.rint(pcm * FULL_SCALE)
    return steps.clip(-FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def to_float(pcm: Int16) -> Float:
    return pcm.astype(np.float32) / np.float32(FULL_SCALE)


class Reframer(Generic[Sample]):
    """Pieces of any size in, blocks of one size out; the blocks do not depend on where the pieces were cut."""

    def __init__(self, block: int, dtype: type[Sample]) -> None:
        self.block = block
        self._rest: NDArray[Sample] = np.zeros(0, dtype)

    def push(self, pcm: NDArray[Sample]) -> list[NDArray[Sample]]:
        samples = np.concatenate((self._rest, pcm))
        whole = len(samples) - len(samples) % self.block
        self._rest = samples[whole:].copy()  # a view would keep all of `samples` alive
        return [samples[start : start + self.block] for start in range(0, whole, self.block)]

    def flush(self) -> tuple[NDArray[Sample], int]:
        """The unfinished block, padded with zeros, and how many of its samples are true (0: there was none)."""
        length = len(self._rest)
        tail = np.pad(self._rest, (0, self.block - length))
        self._rest = self._rest[:0]
        return tail, length
