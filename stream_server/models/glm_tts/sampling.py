"""Choosing the next code so that it does not repeat itself for ever.

Repetition-aware sampling draws from a nucleus: the likeliest columns up to a share of the mass, and no more than a
count.  A draw that occurs among the latest columns is thrown away for one from the whole distribution.  So with q the
nucleus' shares, h the latest columns and p the distribution, column t comes with probability

    q(t) where t is not in h, else 0,  +  (sum of q over h) p(t).

Plain top-k draws from the nucleus of k columns and keeps what it drew; k = 1 is greedy.  At a temperature other than 1
p is the distribution at it, by either law.  A row's two random numbers come from its seed and the draw's number, so a
row draws the same in any company.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stream_server.nn.sampling import uniform

SHARE, COUNT = 0.8, 25  # of the nucleus
WINDOW = 10  # latest columns that a draw may not repeat
EVERYTHING = 2.0  # a share that no nucleus reaches


@dataclass(frozen=True)
class Draw:
    """How one row is to be drawn."""

    seed: int
    number: int  # of the draw in its sequence
    latest: Sequence[int] = ()  # the row's columns so far, or the end of them
    temperature: float = 1.0  # 0 is greedy
    top_k: int | None = None  # None: repetition-aware
    may_stop: bool = True

    @property
    def count(self) -> int:
        """Columns in the nucleus at most."""
        return 1 if self.temperature == 0 else COUNT if self.top_k is None else self.top_k

    @property
    def share(self) -> float:
        return SHARE if self.top_k is None and self.temperature else EVERYTHING

    @property
    def heat(self) -> float:
        return self.temperature or 1.0

    def repeats(self, column: int) -> bool:
        return self.top_k is None and self.temperature > 0 and column in self.latest[-WINDOW:]


@dataclass(frozen=True)
class Nucleus:
    columns: np.ndarray  # int64 [B, K], the likeliest first, of equals the lower one
    shares: np.ndarray  # float64 [B, K]: what each row draws by, 0 beyond its nucleus
    broken: list[bool]  # no distribution: something is NaN or infinite, or nothing is left


def choose(logits: Tensor, draws: Sequence[Draw], stop: int) -> tuple[list[int], list[bool]]:
    """logits [B, N] → each row's column, and whether the row is broken, which makes its column meaningless.

    Where a row may not stop, the column `stop` is overwritten with -inf.
    """
    early = [row for row, draw in enumerate(draws) if not draw.may_stop]
    if early:
        logits[early, stop] = -torch.inf
    found = nucleus(logits, draws)
    first, second = uniform([draw.seed for draw in draws], [draw.number for draw in draws], 2).T
    chosen = found.columns[np.arange(len(draws)), inverse(found.shares.cumsum(axis=1), first)].tolist()
    for row, draw in enumerate(draws):
        if draw.repeats(chosen[row]) and not found.broken[row]:
            sums = (logits[row] / draw.heat).softmax(0).double().cumsum(0).cpu().numpy()
            chosen[row] = int(inverse(sums, second[row]))
    return chosen, found.broken


def nucleus(logits: Tensor, draws: Sequence[Draw]) -> Nucleus:
    """Of every row of logits [B, N]; the stop is masked already."""
    N = logits.shape[1]
    widest = min(max(draw.count for draw in draws), N)
    heat = np.array([[draw.heat] for draw in draws])
    heated = logits if (heat == 1).all() else logits / torch.from_numpy(heat).to(logits)
    mass = heated.logsumexp(1).double().cpu().numpy()[:, None]
    values, columns = likeliest(heated, widest)
    with np.errstate(invalid="ignore"):  # rows that are broken
        shares = np.exp(values - mass)
    before = np.cumsum(shares, axis=1) - shares
    place = np.arange(widest)
    kept = before < np.array([[draw.share] for draw in draws])
    kept &= place < np.array([[draw.count] for draw in draws])
    return Nucleus(columns, np.where(kept, shares, 0.0), (~np.isfinite(mass[:, 0])).tolist())


def likeliest(logits: Tensor, count: int) -> tuple[np.ndarray, np.ndarray]:
    """logits [B, N] → values float64 and columns int64 [B, count], from the highest down, of equals the lower first."""
    more = min(count + 1, logits.shape[1])
    top = logits.topk(more)
    values, columns = top.values.double().cpu().numpy(), top.indices.cpu().numpy()
    for row in np.flatnonzero((values[:, 1:] == values[:, :-1]).any(axis=1)):  # equals: their order is not topk's
        columns[row] = logits[row].sort(descending=True, stable=True).indices[:more].cpu().numpy()
    return values[:, :count], columns[:, :count]


def inverse(sums: np.ndarray, random: np.ndarray) -> np.ndarray:
    """Running sums of weights [..., K], random [...] in (0, 1) → place [...]: never one that has no weight."""
    return np.argmax(sums > random[..., None] * sums[..., -1:], axis=-1)
