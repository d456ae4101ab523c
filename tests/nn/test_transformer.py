"""Decoding with the cache equals computing it all anew; slots do not meet; the window is a window."""

import torch

from stream_server.nn.transformer import Transformer

WIDTH, WINDOW = 32, 6


def make(seed: int = 0) -> Transformer:
    torch.manual_seed(seed)
    return Transformer(2, WIDTH, heads=4, kv_heads=1, hidden=48, window=WINDOW).eval()


@torch.no_grad()
def test_with_the_cache_as_without_it() -> None:
    model, x = make(), torch.randn(1, 20, WIDTH)
    cache = model.allocate(3, 20)
    steps = [model.step(x[:, t], cache, torch.tensor([1]), torch.tensor([t])) for t in range(20)]
    torch.testing.assert_close(torch.stack(steps, dim=1), model(x), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_slots_of_unequal_length_step_together_and_do_not_meet() -> None:
    model, x = make(), torch.randn(3, 16, WIDTH)
    cache = model.allocate(4, 16)
    address = cache.data.data_ptr()
    starts, got = [0, 3, 7], {row: [] for row in range(3)}  # type: ignore[var-annotated]
    for tick in range(16):
        rows = [row for row in range(3) if 0 <= tick - starts[row] < 16]
        positions = [tick - starts[row] for row in rows]
        x_now = torch.stack([x[row, p] for row, p in zip(rows, positions)])
        out = model.step(x_now, cache, torch.tensor([3 - row for row in rows]), torch.tensor(positions))
        for row, y in zip(rows, out):
            got[row].append(y)
    for row, steps in got.items():
        torch.testing.assert_close(torch.stack(steps), model(x[row][None])[0, : len(steps)], atol=1e-5, rtol=1e-5)
    assert cache.data.data_ptr() == address


@torch.no_grad()
def test_what_lies_before_the_window_is_not_seen() -> None:
    model, x = make(), torch.randn(1, 20, WIDTH)
    changed = x.clone()
    changed[:, 0] += 1
    reach = 2 * (WINDOW - 1)  # two layers
    torch.testing.assert_close(model(x)[:, reach + 1 :], model(changed)[:, reach + 1 :])
    assert not torch.allclose(model(x)[:, reach], model(changed)[:, reach])


@torch.no_grad()
def test_a_row_reused_by_another_sequence_is_as_new() -> None:
    model, first, second = make(), torch.randn(12, WIDTH), torch.randn(12, WIDTH)
    slot, fresh = torch.tensor([0]), model.allocate(1, 12)
    used = model.allocate(1, 12)
    for t in range(12):
        model.step(first[t : t + 1], used, slot, torch.tensor([t]))
    for t in range(12):
        at = torch.tensor([t])
        a = model.step(second[t : t + 1], used, slot, at)
        b = model.step(second[t : t + 1], fresh, slot, at)
        torch.testing.assert_close(a, b, atol=0, rtol=0)
