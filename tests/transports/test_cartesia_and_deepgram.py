"""Cartesia's and Deepgram's protocols on a real port: what their clients hear, interrupt and post."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from stream_server.engine.client import Engine
from stream_server.engine.core import EngineCore
from stream_server.engine.inprocess import InProcessEngine
from stream_server.limits import Limits
from stream_server.transports.guard import Guard
from stream_server.transports.house import House
from stream_server.transports.server import running
from tests.fakes import SAMPLES_PER_TOKEN, TOKENS_PER_WORD, FakeModel
from tests.turns import turn_of

WORD = TOKENS_PER_WORD * SAMPLES_PER_TOKEN
LONG = "word " * 400
PCM = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 24_000}


@asynccontextmanager
async def serving(guard: Guard | None = None, **limits: Any) -> AsyncIterator[tuple[str, EngineCore]]:
    """Yields host and port."""
    core = EngineCore(FakeModel(), 4)
    engine = Engine(InProcessEngine(lambda: core), limits.get("streams", core.scheduler.num_slots))
    await engine.start()
    try:
        async with running(House(engine, Limits(**limits), guard=guard or Guard())) as url, asyncio.timeout(30):
            yield url.removeprefix("ws://").split("/")[0], core
    finally:
        await engine.stop()


async def all_free(core: EngineCore) -> None:
    while core.load.running or core.load.waiting:
        await asyncio.sleep(0.01)


def cartesia(context: str, text: str, goes_on: bool = False, **fields: Any) -> str:
    asked = {"context_id": context, "transcript": text, "voice": {"mode": "id", "id": "two"}, "output_format": PCM}
    return json.dumps({**asked, "continue": goes_on, **fields})


async def hear(socket: ClientConnection, last: str = "done") -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    while not messages or messages[-1]["type"] != last:
        messages.append(json.loads(await socket.recv()))
    return messages


def pcm(messages: list[dict[str, Any]]) -> bytes:
    return b"".join(base64.b64decode(message["data"]) for message in messages if message["type"] == "chunk")


@pytest.mark.asyncio
async def test_cartesia_two_turns_one_of_them_in_pieces() -> None:
    async with serving() as (place, core), connect(f"ws://{place}/tts/websocket", compression=None) as socket:
        for turn in ("a", "b"):
            await socket.send(cartesia(turn, "One ", goes_on=True, add_timestamps=True))
            await socket.send(cartesia(turn, "two.", goes_on=True, flush=True))
            flushed = await hear(socket, "flush_done")
            await socket.send(cartesia(turn, ""))
            heard = flushed + await hear(socket)
            assert {message["context_id"] for message in heard} == {turn}
            assert len(pcm(heard)) == len(pcm(flushed)) == 2 * 2 * WORD
            words = [message["word_timestamps"]["words"] for message in heard if message["type"] == "timestamps"]
            assert words == [["One"], ["two."]]
        await all_free(core)


@pytest.mark.asyncio
async def test_cartesia_ten_interruptions_in_a_row_and_nothing_follows_any() -> None:
    async with serving(unsent_s=1.0) as (place, core), connect(f"ws://{place}/tts/websocket") as socket:
        for number in range(10):
            await socket.send(cartesia(str(number), LONG))
            await hear(socket, "chunk")
            await socket.send(json.dumps({"context_id": str(number), "cancel": True}))
            await socket.send(cartesia(f"after {number}", "Yes."))
            late = await hear(socket)
            after = [message["context_id"] for message in late].index(f"after {number}")
            assert all(message["context_id"] == f"after {number}" for message in late[after:])
        await all_free(core)


@pytest.mark.asyncio
async def test_cartesia_s_errors_name_their_context_and_leave_the_others_alone() -> None:
    async with serving() as (place, _), connect(f"ws://{place}/tts/websocket") as socket:
        await socket.send(cartesia("good", "One two three.", goes_on=True))
        await socket.send(cartesia("bad", "x", voice="nobody"))
        await socket.send("no JSON")
        await socket.send(cartesia("good", ""))
        heard = await hear(socket)
    errors = [message for message in heard if message["type"] == "error"]
    assert [(error["context_id"], error["error_code"]) for error in errors] == [
        ("bad", "unknown_voice"),
        (None, "protocol_error"),
    ]
    assert len(pcm(heard)) == 2 * 3 * WORD


@pytest.mark.asyncio
async def test_cartesia_by_post() -> None:
    body = {"transcript": "One two.", "voice": "two", "output_format": PCM}
    async with serving() as (place, core), httpx.AsyncClient(base_url=f"http://{place}") as client:
        whole = await client.post("/tts/bytes", json=body)
        lines = await client.post("/tts/sse", json={**body, "add_timestamps": True})
        refused = await client.post("/tts/bytes", json={**body, "voice": "nobody"})
        await all_free(core)
    assert (whole.status_code, whole.headers["content-type"], len(whole.content)) == (200, "audio/pcm", 2 * 2 * WORD)
    events = [json.loads(line.removeprefix("data: ")) for line in lines.text.splitlines() if line.startswith("data: ")]
    assert pcm(events) == whole.content and events[-1]["type"] == "done"
    assert (refused.status_code, refused.json()["error_code"]) == (404, "unknown_voice")


async def tell(socket: ClientConnection, kind: str, **fields: Any) -> None:
    await socket.send(json.dumps({"type": kind, **fields}))


@pytest.mark.asyncio
async def test_deepgram_two_turns_and_a_close() -> None:
    async with serving() as (place, _), connect(f"ws://{place}/v1/speak?model=two&encoding=linear16") as socket:
        assert json.loads(await socket.recv())["type"] == "Metadata"
        for text in ("One two. ", "Three."):
            await tell(socket, "Speak", text=text)
            await tell(socket, "Flush")
        assert (len((first := await turn_of(socket))[0]), first[1]["sequence_id"]) == (2 * 2 * WORD, 0)
        assert (len((second := await turn_of(socket))[0]), second[1]["sequence_id"]) == (2 * WORD, 1)
        await tell(socket, "Speak", text="Four.")
        await tell(socket, "Close")
        assert len((await turn_of(socket))[0]) == 2 * WORD
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1000


@pytest.mark.asyncio
async def test_deepgram_ten_clears_in_a_row_and_nothing_of_the_turn_follows_any() -> None:
    async with serving(unsent_s=1.0) as (place, core), connect(f"ws://{place}/v1/speak") as socket:
        for _ in range(10):
            await tell(socket, "Speak", text=LONG)
            await tell(socket, "Flush")
            while not isinstance(await socket.recv(), bytes):
                pass
            await tell(socket, "Clear")
            await turn_of(socket, "Cleared")
            await tell(socket, "Speak", text="Yes.")
            await tell(socket, "Flush")
            assert len((await turn_of(socket))[0]) == 2 * WORD
        await all_free(core)


@pytest.mark.asyncio
async def test_deepgram_a_text_that_cannot_be_spoken_is_warned_of_and_the_socket_speaks_on() -> None:
    async with serving() as (place, core), connect(f"ws://{place}/v1/speak") as socket:
        await tell(socket, "Speak", text="One [[zz zz]] two.")
        _, warning = await turn_of(socket, "Warning")
        assert warning["code"] == "INVALID_PRONUNCIATION" and "One" not in warning["description"]
        await tell(socket, "Flush")
        assert await turn_of(socket) == (b"", {"type": "Flushed", "sequence_id": 0})
        await tell(socket, "Speak", text="Three.")
        await tell(socket, "Flush")
        assert len((await turn_of(socket))[0]) == 2 * WORD
        await all_free(core)


@pytest.mark.asyncio
async def test_deepgram_and_piper_by_post() -> None:
    async with serving() as (place, core), httpx.AsyncClient(base_url=f"http://{place}") as client:
        raw = {"encoding": "linear16", "container": "none", "sample_rate": "24000", "model": "two"}
        spoken = await client.post("/v1/speak", params=raw, json={"text": "One two."})
        refused = await client.post("/v1/speak", params={"encoding": "cassette"}, json={"text": "x"})
        piper = await client.post("/piper", json={"text": "One two.", "voice": "two"})
        piper_s = await client.post("/piper", json={"text": "One.", "voice": "en_US-ryan-high"})
        await all_free(core)
    assert (spoken.headers["content-type"], len(spoken.content)) == ("audio/pcm", 2 * 2 * WORD)
    assert (refused.status_code, refused.json()["err_code"]) == (422, "INVALID_SETTING")
    assert piper.content[:4] == b"RIFF" and len(piper.content) == 44 + 2 * 2 * WORD
    assert len(piper_s.content) == 44 + 2 * WORD  # in the default voice, for that one is Piper's own


@pytest.mark.asyncio
async def test_what_is_malformed_or_too_large_is_told_and_the_socket_speaks_on() -> None:
    large = json.dumps({"type": "Speak", "text": "x" * 2_000})
    async with serving(message_bytes=1_000) as (place, core):
        async with connect(f"ws://{place}/tts/websocket") as socket:
            for wrong in (large, b"\xff", "[" * 900):
                await socket.send(wrong)
                [error] = await hear(socket, "error")
                assert error["status_code"] == 400
            await socket.send(cartesia("a", "One."))
            assert len(pcm(await hear(socket))) == 2 * WORD
        async with connect(f"ws://{place}/v1/speak") as socket:
            for wrong in (large, b"\xff", "[" * 900):
                await socket.send(wrong)
                await turn_of(socket, "Warning")
            await tell(socket, "Speak", text="One.")
            await tell(socket, "Flush")
            assert len((await turn_of(socket))[0]) == 2 * WORD
        async with httpx.AsyncClient(base_url=f"http://{place}") as client:
            told = [
                await client.post(path, content=large) for path in ("/tts/bytes", "/tts/sse", "/v1/speak", "/piper")
            ]
            assert [answer.status_code for answer in told] == [413] * 4
        await all_free(core)


@pytest.mark.asyncio
async def test_a_key_is_asked_for_and_a_leaving_client_is_not_spoken_to() -> None:
    async with serving(Guard(keys=("secret",))) as (place, core):
        for path in ("/tts/websocket", "/v1/speak"):
            with pytest.raises(InvalidStatus) as refused:
                async with connect(f"ws://{place}{path}"):
                    pass
            assert refused.value.response.status_code == 401
        async with connect(
            f"ws://{place}/tts/websocket", additional_headers={"X-API-Key": "secret"}, close_timeout=0.2
        ) as socket:
            await socket.send(cartesia("a", LONG))
            await hear(socket, "chunk")
        async with connect(
            f"ws://{place}/v1/speak", additional_headers={"Authorization": "Token secret"}, close_timeout=0.2
        ) as socket:
            await tell(socket, "Speak", text=LONG)
        await all_free(core)


@pytest.mark.asyncio
async def test_a_full_server_says_so_in_their_words() -> None:
    async with serving(streams=0) as (place, _):
        async with connect(f"ws://{place}/tts/websocket") as socket:
            await socket.send(cartesia("a", "One."))
            [error] = await hear(socket, "error")
            assert (error["context_id"], error["error_code"], error["status_code"]) == ("a", "overloaded", 503)
        async with connect(f"ws://{place}/v1/speak") as socket:
            await tell(socket, "Speak", text="One. ")
            _, told = await turn_of(socket, "Error")
            assert told["code"] == "OVERLOADED"
        async with httpx.AsyncClient(base_url=f"http://{place}") as client:
            refused = await client.post("/tts/bytes", json={"transcript": "One."})
            assert refused.status_code == 503 and int(refused.headers["retry-after"]) >= 1
