"""What a step's queries hear of the cache's rows: row by row on a CPU, gathered and all at once elsewhere.

Queries are scaled already.  B rows, G key-value heads, H / G queries of each, D channels, T positions attended to.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from stream_server.nn.kv_cache import KVCache

Pair = tuple[Tensor, Tensor]  # keys [D, T] and values [T, D] of one row and head, views into the cache


class Views:
    """Every slot's keys and values where they lie, cut to a span; made when first asked for."""

    def __init__(self, cache: KVCache) -> None:
        self.cache = cache
        self.found: dict[tuple[int, int], list[list[Pair]]] = {}

    def of(self, slot: int, span: int) -> list[list[Pair]]:
        """[layers][G]."""
        pairs = self.found.get((slot, span))
        if pairs is None:
            keys, values = self.cache.keys[:, slot, ..., :span], self.cache.values[:, slot, :, :span]
            pairs = self.found[slot, span] = [list(zip(k.unbind(), v.unbind())) for k, v in zip(keys, values)]
        return pairs


class OneByOne:
    """Two small products a row and head, where they lie: half the time of gathering rows that are no neighbours, and
    less than the batched products take of those that are.  Measured on an AVX-512 Xeon, 1 to 32 rows of 160 positions.
    """

    def __init__(self, queries: Tensor, heard: Tensor) -> None:
        """queries, heard [B, G, H / G, D]: views of what is read and filled, whenever it is called."""
        self.queries, self.heard = parted(queries), parted(heard)
        self.rows, self.groups, self.each, _ = queries.shape
        self.span = 0

    def attend(self, pairs: Iterable[Pair], mask: Tensor) -> None:
        """pairs: a layer's, row by row; mask [B, 1, T], 0 or -inf."""
        if mask.shape[-1] != self.span:
            self.make_room(mask.shape[-1])
        pairs = list(pairs)
        for query, (keys, _), scores in zip(self.queries, pairs, self.asked):
            torch.mm(query, keys, out=scores)
        self.scores.add_(mask)
        torch.softmax(self.scores, -1, out=self.shares)
        for shares, (_, values), heard in zip(self.given, pairs, self.heard):
            torch.mm(shares, values, out=heard)

    def make_room(self, span: int) -> None:
        self.span = span
        self.scores = torch.empty(self.rows, self.groups * self.each, span)
        self.shares = torch.empty_like(self.scores)
        self.asked, self.given = (
            x.view(self.rows * self.groups, self.each, span).unbind() for x in (self.scores, self.shares)
        )


def parted(x: Tensor) -> tuple[Tensor, ...]:
    """[B, G, H / G, D] → B G views."""
    return tuple(head for row in x for head in row)


def attend_together(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """queries [B, G, H / G, D] over keys [B, G, D, T] and values [B, G, T, D] under a mask [B, 1, T], in float32 where
    shares are made → [B, G, H / G, D]."""
    shares = ((queries @ keys).float() + mask[:, None]).softmax(-1)
    return shares.to(values.dtype) @ values
