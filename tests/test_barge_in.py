"""A thousand interruptions at random moments, on real sockets: nothing follows them, nothing stays behind."""

import asyncio
import gc
import json
import random

import pytest

from tests.fakes import FakeModel
from tests.transports.test_native_socket import HEADER, listening, say, serving

SOCKETS, ROUNDS = 10, 100


async def interrupt_again_and_again(url: str, seed: int) -> int:
    """→ how many cancels were answered."""
    rng, answered = random.Random(seed), 0
    async with listening(url) as socket:
        for turn in range(ROUNDS):
            context, number, sent = f"c{turn}", -1, 0
            await say(socket, "start", context, format="pcm_s16le")
            await say(socket, "text", context, text="one two three four, five six seven eight nine ten. " * 3)
            for _ in range(rng.randint(0, 12)):
                number, sent, _ = await follow(socket, context, number, sent)
            await say(socket, "cancel", context, played=rng.randint(0, 50_000))
            last = None
            while last is None:
                number, sent, last = await follow(socket, context, number, sent)
            assert last["type"] == "cancelled"
            assert last["sent"] == sent
            answered += 1
    return answered


async def follow(socket, context: str, number: int, sent: int):  # type: ignore[no-untyped-def]
    """One message, which must be of this context: nothing of an earlier one may follow its end."""
    async with asyncio.timeout(10):
        message = await socket.recv()
    if isinstance(message, bytes):
        _, _, whose, _, pts, duration = HEADER.unpack_from(message)
        assert whose == number
        assert pts == sent
        return number, sent + duration, None
    event = json.loads(message)
    assert (event["context"], event["type"] != "error") == (context, True), event.get("code")
    if event["type"] == "started":
        number = event["number"]
    return number, sent, event if event["type"] == "cancelled" else None


@pytest.mark.asyncio
async def test_a_thousand_cancels_leave_nothing_behind() -> None:
    async with serving(FakeModel(), slots=SOCKETS, lead_s=1.0) as (url, core):
        await interrupt_again_and_again(url, 99)
        gc.collect()
        tasks, objects = len(asyncio.all_tasks()), count_of("Session", "Sequence", "Frame")
        async with asyncio.TaskGroup() as group:
            runs = [group.create_task(interrupt_again_and_again(url, seed)) for seed in range(SOCKETS)]
        assert sum(run.result() for run in runs) == SOCKETS * ROUNDS
        async with asyncio.timeout(5):
            while len(core.scheduler.free) < SOCKETS or len(asyncio.all_tasks()) > tasks:
                await asyncio.sleep(0.02)
        core.scheduler.check_integrity()
        assert not core.scheduler.waiting
        gc.collect()
        assert count_of("Session", "Sequence", "Frame") <= objects


def count_of(*names: str) -> int:
    return sum(type(thing).__name__ in names for thing in gc.get_objects())
