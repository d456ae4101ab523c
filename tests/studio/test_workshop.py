"""The process that makes voices: started, idle, slow, dead; whoever asked always hears."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_server.audio.reference import Reference
from stream_server.errors import ConfigError, InvalidAudio, MakingFailed, Overloaded
from stream_server.limits import Limits
from stream_server.studio.workshop import Workshop
from stream_server.voices.add import Make
from tests.audio.recordings import RATE, speechlike
from tests.voices.fakes import load_fake, load_nothing

PCM = speechlike(1)
HEARD = Reference(PCM, PCM, RATE)


@asynccontextmanager
async def open_workshop(load: Callable[[], Make] = load_fake, **limits: Any) -> AsyncIterator[Workshop]:
    workshop = Workshop(load, Limits(**limits))
    try:
        async with asyncio.timeout(60):
            yield workshop
    finally:
        await workshop.stop()


async def gone(pid: int) -> None:
    while is_there(pid):
        await asyncio.sleep(0.01)


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.mark.asyncio
async def test_a_voice_is_made_elsewhere_and_the_process_is_kept() -> None:
    async with open_workshop() as workshop:
        assert workshop.pid is None
        voice = await workshop.make("ann", "so it is said", HEARD, "hers")
        assert (voice.name, voice.about.transcript, voice.about.consent) == ("ann", "so it is said", "hers")
        assert voice.arrays["heard"][0] == pytest.approx(np.abs(HEARD.at(16_000).pcm).mean())
        pid = workshop.pid
        assert pid is not None and pid != os.getpid()
        with pytest.raises(InvalidAudio):
            await workshop.make("ann", "unheard", HEARD, "")
        with pytest.raises(MakingFailed, match="ZeroDivisionError"):
            await workshop.make("ann", "break", HEARD, "")
        await workshop.make("bob", "and so on", HEARD, "")
        assert workshop.pid == pid
    await asyncio.wait_for(gone(pid), 10)


@pytest.mark.asyncio
async def test_without_work_the_process_ends_and_with_work_there_is_another() -> None:
    async with open_workshop(maker_idle_s=0.05) as workshop:
        await workshop.make("ann", "x", HEARD, "")
        first = workshop.pid
        assert first is not None
        await gone(first)
        await workshop.make("ann", "x", HEARD, "")
        assert workshop.pid not in (None, first)


@pytest.mark.asyncio
async def test_its_death_is_the_error_of_what_it_was_at_and_of_no_other() -> None:
    async with open_workshop() as workshop:
        dying = asyncio.create_task(workshop.make("ann", "die", HEARD, ""))
        waiting = asyncio.create_task(workshop.make("bob", "x", HEARD, ""))
        with pytest.raises(MakingFailed, match="died"):
            await dying
        assert (await waiting).name == "bob"


@pytest.mark.asyncio
async def test_what_takes_too_long_is_ended_by_name() -> None:
    async with open_workshop(make_s=0.6) as workshop:
        making = asyncio.create_task(workshop.make("bob", "sleep 60", HEARD, ""))
        while (pid := workshop.pid) is None:
            await asyncio.sleep(0.01)
        with pytest.raises(MakingFailed) as failed:
            await making
        assert (failed.value.field, failed.value.limit, failed.value.retryable) == ("make_s", 0.6, True)
        await gone(pid)


@pytest.mark.asyncio
async def test_too_many_at_once_are_told_so_and_one_that_leaves_makes_room() -> None:
    async with open_workshop(making=2) as workshop:
        await workshop.make("x", "x", HEARD, "")
        first, second = (asyncio.create_task(workshop.make(name, "sleep 0.3", HEARD, "")) for name in "ab")
        await asyncio.sleep(0.05)
        with pytest.raises(Overloaded) as refused:
            await workshop.make("c", "x", HEARD, "")
        assert (refused.value.field, refused.value.limit) == ("making", 2)
        second.cancel()
        first.cancel()  # its making goes on, and is nobody's
        await asyncio.gather(first, second, return_exceptions=True)
        began = time.monotonic()
        assert (await workshop.make("d", "x", HEARD, "")).name == "d"
        assert time.monotonic() - began > 0.05


@pytest.mark.asyncio
async def test_what_keeps_it_from_loading_is_told_every_time() -> None:
    async with open_workshop(load_nothing) as workshop:
        for _ in range(2):
            with pytest.raises(ConfigError, match=r"campplus\.onnx"):
                await workshop.make("ann", "x", HEARD, "")
        assert workshop.pid is None
