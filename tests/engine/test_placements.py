"""The same engine wherever it lives: one conformance test, each placement in turn."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

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
        whole = engine.submit(words("one two three"), True, Controls("one", seed=1), FREE, ears[0])
        grown = engine.submit(words("one"), False, Controls("one", seed=2), FREE, ears[1])
        dropped = engine.submit(words("one " * 500), True, Controls("one", seed=3), FREE, ears[2])
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
        engine.submit(words("again"), True, Controls("one", seed=4), FREE, after)
        async with asyncio.timeout(20):
            await after.end
        np.testing.assert_array_equal(after.sound, expected_sound(4, 1))


@PLACEMENTS
@pytest.mark.asyncio
async def test_an_engine_that_cannot_start_says_why(place: Place) -> None:
    with pytest.raises(EngineDead, match="no such checkpoint"):
        async with started(place(broken_core)):
            pass


@pytest.mark.asyncio
async def test_a_killed_engine_is_told_to_every_listener_and_to_newcomers() -> None:
    client = ProcessEngine(make_core)
    async with started(client) as engine:
        ear = Ear()
        engine.submit(words("one"), False, Controls("one", seed=1), FREE, ear)
        assert client.pid is not None
        os.kill(client.pid, signal.SIGKILL)
        async with asyncio.timeout(10):
            assert (await ear.end).reason == "engine_dead"
        assert not engine.alive
        with pytest.raises(EngineDead):
            engine.submit(words("two"), True, Controls("one"), FREE, Ear())
