"""Sampling: the law it follows, and whose noise it is."""

import torch

from stream_server.nn.sampling import sample, uniform


def test_a_draw_belongs_to_its_sequence_and_not_to_its_company() -> None:
    logits = torch.randn(6, 50)
    seeds, draws = torch.arange(6), torch.arange(6) * 7
    together = sample(logits, [1.0] * 6, [50] * 6, seeds, draws)
    for row in range(6):
        one = slice(row, row + 1)
        assert sample(logits[one], [1.0], [50], seeds[one], draws[one]) == together[row]


def test_draws_follow_the_softmax_of_the_top_k() -> None:
    logits, count = torch.tensor([2.0, 1.0, 0.0, -1.0]), 20_000
    chosen = sample(logits.expand(count, 4), [0.7] * count, [3] * count, torch.full((count,), 5), torch.arange(count))
    expected = torch.softmax(logits[:3] / 0.7, dim=0)
    frequency = torch.bincount(chosen, minlength=4) / count
    assert frequency[3] == 0
    torch.testing.assert_close(frequency[:3], expected, atol=0.015, rtol=0)


def test_temperature_zero_is_greedy() -> None:
    logits = torch.randn(3, 9)
    assert torch.equal(sample(logits, [0.0] * 3, [9] * 3, torch.zeros(3).long(), torch.arange(3)), logits.argmax(1))


def test_noise_is_uniform_white_and_different_for_neighbouring_seeds() -> None:
    noise = uniform(torch.arange(50), torch.zeros(50, dtype=torch.int64), 400)
    assert noise.min() > 0 and noise.max() < 1
    assert abs(noise.mean() - 0.5) < 0.01 and abs(noise.var() - 1 / 12) < 0.005
    across = torch.corrcoef(noise)
    assert (across - torch.eye(50)).abs().max() < 0.3
