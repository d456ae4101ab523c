"""A TorchScript program in the place of the release's 32 kHz vocoder: mel less ln of its window → sound.

It hears a mel's neighbours and smears its sound over the next frame, so that cutting it has to be done with care.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

BEFORE, AFTER = 4, 3  # frames that a frame's sound depends on


class Program(nn.Module):
    def __init__(self, bins: int, hop: int, seed: int) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        self.hop = hop
        self.near = nn.Conv1d(bins, 16, 7, padding=3)
        self.out = nn.Conv1d(16, 2 * hop, 1)
        with torch.no_grad():
            for weight in self.parameters():
                weight.copy_(torch.randn(weight.shape, generator=random) * 0.05)

    def forward(self, mel: Tensor) -> Tensor:
        """[B, T, bins] → [B, T × hop]"""
        pieces = self.out(torch.tanh(self.near(mel.transpose(1, 2))))  # the second half is heard a frame later
        late = torch.nn.functional.pad(pieces[:, self.hop :, :-1], [1, 0])
        return torch.tanh(pieces[:, : self.hop] + late).transpose(1, 2).flatten(1)


def make_closed_vocoder(path: Path, bins: int = 80, hop: int = 640, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.jit.save(torch.jit.script(Program(bins, hop, seed)), str(path))
