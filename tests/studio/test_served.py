"""Users' voices through a real server: made, listed, spoken in on every surface, lent for one context, and gone."""

import asyncio
import base64
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect

from stream_server.engine.client import Engine, EngineClient
from stream_server.engine.core import EngineCore
from stream_server.engine.inprocess import InProcessEngine
from stream_server.engine.process import ProcessEngine
from stream_server.limits import Limits
from stream_server.studio.guests import Guests
from stream_server.studio.library import Library
from stream_server.studio.opened import opened
from stream_server.transports.house import House
from stream_server.transports.server import running
from stream_server.voices.store import VoiceStore
from stream_server.voices.stored import About, StoredVoice
from tests.audio.recordings import speechlike, wav
from tests.fakes import CloningModel, FakeModel, expected_sound
from tests.voices.fakes import load_fake, made_of

LOUD, SOFT = wav(speechlike(4, level=0.3)), wav(speechlike(4, level=0.1))
TOLD = {"text": "so it is said"}


def cloning_core(place: Path) -> EngineCore:
    store = VoiceStore(place)
    return EngineCore(CloningModel([store.get(listed.name) for listed in store.list()]), 4)


@dataclass
class Served:
    url: str
    http: httpx.AsyncClient
    engine: Engine
    store: VoiceStore
    library: Library
    guests: Guests

    async def make(self, name: str, file: bytes = LOUD, **fields: str) -> httpx.Response:
        return await self.http.post("/v1/voices", data={"name": name} | TOLD | fields, files={"file": ("a", file)})

    async def named(self) -> list[str]:
        return [each["id"] for each in (await self.http.get("/v1/audio/voices")).json()["voices"]]

    @asynccontextmanager
    async def socket(self) -> AsyncIterator[ClientConnection]:
        subprotocol = websockets.Subprotocol("stream-server.v1")
        async with connect(self.url, subprotocols=[subprotocol], compression=None) as socket:
            assert json.loads(await socket.recv())["cloning"] is True
            yield socket

    async def spoken(self, **settings: Any) -> tuple[dict[str, Any], np.ndarray]:
        """→ the last word of a context that says three words, and its sound."""
        async with self.socket() as socket:
            await begin(socket, **settings)
            return await heard(socket)


@asynccontextmanager
async def serving(place: Path, kind: type[Any] = InProcessEngine, **limits: Any) -> AsyncIterator[Served]:
    store, bounds = VoiceStore(place), Limits(**limits)
    for name in ("one", "two"):
        store.save(StoredVoice(name, About("", "", "2026-01-01", 1.0, "fake", "0"), {"heard": np.zeros(1, np.float32)}))
    client: EngineClient = kind(partial(cloning_core, place))
    engine = Engine(client, 4)
    await engine.start()
    try:
        async with opened(engine, store, load_fake, bounds) as (library, guests), asyncio.timeout(25):
            house = House(engine, bounds, maker=library, guests=guests)
            async with (
                running(house) as url,
                httpx.AsyncClient(base_url=url.replace("ws:", "http:").removesuffix("/v1/stream"), timeout=60) as http,
            ):
                yield Served(url, http, engine, store, library, guests)
    finally:
        await engine.stop()


async def begin(socket: ClientConnection, context: str = "a", text: str = "one two three.", **settings: Any) -> None:
    await socket.send(json.dumps({"type": "start", "context": context, "format": "pcm_f32le", "seed": 1} | settings))
    await socket.send(json.dumps({"type": "text", "context": context, "text": text}))
    await socket.send(json.dumps({"type": "end", "context": context}))


async def heard(socket: ClientConnection) -> tuple[dict[str, Any], np.ndarray]:
    pcm = b""
    while True:
        message = await socket.recv()
        if isinstance(message, bytes):
            pcm += message[20:]
        elif (event := json.loads(message))["type"] in ("done", "error", "cancelled"):
            return event, np.frombuffer(pcm, "<f4")


def reference(file: bytes = LOUD, text: str = "so it is said") -> dict[str, str]:
    return {"audio": base64.b64encode(file).decode(), "text": text}


def raised(file: bytes) -> float:
    """By what sound is raised in the voice of that recording."""
    from stream_server.audio.reference import read_reference

    return float(made_of("x", "", read_reference(file, Limits()), "").arrays["heard"][0])


async def until(is_so: Any) -> None:
    while not is_so():
        await asyncio.sleep(0.01)


