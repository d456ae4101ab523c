"""Streaming convolution: cut anywhere, any rows together, the same numbers."""

import random

import pytest
import torch

from stream_server.nn.conv import PAST, ConvNeXt, Rows

CHANNELS = 8


@pytest.fixture
def block() -> ConvNeXt:
    torch.manual_seed(0)
    block = ConvNeXt(CHANNELS)
    torch.nn.init.normal_(block.narrow.weight, std=0.5)
    return block.eval()


@pytest.mark.parametrize("seed", range(5))
def test_cut_anywhere(block: ConvNeXt, seed: int) -> None:
    rng, x = random.Random(seed), torch.randn(1, 50, CHANNELS)
    history = torch.zeros(4, PAST, CHANNELS)
    slot, out, at = torch.tensor([2]), [], 0
    with torch.no_grad():
        whole = block(x)
        while at < 50:
            size = rng.randint(1, 7)
            size = min(size, 50 - at)
            out.append(block.stream(x[0, at : at + size], history, Rows(slot, [size])))
            at += size
    torch.testing.assert_close(torch.cat(out), whole[0])


def test_rows_live_separate_lives(block: ConvNeXt) -> None:
    x = torch.randn(3, 20, CHANNELS)
    history = torch.zeros(5, PAST, CHANNELS)
    with torch.no_grad():
        pieces = torch.cat([x[0, :10], x[1, :3], x[2, :7]])
        block.stream(pieces, history, Rows(torch.tensor([4, 0, 2]), [10, 3, 7]))
        untouched = history[[0, 1, 3]].clone()
        late = block.stream(torch.cat([x[2, 7:], x[0, 10:11]]), history, Rows(torch.tensor([2, 4]), [13, 1]))
        whole = block(x)
    torch.testing.assert_close(late, torch.cat([whole[2, 7:], whole[0, 10:11]]))
    torch.testing.assert_close(history[[0, 1, 3]], untouched)


def test_the_future_never_changes_the_past(block: ConvNeXt) -> None:
    x = torch.randn(1, 20, CHANNELS)
    changed = x.clone()
    changed[:, 12:] += 1
    with torch.no_grad():
        torch.testing.assert_close(block(x)[:, :12], block(changed)[:, :12])


def test_centred_looks_as_far_ahead_as_back(block: ConvNeXt) -> None:
    x = torch.zeros(1, 21, CHANNELS, requires_grad=True)
    (gradient,) = torch.autograd.grad(block.centred(x)[0, 10].sum(), x)
    seen = gradient[0].abs().sum(-1).nonzero().flatten().tolist()
    assert min(seen) >= 8 and max(seen) <= 12
