"""Frames → sound: a pulse train and white noise, each filtered by a spectral envelope (WORLD's model of speech).

The pulse train is band-limited in closed form (Dirichlet's kernel) on a phase carried in double precision; noise is
a hash of the seed and the sample's number; the filters are minimum-phase through the cepstrum and applied by FFT
with overlap-add.  All of it is a function of the frames and their numbers alone, so any cut gives the same samples.

The model is M. Morise et al., WORLD (2016); the pulses' closed form is textbook.  By PyTorch's operations: what the
one that ships is held to.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn

from stream_server.models.lark import features
from stream_server.models.lark.source_filter import SynthState

FFT_SIZES = {24_000: 1024, 32_000: 1536}  # segment of two hops plus 23 or 28 ms of impulse response
ANALYSIS_RATE = 32_000
NEPERS_PER_DECIBEL = math.log(10) / 10  # of power
VOICING_SLOPE = 4.0  # a frame that is three parts in four sure to be voiced is; no hard edge for rounding to fall over


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
        fold = torch.zeros(self.fft)
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
        ends = torch.from_numpy(np.cumsum(counts)) - 1
        starts = ends + 1 - torch.tensor(counts)
        source = torch.stack(self.excite(frames, counts, starts, ends, state, slots), dim=1)  # [sum of F, 2, hop]
        before = torch.cat([source[:1], source[:-1]])
        before[starts] = state.source[slots]
        state.source[slots] = source[ends]
        # Frame f shapes the hops before and after its instant; the one after comes with frame f + 1, so what is
        # filtered now by frame f is hops f - 1 and f, and the frame's instant lies 10 ms back.
        spectra = torch.fft.rfft(torch.cat([before, source], dim=-1) * self.window, self.fft)
        sound = torch.fft.irfft((spectra * self.filters(frames)).sum(1), self.fft) * self.gain  # [sum of F, fft]
        return self.overlap_add(sound, counts, state, slots)

    def excite(
        self, frames: Tensor, counts: list[int], starts: Tensor, ends: Tensor, state: SynthState, slots: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Unit-power pulses and noise [sum of F, hop] of the hops that end at these frames."""
        log_f0 = frames[..., -2].clamp(3.5, 6.4)
        before = torch.cat([log_f0[:1], log_f0[:-1]])
        before[starts] = torch.where(state.hops[slots] > 0, state.log_f0[slots], log_f0[starts])
        state.log_f0[slots] = log_f0[ends]
        ramp = torch.arange(1, self.hop + 1, dtype=torch.float64) / self.hop
        f0 = torch.exp(before.double()[:, None] * (1 - ramp) + log_f0.double()[:, None] * ramp)  # [sum of F, hop]
        advance = torch.cumsum(f0 / self.sample_rate, dim=-1)
        phase = self.carry(advance[:, -1].tolist(), counts, state, slots)[:, None] + advance
        rows = torch.repeat_interleave(torch.tensor(counts))
        hops = state.hops[slots][rows] + torch.arange(len(frames)) - starts[rows]
        state.hops[slots] += torch.tensor(counts)
        index = hops[:, None] * self.hop + torch.arange(self.hop)
        return pulse_train(phase, f0, self.sample_rate), hash_noise(state.seed[slots][rows], index)

    def carry(self, advances: list[float], counts: list[int], state: SynthState, slots: Tensor) -> Tensor:
        """The phase at the beginning of each hop, [sum of F]; hop by hop, so that no cut can move its rounding."""
        begun, at = [], 0
        phases = state.phase[slots].tolist()
        for row, count in enumerate(counts):
            for advance in advances[at : at + count]:
                begun.append(phases[row])
                phases[row] = (phases[row] + advance) % 1.0
            at += count
        state.phase[slots] = torch.tensor(phases, dtype=torch.float64)
        return torch.tensor(begun, dtype=torch.float64)

    def filters(self, frames: Tensor) -> Tensor:
        """[..., 86] → complex [..., 2, bins]: minimum-phase filters of the pulses and of the noise."""
        envelope, bands, voiced = (
            frames[..., : features.NUM_ENVELOPE],
            frames[..., features.NUM_ENVELOPE : -2],
            frames[..., -1:],
        )
        log_power = envelope @ self.unwarp
        edges = torch.full_like(bands[..., :1], -60.0), torch.zeros_like(bands[..., :1])
        decibels = torch.cat([edges[0], bands.clamp(-60, -0.1), edges[1]], dim=-1) @ self.bands
        aperiodic = torch.exp(decibels * NEPERS_PER_DECIBEL).clamp(1e-6, 1 - 1e-6)
        voicing = (VOICING_SLOPE * (voiced - 0.5) + 0.5).clamp(0, 1)
        aperiodic = (1 - voicing * (1 - aperiodic)).clamp(max=1 - 1e-6)
        powers = torch.stack([torch.log1p(-aperiodic), torch.log(aperiodic)], dim=-2) + log_power[..., None, :]
        return minimum_phase(0.5 * powers, self.fold)

    def overlap_add(self, sound: Tensor, counts: list[int], state: SynthState, slots: Tensor) -> list[Tensor]:
        """Segments [sum of F, fft] → each row's finished sound [F * hop]."""
        longest = max(counts)
        segments = sound.new_zeros(len(counts), longest, self.fft)
        for row, piece in enumerate(torch.split_with_sizes(sound, counts)):
            segments[row, : len(piece)] = piece
        out = sound.new_zeros(len(counts), (longest - 1) * self.hop + self.fft)
        out[:, : self.fft - self.hop] = state.tail[slots]
        for hop in range(longest):
            out[:, hop * self.hop : hop * self.hop + self.fft] += segments[:, hop]
        done = [count * self.hop for count in counts]
        state.tail[slots] = torch.stack([row[end : end + self.fft - self.hop] for row, end in zip(out, done)])
        return [row[:end] for row, end in zip(out, done)]


