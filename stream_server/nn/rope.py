"""Rotary position embedding (Su et al., 2021): by halves as in GPT-NeoX and Llama, or by pairs of neighbours."""

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


def pair_rotation(positions: Tensor, rates: Tensor) -> tuple[Tensor, Tensor]:
    """int64 [...] and radians a position [R] → cosines and signed sines, float32 [..., 2 R], neighbours in pairs."""
    turns = positions[..., None].float() * rates.float()
    cos, sin = turns.cos(), turns.sin()
    return cos.repeat_interleave(2, dim=-1), torch.stack([-sin, sin], dim=-1).flatten(-2)


def rotate_pairs(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [..., C]: the first 2 R channels turn as pairs of neighbours (a, b), the others stay."""
    turned, rest = x[..., : cos.shape[-1]], x[..., cos.shape[-1] :]
    swapped = turned.reshape(*turned.shape[:-1], -1, 2).flip(-1).flatten(-2)
    return torch.cat([torch.addcmul(turned * cos, swapped, sin), rest], dim=-1)
