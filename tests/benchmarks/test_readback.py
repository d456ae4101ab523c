"""The listener of the formats' benchmark: its words' chances, and what it says of two readings of a sentence."""

from itertools import pairwise

import pytest

pytest.importorskip("soxr")

from formats import Heard
from readback import bigrams

SENTENCES = ("The cat sat.", "The cat ran to the cat.", "A dog ran.")


def test_whatever_was_said_the_chances_of_what_follows_sum_to_one() -> None:
    single, both = (part.split("\n\n")[0].splitlines() for part in bigrams(SENTENCES).split("-grams:\n")[1:])
    alone, left = {}, {}
    for line in single:
        chance, word, weight = line.split("\t")
        alone[word], left[word] = 10 ** float(chance), 10 ** float(weight)
    seen = {tuple(pair.split()): 10 ** float(chance) for chance, pair in (line.split("\t") for line in both)}
    assert sum(alone.values()) == pytest.approx(1, abs=1e-3)
    for a in alone:
        assert sum(seen.get((a, b), left[a] * alone[b]) for b in alone) == pytest.approx(1, abs=1e-3)
    assert set(pairwise(("<s>", "the", "cat", "ran", "to", "the", "cat", "</s>"))) <= set(seen)
    assert seen["the", "cat"] < 1


def test_a_difference_is_of_the_same_sentences() -> None:
    ours, theirs = Heard((1, 5, 0), (10, 10, 10)), Heard((0, 4, 0), (10, 10, 10))
    more, low, high = ours.over(theirs)
    assert more == pytest.approx(2 / 30)
    assert (low, high) == pytest.approx((0, 0.1))  # the second sentence is hard for both, and that is no difference
    assert theirs.over(theirs) == (0, 0, 0)