def pulse_train(phase: Tensor, f0: Tensor, sample_rate: int) -> Tensor:
    """All harmonics below Nyquist in cosine phase, scaled to unit power; phase in cycles, float64 in, float32 out."""
    room = 0.49 * sample_rate / f0
    count = torch.floor(room)
    half = torch.pi * (phase - torch.round(phase))
    bottom = torch.sin(half)
    near = bottom.abs() < 1e-6
    ratio = torch.sin((2 * count + 1) * half) / torch.where(near, torch.ones_like(bottom), bottom)
    harmonics = 0.5 * (torch.where(near, 2 * count + 1, ratio) - 1)
    harmonics += (room - count) * torch.cos(2 * (count + 1) * half)  # the next one comes in gently
    return (harmonics * torch.sqrt(2 / room)).float()


def hash_noise(seed: Tensor, index: Tensor) -> Tensor:
    """seed [B], index int64 [B, N] → float32 [B, N], white, uniform, unit power: splitmix64's finaliser."""
    x = index * -7046029254386353131 + seed[:, None] * -4658895280553007687
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * -4658895280553007687
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * -7723592293110705685
    x = (x >> 33) & 0xFFFFFF
    return (x.float() * 2.0**-23 - 1) * 3**0.5


def minimum_phase(log_amplitude: Tensor, fold: Tensor) -> Tensor:
    """Log amplitudes [..., bins] → complex spectra [..., bins] of the causal, minimum-phase filters (cepstral)."""
    spectrum = torch.fft.rfft(torch.fft.irfft(log_amplitude) * fold)
    amplitude, phase = torch.exp(spectrum.real), spectrum.imag.contiguous()
    # torch.exp of a complex tensor is not vectorised: ten times slower than its parts.
    return torch.complex(amplitude * torch.cos(phase), amplitude * torch.sin(phase))
