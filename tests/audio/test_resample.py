from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_server.audio.format import RATES
from stream_server.audio.resample import Resampler
from tests.audio.sound import MODEL_RATES, glide, snr_db

pairs = pytest.mark.parametrize(("source", "target"), list(product(MODEL_RATES, RATES)))


def resampled(pcm: np.ndarray, source: int, target: int, cuts: list[int] | None = None) -> np.ndarray:
    resampler = Resampler(source, target)
    pieces = np.split(pcm, sorted(min(cut, len(pcm)) for cut in cuts or []))
    return np.concatenate([*map(resampler.push, pieces), resampler.flush()])


@pairs
@settings(max_examples=8)
@given(samples=st.integers(0, 6_000), cuts=st.lists(st.integers(0, 6_000), max_size=12))
def test_cut_anywhere_same_samples_and_exactly_as_many(source: int, target: int, samples: int, cuts: list[int]) -> None:
    pcm = np.random.default_rng(samples).uniform(-0.5, 0.5, samples).astype(np.float32)
    whole = resampled(pcm, source, target)
    assert np.array_equal(resampled(pcm, source, target, cuts), whole)
    assert len(whole) == -(-samples * target // source)


@pairs
def test_the_same_sound_at_the_same_time(source: int, target: int) -> None:
    heard = resampled(glide(source, source), source, target)
    assert snr_db(heard, glide(target, target)) > 60


@pytest.mark.parametrize(("source", "target"), [(a, b) for a, b in product(MODEL_RATES, RATES) if b < a])
def test_what_the_lower_rate_cannot_hold_does_not_come_back_as_something_else(source: int, target: int) -> None:
    tone = 0.5 * np.sin(2 * np.pi * (target / 2 + 200) * np.arange(source) / source).astype(np.float32)
    inner = resampled(tone, source, target)[target // 10 : -target // 10]
    assert 20 * np.log10(np.abs(inner).max() / 0.5) < -90


@pairs
def test_how_long_it_holds_back(source: int, target: int) -> None:
    """Within 50 ms of any sample its like is there."""
    resampler, step, given = Resampler(source, target), source // 1_000, 0
    late = []
    for block in np.split(glide(source, source), 1_000):
        given += len(resampler.push(block))
        late.append(len(late) + 1 - given * 1_000 / target)
    assert max(late) <= 50
    assert step * len(late) == source
