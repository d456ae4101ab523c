"""Chunk plans are pure: a second listener's are the first's."""

from itertools import pairwise

import pytest

from stream_server.errors import ConfigError
from stream_server.models.glm_tts.chunks import SCHEDULES, chunk, schedule


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_second_listener_gets_what_the_first_got(name: str) -> None:
    first = [chunk(name, index) for index in range(40)]
    assert [chunk(name, index) for index in reversed(range(40))] == first[::-1]
    assert all(plan.least == plan.most > 0 and plan.lookahead >= 0 for plan in first)
    assert all(a.most <= b.most and a.lookahead <= b.lookahead for a, b in pairwise(first))
    assert chunk(name, 10**9) == first[-1]


def test_the_early_one_is_early_and_the_released_one_as_released() -> None:
    waits = {name: chunk(name, 0).most + chunk(name, 0).lookahead for name in SCHEDULES}
    assert min(waits, key=lambda name: waits[name]) == "early"
    assert [chunk("released", i).most for i in range(5)] == [25, 50, 200, 200, 200]
    assert [chunk("released", i).lookahead for i in range(4)] == [12, 25, 100, 100]
    assert chunk("growing", 1).most == 40


def test_an_unknown_plan_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown chunk plan"):
        chunk("none", 0)


def test_what_is_settled_had_its_lookahead() -> None:
    early = schedule("early")
    assert [early.settled(tokens) for tokens in (0, 18, 19, 40, 41, 70, 71)] == [0, 0, 14, 14, 34, 34, 61]
