"""Bands: what the ear would notice first in a synthetic voice, found in long-term spectra.

    python -m stream_server.training.bands SYNTHETIC REFERENCE

Each is a wav file or a folder of them: one speaker in both, best in the same sentences, since two people differ by
as much as a fault does.  Prints how far each 1 kHz band of voiced speech lies from the reference once the levels are
matched, which bands are dead, and where a tone stands all the way through; the last line is JSON.  Knows nothing of
words.
"""

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from stream_server.training.spectrogram import FREQUENCIES, SAMPLE_RATE, decibels, spectrogram
from stream_server.training.systems import read

BAND_HZ, NUM_BANDS = 1000, 11
DEAD_DB = -12.0
LINE_DB = 10.0
NEIGHBOURS = [-5, -4, -3, -2, 2, 3, 4, 5]  # bins; the nearest on each side belong to the line itself
SPANS = 4  # a line stands in every one of so many stretches of the sound
LOW_HZ = 600  # where a fundamental and its first harmonics lie
PAUSES = 0.25  # the share of frames, the quietest, that holds little voice
VOICE_HZ = (70, 400)  # fundamentals looked for
PERIODIC = 0.6  # autocorrelation at the best lag, from which a frame counts as voiced
QUIET_DB = -40.0  # below the loudest frames: no speech


@dataclass
class Comparison:
    bands: list[float]  # dB above the reference, band by band
    dead: list[int]  # bands, by number
    lines: list[float]  # Hz


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("synthetic", type=Path)
    parser.add_argument("reference", type=Path)
    options = parser.parse_args()
    found = compare(load(options.synthetic), load(options.reference))
    for band, difference in enumerate(found.bands):
        print(f"{band:2d}–{band + 1:2d} kHz  {difference:+6.1f} dB{'  dead' if band in found.dead else ''}")
    print("tones at", ", ".join(f"{hertz:.0f} Hz" for hertz in found.lines) or "no frequency")
    print(json.dumps(asdict(found)))


def load(path: Path) -> np.ndarray:
    """A file or a folder's files, one after the other → power [frames, bins]."""
    paths = sorted(path.glob("*.wav")) if path.is_dir() else [path]
    return np.concatenate([spectrogram(*read(each)) for each in paths])


def compare(synthetic: np.ndarray, reference: np.ndarray) -> Comparison:
    bands = np.round(band_levels(synthetic) - band_levels(reference), 1)
    dead = np.flatnonzero(bands < DEAD_DB)
    return Comparison(bands.tolist(), dead.tolist(), [round(float(FREQUENCIES[bin]), 1) for bin in lines(synthetic)])


def band_levels(power: np.ndarray) -> np.ndarray:
    """dB in each band of the average voiced frame, out of all its power."""
    average = power[voiced(power)].mean(0)
    band_of = (FREQUENCIES // BAND_HZ).astype(int)
    levels = np.bincount(band_of, average)[:NUM_BANDS]
    return decibels(levels / average.sum())


def voiced(power: np.ndarray) -> np.ndarray:
    """bool [frames]: loud enough, and below 1 kHz periodic at a voice's pitch."""
    low = np.where(FREQUENCIES < 1000, power, 0)
    correlation = np.fft.irfft(low, axis=1)
    lags = slice(SAMPLE_RATE // VOICE_HZ[1], SAMPLE_RATE // VOICE_HZ[0])
    periodic = correlation[:, lags].max(1) > PERIODIC * correlation[:, 0]
    level = decibels(power.sum(1))
    return periodic & (level > np.percentile(level, 95) + QUIET_DB)


def lines(power: np.ndarray) -> list[int]:
    """Bins where a tone stands still: above their neighbours in the median over time, in every span of the sound.

    A fundamental stands still enough to be taken for one, so low tones are looked for between the words.
    """
    between = power[decibels(power.sum(1)) <= np.percentile(decibels(power.sum(1)), 100 * PAUSES)]
    heights = np.where(FREQUENCIES < LOW_HZ, steady_heights(between), steady_heights(power))
    peaks = heights == np.lib.stride_tricks.sliding_window_view(np.pad(heights, 2), 5).max(1)
    return np.flatnonzero(peaks & (heights > LINE_DB) & (VOICE_HZ[0] / 2 < FREQUENCIES)).tolist()


def steady_heights(power: np.ndarray) -> np.ndarray:
    """How far each bin stands out where it stands out least."""
    spans = np.array_split(power, min(SPANS, len(power)))
    return np.array([standing(decibels(np.median(span, axis=0))) for span in spans]).min(0)


def standing(levels: np.ndarray) -> np.ndarray:
    """How far each bin lies above the median of its neighbours."""
    padded = np.pad(levels, 5, mode="reflect")
    around = [padded[5 + offset : 5 + offset + len(levels)] for offset in NEIGHBOURS]
    return levels - np.median(around, axis=0)


if __name__ == "__main__":
    main()
