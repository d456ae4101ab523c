"""Self-attention with few key-value heads over a sliding window: whole sequences, or one position a row.

Shapes: B rows, T positions, H query heads, G key-value heads, D channels a head.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stream_server.nn.kv_cache import KVCache
from stream_server.nn.rope import rotate, rotation


class Attention(nn.Module):
    def __init__(
        self,
        width: int,
        heads: int,
        kv_heads: int,
        window: int,
        head_dim: int | None = None,
        theta: float = 10_000.0,
    ) -> None:
        """head_dim: width / heads where not given; theta: the base of the rates at which positions turn."""
        super().__init__()
        self.heads, self.kv_heads, self.window, self.theta = heads, kv_heads, window, theta
        self.head_dim = head_dim or width // heads
        self.qkv = nn.Linear(width, (heads + 2 * kv_heads) * self.head_dim, bias=False)
        self.out = nn.Linear(heads * self.head_dim, width, bias=False)

    def project(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x [..., width], rotation [..., 1, D] → rotated q [..., H, D], rotated k and plain v [..., G, D]."""
        H, G = self.heads, self.kv_heads
        qkv = self.qkv(x).unflatten(-1, (-1, self.head_dim))
        qk = rotate(qkv[..., : H + G, :], cos, sin)
        return qk[..., :H, :], qk[..., H:, :], qkv[..., H + G :, :]

    def forward(self, x: Tensor) -> Tensor:
        """Whole sequences from position 0: [B, T, width] → [B, T, width]."""
        B, T, _ = x.shape
        positions = torch.arange(T, device=x.device)
        q, k, v = self.project(x, *rotation(positions, self.head_dim, self.theta))
        distance = positions[:, None] - positions
        mask = (distance >= 0) & (distance < self.window)
        y = F.scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=mask, enable_gqa=True
        )
        return self.out(y.transpose(1, 2).reshape(B, T, -1))

    def step(self, x: Tensor, cache: KVCache, layer: int, at: "Places") -> Tensor:
        """One new position a row: [B, width] → [B, width]; writes the cache.

        Rows attend one by one over their own length, so a row's numbers do not depend on its company.
        """
        q, k, v = self.project(x, at.cos, at.sin)
        cache.write(layer, cache.places(at.slots, at.positions % cache.positions), torch.cat([k, v], dim=1).flatten(1))
        rows = []
        for row, (slot, position) in enumerate(at.pairs):
            keys, values = cache.read(layer, slot, max(0, position + 1 - self.window), position + 1)
            rows.append(attend(q[row], keys, values))
        return self.out(torch.stack(rows).flatten(1))


class Places:
    """Where the rows of a step stand; worked out once for all layers."""

    def __init__(self, slots: Tensor, positions: Tensor, head_dim: int, theta: float) -> None:
        self.slots, self.positions = slots, positions  # int64 [B]
        self.pairs = list(zip(slots.tolist(), positions.tolist()))
        self.cos, self.sin = rotation(positions, head_dim, theta)


def attend(q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """One query [H, D] over keys [G, D, T] and values [G, T, D] → [H, D]."""
    H, D = q.shape
    grouped = q.view(len(keys), -1, D)
    weights = torch.softmax(grouped @ keys * D**-0.5, dim=-1)  # [G, H / G, T]
    return (weights @ values).reshape(H, D)


def attend_together(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Scaled queries [B, G, H / G, D] over keys [B, G, D, T] and values [B, G, T, D] under a mask [B, 1, T], in float32
    where shares are made → [B, G, H / G, D]."""
    shares = ((queries @ keys).float() + mask[:, None]).softmax(-1)
    return shares.to(values.dtype) @ values
