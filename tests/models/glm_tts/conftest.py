"""What several tests of the family need."""

import tracemalloc
from collections.abc import Iterator

import pytest

MOST = 32 << 20  # bytes


@pytest.fixture
def bounded() -> Iterator[None]:
    """What happens within takes no more memory than the honest part of a small file."""
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MOST
