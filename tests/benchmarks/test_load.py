"""What the load generator says of a server, by servers that do what it should notice."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable

import pytest
from listener import OPENING, RATE, Listener, Outcome, Visit
from load import MIXED, Load, speaking, visits
from stream_client.wire import HEADER, SUBPROTOCOL
from websockets.asyncio.server import ServerConnection, serve

TOKEN = 960  # samples
Act = Callable[[ServerConnection], Awaitable[None]]


def test_the_same_seed_brings_the_same_people_and_the_load_asked_for() -> None:
    load = Load(20.0, seconds=120.0, mix=MIXED, seed=5)
    drawn = visits(load)
    assert drawn == visits(load)
    assert [visit.at for visit in drawn] == sorted(visit.at for visit in drawn)
    assert sum(visit.expected_s for visit in drawn) / load.seconds == pytest.approx(20.0, rel=0.1)
    assert {visit.kind for visit in drawn} == {"live", "barge"}


def test_players_are_counted_while_they_play() -> None:
    visit = Visit(0.0, "whole", "Hello.", 0)
    players = [Outcome(visit, text_at=0.0, began_at=begin, ended_at=end) for begin, end in ((1, 3), (2, 5), (5, 6))]
    found = speaking(Load(1.0, seconds=4.0, warm_up=2.0), players)
    assert found == {"speaking_mean": pytest.approx((1 + 2) / 2), "speaking_peak": 2}


@pytest.mark.asyncio
async def test_sound_that_comes_late_is_an_underrun() -> None:
    async def late(socket: ServerConnection) -> None:
        await said(socket, packet(0))
        await asyncio.sleep(0.3)
        await said(socket, packet(1), done())

    outcome = await heard("whole", late)
    assert len(outcome.stalls) == 1
    assert outcome.stalls[0] == pytest.approx(0.3 - 0.06 - TOKEN / RATE, abs=0.1)
    assert (outcome.end, outcome.starved, outcome.holes) == ("done", 0, 0)


@pytest.mark.asyncio
async def test_sound_that_waited_for_text_starved() -> None:
    async def at_once(socket: ServerConnection) -> None:
        await said(socket, packet(0))
        for _ in range(OPENING):
            await said(socket, mark())
        await asyncio.sleep(0.2)
        await said(socket, packet(1), done())

    outcome = await heard("live", at_once)
    assert (outcome.starved, outcome.stalls) == (1, [])


@pytest.mark.asyncio
async def test_a_lost_packet_is_a_hole() -> None:
    async def lossy(socket: ServerConnection) -> None:
        await said(socket, packet(0), packet(2), done())

    assert (await heard("whole", lossy)).holes == 1


@pytest.mark.asyncio
async def test_a_refusal_is_told_with_its_time_and_advice() -> None:
    async def refuse(socket: ServerConnection) -> None:
        await said(socket, {"type": "error", "context": "a", "code": "overloaded", "retry_after": 1.5})

    outcome = await heard("whole", refuse)
    assert outcome.refused and not outcome.failed
    assert outcome.retry_after == 1.5
    assert outcome.error_s is not None and outcome.error_s < 1.0


@pytest.mark.asyncio
async def test_an_error_after_the_first_sound_is_a_failure() -> None:
    async def give_up(socket: ServerConnection) -> None:
        await said(socket, packet(0), {"type": "error", "context": "a", "code": "overloaded"})

    outcome = await heard("whole", give_up)
    assert outcome.failed and not outcome.refused


@pytest.mark.asyncio
async def test_sound_behind_cancelled_is_noticed() -> None:
    async def talks_on(socket: ServerConnection) -> None:
        await said(socket, *(packet(number) for number in range(10)))
        while json.loads(await socket.recv())["type"] != "cancel":
            pass
        await said(socket, {"type": "cancelled", "context": "a"}, packet(10))

    outcome = await heard("barge", talks_on, share=0.02)
    assert (outcome.end, outcome.after_cancel) == ("cancelled", 1)
    assert outcome.cancel_s is not None and outcome.cancel_s < 1.0


async def heard(kind: str, act: Act, share: float = 1.0) -> Outcome:
    """What a listener makes of a server that greets, waits for text and then acts."""

    async def serve_one(socket: ServerConnection) -> None:
        await said(socket, {"type": "hello", "voices": ["one"]})
        while json.loads(await socket.recv())["type"] != "text":
            pass
        await act(socket)
        await socket.wait_closed()

    visit = Visit(0.0, kind, "one two three four five six seven eight nine ten.", 0, share)
    async with serve(serve_one, "127.0.0.1", 0, subprotocols=[SUBPROTOCOL]) as server:  # type: ignore[list-item]
        port = next(iter(server.sockets)).getsockname()[1]
        return await Listener(f"ws://127.0.0.1:{port}", visit, 0.06, False).visit_server(time.monotonic())


async def said(socket: ServerConnection, *messages: bytes | dict[str, object]) -> None:
    for message in messages:
        await socket.send(message if isinstance(message, bytes) else json.dumps(message))


def packet(number: int) -> bytes:
    return HEADER.pack(1, 0, 1, number, number * TOKEN, TOKEN) + b"sound"


def mark() -> dict[str, object]:
    return {"type": "mark", "context": "a"}


def done() -> dict[str, object]:
    return {"type": "done", "context": "a", "timing": {}}
