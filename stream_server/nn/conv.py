"""Causal convolution blocks that can be run whole or cut anywhere.

Layout is channels last, [B, T, C].  What a block must remember of the past is a value with one row per slot, passed
in and written in place; without it the past is silence.  Does not know what the channels mean.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

KERNEL = 5


def with_history(x: Tensor, history: Tensor | None, slots: Tensor | None) -> Tensor:
    """x [B, T, C] → [B, P + T, C] with each row's last P inputs in front; `history` [S, P, C] is moved on in place.

    Without `history` the past is P = KERNEL - 1 zeros.
    """
    if history is None or slots is None:
        return F.pad(x, (0, 0, KERNEL - 1, 0))
    joined = torch.cat([history[slots], x], dim=1)
    history[slots] = joined[:, -history.shape[1] :]
    return joined


class DepthwiseConv(nn.Module):
    """Causal depthwise convolution as shifted multiply-adds: several times faster than Conv1d on a CPU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(KERNEL, channels) * KERNEL**-0.5)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, padded: Tensor) -> Tensor:
        """[B, KERNEL - 1 + T, C] → [B, T, C]."""
        length = padded.shape[1] - KERNEL + 1
        out = torch.addcmul(self.bias, padded[:, :length], self.weight[0])
        for tap in range(1, KERNEL):
            out = torch.addcmul(out, padded[:, tap : tap + length], self.weight[tap])
        return out


class ConvNeXt(nn.Module):
    """Depthwise convolution, norm, a wide pointwise layer, residual (Liu et al., 2022; Vocos' backbone), causal."""

    def __init__(self, channels: int, expansion: int = 3) -> None:
        super().__init__()
        self.conv = DepthwiseConv(channels)
        self.norm = nn.LayerNorm(channels)
        self.widen = nn.Linear(channels, expansion * channels)
        self.narrow = nn.Linear(expansion * channels, channels)
        nn.init.normal_(self.narrow.weight, std=0.02)
        nn.init.zeros_(self.narrow.bias)

    def forward(self, x: Tensor, history: Tensor | None = None, slots: Tensor | None = None) -> Tensor:
        """[B, T, C] → [B, T, C]; `history` [S, KERNEL - 1, C] of the block's inputs, `slots` [B]."""
        return self.residual(x, with_history(x, history, slots))

    def centred(self, x: Tensor) -> Tensor:
        """[B, T, C] → [B, T, C], looking as far ahead as back; both ends see zeros beyond."""
        side = (KERNEL - 1) // 2
        return self.residual(x, F.pad(x, (0, 0, side, side)))

    def residual(self, x: Tensor, padded: Tensor) -> Tensor:
        """x [B, T, C] and the same with KERNEL - 1 neighbours, [B, KERNEL - 1 + T, C]."""
        return x + self.narrow(F.gelu(self.widen(self.norm(self.conv(padded)))))
