"""Word errors: how many words of a sentence were not heard as written, and how sure a rate over sentences is.

Knows words only: where the hypothesis came from is `recognise`'s affair.
"""

import re

import numpy as np

DRAWS = 10_000


def word_errors(reference: str, hypothesis: str) -> tuple[int, int]:
    """→ (substitutions + insertions + deletions, words of the reference)."""
    said, heard = normalised(reference), normalised(hypothesis)
    return distance(said, heard), len(said)


def normalised(text: str) -> list[str]:
    """Lower-case words of letters and inner apostrophes; everything else parts words."""
    runs = re.findall(r"[a-z']+", text.lower().replace("’", "'"))
    return [word for run in runs if (word := run.strip("'"))]


def distance(said: list[str], heard: list[str]) -> int:
    """Levenshtein's, one row of his table at a time."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, 1):
        above_left, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            above_left, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above_left + (word != other))
    return row[-1]


def rate(errors: list[int], words: list[int]) -> float:
    return sum(errors) / max(1, sum(words))


def interval(errors: list[int], words: list[int], seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of the rate: sentences are redrawn, not words, since errors come in runs."""
    drawn = np.random.default_rng(seed).integers(0, len(errors), (DRAWS, len(errors)))
    rates = np.array(errors)[drawn].sum(1) / np.maximum(1, np.array(words)[drawn].sum(1))
    low, high = np.percentile(rates, [2.5, 97.5])
    return float(low), float(high)
