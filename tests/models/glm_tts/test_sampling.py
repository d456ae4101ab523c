"""Sampling by its law: the original's, in any company, and what may not be drawn is not."""

from pathlib import Path

import numpy as np
import pytest
import torch

from stream_server.models.glm_tts.sampling import COUNT, Draw, choose, nucleus

GOLDEN = np.load(Path(__file__).parent / "golden" / "lm" / "golden.npz")
LOGITS = torch.from_numpy(GOLDEN["ras_logp"])
LATEST = [[column for column in row if column >= 0] for row in GOLDEN["ras_history"].tolist()]
ROWS = range(len(LATEST))
STOP = LOGITS.shape[1] - 1
DRAWS = 20_000


def frequencies(logits: torch.Tensor, **how: object) -> np.ndarray:
    draws = [Draw(11, number, **how) for number in range(DRAWS)]  # type: ignore[arg-type]
    columns, broken = choose(logits.repeat(DRAWS, 1), draws, len(logits) - 1)
    assert not any(broken)
    return np.bincount(columns, minlength=len(logits)) / DRAWS


def test_the_nucleus_holds_the_original_s_candidates() -> None:
    found = nucleus(LOGITS, [Draw(0, 0)] * len(LOGITS))
    for row in ROWS:
        columns = found.columns[row][found.shares[row] > 0]
        assert sorted(columns.tolist()) == np.flatnonzero(GOLDEN["ras_candidates"][row]).tolist()


@pytest.mark.parametrize("row", ROWS)
def test_the_law_is_the_original_s(row: int) -> None:
    """Worked out from the very shares that a draw is made by."""
    found = nucleus(LOGITS[row : row + 1], [Draw(0, 0)])
    q = np.zeros(LOGITS.shape[1])
    q[found.columns[0]] = found.shares[0] / found.shares[0].sum()
    latest = sorted(set(LATEST[row]))
    repeated = q[latest].sum()
    q[latest] = 0
    law = q + repeated * LOGITS[row].double().softmax(0).numpy()
    assert np.abs(law - GOLDEN["ras_expected_prob"][row]).max() < 1e-6


@pytest.mark.parametrize("row", [2, 5, 7, 9, 11])
def test_draws_follow_the_law(row: int) -> None:
    found = frequencies(LOGITS[row], latest=LATEST[row])
    assert np.abs(found - GOLDEN["ras_expected_prob"][row]).max() < 0.02


def test_at_a_temperature_the_law_is_that_of_the_distribution_at_it() -> None:
    for row in (2, 7, 11):
        warmed = [choose(LOGITS[row][None] / 0.7, [Draw(3, n, LATEST[row])], STOP)[0] for n in range(300)]
        asked = [choose(LOGITS[row][None].clone(), [Draw(3, n, LATEST[row], 0.7)], STOP)[0] for n in range(300)]
        assert asked == warmed


def test_only_the_latest_ten_columns_are_not_repeated() -> None:
    logits = torch.full((50,), -20.0)
    logits[3] = 5.0
    draws = [Draw(row, 0, latest=[3, *range(10, 10 + others)]) for row in range(400) for others in (9, 10)]
    columns, _ = choose(logits.repeat(800, 1), draws, 49)
    assert columns[1::2] == [3] * 400  # ten others ago
    assert columns[::2] == [3] * 400  # thrown away, and drawn again from a distribution that has little else
    flat = torch.zeros(50)
    flat[3] = 8.0  # alone in the nucleus, 98 % of the mass
    again = [choose(flat[None].clone(), [Draw(seed, 0, latest=[3])], 49)[0][0] for seed in range(400)]
    assert 0 < sum(column != 3 for column in again) < 40


def test_a_row_draws_the_same_in_any_company() -> None:
    logits = torch.randn(6, 3000, generator=torch.Generator().manual_seed(1)) * 3
    draws = [
        Draw(5, 8),
        Draw(5, 9, latest=range(3000)),
        Draw(5, 9, temperature=0.6),
        Draw(7, 0, top_k=100, temperature=0.9),
        Draw(7, 1, top_k=1),
        Draw(7, 2, may_stop=False),
    ]
    together, _ = choose(logits.clone(), draws, 2999)
    assert together == [choose(logits[row][None].clone(), [draw], 2999)[0][0] for row, draw in enumerate(draws)]


def test_plain_top_k_follows_the_softmax_of_the_k_likeliest() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, -2.0])
    found = frequencies(logits, top_k=3, temperature=0.7, latest=[0, 1, 2])
    expected = torch.softmax(logits[:3] / 0.7, 0)
    np.testing.assert_allclose(found[:3], expected, atol=0.015)
    assert not found[3:].any()


@pytest.mark.parametrize("how", [{"top_k": 1}, {"temperature": 0.0}, {"temperature": 0.0, "top_k": 40}], ids=str)
def test_greedy_takes_the_likeliest_and_of_equals_the_first(how: dict) -> None:
    logits = torch.randn(4, 700)
    logits[0, 500] = logits[0, 20] = logits[0, 300] = 9.0
    columns, _ = choose(logits.clone(), [Draw(0, n, latest=[20], **how) for n in range(4)], 699)
    assert columns == [20, *logits[1:].argmax(1).tolist()]


def test_of_equals_at_the_edge_of_the_nucleus_the_lower_are_in_it() -> None:
    found = nucleus(torch.zeros(2, 4000), [Draw(0, 0), Draw(0, 0, top_k=7)])
    assert found.columns[0][found.shares[0] > 0].tolist() == list(range(COUNT))
    assert found.columns[1][found.shares[1] > 0].tolist() == list(range(7))


@pytest.mark.parametrize("how", [{}, {"top_k": 1}, {"latest": range(100)}], ids=str)
def test_the_stop_is_never_drawn_where_it_may_not_be(how: dict) -> None:
    logits = torch.zeros(1000, 100)
    logits[:, 99] = 12.0
    columns, _ = choose(logits.clone(), [Draw(3, n, may_stop=False, **how) for n in range(1000)], 99)
    assert 99 not in columns
    stopped, _ = choose(logits.clone(), [Draw(3, n, **how) for n in range(1000)], 99)
    assert 99 in stopped


def test_rows_without_a_distribution_are_told_and_disturb_nobody() -> None:
    logits = torch.randn(5, 300)
    clean = logits.clone()
    logits[0, 7], logits[1, 7], logits[3] = torch.nan, torch.inf, -torch.inf
    draws = [Draw(4, n, latest=range(300)) for n in range(5)]
    columns, broken = choose(logits, draws, 299)
    assert broken == [True, True, False, True, False]
    assert all(0 <= column < 300 for column in columns)
    expected, _ = choose(clean, draws, 299)
    assert (columns[2], columns[4]) == (expected[2], expected[4])
