"""Sound → features: WORLD analysis (pyworld, MIT) reduced to `models.lark.features`' frames."""

import numpy as np
import pyworld

from stream_server.models.lark import features

FRAME_PERIOD_MS = 1000.0 / features.FRAMES_PER_SECOND


def analyse(audio: np.ndarray, sample_rate: int, noisy: bool) -> np.ndarray:
    """float64 [samples] → float32 [frames, 86].

    `noisy` chooses Harvest over DIO + StoneMask for F0: four times slower, and right on a real room.
    """
    track = pyworld.harvest if noisy else pyworld.dio
    f0, times = track(audio, sample_rate, f0_floor=70.0, f0_ceil=500.0, frame_period=FRAME_PERIOD_MS)
    f0 = pyworld.stonemask(audio, f0, times, sample_rate)
    spectrum = pyworld.cheaptrick(audio, f0, times, sample_rate)
    aperiodicity = pyworld.d4c(audio, f0, times, sample_rate)
    log_power = np.maximum(np.log(spectrum + 1e-12), features.LOG_FLOOR)
    envelope = log_power @ features.warp_matrix(spectrum.shape[1], sample_rate)
    bands = pyworld.code_aperiodicity(aperiodicity, sample_rate)[:, : features.NUM_APERIODICITY]
    voiced = f0 > 0
    return np.concatenate([envelope, bands, continuous_log_f0(f0)[:, None], voiced[:, None]], axis=1, dtype=np.float32)


def continuous_log_f0(f0: np.ndarray) -> np.ndarray:
    """Log F0 with unvoiced stretches bridged by straight lines, so that a frame never carries a jump to zero."""
    voiced = np.flatnonzero(f0 > 0)
    if len(voiced) == 0:
        return np.full(len(f0), np.log(180.0))
    return np.interp(np.arange(len(f0)), voiced, np.log(f0[voiced]))
