"""Memory's slope is that of the samples behind the warm-up."""

import pytest
from soak import slopes


def test_growth_after_the_warm_up_is_told_by_the_minute() -> None:
    warming = [(minute / 10, 1000 * minute, 9000) for minute in range(10)]
    steady = [(1.0 + minute, 50_000 + 30 * minute, 90_000 - minute) for minute in range(5)]
    found = slopes(warming + steady, warm_up=1.0)
    assert found["front_kib_per_min"] == pytest.approx(30)
    assert found["engine_kib_per_min"] == pytest.approx(-1)
