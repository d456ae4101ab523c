"""A model that is not being used is let go of, and comes back for whoever speaks next."""

import asyncio
import gc
import os
import signal
import time
import weakref
from collections.abc import Callable

import numpy as np
import pytest

from stream_server.engine.client import Engine, EngineClient
from stream_server.engine.core import EngineCore
from stream_server.engine.inprocess import InProcessEngine
from stream_server.engine.memory import measure
from stream_server.engine.messages import Controls
from stream_server.engine.process import ProcessEngine
from stream_server.errors import EngineBusy, EngineDead, Overloaded
from tests.engine.test_placements import FREE, PLACEMENTS, Ear, Place, broken_core, make_core, started
from tests.fakes import FakeModel, expected_sound, words


def slow_core() -> EngineCore:
    time.sleep(30)
    return make_core()


class Speaker(Ear):
    """Enters, speaks, says it again where it is asked to, and leaves at its end."""

    def __init__(self, engine: Engine, seed: int) -> None:
        super().__init__()
        self.engine, self.seed = engine, seed
        engine.enter()
        self.resume()

    def resume(self) -> None:
        self.id = self.engine.submit(self, words("one two"), True, Controls("one", seed=self.seed), credit=FREE)

    def finished(self, finished: object) -> None:
        self.engine.leave(0.1)
        super().finished(finished)  # type: ignore[arg-type]

    def cancel(self) -> None:
        self.engine.abort(self.id)
        self.engine.leave(0.1)


def is_there(pid: int | None) -> bool:
    return pid is not None and os.path.exists(f"/proc/{pid}")


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.01)


@PLACEMENTS
@pytest.mark.asyncio
async def test_what_was_released_is_loaded_for_all_who_speak_and_they_miss_nothing(place: Place) -> None:
    async with started(place(make_core)) as engine:
        first = engine.pid
        assert engine.memory.weights == {"lm": 400, "vocoder": 0}
        await asyncio.gather(engine.release(), engine.release())
        assert engine.released and engine.can_serve and not engine.alive and not is_there(first)
        assert engine.pid is None and not engine.memory.weights
        left = Speaker(engine, 3)
        assert engine.loading
        left.cancel()
        ears = [Speaker(engine, seed) for seed in (1, 2)]
        async with asyncio.timeout(20):
            assert [(await ear.end).reason for ear in ears] == ["done", "done"]
        for ear in ears:
            np.testing.assert_array_equal(ear.sound, expected_sound(ear.seed, 2))
        assert engine.alive and not engine.loading and engine.memory.weights["lm"] == 400
        assert not left.pcm
        assert engine.admission.inside == 0


@pytest.mark.asyncio
async def test_what_is_being_spoken_is_ended_by_force_alone() -> None:
    async with started(ProcessEngine(make_core)) as engine:
        ear = Ear()
        engine.enter()
        engine.submit(ear, words("one"), False, Controls("one", seed=1), credit=FREE)
        with pytest.raises(EngineBusy):
            await engine.release()
        assert engine.alive
        await engine.release(force=True)
        assert (await ear.end).reason == "engine_dead" and engine.released
        engine.leave(0.1)
        after = Speaker(engine, 4)
        assert (await after.end).reason == "done"


@pytest.mark.asyncio
async def test_a_load_that_nobody_waits_for_any_more_may_be_broken_off_and_a_waiting_one_by_force() -> None:
    client = ProcessEngine(make_core)
    async with started(client) as engine:
        await engine.release()
        client._make_core = slow_core
        gone = Speaker(engine, 1)
        await until(lambda: engine.pid is not None)
        loading = engine.pid
        with pytest.raises(EngineBusy):
            await engine.release()
        gone.cancel()
        await engine.release()
        assert engine.released and not is_there(loading)
        waits = Speaker(engine, 2)
        await engine.release(force=True)
        assert (await waits.end).reason == "engine_dead"
        client._make_core = make_core
        assert (await Speaker(engine, 3).end).reason == "done"


@pytest.mark.asyncio
@pytest.mark.parametrize("way", ["breaks", "killed", "too long"])
async def test_a_load_that_fails_is_told_to_those_who_wait_and_tried_again_by_the_next(way: str) -> None:
    client = ProcessEngine(make_core)
    engine = Engine(client, load_s=0.2 if way == "too long" else 60.0)
    await engine.start()
    try:
        await engine.release()
        client._make_core = broken_core if way == "breaks" else slow_core
        ear = Speaker(engine, 1)
        if way == "killed":
            await until(lambda: engine.pid is not None)
            assert engine.pid is not None
            os.kill(engine.pid, signal.SIGKILL)
        async with asyncio.timeout(20):
            end = await ear.end
        assert end.reason == "engine_dead"
        assert {"breaks": "no such checkpoint", "killed": "gone", "too long": "load_s"}[way] in end.message
        assert engine.released and engine.admission.inside == 0
        client._make_core, engine._load_s = make_core, 60.0
        assert (await Speaker(engine, 2).end).reason == "done"
    finally:
        await engine.stop()


@pytest.mark.asyncio
async def test_no_more_wait_for_a_load_than_its_queue_holds() -> None:
    client = ProcessEngine(make_core)
    engine = Engine(client, streams=8, load_queue=1)
    await engine.start()
    try:
        await engine.release()
        ear = Speaker(engine, 1)
        with pytest.raises(Overloaded) as refusal:
            engine.enter()
        assert refusal.value.field == "load_queue" and refusal.value.limit == 1 and refusal.value.retry_after
        assert (await ear.end).reason == "done"
    finally:
        await engine.stop()


@pytest.mark.asyncio
@pytest.mark.parametrize("when", ["released", "loading"])
async def test_a_server_may_stop_without_a_model(when: str) -> None:
    client = ProcessEngine(make_core)
    engine = Engine(client)
    await engine.start()
    await engine.release()
    if when == "loading":
        client._make_core = slow_core
        Speaker(engine, 1)
        await until(lambda: engine.pid is not None)
    pid = engine.pid
    async with asyncio.timeout(5):
        await engine.stop()
    assert not engine.can_serve and not is_there(pid)
    with pytest.raises(EngineDead):
        await engine.release(force=True)


@PLACEMENTS
@pytest.mark.asyncio
async def test_nobody_speaks_for_long_enough_and_the_model_goes(place: Place) -> None:
    client: EngineClient = place(make_core)
    engine = Engine(client, idle_unload_s=0.1)
    await engine.start()
    try:
        engine.enter()
        await asyncio.sleep(0.3)
        assert engine.alive
        engine.leave(0.3)
        await until(lambda: engine.released)
        assert (await Speaker(engine, 1).end).reason == "done"
        await until(lambda: engine.released)
    finally:
        await engine.stop()


@pytest.mark.asyncio
async def test_in_process_the_model_itself_is_gone() -> None:
    models: list[weakref.ref[FakeModel]] = []

    def remembered() -> EngineCore:
        core = make_core()
        models.append(weakref.ref(core.runner.model))  # type: ignore[arg-type]
        return core

    async with started(InProcessEngine(remembered)) as engine:
        assert models[0]() is not None
        await engine.release()
        gc.collect()
        assert models[0]() is None


def test_a_storage_is_counted_once_and_state_is_no_weight() -> None:
    core = make_core()
    model = core.runner.model
    core.runner.state["cache"] = model.weights  # type: ignore[attr-defined]
    memory = measure(core.runner)
    assert memory.state == {"model": 400, "vocoder": 0}
    assert memory.weights == {"lm": 0, "vocoder": 0}
