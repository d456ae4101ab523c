"""A pre-norm decoder block and a stack of them: RMSNorm, attention, SwiGLU."""

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
    def __init__(self, width: int, heads: int, kv_heads: int, hidden: int, window: int) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(width)
        self.attention = Attention(width, heads, kv_heads, window)
        self.feed_forward_norm = RMSNorm(width)
        self.feed_forward = FeedForward(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.feed_forward(self.feed_forward_norm(x))

    def step(self, x: Tensor, cache: KVCache, layer: int, at: Places) -> Tensor:
        x = x + self.attention.step(self.attention_norm(x), cache, layer, at)
        return x + self.feed_forward(self.feed_forward_norm(x))


class Transformer(nn.Module):
    """[..., width] in, [..., width] normalised out; embedding and heads are its owner's."""

    def __init__(self, layers: int, width: int, heads: int, kv_heads: int, hidden: int, window: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads, kv_heads, hidden, window) for _ in range(layers))
        self.norm = RMSNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Whole sequences [B, T, width] from position 0, without a cache."""
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def step(self, x: Tensor, cache: KVCache, slots: Tensor, positions: Tensor) -> Tensor:
        """One position a row [B, width]; slots and positions int64 [B].  `DecodeStep` is the same, tuned."""
        at = Places(slots, positions, cast(Block, self.blocks[0]).attention.head_dim)
        for layer, block in enumerate(self.blocks):
            x = cast(Block, block).step(x, cache, layer, at)
        return self.norm(x)

    def allocate(self, slots: int, positions: int, device: torch.device | str = "cpu") -> KVCache:
        """A cache for rows of so many positions, of which no more are kept than are attended to."""
        attention = cast(Block, self.blocks[0]).attention
        kept = min(positions, attention.window)
        return KVCache(len(self.blocks), slots, kept, attention.kv_heads, attention.head_dim, device)
