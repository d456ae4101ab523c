"""Spectrograms against the original's, and against plain sums where there are none of the original's."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from stream_server.models.glm_tts.features import kaldi_mel, log_mel, slaney, whisper_mel

GOLDEN = Path(__file__).parent / "golden" / "features" / "golden.npz"


@pytest.mark.parametrize("rate", [24_000, 32_000])
def test_the_reference_s_mel_is_the_original_s(rate: int) -> None:
    """To 1e-4, but in bins so far under the loudest that they hold the rounding of whichever FFT was at hand.

    With the one that the original's were made with (MKL_CBWR=AVX) all of them agree to 1e-6.
    """
    golden = np.load(GOLDEN)
    mel, wanted = log_mel(torch.from_numpy(golden[f"wav_{rate}"]), rate).T.numpy(), golden[f"mel_{rate}"]
    loud = wanted > wanted.max() - 6
    assert loud.mean() > 0.15
    np.testing.assert_allclose(mel[loud], wanted[loud], atol=1e-4)
    np.testing.assert_allclose(np.exp(mel), np.exp(wanted), atol=1e-5)
    bank = slaney(rate, rate * 8 // 100, 80, 0.0, 8_000.0)
    np.testing.assert_allclose(bank.sum(1), golden[f"fb_rowsum_{rate}"], rtol=1e-4)
    np.testing.assert_array_equal(bank.argmax(1), golden[f"fb_peakbin_{rate}"])


def test_one_rate_s_filterbank_is_not_taken_for_another_s() -> None:
    """The original keeps one under a name without the rate, and fails at the second."""
    wave = torch.randn(32_000)
    assert log_mel(wave, 24_000).shape != log_mel(wave, 32_000).shape
    assert log_mel(wave, 24_000).shape[1] == log_mel(wave, 32_000).shape[1] == 80


def test_whisper_s_mel_counts_frames_and_keeps_its_floor() -> None:
    wave = torch.sin(torch.arange(16_000) * (2 * math.pi * 1_000 / 16_000))
    mel = whisper_mel(wave)
    assert mel.shape == (100, 128)
    assert float(mel.max() - mel.min()) == pytest.approx(2.0, abs=1e-5)  # eight decades over four
    loudest = int(mel[50].argmax())
    bank = slaney(16_000, 400, 128, 0.0, 8_000.0)
    assert abs(int(bank[loudest].argmax()) * 40 - 1_000) <= 40


def test_kaldi_s_mel_is_the_plain_sum() -> None:
    """Frame by frame and bin by bin, as its manual has it."""
    wave = np.random.default_rng(0).standard_normal(1_200).astype(np.float64) * 0.1
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)) ** 0.85

    def mel_of(hertz: float) -> float:
        return 1127 * math.log(1 + hertz / 700)

    low, high = mel_of(20), mel_of(8_000)
    rows = []
    for start in range(0, 1_200 - 400 + 1, 160):
        frame = wave[start : start + 400] - wave[start : start + 400].mean()
        frame = np.concatenate([[frame[0] * (1 - 0.97)], frame[1:] - 0.97 * frame[:-1]])
        power = np.abs(np.fft.rfft(frame * window, 512)) ** 2
        row = []
        for bin in range(80):
            left, centre, right = (low + (high - low) / 81 * (bin + i) for i in range(3))
            total = 0.0
            for k in range(256):
                place = mel_of(k * 16_000 / 512)
                if left < place < right:
                    share = (place - left) / (centre - left) if place <= centre else (right - place) / (right - centre)
                    total += share * power[k]
            row.append(math.log(max(total, 1.1920928955078125e-07)))
        rows.append(row)
    expected = np.array(rows) - np.mean(rows, axis=0)
    np.testing.assert_allclose(kaldi_mel(torch.from_numpy(wave).float()), expected, atol=2e-4)
