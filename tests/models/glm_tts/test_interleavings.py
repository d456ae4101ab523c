"""Whoever comes, goes or is interrupted beside it, however its codes are cut: a voice is the same, and its own.

Codes and samples are compared bit by bit, at every rate and at several speeds: on a CPU each row goes through the flow
and the vocoder by itself, cut where its schedule cuts it and nowhere else.
"""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from stream_server.engine.core import EngineCore
from stream_server.models.glm_tts.loading import load_model
from stream_server.models.glm_tts.model import GLMTTS
from tests.models.glm_tts.interleave import (
    Request,
    Spoken,
    Stage,
    all_at_once,
    alone,
    episode,
    requests_of,
    through_the_engine,
)

pytestmark = pytest.mark.skipif(find_spec("tiktoken") is None, reason="needs the extra glm")
APART = 0.05  # of full scale, the least that two of them differ by
TEXTS = ("a.", "b?", "I.")


@pytest.fixture(scope="module")
def model(tiny: Callable[[Sequence[int]], Path]) -> GLMTTS:
    torch.set_num_threads(1)
    return load_model(tiny((3, 5, 13, 21, 30, 8, 70, 90)))


@pytest.fixture(scope="module")
def requests(model: GLMTTS) -> list[Request]:
    return requests_of(EngineCore(model, 1), TEXTS, 24)


@pytest.fixture(scope="module")
def expected(model: GLMTTS, requests: list[Request]) -> list[Spoken]:
    return [alone(model, request) for request in requests]


def gap(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).max()) if len(one) == len(other) else 1.0


def check(pcm: np.ndarray, wanted: np.ndarray) -> None:
    assert np.array_equal(pcm, wanted), f"as far as {gap(pcm, wanted)} apart"


def test_no_two_of_them_are_alike(expected: list[Spoken]) -> None:
    least = min(gap(one.pcm, other.pcm) for at, one in enumerate(expected) for other in expected[:at])
    assert least > APART
    assert all(np.isfinite(spoken.pcm).all() and len(spoken.codes) > 1 for spoken in expected)


def run_through_the_model(
    model: GLMTTS, requests: list[Request], expected: list[Spoken], episodes: int, seed: int
) -> int:
    """→ operations."""
    stage, rng, operations, finished = Stage(model, 5, requests), Random(seed), 0, 0
    for _ in range(episodes):
        operations += episode(stage, rng, joins=rng.randint(2, 5))
        for number, spoken in stage.finished:
            assert spoken.codes == expected[number].codes
            check(spoken.pcm, expected[number].pcm)
        finished += len(stage.finished)
        stage.finished.clear()
    assert finished > 2 * episodes
    return operations


def run_through_the_engine(
    model: GLMTTS, requests: list[Request], expected: list[Spoken], episodes: int, seed: int
) -> None:
    core, rng, finished = EngineCore(model, 5), Random(seed), 0
    for _ in range(episodes):
        done = through_the_engine(core, requests, rng, joins=rng.randint(2, 8))
        for number, pcm in done:
            check(pcm, expected[number].pcm)
        finished += len(done)
        assert core.load.running == core.load.waiting == 0
    assert finished > 2 * episodes


def test_sixty_interleavings_of_the_model_s_own_methods(
    model: GLMTTS, requests: list[Request], expected: list[Spoken]
) -> None:
    assert run_through_the_model(model, requests, expected, 60, seed=0) > 4_000


def test_forty_interleavings_in_the_engine(model: GLMTTS, requests: list[Request], expected: list[Spoken]) -> None:
    run_through_the_engine(model, requests, expected, 40, seed=1)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_ten_thousand_interleavings(model: GLMTTS, requests: list[Request], expected: list[Spoken]) -> None:
    run_through_the_model(model, requests, expected, 7_000, seed=2)
    run_through_the_engine(model, requests, expected, 3_000, seed=3)


@pytest.mark.parametrize("listeners", [2, 8])
def test_listeners_with_voices_of_their_own(model: GLMTTS, listeners: int) -> None:
    """All begin at once and none is interrupted."""
    core = EngineCore(model, 8, max_prefill=8)
    each = requests_of(core, ("oh, no.",), listeners)
    assert len({request.controls.voice for request in each}) == listeners
    wanted = [alone(model, request) for request in each]
    for number, pcm in enumerate(all_at_once(core, each)):
        check(pcm, wanted[number].pcm)
        assert all(gap(pcm, other.pcm) > APART for at, other in enumerate(wanted) if at != number)
