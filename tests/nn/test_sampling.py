"""Sampling: the law it follows, and whose noise it is."""

import numpy as np
import pytest

from stream_server.nn.sampling import sample, uniform


def plainly(logits: np.ndarray, temperature: float, top_k: int, seed: int, draw: int) -> int:
    """One row, with the whole of it sorted."""
    ranked = np.argsort(-logits, kind="stable")[:top_k]
    if temperature == 0:
        return int(ranked[0])
    noise = -np.log(-np.log(uniform([seed], [draw], len(ranked))[0]))
    return int(ranked[np.argmax(logits[ranked] / temperature + noise)])


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def test_a_draw_belongs_to_its_sequence_and_not_to_its_company() -> None:
    logits = normal(6, 50)
    seeds, draws = list(range(6)), list(range(0, 42, 7))
    together, _ = sample(logits, [1.0] * 6, [50] * 6, seeds, draws)
    for row in range(6):
        assert sample(logits[row : row + 1], [1.0], [50], seeds[row : row + 1], draws[row : row + 1])[0] == [
            together[row]
        ]


def test_draws_follow_the_softmax_of_the_top_k() -> None:
    logits, count = np.array([2.0, 1.0, 0.0, -1.0], np.float32), 20_000
    rows = np.broadcast_to(logits, (count, 4))
    chosen, _ = sample(rows, [0.7] * count, [3] * count, [5] * count, range(count))
    weights = np.exp(logits[:3] / 0.7)
    frequency = np.bincount(chosen, minlength=4) / count
    assert frequency[3] == 0
    np.testing.assert_allclose(frequency[:3], weights / weights.sum(), atol=0.015)


@pytest.mark.parametrize("columns", [1, 3, 50, 1_000])
def test_every_row_is_drawn_as_by_sorting_all_of_it(columns: int) -> None:
    logits = normal(200, columns).round(1)  # there are equals
    rng = np.random.default_rng(1)
    temperatures = rng.choice([0.0, 0.3, 1.0, 2.0], 200).tolist()
    top_ks, seeds = rng.integers(1, 2 * columns + 1, 200).tolist(), rng.integers(0, 2**63, 200).tolist()
    chosen, broken = sample(logits, temperatures, top_ks, seeds, range(200))
    expected = [plainly(*row) for row in zip(logits, temperatures, top_ks, seeds, range(200))]
    assert chosen == expected and not any(broken)


def test_temperature_zero_is_greedy() -> None:
    logits = normal(3, 9)
    assert sample(logits, [0.0] * 3, [9] * 3, [0] * 3, range(3))[0] == logits.argmax(1).tolist()
    assert sample(logits, [0.0, 1.0, 0.0], [9] * 3, [0] * 3, range(3))[0][::2] == logits.argmax(1).tolist()[::2]


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_no_distribution_is_told_and_costs_nobody_else(number: float) -> None:
    logits = normal(3, 9)
    alone = sample(logits, [1.0] * 3, [5] * 3, [4] * 3, range(3))[0]
    if number == -np.inf:
        logits[1] = number
    else:
        logits[1, 7] = number
    chosen, broken = sample(logits, [1.0] * 3, [5] * 3, [4] * 3, range(3))
    assert broken == [False, True, False] and chosen[::2] == alone[::2]


def test_noise_is_uniform_white_and_different_for_neighbouring_seeds() -> None:
    noise = uniform(range(50), [0] * 50, 400)
    assert noise.min() > 0 and noise.max() < 1
    assert abs(noise.mean() - 0.5) < 0.01 and abs(noise.var() - 1 / 12) < 0.005
    assert np.abs(np.corrcoef(noise) - np.eye(50)).max() < 0.3
