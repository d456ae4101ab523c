"""Frames → sound: a pulse train and white noise, each filtered by a spectral envelope (WORLD's model of speech).

The pulse train is band-limited in closed form (Dirichlet's kernel) on a phase carried in double precision; noise is
a hash of the seed and the sample's number; the filters are minimum-phase through the cepstrum and applied by FFT
with overlap-add.  All of it is a function of the frames and their numbers alone, so any cut gives the same samples.

The model is M. Morise et al., WORLD (2016); the pulses' closed form is textbook.  Knows nothing of tokens.  What lies
between its Fourier transforms is in `waves`.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from stream_server.models.lark import features, waves
from stream_server.nn.layout import in_company

FFT_SIZES = {24_000: 1024, 32_000: 1536}  # segment of two hops plus 23 or 28 ms of impulse response
ANALYSIS_RATE = 32_000
SILENT, LOUD = -60.0, -0.1  # dB, bounds of a band's aperiodicity


@dataclass
class SynthState:
    """One row per slot; hop h is the stretch of samples before frame h."""

    phase: Tensor  # float64 [S], cycles, at the end of the last hop
    log_f0: Tensor  # [S] of the last frame
    source: Tensor  # [S, 2, hop]: the last hop's pulses and noise
    tail: Tensor  # [S, fft - hop]: sound of past frames that lies ahead
    hops: Tensor  # int64 [S]: hops made so far
    seed: Tensor  # int64 [S]

    def reset(self, slots: Tensor, seeds: Tensor) -> None:
        for field in (self.phase, self.log_f0, self.source, self.tail, self.hops):
            field[slots] = 0
        self.seed[slots] = seeds


class SourceFilter(nn.Module):
    """One sampling rate's synthesiser; the same frames serve 24 and 32 kHz."""

    unwarp: Tensor  # [80, bins]
    bands: Tensor  # [6, bins]
    window: Tensor  # [2 hop]
    fold: Tensor  # [fft]

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.hop = sample_rate // features.FRAMES_PER_SECOND
        self.fft = FFT_SIZES[sample_rate]
        self.gain = (sample_rate / ANALYSIS_RATE) ** 0.5  # the envelope is a density per sample at 32 kHz
        bins = self.fft // 2 + 1
        self.register_buffer("unwarp", torch.from_numpy(features.unwarp_matrix(bins, sample_rate)), persistent=False)
        self.register_buffer(
            "bands", torch.from_numpy(features.aperiodicity_matrix(bins, sample_rate)), persistent=False
        )
        self.register_buffer("window", torch.hann_window(2 * self.hop), persistent=False)
        fold = torch.zeros(self.fft)  # what comes before time 0 is laid over what comes after
        fold[0], fold[1 : self.fft // 2], fold[self.fft // 2] = 1, 2, 1
        self.register_buffer("fold", fold, persistent=False)

    def allocate(self, num_slots: int) -> SynthState:
        return SynthState(
            phase=torch.zeros(num_slots, dtype=torch.float64),
            log_f0=torch.zeros(num_slots),
            source=torch.zeros(num_slots, 2, self.hop),
            tail=torch.zeros(num_slots, self.fft - self.hop),
            hops=torch.zeros(num_slots, dtype=torch.int64),
            seed=torch.zeros(num_slots, dtype=torch.int64),
        )

    def forward(self, frames: Tensor, counts: list[int], state: SynthState, slots: Tensor) -> list[Tensor]:
        """All rows' frames end to end, [sum of F, 86] → each row's sound [F * hop], 10 ms behind; moves `state` on.

        counts are the rows' F, at least 1 each; slots int64 [B].
        """
        lengths, places = np.array(counts, np.int64), slots.numpy()
        # Frame f shapes the hops before and after its instant; the one after comes with frame f + 1, so what is
        # filtered now by frame f is hops f - 1 and f, and the frame's instant lies 10 ms back.
        spectra = torch.fft.rfft(self.excite(frames, lengths, state, places))
        shaped = torch.empty(len(frames), self.fft // 2 + 1, dtype=spectra.dtype)
        waves.shape(parts(spectra), parts(self.filters(frames)), np.float32(self.gain), parts(shaped))
        segments = torch.fft.irfft(shaped, self.fft)  # [sum of F, fft]
        sound = torch.empty(len(frames) * self.hop)
        waves.overlap_add(segments.numpy(), lengths, places, state.tail.numpy(), sound.numpy())
        return list(torch.split_with_sizes(sound, [count * self.hop for count in counts]))

    def excite(self, frames: Tensor, counts: np.ndarray, state: SynthState, slots: np.ndarray) -> Tensor:
        """Pulses and noise of the two hops around each frame, windowed, of unit power; [sum of F, 2, fft]."""
        pieces = torch.empty(len(frames), 2, self.fft)
        waves.excite(
            frames[:, -2].clamp(3.5, 6.4).numpy(),
            counts,
            slots,
            state.phase.numpy(),
            state.log_f0.numpy(),
            state.hops.numpy(),
            state.seed.numpy(),
            state.source.numpy(),
            self.window.numpy(),
            np.float64(self.sample_rate),
            pieces.numpy(),
        )
        return pieces

    def filters(self, frames: Tensor) -> Tensor:
        """[sum of F, 86] → complex [sum of F, 2, bins], logarithms of minimum-phase filters of the pulses and the
        noise, by the cepstrum."""
        envelope, bands = frames[:, : features.NUM_ENVELOPE], frames[:, features.NUM_ENVELOPE : -2]
        edges = torch.full_like(bands[:, :1], SILENT), torch.zeros_like(bands[:, :1])
        known = torch.cat([edges[0], bands.clamp(SILENT, LOUD), edges[1]], dim=1)
        log_power = in_company(lambda x: x @ self.unwarp, envelope)
        decibels = in_company(lambda x: x @ self.bands, known)
        amplitudes = torch.empty(len(frames), 2, log_power.shape[1])
        waves.split(log_power.numpy(), decibels.numpy(), frames[:, -1].contiguous().numpy(), amplitudes.numpy())
        return torch.fft.rfft(torch.fft.irfft(amplitudes).mul_(self.fold))


def parts(x: Tensor) -> np.ndarray:
    """complex64 [..., N] → float32 [..., 2 N], the same memory."""
    return torch.view_as_real(x).flatten(-2).numpy()
