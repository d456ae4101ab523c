"""Who may begin to speak, who may not, and when to come back."""

from dataclasses import replace

import pytest

from stream_server.engine.admission import LONGEST_RETRY_S, SHORTEST_RETRY_S, Admission
from stream_server.engine.client import Engine
from stream_server.engine.core import EngineCore
from stream_server.engine.inprocess import InProcessEngine
from stream_server.engine.lateness import LATE_S, STALE_S, Lateness
from stream_server.engine.messages import Controls, Tick
from stream_server.errors import Overloaded
from tests.engine.test_placements import FREE, Ear, started
from tests.fakes import FakeModel, words


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


class LateFront(InProcessEngine):
    """Sound has lain for a twentieth of a second when the front takes it, while it is `late`."""

    late = True

    async def receive(self) -> Tick:
        tick = await super().receive()
        assert tick.made_at is not None
        return replace(tick, made_at=tick.made_at - (0.05 if self.late else 0.0))


@pytest.mark.asyncio
async def test_nobody_else_is_let_in_while_sound_waits_for_the_front() -> None:
    client = LateFront(lambda: EngineCore(FakeModel(), 8))
    async with started(client) as engine:
        await speak(engine)  # alone: whoever comes first is let in, however late the last sound was
        engine.enter()
        with pytest.raises(Overloaded):
            engine.enter()
        client.late = False
        await speak(engine)
        engine.enter()


async def speak(engine: Engine) -> None:
    ear = Ear()
    engine.submit(ear, words("one two three four five six"), True, Controls("one", seed=1), credit=FREE)
    await ear.end


def test_lateness_is_forgotten_where_there_is_no_sound_to_be_late() -> None:
    now = [100.0]
    lateness = Lateness(lambda: now[0])
    for _ in range(30):
        now[0] += 0.025
        lateness.note(now[0] - 3 * LATE_S)
    assert lateness.is_late
    now[0] += STALE_S
    assert not lateness.is_late
