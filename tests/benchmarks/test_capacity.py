"""The search for the largest load, against servers that carry what they are said to carry."""

import pytest
from capacity import BACK, CLOSE_ENOUGH, confirmed, search


@pytest.mark.parametrize("limit", [1.0, 3.9, 16.0, 17.0, 200.0])
def test_the_largest_load_is_found_closely_and_from_below(limit: float) -> None:
    found = search(lambda erlang: erlang <= limit, start=16.0)
    assert found <= limit <= found * CLOSE_ENOUGH


def test_a_server_that_carries_nothing_has_no_capacity() -> None:
    assert search(lambda erlang: False, start=16.0) == 0.0
    assert confirmed(lambda erlang: False, 8.0) == 0.0


def test_what_is_not_confirmed_is_taken_back() -> None:
    assert confirmed(lambda erlang: erlang < 8.0, 8.0) == 8.0 * BACK
