"""Who may begin to speak, who may not, and when to come back."""

import pytest

from stream_server.engine.admission import LONGEST_RETRY_S, SHORTEST_RETRY_S, Admission
from stream_server.errors import Overloaded


def test_as_many_enter_as_there_is_room_for_and_one_may_when_one_leaves() -> None:
    door = Admission()
    for _ in range(3):
        door.enter(3)
    with pytest.raises(Overloaded) as refused:
        door.enter(3)
    assert refused.value.limit == 3 and refused.value.retry_after is not None
    door.leave(1.0)
    door.enter(3)
    assert door.inside == 3


def test_a_machine_that_slows_down_puts_nobody_out() -> None:
    door = Admission()
    for _ in range(3):
        door.enter(3)
    with pytest.raises(Overloaded):
        door.enter(2)
    assert door.inside == 3


def test_an_operators_limit_is_one_whatever_the_machine_could_do() -> None:
    door = Admission(limit=1)
    door.enter(50)
    with pytest.raises(Overloaded):
        door.enter(50)
    assert Admission(limit=70).room(50) == 70


def test_the_wait_is_the_mean_stay_shared_by_those_inside() -> None:
    door = Admission()
    for _ in range(2):
        door.enter(9)
    for _ in range(100):
        door.enter(9)
        door.leave(8.0)
    assert door.retry_after() == pytest.approx(4.0, abs=0.1)
    for _ in range(100):
        door.enter(9)
        door.leave(1e-6)
    assert door.retry_after() == SHORTEST_RETRY_S
    for _ in range(100):
        door.enter(9)
        door.leave(1e6)
    assert door.retry_after() == LONGEST_RETRY_S
