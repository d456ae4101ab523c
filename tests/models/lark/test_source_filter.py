"""The compiled synthesiser beside the plain one it stands for."""

import numpy as np
import pytest
import torch

from stream_server.models.lark.source_filter import SourceFilter
from stream_server.nn.compiled import Array, compiled, log, sine
from tests.models.lark import plain_source_filter as plain


@compiled("F", "F")
def logarithms(x: Array, out: Array) -> None:
    for i in range(len(x)):
        out[i] = log(x[i])


@compiled("F", "F")
def sines(x: Array, out: Array) -> None:
    for i in range(len(x)):
        out[i] = sine(x[i])


def test_elementary_functions_are_those_of_a_library() -> None:
    x, out = np.geomspace(1e-30, 1e30, 10_001).astype(np.float32), np.empty(10_001, np.float32)
    logarithms(x, out)
    np.testing.assert_allclose(out, np.log(x.astype(np.float64)), rtol=2e-7, atol=2e-7)
    x = np.linspace(-0.5, 0.5, 10_001, dtype=np.float32)
    sines(x, out)
    np.testing.assert_allclose(out, np.sin(np.pi * x.astype(np.float64)), rtol=3e-7)


@pytest.mark.parametrize("rate", [24_000, 32_000])
@torch.inference_mode()
def test_the_same_sound_as_by_plain_operations(rate: int) -> None:
    """Within 5 × 10⁻⁴ of a sound of about 0.5, from frames wilder than speech; every slot remembers the same.

    What differs is the pitch, by its rounding to float32: 2 × 10⁻⁷ of itself, a hundred times in the highest harmonic.
    """
    torch.manual_seed(0)
    ours, theirs = SourceFilter(rate), plain.SourceFilter(rate)
    kept, expected = ours.allocate(6), theirs.allocate(6)
    for counts in ([3, 1, 8], [1, 1, 1], [2, 16, 4]):
        slots = torch.randperm(6)[:3]
        kept.seed[:] = expected.seed[:] = torch.arange(6) * 7_919
        frames = torch.randn(sum(counts), 86) * 0.5
        frames[:, :80] -= 6
        frames[:, 80:84] = frames[:, 80:84] * 20 - 10
        frames[:, -2] = frames[:, -2] * 0.4 + 5
        frames[:, -1] = torch.rand(len(frames)) * 1.2 - 0.1
        sound = ours(frames, counts, kept, slots)
        assert [len(row) for row in sound] == [count * ours.hop for count in counts]
        plainly = torch.cat(theirs(frames, counts, expected, slots))
        assert plainly.std() > 0.01
        torch.testing.assert_close(torch.cat(sound), plainly, atol=5e-4, rtol=0)
    for name, field in vars(kept).items():
        torch.testing.assert_close(field, getattr(expected, name), atol=2e-3, rtol=0, msg=name)
