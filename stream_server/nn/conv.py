"""Causal convolution blocks that can be run whole or cut anywhere.

Layout is channels last.  Whole sequences are [B, T, C] with a silent past.  Streams are rows of unequal length laid
end to end, [sum of T, C], so that everybody's piece goes through one product; what a block must remember of their past
is a value with one row per slot, passed in and written in place.  Streams are on the CPU, in float32, and between their
products there are compiled `kernels`.  Does not know what the channels mean.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stream_server.nn import kernels
from stream_server.nn.layout import FEWEST_ROWS

KERNEL = 5
PAST = KERNEL - 1


class Rows:
    """Whose pieces lie end to end, and how long each is; worked out once for all blocks."""

    def __init__(self, slots: Tensor, lengths: list[int]) -> None:
        """slots int64 [B]; lengths, at least 1 each."""
        self.slots, self.lengths, self.count = slots.numpy(), np.array(lengths, np.int64), sum(lengths)


class DepthwiseConv(nn.Module):
    """Causal depthwise convolution as shifted multiply-adds: several times faster than Conv1d on a CPU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(KERNEL, channels) * KERNEL**-0.5)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, padded: Tensor) -> Tensor:
        """[..., PAST + T, C] → [..., T, C]."""
        length = padded.shape[-2] - PAST
        out = torch.addcmul(self.bias, padded[..., :length, :], self.weight[0])
        for tap in range(1, KERNEL):
            out = torch.addcmul(out, padded[..., tap : tap + length, :], self.weight[tap])
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

    def forward(self, x: Tensor) -> Tensor:
        """Whole sequences [B, T, C] → [B, T, C]."""
        return self.residual(x, F.pad(x, (0, 0, PAST, 0)))

    def stream(self, x: Tensor, history: Tensor, rows: Rows) -> Tensor:
        """Pieces [sum of T, C] → [sum of T, C]; `history` [S, PAST, C] of the block's inputs."""
        full, channels = max(rows.count, FEWEST_ROWS), x.shape[1]
        h, out = torch.empty(full, channels), torch.empty(full, channels)
        wide = torch.empty(full, self.widen.out_features)
        taps, offset = self.conv.weight.numpy(), self.conv.bias.numpy()
        kernels.convolve(x.numpy(), history.numpy(), rows.slots, rows.lengths, taps, offset, h.numpy())
        weight, bias = self.norm.weight.numpy(), self.norm.bias.numpy()
        kernels.normalise_layer(h[: rows.count].numpy(), weight, bias, np.float32(self.norm.eps))
        torch.mm(h, self.widen.weight.t(), out=wide)
        kernels.gelu(wide.numpy(), self.widen.bias.numpy())
        torch.add(x, self.narrow.bias, out=out[: rows.count])
        return out.addmm_(wide, self.narrow.weight.t())[: rows.count]

    def centred(self, x: Tensor) -> Tensor:
        """[B, T, C] → [B, T, C], looking as far ahead as back; both ends see zeros beyond."""
        side = (KERNEL - 1) // 2
        return self.residual(x, F.pad(x, (0, 0, side, side)))

    def residual(self, x: Tensor, padded: Tensor) -> Tensor:
        """x [B, T, C] and the same with PAST neighbours, [B, PAST + T, C]."""
        return x + self.mix(self.conv(padded))

    def mix(self, x: Tensor) -> Tensor:
        return self.narrow(F.gelu(self.widen(self.norm(x))))
