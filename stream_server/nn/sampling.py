"""Choosing a token: temperature, top-k, and noise that belongs to the sequence.

The noise of a draw is a hash of the sequence's seed and the draw's number, so what a listener hears does not depend
on who else is being served, nor on how many draws others made.
"""

import numpy as np
import torch
from torch import Tensor


def uniform(seeds: Tensor, draws: Tensor, count: int) -> Tensor:
    """seeds, draws int64 [B] → float64 [B, count] in (0, 1): splitmix64 over (seed, draw, index)."""
    start = seeds * -7046029254386353131 + draws * -3335678366873096957
    index = torch.arange(count, device=seeds.device) * -4658895280553007687
    return (mix(start[:, None] + index) & 0x1FFFFFFFFFFFFF).double().mul_(2.0**-53).add_(2.0**-54)


def mix(x: Tensor) -> Tensor:
    """splitmix64's finaliser on int64, whose products wrap as unsigned ones do."""
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * -4658895280553007687
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * -7723592293110705685
    return x ^ (x >> 31)  # its low 53 bits are those of a shift that brings in zeros


def sample(logits: Tensor, temperatures: list[float], top_ks: list[int], seeds: Tensor, draws: Tensor) -> Tensor:
    """logits [B, V] → int64 [B]; a temperature of 0 is greedy.  Gumbel's trick over each row's top k."""
    widest = min(max(top_ks), logits.shape[1])
    values, indices = logits.topk(widest)
    if not any(temperatures):
        return indices[:, 0]
    heat = torch.from_numpy(np.array(temperatures))[:, None]
    # A greedy row sees only its best; no row sees beyond its own k.
    kept = np.array([k if temperature else 1 for k, temperature in zip(top_ks, temperatures)])
    hidden = torch.from_numpy(np.arange(widest) >= kept[:, None])
    noise = uniform(seeds, draws, widest).log_().neg_().log_()
    scores = (values / heat.clamp(min=1e-9)).sub_(noise).masked_fill_(hidden, -torch.inf)
    return indices.gather(1, scores.argmax(dim=1, keepdim=True))[:, 0]
