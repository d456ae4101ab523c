"""Rotary position embedding (Su et al., 2021), halves rotated against each other as in GPT-NeoX and Llama."""

import torch
from torch import Tensor


def angles(positions: Tensor, head_dim: int, base: float = 10_000.0) -> Tensor:
    """int64 [...] → radians, float32 [..., head_dim / 2]."""
    # Rounded as Llama's are: thousands of positions on, another order of the same operations turns otherwise.
    rates = 1 / base ** (torch.arange(0, head_dim, 2, dtype=torch.float32, device=positions.device) / head_dim)
    return positions[..., None].float() * rates


def rotation(positions: Tensor, head_dim: int, base: float = 10_000.0) -> tuple[Tensor, Tensor]:
    """int64 [...] → cosines and signed sines, float32 [..., 1, head_dim], the same for every head."""
    turns = angles(positions, head_dim, base)[..., None, :]
    cos, sin = turns.cos(), turns.sin()
    return torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [..., H, D]: (a, b) → (a cos − b sin, b cos + a sin), in three operations."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin)
