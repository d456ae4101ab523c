"""The spectral picture of speech the voice is learned in, and its arithmetic.

One frame every 10 ms holds 80 log power values of the smoothed spectral envelope on a mel-warped axis from 0 to
16 kHz, four band aperiodicities (dB, centred at 3, 6, 9 and 12 kHz), log F0 and voicing.  These are the parameters
of the WORLD vocoder (Morise et al., 2016); the decoder's source-filter head turns them back into sound.

Does not know how they are measured (`training.analysis`) or predicted (`vocoder`).
"""

import numpy as np

FRAMES_PER_SECOND = 100
FRAMES_PER_TOKEN = 4
NUM_ENVELOPE = 80
NUM_APERIODICITY = 4
APERIODICITY_SPACING = 3000.0  # Hz between the centres of two aperiodicity bands (WORLD's coding)
TOP_FREQUENCY = 16_000.0  # Hz, of the envelope's last value
NUM_FEATURES = NUM_ENVELOPE + NUM_APERIODICITY + 2  # ..., log F0, voicing
LOG_FLOOR = -16.0  # natural log of power; below what either speaker's room leaves


def mel(frequency: np.ndarray | float) -> np.ndarray:
    """Hz → mel (O'Shaughnessy)."""
    return 2595.0 * np.log10(1.0 + np.asarray(frequency) / 700.0)


def envelope_positions(frequencies: np.ndarray) -> np.ndarray:
    """Frequencies in Hz → where they lie among the 80 envelope values, as fractional indices clipped to [0, 79]."""
    return np.clip(mel(frequencies) / mel(TOP_FREQUENCY) * (NUM_ENVELOPE - 1), 0, NUM_ENVELOPE - 1)


def unwarp_matrix(num_bins: int, sample_rate: int) -> np.ndarray:
    """float32 [80, num_bins]: linear interpolation from the warped axis to the bins 0…Nyquist of an FFT."""
    positions = envelope_positions(np.linspace(0, sample_rate / 2, num_bins))
    return interpolation(positions, NUM_ENVELOPE)


def aperiodicity_matrix(num_bins: int, sample_rate: int) -> np.ndarray:
    """float32 [6, num_bins]: interpolation in dB between the bands (WORLD: −60 dB at 0 Hz, 0 dB at 15 kHz)."""
    positions = np.linspace(0, sample_rate / 2, num_bins) / APERIODICITY_SPACING
    return interpolation(np.clip(positions, 0, NUM_APERIODICITY + 1), NUM_APERIODICITY + 2)


def interpolation(positions: np.ndarray, count: int) -> np.ndarray:
    """Fractional indices [N] into `count` knots → float32 weights [count, N] of linear interpolation."""
    low = np.clip(np.floor(positions).astype(int), 0, count - 2)
    fraction = positions - low
    weights = np.zeros((count, len(positions)), np.float32)
    columns = np.arange(len(positions))
    weights[low, columns] = 1 - fraction
    weights[low + 1, columns] += fraction
    return weights


def warp_matrix(num_bins: int, sample_rate: int) -> np.ndarray:
    """float32 [num_bins, 80]: triangular averages of log power, at least as wide as the distance between bins."""
    frequencies = np.linspace(0, sample_rate / 2, num_bins)
    centres = 700.0 * (10 ** (np.linspace(0, mel(TOP_FREQUENCY), NUM_ENVELOPE) / 2595.0) - 1)
    width = np.maximum(np.gradient(centres), frequencies[1])
    weights = np.maximum(0, 1 - np.abs(frequencies[:, None] - centres) / width)
    return (weights / weights.sum(0)).astype(np.float32)
