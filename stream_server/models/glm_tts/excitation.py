"""F0 → the vocoder's excitation: a voice's harmonics in sine phase, or noise, mixed into one signal.

Phases are a function of F0 alone, counted in cycles and in float64 from the sequence's first frame (the checkpoint's
own code counts in float32, radians and without end, so that its phases grow coarse in long texts; `phases_as_trained`
does the same, to be held against it).  Noise comes from
outside: standard normal, one value a sample and harmonic.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stream_server.models.glm_tts.hift_config import HiFTConfig


class Excitation(nn.Module):
    number: Tensor  # [H], 1 … H
    ramp: Tensor  # float64 [hop]: where a sample lies from the middle of its frame, −½ … ½

    def __init__(self, config: HiFTConfig, harmonics: int) -> None:
        super().__init__()
        self.config = config
        self.l_linear = nn.Linear(harmonics, 1)
        self.register_buffer("number", torch.arange(1, harmonics + 1).float(), persistent=False)
        ramp = (torch.arange(config.hop, dtype=torch.float64) + 0.5) / config.hop - 0.5
        self.register_buffer("ramp", ramp, persistent=False)

    @property
    def harmonics(self) -> int:
        return len(self.number)

    def advance(self, f0: Tensor) -> Tensor:
        """f0 [..., F] → cycles a sample, mod 1, rounded as trained: float32 [..., F, H]."""
        return f0[..., None] * self.number / self.config.sampling_rate % 1

    def phases(self, f0: Tensor, before: Tensor, begun: Tensor) -> tuple[Tensor, Tensor]:
        """Radians of the samples of some frames, float32 [B, F, hop, H], and cycles at their middles, [B, F, H].

        f0 [B, F] of the frames; before float64 [B, H], the cycles at the middle of the frame before them, read where
        begun [B].  Ahead of the middle of a sequence's first frame and behind that of the last frame here, phases rest.
        """
        steps = self.advance(f0).double() * self.config.hop
        middles = (torch.cumsum(steps, dim=1) + (before * begun[:, None])[:, None]) % 1
        back = torch.cat([steps[:, :1] * begun[:, None, None], steps[:, 1:]], dim=1)
        forth = torch.cat([steps[:, 1:], torch.zeros_like(steps[:, :1])], dim=1)
        ramp = self.ramp[:, None]
        lean = torch.where(ramp < 0, back[:, :, None], forth[:, :, None]) * ramp
        return ((middles[:, :, None] + lean) % 1).float() * (2 * torch.pi), middles

    def phases_as_trained(self, f0: Tensor) -> Tensor:
        """Radians of a whole sequence's samples [B, F] → float32 [B, F, hop, H], counted in float32."""
        hop = self.config.hop
        middles = torch.cumsum(self.advance(f0).mT, dim=2) * 2 * torch.pi * hop
        radians = F.interpolate(middles, scale_factor=hop, mode="linear")
        return radians.mT.reshape(*f0.shape, hop, -1)

    def forward(self, f0: Tensor, radians: Tensor, noise: Tensor) -> Tensor:
        """f0 [B, F], phases [B, F, hop, H], noise float32 [B, F × hop, H] → [B, F × hop]."""
        config = self.config
        voiced = (f0 > config.nsf_voiced_threshold).float()[..., None, None]
        loudness = voiced * config.nsf_sigma + (1 - voiced) * config.nsf_alpha / 3
        sines = torch.sin(radians) * (config.nsf_alpha * voiced)
        mixed = sines + loudness * noise.reshape(radians.shape)
        return torch.tanh(self.l_linear(mixed)).flatten(1)
