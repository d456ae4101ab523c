"""What the networks see of a recording: three spectrograms, each made as its network was trained to read it.

All of them float32 [frames, bins].  Nothing is levelled, trimmed or resampled here.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

MEL_BINS, MEL_LOW, MEL_HIGH, FRAMES_PER_SECOND, WINDOW_S = 80, 0.0, 8_000.0, 50, 0.08
LISTENING_RATE = 16_000  # of the speech tokenizer and the speaker encoder
WHISPER_BINS, WHISPER_FFT, WHISPER_HOP = 128, 400, 160
KALDI_BINS, KALDI_LOW, KALDI_FRAME, KALDI_SHIFT, KALDI_FFT, PREEMPHASIS = 80, 20.0, 400, 160, 512, 0.97
EPSILON = 1.1920928955078125e-07  # Kaldi's floor: the smallest step of a float32 at 1


def log_mel(wave: Tensor, rate: int) -> Tensor:
    """The reference's mel for the flow, at 24 or 32 kHz: no centring, so that of n hops n frames come."""
    fft, hop = round(WINDOW_S * rate), rate // FRAMES_PER_SECOND
    side = (fft - hop) // 2
    padded = F.pad(wave[None], (side, side), mode="reflect")[0]
    spectrum = torch.stft(padded, fft, hop, window=torch.hann_window(fft), center=False, return_complex=True)
    magnitude = torch.view_as_real(spectrum).square().sum(-1).add(1e-9).sqrt()
    return (slaney(rate, fft, MEL_BINS, MEL_LOW, MEL_HIGH) @ magnitude).clamp(min=1e-5).log().T


def whisper_mel(wave: Tensor) -> Tensor:
    """At 16 kHz, for the speech tokenizer: a frame each 10 ms, the loudest frame setting the floor."""
    window = torch.hann_window(WHISPER_FFT)
    spectrum = torch.stft(wave, WHISPER_FFT, WHISPER_HOP, window=window, return_complex=True)[:, :-1]
    power = spectrum.abs().square()
    high = LISTENING_RATE / 2
    mel = (slaney(LISTENING_RATE, WHISPER_FFT, WHISPER_BINS, 0.0, high) @ power).clamp(min=1e-10).log10()
    return ((mel.clamp(min=float(mel.max()) - 8) + 4) / 4).T


def kaldi_mel(wave: Tensor) -> Tensor:
    """At 16 kHz, for the speaker encoder: Kaldi's filterbank without dither, its mean over time taken away."""
    frames = wave.unfold(0, KALDI_FRAME, KALDI_SHIFT)
    frames = frames - frames.mean(dim=1, keepdim=True)
    frames = frames - PREEMPHASIS * torch.cat([frames[:, :1], frames[:, :-1]], dim=1)
    window = torch.hann_window(KALDI_FRAME, periodic=False).pow(0.85)  # Povey's
    power = torch.fft.rfft(frames * window, KALDI_FFT).abs().square()
    mel = (power[:, :-1] @ kaldi_bank().T).clamp(min=EPSILON).log()
    return mel - mel.mean(dim=0, keepdim=True)


@lru_cache(maxsize=8)  # by everything it depends on
def slaney(rate: int, fft: int, bins: int, low: float, high: float) -> Tensor:
    """Triangles of equal area on Slaney's scale, linear up to 1 kHz and logarithmic above: [bins, fft / 2 + 1]."""
    corners = hertz(torch.linspace(float(slaney_mel(low)), float(slaney_mel(high)), bins + 2, dtype=torch.float64))
    places = torch.linspace(0, rate / 2, fft // 2 + 1, dtype=torch.float64)
    widths = corners.diff()
    slopes = corners[:, None] - places
    rising, falling = -slopes[:-2] / widths[:-1, None], slopes[2:] / widths[1:, None]
    triangles = torch.minimum(rising, falling).clamp(min=0)
    return (triangles * (2 / (corners[2:] - corners[:-2]))[:, None]).float()


STEP = math.log(6.4) / 27  # of a mel above 1 kHz


def slaney_mel(frequency: float) -> float:
    return frequency * 3 / 200 if frequency < 1_000 else 15 + math.log(frequency / 1_000) / STEP


def hertz(mel: Tensor) -> Tensor:
    return torch.where(mel < 15, mel * 200 / 3, 1_000 * torch.exp((mel - 15) * STEP))


@lru_cache(maxsize=1)
def kaldi_bank() -> Tensor:
    """Triangles on Kaldi's mel scale, in mels: [80, 256]."""

    def mel(frequency: Tensor) -> Tensor:
        return 1127.0 * torch.log1p(frequency / 700.0)

    ends = mel(torch.tensor([KALDI_LOW, LISTENING_RATE / 2], dtype=torch.float64))
    step = (ends[1] - ends[0]) / (KALDI_BINS + 1)
    left = ends[0] + torch.arange(KALDI_BINS)[:, None] * step
    places = mel(torch.arange(KALDI_FFT // 2, dtype=torch.float64) * LISTENING_RATE / KALDI_FFT)
    rising, falling = (places - left) / step, (left + 2 * step - places) / step
    return torch.minimum(rising, falling).clamp(min=0).float()
