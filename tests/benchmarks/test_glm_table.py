"""The table's ratios compare rows that differ in one switch."""

from dataclasses import replace
from itertools import product

from glm_table import RATES, WAYS, Row, ratios


def test_each_ratio_is_of_two_rows_that_differ_in_one_switch() -> None:
    def row(way: str, cache: bool, rate: int, carry_over: bool) -> Row:
        """Every switch has a factor of its own."""
        lm = (1 if cache else 7) * (3 if carry_over else 1)
        rest = (5 if way == "streamed" else 2) * (1 if rate == RATES[0] else 11)
        first = 1.0 if way == "streamed" else 8.0
        return replace(Row(way, cache, rate, carry_over), lm_cpu=float(lm), cpu=float(lm * rest), first_s=first)

    found = ratios([row(*choice) for choice in product(WAYS, (True, False), RATES, (False, True))])
    assert found == {
        "cache_gain": 7,
        "cache_gain_carried": 7,
        "carry_over_cost": 3,
        "carry_over_cost_all": 3,
        "rate_32_over_24": 11,
        "first_sound_share": 1 / 8,
        "streamed_over_whole": 5 / 2,
    }
