"""Causal convolution blocks that can be run whole or cut anywhere.

Layout is channels last.  Whole sequences are [B, T, C] with a silent past.  Streams are rows of unequal length laid
end to end, [sum of T, C], so that everybody's piece goes through one product; what a block must remember of their past
is a value with one row per slot, passed in and written in place.  Does not know what the channels mean.
"""

from collections.abc import Iterable
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stream_server.nn.layout import in_company

KERNEL = 5
PAST = KERNEL - 1


class Rows:
    """Where streams' pieces lie, end to end and with each one's past before it; worked out once for all blocks."""

    def __init__(self, slots: Tensor, lengths: list[int]) -> None:
        """slots int64 [B]; lengths, at least 1 each."""
        self.slots, self.count = slots, sum(lengths)
        starts = list(accumulate((length + PAST for length in lengths), initial=0))
        self.padded = starts[-1]
        self.past = spans((start, PAST) for start in starts[:-1])
        self.inputs = spans((start + PAST, length) for start, length in zip(starts, lengths))
        self.outputs = self.inputs - PAST
        self.last = spans((end - PAST, PAST) for end in starts[1:])

    def join(self, x: Tensor, history: Tensor) -> Tensor:
        """x [sum of T, C] with each row's past before it, from `history` [S, PAST, C], which moves on."""
        joined = x.new_empty(self.padded, x.shape[1])
        joined[self.past] = history[self.slots].flatten(0, 1)
        joined[self.inputs] = x
        history[self.slots] = joined[self.last].view(-1, PAST, x.shape[1])
        return joined


def spans(pieces: Iterable[tuple[int, int]]) -> Tensor:
    """(start, length) each → int64, all their positions in order."""
    return torch.from_numpy(np.concatenate([np.arange(start, start + length) for start, length in pieces]))


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
        return x + in_company(self.mix, self.conv(rows.join(x, history))[rows.outputs])

    def centred(self, x: Tensor) -> Tensor:
        """[B, T, C] → [B, T, C], looking as far ahead as back; both ends see zeros beyond."""
        side = (KERNEL - 1) // 2
        return self.residual(x, F.pad(x, (0, 0, side, side)))

    def residual(self, x: Tensor, padded: Tensor) -> Tensor:
        """x [B, T, C] and the same with PAST neighbours, [B, PAST + T, C]."""
        return x + self.mix(self.conv(padded))

    def mix(self, x: Tensor) -> Tensor:
        return self.narrow(F.gelu(self.widen(self.norm(x))))
