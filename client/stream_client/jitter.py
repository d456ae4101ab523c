"""JitterBuffer: speech that has arrived and not yet been played.

Knows samples in, samples out, and when to begin.  Does not know clocks, devices or threads; whoever pulls decides
the pace, and whoever shares it locks.
"""

from collections import deque

import numpy as np
from numpy.typing import NDArray

Pcm = NDArray[np.int16]


class JitterBuffer:
    """Silence until `cushion` samples are there (or all that will come), then speech; where it runs dry, silence."""

    def __init__(self, cushion: int) -> None:
        self._cushion = max(1, cushion)
        self._pieces: deque[Pcm] = deque()
        self._held = 0
        self._playing = False
        self._complete = False
        self._short = False  # the last pull got less than it asked for
        self.played = 0  # samples of speech handed out
        self.underruns = 0

    def push(self, pcm: Pcm) -> None:
        self._pieces.append(pcm)
        self._held += len(pcm)

    def complete(self) -> None:
        """No more comes."""
        self._complete = True

    def clear(self) -> None:
        """Drop what has not been played."""
        self._pieces.clear()
        self._held = 0
        self._complete = True

    @property
    def drained(self) -> bool:
        return self._complete and self._held == 0

    def pull(self, samples: int) -> Pcm:
        """Exactly `samples`, of speech as far as there is any."""
        out = np.zeros(samples, np.int16)
        self._playing = self._playing or self._complete or self._held >= self._cushion
        if not self._playing:
            return out
        short = self._held < samples and not self._complete
        self.underruns += short and not self._short  # one silence is one underrun, however often it is pulled
        self._short = short
        filled = 0
        while filled < samples and self._pieces:
            filled += self._take(out[filled:])
        self._held -= filled
        self.played += filled
        return out

    def _take(self, out: Pcm) -> int:
        """Fill the beginning of `out` from the oldest piece."""
        piece = self._pieces.popleft()
        taken = min(len(piece), len(out))
        out[:taken] = piece[:taken]
        if taken < len(piece):
            self._pieces.appendleft(piece[taken:])
        return taken
