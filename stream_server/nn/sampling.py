"""Choosing a token: temperature, top-k, and noise that belongs to the sequence.

The noise of a draw is a hash of the sequence's seed and the draw's number, so what a listener hears does not depend
on who else is being served, nor on how many draws others made.
"""

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
    chosen = torch.empty(len(temperatures), dtype=torch.int64, device=logits.device)
    for row, (temperature, top_k) in enumerate(zip(temperatures, top_ks)):
        if temperature == 0:
            chosen[row] = logits[row].argmax()
            continue
        values, indices = logits[row].topk(min(top_k, logits.shape[1]))
        noise = uniform(seeds[row : row + 1], draws[row : row + 1], len(values))[0]
        chosen[row] = indices[(values.double() / temperature - torch.log(-torch.log(noise))).argmax()]
    return chosen
