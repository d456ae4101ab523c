"""The line through a machine's steps, and the streams it promises."""

import random

import pytest

from stream_server.engine.calibration import calibrate
from stream_server.engine.core import EngineCore
from stream_server.engine.costs import BUSY, CHUNK, LOADED, Costs
from tests.fakes import FakeModel, words

TRUE = (0.0015, 0.0002, 0.003, 0.00025)


def step(rows: int, tokens: int) -> float:
    a, b, c, d = TRUE
    return a + b * rows + (c if tokens else 0) + d * tokens


def measured(noise: float) -> list[tuple[int, int, float]]:
    rng = random.Random(1)
    kinds = [(rows, tokens) for rows in (1, 4, 16, 32) for tokens in (0, rows, 2 * rows, 4 * rows)] * 5
    return [(rows, tokens, step(rows, tokens) * rng.uniform(1, 1 + noise)) for rows, tokens in kinds]


def test_the_line_is_found_through_noise() -> None:
    costs = Costs.fit(measured(noise=0.2))
    for rows, tokens in ((1, 0), (8, 8), (32, 64)):
        assert costs.predict(rows, tokens) == pytest.approx(step(rows, tokens) * 1.1, rel=0.1)


def test_so_many_streams_fill_the_share_they_may_claim() -> None:
    costs = Costs.fit(measured(noise=0.0))
    streams = costs.capacity(0.04)
    a, b, c, d = TRUE
    share = BUSY * 0.04 / LOADED
    assert a + c / CHUNK + streams * (b + d) <= share < a + c / CHUNK + (streams + 1) * (b + d)


def test_a_slower_machine_serves_fewer_and_a_recovered_one_as_many_as_before() -> None:
    costs = Costs.fit(measured(noise=0.0))
    before = costs.capacity(0.04)
    for _ in range(2000):
        costs.note(16, 16, 2 * LOADED * step(16, 16))
    assert costs.slowdown == pytest.approx(2 * LOADED, rel=0.01)
    assert costs.capacity(0.04) < 0.6 * before
    assert list(costs.by_part.values()) == pytest.approx([2 * LOADED * part for part in TRUE], rel=0.02)
    for _ in range(4000):
        costs.note(16, 16, step(16, 16))
    assert costs.capacity(0.04) == pytest.approx(before, abs=1)


def test_a_calibration_that_was_disturbed_is_mended_once_many_are_served() -> None:
    costs = Costs.fit([(rows, tokens, 1.5 * seconds) for rows, tokens, seconds in measured(noise=0.0)])
    guessed = costs.capacity(0.04)
    for _ in range(2000):
        costs.note(16, 16, step(16, 16))
    assert costs.capacity(0.04, running=guessed // 4) == guessed  # beside few, steps say nothing of a full house
    assert costs.capacity(0.04, running=guessed * 3 // 4) > 1.4 * guessed


def test_calibration_leaves_an_idle_engine_that_knows_its_capacity() -> None:
    core = EngineCore(FakeModel(), 16)
    assert core.load.capacity == 16  # not yet measured: every slot counts
    calibrate(core, words("one " * 60))
    assert core.costs is not None and 1 <= core.load.capacity <= 16
    assert list(core.load.costs) == ["step", "row", "vocoder", "token"]
    core.scheduler.check_integrity()
    assert not core.scheduler.running and not core.scheduler.waiting and core.step() is None
