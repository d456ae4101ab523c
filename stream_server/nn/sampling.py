"""Choosing a token: temperature, top-k, and noise that belongs to the sequence.

The noise of a draw is a hash of the sequence's seed and the draw's number, so what a listener hears does not depend
on who else is being served, nor on how many draws others made.  A draw is one compiled loop over its row: behind a step
that has filled the processor's caches, NumPy's fifteen operations took 80 µs for one row and 230 for sixteen.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

import numpy as np
from torch import Tensor

from stream_server.nn.compiled import ONE, Array, compiled

MASK = 0xFFFFFFFFFFFFFFFF
Numbers = TypeVar("Numbers", np.ndarray, Tensor)


def uniform(seeds: Sequence[int], draws: Sequence[int], count: int) -> np.ndarray:
    """seeds, draws [B] → float64 [B, count] in (0, 1): splitmix64 over (seed, draw, index)."""
    x = starts(seeds, draws).view(np.int64)[:, None] + places(count)
    return (mix(x) & 0x1FFFFFFFFFFFFF) * 2.0**-53 + 2.0**-54


def starts(seeds: Sequence[int], draws: Sequence[int]) -> np.ndarray:
    """[B] → uint64 [B]: what each draw's noise is a hash of, beside the index."""
    begun = [seed * 0x9E3779B97F4A7C15 + draw * 0xD1B54A32D192ED03 & MASK for seed, draw in zip(seeds, draws)]
    return np.array(begun, np.uint64)


@lru_cache(maxsize=16)
def places(count: int) -> np.ndarray:
    """int64 [count]: what each index adds to a draw's start."""
    return np.arange(count) * -4658895280553007687


def mix(x: Numbers) -> Numbers:
    """splitmix64's finaliser on int64, whose products wrap as unsigned ones do."""
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * -4658895280553007687
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * -7723592293110705685
    return x ^ (x >> 31)  # a shift that brings in the sign, as good as one of zeros


@compiled()
def mixed(x: np.uint64) -> np.uint64:
    """`mix` of one unsigned number."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ np.uint64(np.int64(x) >> 31)


@compiled()
def sort_likeliest(logits: Array, count: np.uint64, best: Array, at: Array) -> bool:
    """best and at [count] become the likeliest and their places, from the highest down, of equals the first.

    Whether it is a distribution: nothing is NaN or infinitely likely, and something is likely at all.
    """
    held = np.uint64(0)
    for column in range(np.uint64(len(logits))):
        value = logits[column]
        if not value < np.inf:
            return False
        if held == count and not value > best[held - ONE]:
            continue
        place = held if held < count else held - ONE
        held = min(held + ONE, count)
        while place > 0 and value > best[place - ONE]:
            best[place], at[place] = best[place - ONE], at[place - ONE]
            place -= ONE
        best[place], at[place] = value, column
    return best[np.uint64(0)] > -np.inf


@compiled("FF", "D", "I", "U", "F", "I", "I", "B")
def draw(
    logits: Array, heat: Array, kept: Array, begun: Array, best: Array, at: Array, tokens: Array, broken: Array
) -> None:
    """`sample`: kept int64 [B] of the likeliest stand to choice; best and at, as long as the largest, are room."""
    for b in range(np.uint64(len(logits))):
        count = np.uint64(kept[b])
        broken[b] = not sort_likeliest(logits[b], count, best, at)
        highest, x = -np.inf, begun[b]
        for place in range(count if heat[b] > 0 and not broken[b] else ONE):
            random = np.float64(mixed(x) & np.uint64(0x1FFFFFFFFFFFFF)) * 2.0**-53 + 2.0**-54
            score = best[place] / heat[b] - np.log(-np.log(random)) if heat[b] > 0 else np.float64(0)
            if score > highest:
                highest, tokens[b] = score, at[place]
            x += np.uint64(0xBF58476D1CE4E5B9)


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
    B, V = logits.shape
    kept = [min(k, V) if temperature else 1 for k, temperature in zip(top_ks, temperatures)]
    tokens, broken = np.zeros(B, np.int64), np.zeros(B, np.bool_)
    heat = np.array(temperatures, np.float64)
    best, at = np.empty(max(kept), np.float32), np.empty(max(kept), np.int64)
    draw(np.ascontiguousarray(logits), heat, np.array(kept), starts(seeds, draws), best, at, tokens, broken)
    return tokens.tolist(), broken.tolist()
