"""Gaussian noise that belongs to a place: a hash of the seed and its number, so no cut and no company moves it."""

import torch
from torch import Tensor

from stream_server.nn.sampling import mix

BITS = 24


def gaussian(seeds: Tensor, places: Tensor) -> Tensor:
    """seeds int64 [...] and places int64 [...], broadcast against each other → float32, unit variance (Box-Muller)."""
    x = mix(seeds * -7046029254386353131 + places * -4658895280553007687)
    radius = ((x >> BITS) & ((1 << BITS) - 1)).float().add_(1).mul_(2.0**-BITS).log_().mul_(-2).sqrt_()
    return (x & ((1 << BITS) - 1)).float().mul_(2 * torch.pi * 2.0**-BITS).cos_().mul_(radius)
