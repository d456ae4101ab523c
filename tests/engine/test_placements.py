"""The same engine wherever it lives: one conformance test, each placement in turn."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest

from stream_server.engine.client import Engine, EngineClient
from stream_server.engine.core import EngineCore
from stream_server.engine.inprocess import InProcessEngine
from stream_server.engine.messages import Controls, Finished, Frame
from stream_server.engine.process import ProcessEngine
from stream_server.errors import EngineDead
from tests.fakes import FakeModel, expected_sound, words

FREE = 1 << 40
LOOP_AT = 4  # a step behind the first sound


def make_core() -> EngineCore:
    return EngineCore(FakeModel(), 2)


def broken_core() -> EngineCore:
    raise OSError("no such checkpoint")


class Ear:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.pcm: list[np.ndarray] = []
        self.end: asyncio.Future[Finished] = asyncio.get_running_loop().create_future()

    def frame(self, frame: Frame) -> None:
        assert not self.end.done()
        self.pcm.append(frame.pcm)

    def finished(self, finished: Finished) -> None:
        self.end.set_result(finished)

    def resume(self) -> None:
        raise AssertionError("nothing was lost")

    @property
    def sound(self) -> np.ndarray:
        return np.concatenate(self.pcm) if self.pcm else np.zeros(0, np.float32)


@asynccontextmanager
async def started(client: EngineClient) -> AsyncIterator[Engine]:
    engine = Engine(client)
    async with asyncio.timeout(60):
        await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


PLACEMENTS = pytest.mark.parametrize("place", [InProcessEngine, ProcessEngine], ids=["in process", "own process"])
Place = Callable[[Callable[[], EngineCore]], EngineClient]


@PLACEMENTS
@pytest.mark.asyncio
async def test_three_are_spoken_one_is_extended_one_is_aborted(place: Place) -> None:
    async with started(place(make_core)) as engine:
        assert engine.spec.name == "fake"
        ears = [Ear() for _ in range(3)]
        whole = engine.submit(ears[0], words("one two three"), True, Controls("one", seed=1), credit=FREE)
        grown = engine.submit(ears[1], words("one"), False, Controls("one", seed=2), credit=FREE)
        dropped = engine.submit(ears[2], words("one " * 500), True, Controls("one", seed=3), credit=FREE)
        assert len({whole, grown, dropped}) == 3
        engine.extend(grown, words("two"), final=True)
        while not ears[0].pcm:
            await asyncio.sleep(0.001)
        engine.abort(dropped)
        silent = len(ears[2].pcm)
        async with asyncio.timeout(20):
            assert [(await ears[i].end).reason for i in (0, 1)] == ["done", "done"]
        np.testing.assert_array_equal(ears[0].sound, expected_sound(1, 3))
        np.testing.assert_array_equal(ears[1].sound, expected_sound(2, 2))
        assert len(ears[2].pcm) == silent and not ears[2].end.done()
        after = Ear()
        engine.submit(after, words("again"), True, Controls("one", seed=4), credit=FREE)
        async with asyncio.timeout(20):
            await after.end
        np.testing.assert_array_equal(after.sound, expected_sound(4, 1))


@PLACEMENTS
@pytest.mark.asyncio
async def test_an_engine_that_cannot_start_says_why(place: Place) -> None:
    with pytest.raises(EngineDead, match="no such checkpoint"):
        async with started(place(broken_core)):
            pass


@asynccontextmanager
async def speaking(client: ProcessEngine, **settings: float) -> AsyncIterator[tuple[Engine, "Ear"]]:
    """An engine process with one sequence, cut short by what the block does and taken up by the listener."""
    engine = Engine(client, **settings)  # type: ignore[arg-type]
    async with asyncio.timeout(60):
        await engine.start()
        ear = Ear()

        def again() -> None:
            engine.submit(ear, words("one two three"), True, Controls("one", seed=1), credit=FREE, begin=len(ear.sound))

        ear.resume = again  # type: ignore[method-assign]
        engine.submit(ear, words("one two three"), False, Controls("one", seed=1), credit=FREE)
        while not ear.pcm:
            await asyncio.sleep(0.01)
        try:
            yield engine, ear
        finally:
            await engine.stop()


async def heard_whole(ear: "Ear") -> None:
    """Of the sequence that was `speaking`, whatever became of the engine."""
    assert (await ear.end).reason == "done"
    np.testing.assert_array_equal(ear.sound, expected_sound(1, 3))


@pytest.mark.asyncio
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
async def test_a_lost_engine_is_replaced_and_its_listeners_miss_nothing(blow: signal.Signals) -> None:
    client = ProcessEngine(make_core)
    async with speaking(client) as (engine, ear):
        first, heard = client.pid, len(ear.sound)
        assert first is not None and 0 < heard < len(expected_sound(1, 3))
        os.kill(first, blow)
        await heard_whole(ear)
        assert client.pid != first and engine.alive


def core_held_up(hold: Callable[[], None]) -> EngineCore:
    """Speaks, and at one of its steps is held up first."""
    core = make_core()
    inner = core.runner.model.decode_step

    def decode_step(slots: list[int], state: Any) -> Any:
        if core.steps == LOOP_AT:
            hold()
        return inner(slots, state)

    core.runner.model.decode_step = decode_step  # type: ignore[method-assign]
    return core


def looping_core() -> EngineCore:
    """Computes for ever on a word it cannot get past."""

    def loop() -> None:
        while True:
            pass

    return core_held_up(loop)


@pytest.mark.asyncio
async def test_an_engine_that_computes_and_says_nothing_is_borne_with_for_longer_but_not_for_ever() -> None:
    client = ProcessEngine(looping_core)
    async with speaking(client, stall_s=0.2) as (_, ear):
        first, began = client.pid, time.monotonic()
        client._make_core = make_core
        while client.pid == first:
            await asyncio.sleep(0.02)
        assert time.monotonic() - began > 0.6
        await heard_whole(ear)


def slow_core() -> EngineCore:
    """A large model's: one of its steps takes half a second, and it has made one that took longer."""
    core = core_held_up(partial(time.sleep, 0.5))
    core.longest_s = 0.7
    return core


@pytest.mark.asyncio
async def test_an_engine_whose_steps_take_long_is_waited_for() -> None:
    client = ProcessEngine(slow_core)
    async with speaking(client, stall_s=0.02) as (engine, ear):
        first = client.pid
        engine.extend(1, final=True)
        await heard_whole(ear)
        assert client.pid == first


@pytest.mark.asyncio
async def test_an_engine_that_cannot_come_back_is_told_to_every_listener_and_to_newcomers() -> None:
    client = ProcessEngine(make_core)
    async with speaking(client) as (engine, ear):
        client._make_core = broken_core
        assert client.pid is not None
        os.kill(client.pid, signal.SIGKILL)
        assert (await ear.end).reason == "engine_dead"
        assert not engine.alive
        with pytest.raises(EngineDead):
            engine.enter()
        with pytest.raises(EngineDead):
            engine.submit(Ear(), words("two"), True, Controls("one"), credit=FREE)


@pytest.mark.asyncio
async def test_an_engine_with_nothing_to_do_is_left_in_peace() -> None:
    client = ProcessEngine(make_core)
    async with started(client) as engine:
        first = client.pid
        await asyncio.sleep(0.6)
        assert engine.alive and client.pid == first
