"""What the engine does under load, decided on paper: its own code, a clock that is a number."""

import numpy as np
import pytest
from simulation import LINE, TOKEN_S, poisson, simulate

from stream_server.engine.costs import Costs


@pytest.fixture
def costs() -> Costs:
    return Costs(np.array(LINE))


def test_half_full_everybody_starts_at_once_and_nobody_runs_dry(costs: Costs) -> None:
    found = simulate(poisson(costs.capacity(TOKEN_S) / 2, 30.0), costs)
    assert found["underrun_share"] == 0 and found["refused_share"] == 0
    assert found["ttfa_p95_ms"] < 60


def test_three_times_too_many_come_and_those_who_are_let_in_never_run_dry(costs: Costs) -> None:
    found = simulate(poisson(3 * costs.capacity(TOKEN_S), 20.0), costs)
    assert found["underrun_share"] == 0
    assert 0.4 < found["refused_share"] < 0.8
    assert found["ttfa_p95_ms"] < 200


def test_a_machine_that_slows_down_under_us_is_noticed(costs: Costs) -> None:
    load, room = 1.0 * costs.capacity(TOKEN_S), costs.capacity(TOKEN_S)
    watched = simulate(poisson(load, 40.0), costs, slow_from=15.0)
    blind = simulate(poisson(load, 40.0), costs, cap=room, slow_from=15.0)
    assert watched["underrun_share"] < blind["underrun_share"] / 3
    assert watched["ttfa_p95_ms"] < blind["ttfa_p95_ms"] / 2


def test_where_the_reckoning_was_far_too_good_the_leads_of_those_inside_say_so(costs: Costs) -> None:
    found = simulate(poisson(3 * costs.capacity(TOKEN_S), 30.0), costs, slowness=2.0)
    assert found["underrun_share"] == 0
    assert found["ttfa_p95_ms"] < 200
