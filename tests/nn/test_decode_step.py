"""The tuned step beside the plain one it stands for: same numbers, whoever steps along, past the ring's end."""

import pytest
import torch

from stream_server.nn.decode_step import DecodeStep
from stream_server.nn.transformer import Transformer

WIDTH, OUT, LENGTH = 32, 11, 40


def make(kv_heads: int = 1, window: int = 12) -> tuple[Transformer, torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    model = Transformer(2, WIDTH, heads=4, kv_heads=kv_heads, hidden=48, window=window).eval()
    for norm in [model.norm, *(n for b in model.blocks for n in (b.attention_norm, b.feed_forward_norm))]:
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
    return model, torch.randn(OUT, WIDTH), torch.randn(OUT)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("window", [12, LENGTH])
@torch.inference_mode()
def test_the_same_numbers_as_the_plain_step(kv_heads: int, window: int) -> None:
    model, head, bias = make(kv_heads, window)
    step = DecodeStep(model, model.norm, head, bias, LENGTH)
    x = torch.randn(3, LENGTH, WIDTH)
    plain, tuned = model.allocate(5, LENGTH), model.allocate(5, LENGTH)
    whole = torch.nn.functional.linear(model(x), head, bias)
    starts, slots = [0, 3, 7], [4, 0, 2]
    for tick in range(LENGTH):
        rows = [row for row in range(3) if tick >= starts[row]]
        positions = [tick - starts[row] for row in rows]
        now = torch.stack([x[row, p] for row, p in zip(rows, positions)])
        places = [slots[row] for row in rows]
        hidden = model.step(now, plain, torch.tensor(places), torch.tensor(positions))
        got = step(now, places, positions, tuned)
        torch.testing.assert_close(got, torch.nn.functional.linear(hidden, head, bias), atol=2e-5, rtol=1e-5)
        expected = torch.stack([whole[row, p] for row, p in zip(rows, positions)])
        torch.testing.assert_close(got, expected, atol=2e-5, rtol=1e-5)


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="other BLAS libraries were not measured")
@pytest.mark.parametrize("company", [[1], [2, 3, 4, 5], [9, 1, 5, 7, 0, 6]], ids=len)
@pytest.mark.parametrize(("kv_heads", "head_dim"), [(1, 64), (2, 64), (4, 40)])
@torch.inference_mode()
def test_alone_and_in_company_the_same_to_the_last_bit(company: list[int], kv_heads: int, head_dim: int) -> None:
    torch.manual_seed(0)
    model = Transformer(2, 256, 4, kv_heads, hidden=704, window=48, head_dim=head_dim).eval()
    step = DecodeStep(model, model.norm, torch.randn(500, 256), torch.randn(500), 100)
    x = torch.randn(10, 100, 256)
    alone, among = model.allocate(10, 100), model.allocate(10, 100)
    for t in range(100):
        one = step(x[8, t][None], [8], [t], alone).clone()
        slots = [8, *company]
        positions = [t, *[(t + slot) % 48 for slot in company]]
        many = step(torch.stack([x[s, p] for s, p in zip(slots, positions)]), slots, positions, among)
        assert torch.equal(many[0], one[0])
