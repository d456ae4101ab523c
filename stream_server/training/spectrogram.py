"""Spectrogram: a sound's power over time and frequency, at the one rate in which all pictures and measures are taken.

Knows nothing of speech.
"""

import numpy as np
import soxr

SAMPLE_RATE = 24_000
WINDOW = 1024  # 43 ms: harmonics of a voice stand apart
HOP = 240  # 10 ms
FREQUENCIES = np.arange(WINDOW // 2 + 1) * SAMPLE_RATE / WINDOW


def spectrogram(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """Float sound → power [frames, 513], 0–12 kHz; a full-scale sine peaks at 1."""
    resampled = np.asarray(soxr.resample(audio.astype(np.float32), sample_rate, SAMPLE_RATE))
    padded = np.pad(resampled, (0, max(0, WINDOW - len(resampled))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    window = np.hanning(WINDOW).astype(np.float32)
    spectrum = np.fft.rfft(frames * (window * 2 / window.sum()), axis=1)
    return (np.abs(spectrum) ** 2).astype(np.float32)


def decibels(power: np.ndarray) -> np.ndarray:
    return 10 * np.log10(power + 1e-12)
