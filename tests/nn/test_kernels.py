"""The compiled loops: their arithmetic, and what becomes of them where nothing can be kept on disk."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from stream_server.nn import kernels
from stream_server.nn.compiled import exp


def test_the_exponential_is_that_of_a_library() -> None:
    x = np.linspace(-87, 88, 100_001, dtype=np.float32)
    found = np.array([exp(value) for value in x[::50]])
    np.testing.assert_allclose(found, np.exp(x[::50].astype(np.float64)), rtol=3e-7)
    assert 0 < exp(np.float32(-np.inf)) < 1.3e-38
    assert np.isnan(exp(np.float32(np.nan)))


@pytest.mark.parametrize("columns", [1, 16, 40, 257])
def test_rows_of_any_width_are_normalised(columns: int) -> None:
    x = np.random.default_rng(0).standard_normal((3, columns), np.float32)
    out = np.empty_like(x)
    kernels.normalise(x, np.float32(0.5), out)
    np.testing.assert_allclose(out, x / np.sqrt((x.astype(np.float64) ** 2).sum(1, keepdims=True) + 0.5), rtol=1e-6)


@pytest.mark.parametrize("columns", [1, 16, 40, 257])
def test_gates_of_any_width_open(columns: int) -> None:
    x = torch.randn(3, 2 * columns, generator=torch.Generator().manual_seed(0)) * 5
    out = torch.empty(3, columns)
    kernels.swiglu(x.numpy(), out.numpy())
    gate, up = x.chunk(2, dim=1)
    torch.testing.assert_close(out, torch.nn.functional.silu(gate) * up, rtol=2e-6, atol=1e-6)


def test_where_nothing_can_be_kept_they_are_compiled_all_the_same() -> None:
    code = """
import numba.core.caching as caching, numpy as np
caching.CacheImpl._locator_classes = []  # as in a container that lets nobody write
from stream_server.nn.kernels import swiglu
out = np.empty((1, 1), np.float32)
swiglu(np.array([[1, 2]], np.float32), out)
print(out[0, 0])
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert float(found) == pytest.approx(2 / (1 + np.exp(-1)), rel=1e-6)
