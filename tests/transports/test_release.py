"""`POST /v1/models/release`, and what the server says of itself before and after."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from websockets.asyncio.client import ClientConnection

from stream_server.engine.client import Engine
from stream_server.engine.core import EngineCore
from stream_server.engine.inprocess import InProcessEngine
from stream_server.transports.guard import Guard
from stream_server.transports.house import House
from stream_server.transports.server import running
from tests.fakes import FakeModel
from tests.transports.test_native_socket import HEADER, listening, say, sound

PATH = "/v1/models/release"
SPEECH = {"model": "tts-1", "input": "one two", "voice": "one", "response_format": "pcm"}


@asynccontextmanager
async def serving(guard: Guard | None = None) -> AsyncIterator[tuple[httpx.AsyncClient, Engine]]:
    engine = Engine(InProcessEngine(lambda: EngineCore(FakeModel(), 4)))
    await engine.start()
    try:
        async with running(House(engine, guard=guard or Guard())) as url:
            base = url.replace("ws://", "http://").removesuffix("/v1/stream")
            async with httpx.AsyncClient(base_url=base, timeout=20) as client:
                yield client, engine
    finally:
        await engine.stop()


@pytest.mark.asyncio
async def test_it_is_released_says_so_and_speaks_again() -> None:
    async with serving() as (client, _):
        before = await client.post("/v1/audio/speech", json=SPEECH)
        metrics = (await client.get("/metrics")).text
        assert "model_loaded 1.0" in metrics and 'model_weights_bytes{part="lm"} 400.0' in metrics
        answer = await client.post(PATH)
        assert (answer.status_code, answer.json()) == (200, {"released": True})
        assert (await client.post(PATH)).status_code == 200
        assert (await client.get("/health")).json() == {"alive": True}
        ready = await client.get("/ready")
        assert ready.status_code == 200 and ready.json()["ready"] and not ready.json()["loaded"]
        metrics = (await client.get("/metrics")).text
        assert "model_loaded 0.0" in metrics and "model_weights_bytes{" not in metrics
        after = await client.post("/v1/audio/speech", json=SPEECH)
        assert after.status_code == 200 and len(after.content) == len(before.content) > 0
        assert (await client.get("/ready")).json()["loaded"]


@pytest.mark.asyncio
async def test_while_somebody_speaks_it_takes_force() -> None:
    async with serving() as (client, engine):
        engine.enter()
        refused = await client.post(PATH, json={"force": False})
        assert refused.status_code == 409 and refused.json()["error"]["code"] == "engine_busy"
        assert (await client.post(PATH, json={"force": True})).status_code == 200
        assert engine.released
        engine.leave(0.1)


@pytest.mark.asyncio
async def test_by_force_between_two_sentences_of_a_context_it_loses_neither() -> None:
    async with serving() as (client, engine), listening(f"ws://{client.base_url.netloc.decode()}/v1/stream") as socket:
        await say(socket, "start", format="pcm_s16le", seed=3)
        await say(socket, "text", text="Hello world.")
        await say(socket, "flush")
        first = await heard_until(socket, "flushed")
        assert engine.admission.inside == 1
        assert (await client.post(PATH, json={"force": True})).status_code == 200
        assert engine.released
        await say(socket, "text", text="Good bye.")
        await say(socket, "end")
        assert first == await heard_until(socket, "done") == sound(2, 3)
        assert engine.alive and engine.admission.inside == 0


async def heard_until(socket: ClientConnection, kind: str) -> bytes:
    """The sound that comes before an event of that kind; any other last word is a failure."""
    pcm = b""
    async with asyncio.timeout(20):
        async for message in socket:
            if isinstance(message, bytes):
                pcm += message[HEADER.size :]
            elif (told := json.loads(message)["type"]) in (kind, "error", "done", "cancelled"):
                assert told == kind
                break
    return pcm


@pytest.mark.asyncio
@pytest.mark.parametrize("body", [b"[]", b"{", b'{"force": 1}', b'{"other": true}'])
async def test_what_is_asked_wrongly_releases_nothing(body: bytes) -> None:
    async with serving() as (client, engine):
        refused = await client.post(PATH, content=body)
        assert refused.status_code == 422 and refused.json()["error"]["field"] == "force"
        assert engine.alive


@pytest.mark.asyncio
async def test_it_is_behind_the_key() -> None:
    async with serving(Guard(("secret",))) as (client, engine):
        assert (await client.post(PATH)).status_code == 401
        assert engine.alive
        assert (await client.post(PATH, headers={"authorization": "Bearer secret"})).status_code == 200
        assert engine.released
