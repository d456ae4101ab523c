"""Keys and values already computed: one contiguous row per slot, allocated once and written in place.

Speech sequences are short (hundreds of positions), so paging would buy nothing; few KV heads do.
"""

import torch
from torch import Tensor


class KVCache:
    """`data` is [layers, 2, S, T, H, D]; its address never changes, rows are reused without clearing.

    What lies beyond a row's length is no value at all: readers bound themselves.
    """

    def __init__(self, layers: int, slots: int, positions: int, heads: int, head_dim: int) -> None:
        self.data = torch.empty(layers, 2, slots, positions, heads, head_dim)  # untouched pages cost nothing

    @property
    def positions(self) -> int:
        return self.data.shape[3]

    def write(self, layer: int, slots: Tensor, positions: Tensor, keys: Tensor, values: Tensor) -> None:
        """keys, values [B, H, D] of one position a row; slots, positions int64 [B]."""
        self.data[layer, 0, slots, positions] = keys
        self.data[layer, 1, slots, positions] = values

    def read(self, layer: int, slot: int, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Views [stop - start, H, D] of one row's keys and values."""
        return self.data[layer, 0, slot, start:stop], self.data[layer, 1, slot, start:stop]
