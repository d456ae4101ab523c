"""Rotary position embedding (Su et al., 2021), halves rotated against each other as in GPT-NeoX and Llama."""

import torch
from torch import Tensor


def rotation(positions: Tensor, head_dim: int, base: float = 10_000.0) -> tuple[Tensor, Tensor]:
    """int64 [...] → cosines and sines, float32 [..., head_dim / 2]."""
    rates = base ** (-torch.arange(0, head_dim, 2, dtype=torch.float32, device=positions.device) / head_dim)
    angles = positions[..., None].float() * rates
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [..., H, D] by angles [..., D / 2], the same for every head."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = cos[..., None, :], sin[..., None, :]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
