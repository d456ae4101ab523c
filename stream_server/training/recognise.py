"""The listener: what pocketsphinx, with its own US English model and language model, hears in a sound.

A weak recogniser but a fixed one: its errors compare voices, they do not grade them.
Knows nothing of what was meant to be said.
"""

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import soxr

if TYPE_CHECKING:
    from pocketsphinx import Decoder

SAMPLE_RATE = 16_000
PEAK = 0.6
SILENCE_S = 0.3  # at both ends: the recogniser's silence model wants something to stand on
ROOM = 1e-4  # RMS of noise under everything: runs of zeros have no logarithm


def recognise(audio: np.ndarray, sample_rate: int, decoder: "Decoder | None" = None, room: float = ROOM) -> str:
    """Float sound → lower-case words; "" where nothing was heard.  `decoder`: another listener, with its own words."""
    decoder = decoder or listener()
    decoder.reinit_feat()  # it adapts to what it hears, and no sentence may colour the next
    decoder.start_utt()
    decoder.process_raw(prepared(audio, sample_rate, room).tobytes(), full_utt=True)
    decoder.end_utt()
    hypothesis = decoder.hyp()
    return hypothesis.hypstr if hypothesis else ""


def prepared(audio: np.ndarray, sample_rate: int, room: float = ROOM) -> np.ndarray:
    """→ int16 at 16 kHz, levelled, in a room that is never quite silent."""
    speech = np.asarray(soxr.resample(audio.astype(np.float32), sample_rate, SAMPLE_RATE))
    levelled = speech * (PEAK / max(1e-4, float(np.abs(speech).max(initial=0.0))))
    padded = np.pad(levelled, int(SILENCE_S * SAMPLE_RATE))
    padded = padded + np.random.default_rng(0).standard_normal(len(padded)) * room
    return np.round(np.clip(padded, -1, 1) * 32767).astype(np.int16)


@lru_cache(maxsize=1)
def listener() -> "Decoder":
    """Loaded once, in half a second."""
    from pocketsphinx import Decoder

    return Decoder(loglevel="FATAL")
