"""Voices over HTTP, a maker that behaves behind them; the recordings go through the real decoder."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from stream_server.engine.client import Engine
from stream_server.engine.core import EngineCore
from stream_server.engine.inprocess import InProcessEngine
from stream_server.limits import Limits
from stream_server.transports.guard import Guard
from stream_server.transports.house import House
from stream_server.transports.voices import routes
from stream_server.voices.store import VoiceStore
from tests.audio.recordings import encoded, speechlike, wav
from tests.fakes import FakeModel
from tests.voices.fakes import FakeMaker

SPOKEN = speechlike(4)
TOLD = {"name": "ann", "text": "so it is said"}


@asynccontextmanager
async def asking(
    place: Path, gate: asyncio.Event | None = None, guard: Guard | None = None, **limits: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, VoiceStore]]:
    engine = Engine(InProcessEngine(lambda: EngineCore(FakeModel(), 1, max_waiting=1)))
    store = VoiceStore(place / "voices", most=2)
    house = House(engine, Limits(**limits), guard=guard or Guard(), maker=FakeMaker(store, gate))
    app = Starlette(routes=routes(house))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        yield client, store


def fault(answer: httpx.Response) -> tuple[int, str, str | None]:
    told = answer.json()["error"]
    return answer.status_code, told["code"], told["field"]


@pytest.mark.asyncio
async def test_a_voice_is_made_renamed_and_deleted(tmp_path: Path) -> None:
    async with asking(tmp_path) as (client, store):
        sound = encoded(SPOKEN, "mp3", "libmp3lame")
        made = await client.post("/v1/voices", data=TOLD | {"consent": "hers"}, files={"file": ("ann.mp3", sound)})
        assert (made.status_code, made.headers["location"]) == (201, "/v1/voices/ann")
        assert made.json()["name"] == "ann" and made.json()["usable"] and made.json()["consent"] == "hers"
        assert "said" not in made.text
        assert store.get("ann").about.transcript == "so it is said"
        renamed = await client.patch("/v1/voices/ann", json={"name": "bob"})
        assert (renamed.status_code, renamed.json()["name"], store.names()) == (200, "bob", ["bob"])
        gone = await client.delete("/v1/voices/bob")
        assert (gone.status_code, gone.content, store.names()) == (204, b"", [])
        for answer in (await client.delete("/v1/voices/bob"), await client.patch("/v1/voices/bob", json={"name": "x"})):
            assert fault(answer) == (404, "unknown_voice", "voice")


@pytest.mark.asyncio
async def test_as_json_too(tmp_path: Path) -> None:
    async with asking(tmp_path) as (client, store):
        made = await client.post("/v1/voices", json=TOLD | {"file": base64.b64encode(wav(SPOKEN)).decode()})
        assert (made.status_code, store.names()) == (201, ["ann"])


@pytest.mark.asyncio
async def test_as_elevenlabs_clients_do_it(tmp_path: Path) -> None:
    files = {"files": ("ann.wav", wav(SPOKEN))}
    async with asking(tmp_path) as (client, store):
        client.headers["xi-api-key"] = "any"
        asked: list[tuple[dict[str, Any], int, str, str]] = [
            ({"data": {"name": "Ann Lee"}, "files": files}, 422, "invalid_setting", "labels"),
            ({"data": TOLD, "files": {"files": ("a.wav", b"RIFF")}}, 422, "invalid_audio", "files:"),
            ({"json": TOLD}, 422, "invalid_output_format", "multipart/form-data"),
        ]
        for what, status, code, word in asked:
            answer = await client.post("/v1/voices/add", **what)
            told = answer.json()["detail"]
            assert (answer.status_code, told["status"], word in told["message"]) == (status, code, True)
        labels = json.dumps({"text": "so it is said", "accent": "none"})
        made = await client.post("/v1/voices/add", data={"name": "Ann Lee", "labels": labels}, files=files)
        assert (made.status_code, made.json()) == (200, {"voice_id": "ann-lee", "requires_verification": False})
        assert store.get("ann-lee").about.transcript == "so it is said"
        again = await client.post("/v1/voices/add", data={"name": "Ann Lee", "labels": labels}, files=files)
        assert (again.status_code, again.json()["detail"]["status"]) == (409, "voice_exists")
        gone = await client.delete("/v1/voices/ann-lee")
        assert (gone.status_code, gone.json(), store.names()) == (200, {"status": "ok"}, [])
        answer = await client.delete("/v1/voices/ann-lee")
        assert (answer.status_code, answer.json()["detail"]["status"]) == (404, "voice_not_found")


@pytest.mark.asyncio
async def test_both_doors_share_the_room(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with asking(tmp_path, gate, uploads=1) as (client, _):
        sound = ("a.wav", wav(SPOKEN))
        first = asyncio.create_task(client.post("/v1/voices", data=TOLD, files={"file": sound}))
        await asyncio.sleep(0.05)
        answer = await client.post("/v1/voices/add", data=TOLD, files={"files": sound})
        assert (answer.status_code, answer.json()["detail"]["status"]) == (503, "system_busy")
        gate.set()
        assert (await first).status_code == 201


@pytest.mark.asyncio
async def test_what_is_wrong_is_told_in_our_form(tmp_path: Path) -> None:
    async with asking(tmp_path, reference_bytes=300_000) as (client, store):
        good = {"file": ("a.wav", wav(SPOKEN))}
        asked: list[tuple[dict[str, Any], tuple[int, str, str | None]]] = [
            ({"data": TOLD, "files": {"file": ("a.wav", b"RIFF")}}, (422, "invalid_audio", "file")),
            ({"data": TOLD, "files": {"file": ("a.wav", bytes(310_000))}}, (413, "message_too_large", "file")),
            ({"data": TOLD, "files": {"file": ("a.wav", bytes(900_000))}}, (413, "message_too_large", "body")),
            ({"data": TOLD | {"name": "../a"}, "files": good}, (422, "invalid_setting", "name")),
            ({"data": {"name": "a"}, "files": good}, (400, "protocol_error", "text")),
            ({"content": b"x"}, (422, "unsupported_format", "content-type")),
        ]
        for what, wanted in asked:
            assert fault(await client.post("/v1/voices", **what)) == wanted
        for name in ("a", "b"):
            assert (await client.post("/v1/voices", data=TOLD | {"name": name}, files=good)).status_code == 201
        answer = await client.post("/v1/voices", data=TOLD | {"name": "a"}, files=good)
        assert fault(answer) == (409, "voice_exists", "name")
        answer = await client.post("/v1/voices", data=TOLD | {"name": "c"}, files=good)
        assert fault(answer) == (409, "too_many_voices", "stored_voices")
        assert fault(await client.patch("/v1/voices/a", json={"name": "b"})) == (409, "voice_exists", "name")
        assert store.names() == ["a", "b"]


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["..%2Fa", "%2e%2e", "a%00", "a.safetensors", "A"])
async def test_no_path_leads_out_of_the_directory(name: str, tmp_path: Path) -> None:
    async with asking(tmp_path) as (client, _):
        (tmp_path / "a.safetensors").write_bytes(b"not a voice")
        assert (await client.delete(f"/v1/voices/{name}")).status_code in (404, 405)
        assert (tmp_path / "a.safetensors").exists()


@pytest.mark.asyncio
async def test_a_key_is_asked_for(tmp_path: Path) -> None:
    async with asking(tmp_path, guard=Guard(keys=("k",))) as (client, store):
        assert fault(await client.post("/v1/voices", data=TOLD)) == (401, "unauthorized", "api_key")
        assert fault(await client.delete("/v1/voices/ann")) == (401, "unauthorized", "api_key")
        told = {"headers": {"authorization": "Bearer k"}, "data": TOLD, "files": {"file": ("a.wav", wav(SPOKEN))}}
        assert (await client.post("/v1/voices", **told)).status_code == 201 and store.names() == ["ann"]


@pytest.mark.asyncio
async def test_so_many_at_a_time_and_room_again_afterwards(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with asking(tmp_path, gate, uploads=1) as (client, store):
        sent = {"data": TOLD, "files": {"file": ("a.wav", wav(SPOKEN))}}
        first = asyncio.create_task(client.post("/v1/voices", **sent))
        await asyncio.sleep(0.05)
        answer = await client.post("/v1/voices", **sent)
        assert fault(answer) == (503, "overloaded", "uploads") and answer.headers["retry-after"] == "2"
        gate.set()
        assert (await first).status_code == 201
        assert fault(await client.post("/v1/voices", **sent)) == (409, "voice_exists", "name")
        assert store.names() == ["ann"]


@pytest.mark.asyncio
async def test_a_recording_that_does_not_come_is_not_waited_for(tmp_path: Path) -> None:
    async def drips() -> AsyncIterator[bytes]:
        while True:
            yield b"-"
            await asyncio.sleep(0.02)

    async with asking(tmp_path, uploads=1, upload_s=0.1) as (client, _):
        for _ in range(2):
            headers = {"content-type": "multipart/form-data; boundary=x"}
            answer = await client.post("/v1/voices", content=drips(), headers=headers)
            assert fault(answer) == (408, "idle_timeout", "upload_s")
