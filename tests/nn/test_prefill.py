"""A prompt written in pieces, then stepped on from: the same as stepping through it, whatever the network's shape."""

from dataclasses import dataclass

import pytest
import torch

from stream_server.nn.decode_step import DecodeStep
from stream_server.nn.prefill import prefill
from stream_server.nn.transformer import Transformer

PROMPT, AFTER = 45, 6


@dataclass(frozen=True)
class Shape:
    width: int
    heads: int
    kv_heads: int
    head_dim: int | None = None
    theta: float = 10_000.0
    eps: float = 1e-5


SHAPES = [
    Shape(32, 4, 1),
    Shape(48, 4, 2, head_dim=20, theta=500.0, eps=1e-3),
    Shape(40, 6, 3, head_dim=8),
    Shape(24, 2, 2, head_dim=16, theta=1e6),
]


def make(shape: Shape, dtype: torch.dtype = torch.float32) -> tuple[Transformer, DecodeStep]:
    torch.manual_seed(2)
    model = Transformer(
        3,
        shape.width,
        shape.heads,
        shape.kv_heads,
        hidden=56,
        window=100,
        head_dim=shape.head_dim,
        theta=shape.theta,
        eps=shape.eps,
    ).eval()
    for norm in [model.norm, *(n for b in model for n in (b.attention_norm, b.feed_forward_norm))]:
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
    return model, DecodeStep(model, model.norm, torch.eye(shape.width), torch.zeros(shape.width), 64, dtype)


def run(step: DecodeStep, x: torch.Tensor, pieces: list[int], slot: int = 1) -> torch.Tensor:
    """Everything behind the pieces is stepped through: → its hidden states, normalised."""
    cache, start = step.allocate(3), 0
    cache.data.fill_(3.0)  # a slot as somebody left it
    for size in pieces:
        prefill(step, x[start : start + size], slot, start, cache)
        start += size
    return torch.stack([step(x[t][None], [slot], [t], cache)[0].clone() for t in range(start, len(x))])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("pieces", [[PROMPT], [16, 16, 13], [1, 43, 1]], ids=str)
@torch.inference_mode()
def test_any_pieces_lead_to_what_the_whole_sequence_gives(shape: Shape, pieces: list[int]) -> None:
    model, step = make(shape)
    x = torch.randn(PROMPT + AFTER, shape.width)
    torch.testing.assert_close(run(step, x, pieces), model(x[None])[0, PROMPT:], atol=2e-5, rtol=1e-5)


@torch.inference_mode()
def test_other_rows_are_left_alone() -> None:
    _, step = make(SHAPES[1])
    cache = step.allocate(3)
    cache.data.fill_(7.0)
    prefill(step, torch.randn(5, 48), 1, 0, cache)
    assert (cache.data[:, [0, 2]] == 7).all()
    assert (cache.keys[:, 1, ..., 5:] == 7).all() and (cache.values[:, 1, :, 5:] == 7).all()
    assert not (cache.keys[:, 1, ..., :5] == 7).any() and not (cache.values[:, 1, :, :5] == 7).any()


@torch.inference_mode()
def test_what_does_not_fit_a_row_is_refused() -> None:
    _, step = make(SHAPES[0])
    cache = step.allocate(1)
    prefill(step, torch.randn(4, 32), 0, 60, cache)
    for start, length in [(61, 4), (0, 65), (-1, 3), (3, 0)]:
        with pytest.raises(ValueError, match="of a row of 64"):
            prefill(step, torch.randn(length, 32), 0, start, cache)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.1), (torch.float16, 0.01)], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@torch.inference_mode()
def test_narrow_weights_come_near(shape: Shape, dtype: torch.dtype, tolerance: float) -> None:
    model, step = make(shape, dtype)
    x = torch.randn(PROMPT + AFTER, shape.width)
    got = run(step, x, [30, 15])
    assert got.dtype == torch.float32 and step.allocate(1).data.dtype == dtype
    assert all(weight.dtype == dtype for weight in vars(step.layers[0]).values())
    error = (got - model(x[None])[0, PROMPT:]).abs().max()
    assert 0 < error < tolerance
