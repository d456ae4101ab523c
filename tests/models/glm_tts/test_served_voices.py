"""A checkpoint behind a real server, in the processes it has there: a recording is sent, and spoken in."""

import asyncio
import base64
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import websockets
from websockets.asyncio.client import connect

from stream_server.config import ServerConfig
from stream_server.engine.client import Engine
from stream_server.engine.process import ProcessEngine
from stream_server.limits import Limits
from stream_server.loading import make_core, make_voices
from stream_server.models.glm_tts.cloning import store_of
from stream_server.studio.opened import opened
from stream_server.transports.house import House
from stream_server.transports.server import running
from tests.audio.recordings import speechlike, wav
from tests.models.glm_tts.make_checkpoint import make_checkpoint

pytestmark = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("tiktoken", "onnxruntime")), reason="needs the extra glm"
)
TEXT, SAID = "你好，世界。", "Hello there."
FILE = wav(speechlike(4))


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[str, httpx.AsyncClient, ProcessEngine]]:
    settings = ServerConfig(model=str(folder), slots=2)
    client = ProcessEngine(partial(make_core, settings))
    engine = Engine(client, settings.slots, stall_s=5.0)
    await engine.start()
    try:
        async with (
            opened(engine, store_of(folder), partial(make_voices, settings), Limits()) as (maker, guests),
            running(House(engine, maker=maker, guests=guests)) as url,
            httpx.AsyncClient(base_url=url.replace("ws:", "http:").removesuffix("/v1/stream"), timeout=60) as http,
        ):
            yield url, http, client
    finally:
        await engine.stop()


async def spoken(url: str, **settings: Any) -> np.ndarray | str:
    """→ the text's sound on the native socket, or the code of an error."""
    pcm = b""
    async with connect(url, subprotocols=[websockets.Subprotocol("stream-server.v1")], compression=None) as socket:
        start = {"type": "start", "context": "a", "format": "pcm_f32le", "seed": 3, "paced": False} | settings
        for message in (start, {"type": "text", "context": "a", "text": TEXT}, {"type": "end", "context": "a"}):
            await socket.send(json.dumps(message))
        async for message in socket:
            if isinstance(message, bytes):
                pcm += message[20:]
            elif (event := json.loads(message))["type"] == "error":
                return str(event["code"])
            elif event["type"] == "done":
                break
    return np.frombuffer(pcm, "<f4")


@pytest.mark.asyncio
async def test_a_recording_is_sent_and_spoken_in_until_it_is_deleted(tmp_path: Path) -> None:
    make_checkpoint(tmp_path, voices=("one",))
    async with asyncio.timeout(120), serving(tmp_path) as (url, http, client):
        told = {"name": "ann", "text": SAID, "consent": "hers"}
        made = await http.post("/v1/voices", data=told, files={"file": ("ann.wav", FILE)})
        assert made.status_code == 201, made.text
        stored = await spoken(url, voice="ann")
        assert isinstance(stored, np.ndarray) and len(stored) > 9_600 and np.isfinite(stored).all()
        other = await spoken(url, voice="one")
        assert not np.array_equal(stored[:4_800], other[:4_800])
        lent = await spoken(url, reference={"audio": base64.b64encode(FILE).decode(), "text": SAID})
        np.testing.assert_array_equal(lent, stored)
        body = {"input": TEXT, "voice": "ann", "seed": 3, "response_format": "pcm"}
        answer = await http.post("/v1/audio/speech", json=body)
        np.testing.assert_allclose(np.frombuffer(answer.content, "<i2") / 32_767, stored, atol=1e-4)
        assert (await http.patch("/v1/voices/ann", json={"name": "bea"})).json()["name"] == "bea"
        assert await spoken(url, voice="ann") == "unknown_voice"
        assert client.pid is not None
        os.kill(client.pid, signal.SIGKILL)
        np.testing.assert_array_equal(await spoken(url, voice="bea"), stored)
        assert (await http.delete("/v1/voices/bea")).status_code == 204
        assert await spoken(url, voice="bea") == "unknown_voice"
        listed = (await http.get("/v1/audio/voices")).json()["voices"]
        assert [each["id"] for each in listed] == ["one"]
