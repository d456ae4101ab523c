"""The last of one sequence's sound: at the listener's rate, and where in it its tokens' sound begins.

A token's beginning is noted when its frames are walked over, and told with the sample it falls on: the vocoder and the
resampler hold back what is not certain yet.
"""

from collections import deque

import numpy as np
import soxr

from stream_server.models.glm_tts.pace import STEP
from stream_server.models.interface import Sound


class Outlet:
    def __init__(self, rate: int, wanted: int, hop: int, lead: int, ratio: int) -> None:
        """rates in Hz, of the vocoder and of the listener; hop in the vocoder's samples a frame.

        lead: frames of the mel before the first token's; ratio: frames of each.
        """
        self.rate, self.wanted, self.hop = rate, wanted, hop
        self.lead, self.ratio = lead, ratio
        self.stream: soxr.ResampleStream | None = None
        if wanted != rate:
            self.stream = soxr.ResampleStream(rate, wanted, 1, dtype="float32", quality="HQ")
        self.frames = 0  # walked over
        self.token = -1  # the last one noted
        self.noted: deque[tuple[int, int]] = deque()  # (token, the listener's sample it begins at), not told yet
        self.given = 0  # samples

    def note(self, places: range) -> None:
        """Frames on their way to the vocoder, by where they lie in the mel, in hundredths of a frame."""
        for place in places:
            token = (place // STEP - self.lead) // self.ratio
            if token > self.token:
                self.noted.append((token, self.frames * self.hop * self.wanted // self.rate))
                self.token = token
            self.frames += 1

    def give(self, pcm: np.ndarray, final: bool) -> Sound:
        """float32 at the vocoder's rate → at the listener's, with the tokens that begin in it."""
        if self.stream is not None:
            pcm = self.stream.resample_chunk(pcm, last=final)
        begin, self.given = self.given, self.given + len(pcm)
        starts = []
        while self.noted and self.noted[0][1] < self.given:
            token, sample = self.noted.popleft()
            starts.append((token, sample - begin))
        return Sound(pcm, starts)
