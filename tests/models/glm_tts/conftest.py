"""What several tests of the family need."""

import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.models.glm_tts.make_checkpoint import TINY, make_checkpoint, make_voice

MOST = 32 << 20  # bytes


@pytest.fixture
def bounded() -> Iterator[None]:
    """What happens within takes no more memory than the honest part of a small file."""
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MOST


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Sequence[int]], Path]:
    """Makes a checkpoint as small as can be, with a voice for each number of codes: voice0, voice1, …"""

    def make(codes: Sequence[int]) -> Path:
        folder = tmp_path_factory.mktemp("tiny")
        make_checkpoint(folder, (), sizes=TINY)
        for number, each in enumerate(codes):
            make_voice(folder, f"voice{number}", seed=number, codes=each)
        return folder

    return make
