"""What the networks see of a reference recording: three spectral pictures of the same samples.

Every picture is a matter of its settings alone, and what is computed once is kept by all of them together.  Samples
are float32 in [-1, 1], mono; frames come first: [T, bins].  Computed in float32 by the operations that the original
has, so that a machine gives here what it gives there: far below the loudest bin a logarithm shows the last bits of the
machine's FFT.  Knows no recording's origin and no network.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import log

import torch
from torch import Tensor
from torch.nn import functional as F

LINEAR_HZ, LINEAR_MEL, LOG_STEP = 1000.0, 15.0, log(6.4) / 27  # Slaney's scale: linear to here, then logarithmic
MAGNITUDE_FLOOR, MEL_FLOOR = 1e-9, 1e-5
WHISPER_FLOOR, WHISPER_RANGE = 1e-10, 8.0  # of power; powers of ten below the loudest
PREEMPHASIS = 0.97
EPSILON = torch.finfo(torch.float32).eps


@dataclass(frozen=True)
class MelSettings:
    rate: int  # Hz
    window: int  # samples; an FFT is as long, but Kaldi's
    hop: int  # samples
    bins: int = 80
    low: float = 0.0  # Hz
    high: float = 8000.0


MELS = {24_000: MelSettings(24_000, 1920, 480), 32_000: MelSettings(32_000, 2560, 640)}  # the flow's
WHISPER = MelSettings(16_000, 400, 160, bins=128)
KALDI = MelSettings(16_000, 400, 160, low=20.0)


def log_mel(pcm: Tensor, settings: MelSettings) -> Tensor:
    """The flow's picture: [n] → [n // hop, bins], natural log of magnitudes.  n must exceed half a window."""
    spectrum = torch.view_as_real(stft(pcm[None], settings, (settings.window - settings.hop) // 2)[0])
    magnitude = (spectrum.square().sum(-1) + MAGNITUDE_FLOOR).sqrt()
    return (slaney_bank(settings) @ magnitude).clamp(min=MEL_FLOOR).log().T


def whisper_mel(pcm: Tensor, settings: MelSettings = WHISPER) -> Tensor:
    """Whisper's picture: [B, n] → [B, n // hop, bins], each row measured from its own loudest.  n > window / 2."""
    power = stft(pcm, settings, settings.window // 2)[:, :, :-1].abs().square()
    tens = (slaney_bank(settings) @ power).clamp(min=WHISPER_FLOOR).log10()
    tens = tens.maximum(tens.amax(dim=(1, 2), keepdim=True) - WHISPER_RANGE)
    return ((tens + 4) / 4).mT


def stft(pcm: Tensor, settings: MelSettings, aside: int) -> Tensor:
    """[B, n], reflected by `aside` at both ends → complex [B, window / 2 + 1, frames], of Hann windows."""
    padded = F.pad(pcm[:, None], (aside, aside), mode="reflect")[:, 0]
    window = torch.hann_window(settings.window)
    return torch.stft(padded, settings.window, settings.hop, window=window, center=False, return_complex=True)


def kaldi_fbank(pcm: Tensor, settings: MelSettings = KALDI) -> Tensor:
    """Kaldi's picture, undithered: [n] → [1 + (n - window) // hop, bins], log energies, their mean over time removed.

    Frames lie wholly within the samples, which stay in [-1, 1]: Kaldi itself has whole numbers there, and a quiet
    frame would meet the floor elsewhere.  ValueError where there is not one frame.
    """
    if len(pcm) < settings.window:
        raise ValueError(f"fewer samples than a window's {settings.window}")
    frames = pcm.unfold(0, settings.window, settings.hop)
    frames = frames - frames.mean(dim=1, keepdim=True)
    before = torch.cat([frames[:, :1], frames[:, :-1]], dim=1)
    frames = (frames - PREEMPHASIS * before) * povey(settings.window)
    energies = torch.fft.rfft(frames, power_of_two(settings.window)).abs().square() @ kaldi_bank(settings).T
    logs = energies.clamp(min=EPSILON).log()
    return logs - logs.mean(dim=0)


def power_of_two(length: int) -> int:
    """The next one."""
    return 1 << (length - 1).bit_length()


def povey(length: int) -> Tensor:
    """Kaldi's own: a symmetric Hann window, to the power of 0.85."""
    return torch.hann_window(length, periodic=False).pow(0.85)


@lru_cache
def slaney_bank(settings: MelSettings) -> Tensor:
    """Triangles of equal area, evenly spaced on Slaney's scale: float32 [bins, window / 2 + 1]."""
    frequencies = torch.linspace(0, settings.rate / 2, settings.window // 2 + 1, dtype=torch.float64)
    low, high = hz_to_slaney(settings.low), hz_to_slaney(settings.high)
    edges = slaney_to_hz(torch.linspace(low, high, settings.bins + 2, dtype=torch.float64))
    bank = triangles(frequencies, edges)
    return (bank * (2 / (edges[2:] - edges[:-2]))[:, None]).float()


@lru_cache
def kaldi_bank(settings: MelSettings) -> Tensor:
    """Triangles evenly spaced and straight on the mel scale: float32 [bins, fft / 2 + 1]; Nyquist itself counts not."""
    fft = power_of_two(settings.window)
    half = fft // 2
    frequencies = torch.arange(half + 1, dtype=torch.float64) * (settings.rate / fft)
    low, high = hz_to_mel(torch.tensor([settings.low, settings.high], dtype=torch.float64)).tolist()
    edges = torch.linspace(low, high, settings.bins + 2, dtype=torch.float64)
    bank = triangles(hz_to_mel(frequencies), edges)
    bank[:, half] = 0
    return bank.float()


def triangles(at: Tensor, edges: Tensor) -> Tensor:
    """Places [N] and edges [bins + 2] → each triangle's height there, [bins, N]: 1 at its own edge, 0 at the next."""
    rising = (at - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - at) / (edges[2:] - edges[1:-1])[:, None]
    return torch.minimum(rising, falling).clamp(min=0)


def hz_to_slaney(hz: float) -> float:
    step = LINEAR_HZ / LINEAR_MEL
    return hz / step if hz < LINEAR_HZ else LINEAR_MEL + log(hz / LINEAR_HZ) / LOG_STEP


def slaney_to_hz(mel: Tensor) -> Tensor:
    step = LINEAR_HZ / LINEAR_MEL
    return torch.where(mel < LINEAR_MEL, mel * step, LINEAR_HZ * ((mel - LINEAR_MEL) * LOG_STEP).exp())


def hz_to_mel(hz: Tensor) -> Tensor:
    """Kaldi's scale."""
    return 1127.0 * torch.log1p(hz / 700.0)
