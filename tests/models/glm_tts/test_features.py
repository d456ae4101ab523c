"""The pictures against the original's own numbers, and against plain ones at other settings."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stream_server.models.glm_tts.features import (
    MELS,
    WHISPER,
    MelSettings,
    kaldi_fbank,
    log_mel,
    slaney_bank,
    whisper_mel,
)
from tests.models.glm_tts import plain_features as plain

GOLDEN = np.load(Path(__file__).parent / "golden/features/golden.npz")


def sound(samples: int, seed: int = 0) -> torch.Tensor:
    """Noise that swells, with a pause in it."""
    noise = torch.randn(samples, generator=torch.Generator().manual_seed(seed)) * torch.linspace(0.001, 0.3, samples)
    noise[samples // 3 : samples // 2] = 0
    return noise


def gap_to_the_original(rate: int) -> np.ndarray:
    found = log_mel(torch.from_numpy(GOLDEN[f"wav_{rate}"]), MELS[rate]).T.numpy()
    return np.abs(found - GOLDEN[f"mel_{rate}"])


@pytest.mark.parametrize("rate", MELS)
def test_the_original_s_mel(rate: int) -> None:
    """By whatever FFT this machine has: its last bits, which are not those of the machine that made the numbers, are
    what a logarithm shows where a tone's other bins are 100 dB below it.  The same bins differ as much between the
    original on that machine and the original on this one."""
    gap, wanted = gap_to_the_original(rate), GOLDEN[f"mel_{rate}"]
    loud = wanted > -5
    assert loud.mean() > 0.1 and gap[loud].max() < 2e-5
    assert gap.max() < 1e-2 and gap.mean() < 2e-4


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="the original's numbers were made with MKL's FFT")
def test_the_original_s_mel_by_the_fft_that_made_it() -> None:
    """The numbers were made on a processor on which MKL takes its general way; here it is told to."""
    code = f"from {__name__} import *; print(*(gap_to_the_original(rate).max() for rate in MELS))"
    environment = os.environ | {"MKL_CBWR": "COMPATIBLE"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    gaps = [float(gap) for gap in done.stdout.split()]
    assert len(gaps) == len(MELS) and max(gaps) < 1e-4


@pytest.mark.parametrize("rate", MELS)
def test_the_original_s_filterbank(rate: int) -> None:
    bank = slaney_bank(MELS[rate]).numpy()
    np.testing.assert_allclose(bank.sum(1), GOLDEN[f"fb_rowsum_{rate}"], atol=1e-7)
    np.testing.assert_array_equal(bank.argmax(1), GOLDEN[f"fb_peakbin_{rate}"])


@pytest.mark.parametrize(
    "mel", [MelSettings(16_000, 1024, 256, 64), MelSettings(22_050, 1024, 256, 80, 55.0, 7600.0), *MELS.values()]
)
def test_mel_at_any_settings(mel: MelSettings) -> None:
    pcm = sound(mel.rate // 2)
    wanted = plain.log_mel(pcm.numpy(), mel.rate, mel.window, mel.hop, mel.bins, mel.low, mel.high)
    found = log_mel(pcm, mel)
    assert found.shape == (len(pcm) // mel.hop, mel.bins)
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-5)
    np.testing.assert_allclose(found.exp().numpy(), np.exp(wanted), atol=2e-6, rtol=1e-5)


def test_both_rates_in_one_process_each_have_their_own_filters() -> None:
    """The same sound at 32 kHz is 4/3 of its magnitude at 24 kHz below 8 kHz."""
    seconds = [np.arange(rate) / rate for rate in MELS]
    low, high = (
        log_mel(torch.from_numpy(0.3 * np.sin(2 * np.pi * 700 * t)).float(), MELS[rate])
        for t, rate in zip(seconds, MELS)
    )
    peak = int(low[25].argmax())
    assert float(high[25, peak] - low[25, peak]) == pytest.approx(np.log(4 / 3), abs=1e-3)


@pytest.mark.parametrize("bins", [80, 128])
def test_whisper_s_picture(bins: int) -> None:
    pcm = torch.stack([sound(6_400, 1), sound(6_400, 2) * 0.01])
    found = whisper_mel(pcm, replace(WHISPER, bins=bins))
    assert found.shape == (2, 40, bins)
    for row, own in zip(found, pcm):
        np.testing.assert_allclose(row.numpy(), plain.whisper_mel(own.numpy(), bins), atol=1e-5)


def test_kaldi_s_picture() -> None:
    """The plain one was itself held to Kaldi's native filterbank: 1.3e-4 at most."""
    pcm = sound(12_345, 3)
    found = kaldi_fbank(pcm)
    assert found.shape == (1 + (12_345 - 400) // 160, 80)
    np.testing.assert_allclose(found.numpy(), plain.kaldi_fbank(pcm.numpy()), atol=2e-4)
    assert float(found.mean(0).abs().max()) < 1e-5
    with pytest.raises(ValueError, match="400"):
        kaldi_fbank(pcm[:399])
