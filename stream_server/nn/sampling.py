"""Choosing a token: temperature, top-k, and noise that belongs to the sequence.

The noise of a draw is a hash of the sequence's seed and the draw's number, so what a listener hears does not depend
on who else is being served, nor on how many draws others made.  In NumPy, whose operations on a handful of numbers
start several times quicker than PyTorch's, the more so behind a step that has filled the processor's caches.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

import numpy as np
from torch import Tensor

MASK = 0xFFFFFFFFFFFFFFFF
Numbers = TypeVar("Numbers", np.ndarray, Tensor)


def uniform(seeds: Sequence[int], draws: Sequence[int], count: int) -> np.ndarray:
    """seeds, draws [B] → float64 [B, count] in (0, 1): splitmix64 over (seed, draw, index)."""
    starts = [seed * 0x9E3779B97F4A7C15 + draw * 0xD1B54A32D192ED03 & MASK for seed, draw in zip(seeds, draws)]
    x = np.array(starts, np.uint64).view(np.int64)[:, None] + places(count)
    return (mix(x) & 0x1FFFFFFFFFFFFF) * 2.0**-53 + 2.0**-54


@lru_cache(maxsize=16)
def places(count: int) -> np.ndarray:
    """int64 [count]: what each index adds to a draw's start."""
    return np.arange(count) * -4658895280553007687


def mix(x: Numbers) -> Numbers:
    """splitmix64's finaliser on int64, whose products wrap as unsigned ones do."""
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * -4658895280553007687
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * -7723592293110705685
    return x ^ (x >> 31)  # its low 53 bits are those of a shift that brings in zeros


def likeliest(logits: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """logits [B, V] → values and int64 places [B, count], from the highest down; NaN counts as highest."""
    rows = np.arange(len(logits))[:, None]
    found = logits.argpartition(logits.shape[1] - count, axis=1)[:, -count:]
    found = found[rows, logits[rows, found].argsort(axis=1)[:, ::-1]]
    return logits[rows, found], found


def sample(
    logits: np.ndarray,
    temperatures: Sequence[float],
    top_ks: Sequence[int],
    seeds: Sequence[int],
    draws: Sequence[int],
) -> tuple[list[int], list[bool]]:
    """logits float32 [B, V] → each row's token, and whether the row is broken, which makes its token meaningless.

    Gumbel's trick over each row's top k; a temperature of 0 is greedy.
    """
    widest = min(max(top_ks), logits.shape[1])
    values, indices = likeliest(logits, widest)
    broken = [not math.isfinite(highest) for highest in values[:, 0].tolist()]
    if not any(temperatures):
        return indices[:, 0].tolist(), broken
    # A greedy row sees only its best; no row sees beyond its own k.
    kept = [k if temperature else 1 for k, temperature in zip(top_ks, temperatures)]
    heat = np.array([temperature or 1.0 for temperature in temperatures])[:, None]
    scores = values / heat - np.log(-np.log(uniform(seeds, draws, widest)))
    if min(kept) < widest:
        scores[np.arange(widest) >= np.array(kept)[:, None]] = -np.inf
    return [int(row[best]) for row, best in zip(indices, scores.argmax(axis=1).tolist())], broken
