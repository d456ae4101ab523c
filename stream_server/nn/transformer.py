"""A pre-norm decoder block and a stack of them: RMSNorm, attention, SwiGLU."""

from collections.abc import Iterator
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stream_server.nn.attention import Attention, Places
from stream_server.nn.kv_cache import KVCache
from stream_server.nn.norm import RMSNorm


class FeedForward(nn.Module):
    """SwiGLU (Shazeer, 2020)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)


class Block(nn.Module):
    def __init__(
        self,
        width: int,
        heads: int,
        kv_heads: int,
        hidden: int,
        window: int,
        *,
        head_dim: int | None = None,
        theta: float = 10_000.0,
        eps: float = 1e-5,
    ) -> None:
        """head_dim and theta as in `Attention`, eps as in `RMSNorm`."""
        super().__init__()
        self.attention_norm = RMSNorm(width, eps)
        self.attention = Attention(width, heads, kv_heads, window, head_dim, theta)
        self.feed_forward_norm = RMSNorm(width, eps)
        self.feed_forward = FeedForward(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.feed_forward(self.feed_forward_norm(x))

    def step(self, x: Tensor, cache: KVCache, layer: int, at: Places) -> Tensor:
        x = x + self.attention.step(self.attention_norm(x), cache, layer, at)
        return x + self.feed_forward(self.feed_forward_norm(x))


class Transformer(nn.Module):
    """[..., width] in, [..., width] normalised out; embedding and heads are its owner's."""

    def __init__(
        self,
        layers: int,
        width: int,
        heads: int,
        kv_heads: int,
        hidden: int,
        window: int,
        *,
        head_dim: int | None = None,
        theta: float = 10_000.0,
        eps: float = 1e-5,
    ) -> None:
        """head_dim, theta and eps as in `Block`."""
        super().__init__()
        block = partial(Block, width, heads, kv_heads, hidden, window, head_dim=head_dim, theta=theta, eps=eps)
        self.blocks = nn.ModuleList(block() for _ in range(layers))
        self.norm = RMSNorm(width, eps)

    def __iter__(self) -> Iterator[Block]:
        return (cast(Block, block) for block in self.blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Whole sequences [B, T, width] from position 0, without a cache."""
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def step(self, x: Tensor, cache: KVCache, slots: Tensor, positions: Tensor) -> Tensor:
        """One position a row [B, width]; slots and positions int64 [B].  `DecodeStep` is the same, tuned."""
        first = next(iter(self)).attention
        at = Places(slots, positions, first.head_dim, first.theta)
        for layer, block in enumerate(self):
            x = block.step(x, cache, layer, at)
        return self.norm(x)

    def allocate(self, slots: int, positions: int, device: torch.device | str = "cpu") -> KVCache:
        """A cache for rows of so many positions, of which no more are kept than are attended to."""
        attention = next(iter(self)).attention
        kept = min(positions, attention.window)
        return KVCache(len(self.blocks), slots, kept, attention.kv_heads, attention.head_dim, device)
