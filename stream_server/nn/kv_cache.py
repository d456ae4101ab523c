"""Keys and values already computed: one contiguous row per slot, allocated once and written in place.

Speech sequences are short (hundreds of positions), so paging would buy nothing; few KV heads do.  A row is a ring:
position p lies at p modulo the row's length, so a model that attends to a window needs no more than the window.
"""

import torch
from torch import Tensor


class KVCache:
    """`keys` [layers, S, H, D, T] and `values` [layers, S, H, T, D] are views of `data`, side by side for each head.

    Each lies as a query's products read it, channel by channel and position by position: a query of four heads over
    160 positions takes 4 µs of keys that lie so, 6.5 of keys that lie as values do.  Addresses never change, and rows
    are reused without clearing: what lies beyond a row's length is of no account, as long as it is finite.
    """

    def __init__(
        self,
        layers: int,
        slots: int,
        positions: int,
        heads: int,
        head_dim: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.layers, self.slots, self.positions = layers, slots, positions
        plane = head_dim * positions
        # Zeros, so that a masked reader's sums stay finite; pages nobody touches still cost nothing.
        self.data = torch.zeros(layers, slots, heads, 2, plane, device=device, dtype=dtype)
        self.keys = self.data[:, :, :, 0].view(layers, slots, heads, head_dim, positions)
        self.values = self.data[:, :, :, 1].view(layers, slots, heads, positions, head_dim)
        self.flat = self.data.view(layers, -1)
        # Where a position's numbers lie in a layer: row + first + position * stride, keys then values.
        head = torch.arange(heads, device=device)[:, None] * 2 * plane
        channel = torch.arange(head_dim, device=device)
        self.row = heads * 2 * plane
        self.first = torch.cat([(head + channel * positions).flatten(), (head + plane + channel).flatten()])
        self.stride = torch.ones_like(self.first)
        self.stride[heads * head_dim :] = head_dim

    def clear(self, slot: int) -> None:
        """For a row that came to hold what is no number: hidden behind a mask it would spoil the next one's sums."""
        self.data[:, slot].zero_()

    def places(self, slots: Tensor, positions: Tensor) -> Tensor:
        """slots and positions (within the ring) int64 [B] → int64 [B, 2 H D], for `write`."""
        return torch.addcmul(self.first, positions[:, None], self.stride).add_(slots[:, None] * self.row)

    def write(self, layer: int, places: Tensor, numbers: Tensor) -> None:
        """numbers [B, 2 H D] of one position a row: its keys, then its values."""
        self.flat[layer].put_(places, numbers)

    def read(self, layer: int, slot: int, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Keys [H, D, stop - start] and values [H, stop - start, D] of one row's last positions, in their order."""
        keys, values = self.keys[layer, slot], self.values[layer, slot]
        if stop <= self.positions:
            return keys[..., start:stop], values[:, start:stop]
        places = torch.arange(start, stop, device=self.data.device) % self.positions
        return keys[..., places], values[:, places]
