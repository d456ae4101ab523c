"""Keys and values already computed: one contiguous row per slot, allocated once and written in place.

Speech sequences are short (hundreds of positions), so paging would buy nothing; few KV heads do.  A row is a ring:
position p lies at p modulo the row's length, so a model that attends to a window needs no more than the window.
"""

import torch
from torch import Tensor


class KVCache:
    """`data` is [layers, S, T, 2, H, D]; its address never changes, rows are reused without clearing.

    What lies beyond a row's length is no value at all: readers bound themselves.
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
        # Zeros, so that a masked reader's sums stay finite; pages nobody touches still cost nothing.
        self.data = torch.zeros(layers, slots, positions, 2, heads, head_dim, device=device, dtype=dtype)

    @property
    def slots(self) -> int:
        return self.data.shape[1]

    @property
    def positions(self) -> int:
        return self.data.shape[2]

    def write(self, layer: int, slots: Tensor, positions: Tensor, keys: Tensor, values: Tensor) -> None:
        """keys, values [B, H, D] of one position a row; slots, positions int64 [B]."""
        self.data[layer, slots, positions % self.positions] = torch.stack([keys, values], dim=1)

    def read(self, layer: int, slot: int, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """[stop - start, H, D] each: one row's keys and values of the last positions written, in their order."""
        row = self.data[layer, slot]
        found = row[start:stop] if stop <= self.positions else row[torch.arange(start, stop) % self.positions]
        return found[:, 0], found[:, 1]