@pytest.mark.asyncio
async def test_a_voice_made_while_serving_is_listed_and_spoken_everywhere_until_it_is_deleted(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        made = await served.make("ann")
        assert (made.status_code, made.json()["name"]) == (201, "ann")
        assert await served.named() == ["one", "two", "ann"]
        eleven = (await served.http.get("/v1/voices")).json()["voices"]
        assert [each["voice_id"] for each in eleven] == ["one", "two", "ann"]
        end, pcm = await served.spoken(voice="ann")
        assert end["type"] == "done"
        np.testing.assert_allclose(pcm, expected_sound(1, 3) + raised(LOUD), atol=1e-5)
        body = {"input": "one two three.", "voice": "ann", "seed": 1, "response_format": "pcm"}
        answer = await served.http.post("/v1/audio/speech", json=body)
        np.testing.assert_allclose(np.frombuffer(answer.content, "<i2") / 32_767, pcm, atol=1e-4)
        assert (await served.http.patch("/v1/voices/ann", json={"name": "bea"})).status_code == 200
        assert (await served.spoken(voice="ann"))[0]["code"] == "unknown_voice"
        np.testing.assert_array_equal((await served.spoken(voice="bea"))[1], pcm)
        assert (await served.http.delete("/v1/voices/bea")).status_code == 204
        assert (await served.spoken(voice="bea"))[0]["code"] == "unknown_voice"
        assert await served.named() == ["one", "two"]


@pytest.mark.asyncio
async def test_the_default_voice_stays_and_a_name_is_taken_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        for answer in (
            await served.http.delete("/v1/voices/one"),
            await served.http.patch("/v1/voices/one", json={"name": "x"}),
        ):
            assert (answer.status_code, answer.json()["error"]["code"]) == (409, "voice_in_use")
        answers = await asyncio.gather(*(served.make("ann", file) for file in (LOUD, SOFT)))
        assert sorted(answer.status_code for answer in answers) == [201, 409]
        dying = await served.make("bob", text="die")
        assert (dying.status_code, dying.json()["error"]["code"]) == (503, "making_failed")
        assert (await served.make("bob")).status_code == 201


@pytest.mark.asyncio
async def test_who_listens_hears_nothing_of_a_voice_in_the_making(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        making = asyncio.create_task(served.make("ann", text="sleep 1"))
        await until(lambda: served.library._workshop.pid)
        assert (await served.spoken(voice="one"))[0]["type"] == "done"
        assert not making.done()
        assert (await making).status_code == 201


@pytest.mark.asyncio
async def test_what_another_puts_into_the_directory_is_spoken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_server.studio.library.LOOK_S", 0.05)
    async with serving(tmp_path) as served:
        heard_in = (await served.make("ann")).status_code
        assert heard_in == 201
        voice = served.store.get("ann")
        other = VoiceStore(tmp_path)
        other.rename("ann", "bea")
        (tmp_path / "cay.safetensors").write_bytes(b"broken")
        await until(lambda: served.engine.spec.voices == ("one", "two", "bea"))
        other.delete("bea")
        other.delete("cay")
        await until(lambda: served.engine.spec.voices == ("one", "two"))
        other.save(voice)
        await until(lambda: served.engine.spec.voices == ("one", "two", "ann"))


@pytest.mark.asyncio
async def test_a_context_brings_its_voice_and_takes_it_away(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        end, pcm = await served.spoken(reference=reference())
        assert end["type"] == "done"
        np.testing.assert_allclose(pcm, expected_sound(1, 3) + raised(LOUD), atol=1e-5)
        assert await served.named() == ["one", "two"] and served.store.names() == ["one", "two"]
        assert not served.guests._guests and not served.engine._voices.guests
        body = {"input": "one two three.", "reference": reference(SOFT), "seed": 1, "response_format": "pcm"}
        answer = await served.http.post("/v1/audio/speech", json=body | {"voice": "alloy"})
        wanted = expected_sound(1, 3) + raised(SOFT)
        np.testing.assert_allclose(np.frombuffer(answer.content, "<i2") / 32_767, wanted, atol=1e-4)


@pytest.mark.asyncio
async def test_the_same_recording_is_made_once_while_it_is_held_and_nobody_can_ask_for_it(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, served.socket() as ann, served.socket() as eve:
        for context in "ab":
            await ann.send(json.dumps({"type": "start", "context": context, "reference": reference()}))
            await ann.send(json.dumps({"type": "text", "context": context, "text": "one"}))
        await until(lambda: served.engine._voices.guests)
        [name] = served.engine._voices.guests
        assert len(served.guests._guests) == 1
        for guess in (name, "reference", "~"):
            await eve.send(json.dumps({"type": "start", "context": "e", "voice": guess}))
            assert (await heard(eve))[0]["code"] == "unknown_voice"
        assert await served.named() == ["one", "two"]
        for context in "ab":
            assert served.engine._voices.guests
            await ann.send(json.dumps({"type": "cancel", "context": context}))
            assert (await heard(ann))[0]["type"] == "cancelled"
        assert not served.engine._voices.guests and not served.guests._guests


@pytest.mark.asyncio
async def test_who_leaves_while_the_voice_is_made_leaves_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        async with served.socket() as socket:
            await begin(socket, reference=reference(text="sleep 0.5"))
            await until(lambda: served.guests._guests)
        await until(lambda: not served.guests._guests)
        assert (await served.spoken(reference=reference(SOFT)))[0]["type"] == "done"
        assert not served.engine._voices.guests


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("settings", "code", "field"),
    [
        ({"reference": reference(b"RIFF")}, "invalid_audio", "reference"),
        ({"reference": reference(wav(speechlike(1)))}, "invalid_audio", "reference"),
        ({"reference": {"audio": "!", "text": "x"}}, "protocol_error", "audio"),
        ({"reference": reference(text=" ")}, "invalid_setting", "text"),
        ({"reference": reference(text="x" * 2_000)}, "text_too_long", "text"),
        ({"reference": {"audio": ""}}, "protocol_error", "text"),
        ({"reference": reference(text="die")}, "making_failed", "reference"),
        ({"reference": reference(), "voice": "one"}, "invalid_setting", "voice"),
    ],
)
async def test_what_is_wrong_with_a_reference_ends_its_context_alone(
    settings: dict[str, Any], code: str, field: str, tmp_path: Path
) -> None:
    async with serving(tmp_path) as served, served.socket() as socket:
        await begin(socket, **settings)
        end = (await heard(socket))[0]
        assert (end["context"], end["code"], end["field"]) == ("a", code, field)
        while True:  # what had crossed its end
            await begin(socket, "b")
            if (await heard(socket))[0]["type"] == "done":
                break
        assert not served.guests._guests


@pytest.mark.asyncio
async def test_a_message_may_be_long_by_its_recording_alone(tmp_path: Path) -> None:
    async with serving(tmp_path, inline_reference_bytes=200_000, guests=1) as served:
        for wrong in (
            {"type": "text", "context": "a", "text": "x" * 100_000},
            {"type": "start", "context": "a", "voice": "x" * 100_000},
            {"type": "start", "context": "a", "reference": reference(bytes(220_000))},
            {"type": "start", "context": "a", "reference": reference(SOFT[:1000], "x" * 100_000)},
        ):
            async with served.socket() as socket:
                await socket.send(json.dumps(wrong))
                told = json.loads(await socket.recv())
                assert (told["context"], told["code"]) == (None, "message_too_large"), wrong["type"]
        async with served.socket() as socket:
            for context, file in (("a", LOUD), ("b", SOFT)):
                start = {"type": "start", "context": context, "reference": reference(file)}
                await socket.send(json.dumps(start).replace("/", "\\/"))
            assert json.loads(await socket.recv())["type"] == "started"
            told = json.loads(await socket.recv())
            assert (told["context"], told["code"], told["field"]) == ("b", "overloaded", "guests")


@pytest.mark.asyncio
async def test_an_engine_that_is_killed_has_its_voices_again(tmp_path: Path) -> None:
    async with serving(tmp_path, ProcessEngine) as served, served.socket() as socket:
        assert (await served.make("ann", SOFT)).status_code == 201
        await begin(socket, paced=True, reference=reference(), text="one. " * 200)
        while not isinstance(await socket.recv(), bytes):
            pass
        client = served.engine._client
        assert isinstance(client, ProcessEngine) and client.pid is not None
        os.kill(client.pid, signal.SIGKILL)
        await until(lambda: not served.engine.alive)
        asked = asyncio.create_task(served.make("bob"))  # while there is no engine
        assert (await asked).status_code == 201
        assert set(served.engine.spec.voices) == {"one", "two", "ann", "bob"}
        for name, file in (("ann", SOFT), ("bob", LOUD)):
            np.testing.assert_allclose(
                (await served.spoken(voice=name))[1], expected_sound(1, 3) + raised(file), atol=1e-5
            )
        await socket.send(json.dumps({"type": "cancel", "context": "a"}))
        end, pcm = await heard(socket)
        assert end["type"] == "cancelled"
        assert np.isclose(pcm.min(), raised(LOUD) + 0.01, atol=1e-4)  # in its own voice to the last


@pytest.mark.asyncio
async def test_a_family_that_cannot_says_so_on_every_route(tmp_path: Path) -> None:
    engine = Engine(InProcessEngine(lambda: EngineCore(FakeModel(), 1)))
    await engine.start()
    try:
        async with running(House(engine)) as url:
            async with httpx.AsyncClient(base_url=url.replace("ws:", "http:").removesuffix("/v1/stream")) as http:
                for answer in (
                    await http.post("/v1/voices", data={"name": "a"} | TOLD, files={"file": ("a", LOUD)}),
                    await http.patch("/v1/voices/one", json={"name": "x"}),
                    await http.delete("/v1/voices/one"),
                ):
                    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "cannot_clone")
                body = {"input": "one", "reference": reference()}
                answer = await http.post("/v1/audio/speech", json=body)
                assert (answer.status_code, answer.json()["error"]["code"]) == (400, "cannot_clone")
            protocol = websockets.Subprotocol("stream-server.v1")
            async with connect(url, subprotocols=[protocol]) as socket:
                assert json.loads(await socket.recv())["cloning"] is False
                await begin(socket, reference=reference())
                assert (await heard(socket))[0]["code"] == "cannot_clone"
    finally:
        await engine.stop()
