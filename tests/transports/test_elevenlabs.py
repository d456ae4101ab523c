"""ElevenLabs' clients as they were seen on the wire, against a real port and a model with behaviour."""

import asyncio
import base64
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect

from stream_server.engine.client import Engine
from stream_server.engine.core import EngineCore
from stream_server.engine.inprocess import InProcessEngine
from stream_server.limits import Limits
from stream_server.transports.guard import Guard
from stream_server.transports.house import House
from stream_server.transports.server import running
from tests.fakes import SAMPLES_PER_TOKEN, TOKENS_PER_WORD, FakeModel
from tests.transports.test_native_socket import sound

WORD = TOKENS_PER_WORD * SAMPLES_PER_TOKEN
LONG = "one two three four five six seven eight nine ten eleven twelve. "


@dataclass
class Served:
    address: str  # host:port
    core: EngineCore

    @asynccontextmanager
    async def socket(self, path: str, voice: str = "one", **query: Any) -> AsyncIterator[ClientConnection]:
        headers = query.pop("headers", {"xi-api-key": "any"})
        asked = "&".join(f"{name}={value}" for name, value in {"output_format": "pcm_24000", **query}.items())
        url = f"ws://{self.address}/v1/text-to-speech/{voice}/{path}?{asked}"
        async with connect(url, additional_headers=headers, compression=None) as socket:
            yield socket

    def http(self, **about: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=f"http://{self.address}", trust_env=False, **about)

    async def until_free(self) -> None:
        async with asyncio.timeout(5):
            while len(self.core.scheduler.free) < self.core.scheduler.num_slots:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(
    model: FakeModel | None = None, slots: int = 4, guard: Guard | None = None, **limits: Any
) -> AsyncIterator[Served]:
    core = EngineCore(model or FakeModel(), slots)
    engine = Engine(InProcessEngine(lambda: core), core.scheduler.num_slots)
    await engine.start()
    try:
        async with running(House(engine, Limits(**limits), guard=guard or Guard())) as url:
            yield Served(url.removeprefix("ws://").removesuffix("/v1/stream"), core)
    finally:
        await engine.stop()


@dataclass
class Heard:
    """What came for one context."""

    pcm: bytes = b""
    text: str = ""
    words: list[tuple[str, float]] = field(default_factory=list)  # as Pipecat reckons: spans added up, s
    messages: int = 0
    finals: int = 0
    errors: list[str] = field(default_factory=list)
    clock_ms: int = 0

    def take(self, message: dict[str, Any]) -> None:
        assert not self.finals, "nothing follows the end"
        self.messages += 1
        self.errors += [message["error"]] if "error" in message else []
        self.finals += bool(message.get("isFinal"))
        self.pcm += base64.b64decode(message.get("audio") or "")
        if (told := message.get("alignment")) is not None:
            assert message["normalizedAlignment"] == told
            for character, start in zip(told["chars"], told["charStartTimesMs"], strict=True):
                if not character.isspace() and (not self.text or self.text[-1].isspace()):
                    self.words.append(("", (self.clock_ms + start) / 1000))
                if not character.isspace():
                    self.words[-1] = (self.words[-1][0] + character, self.words[-1][1])
                self.text += character
            self.clock_ms += told["charStartTimesMs"][-1] + told["charDurationsMs"][-1]


async def say(socket: ClientConnection, *messages: dict[str, Any]) -> None:
    for message in messages:
        await socket.send(json.dumps(message))


async def hear(socket: ClientConnection, *contexts: str) -> dict[str, Heard]:
    """Listen until each context has ended, or failed."""
    heard = {context: Heard() for context in contexts}
    async with asyncio.timeout(20):
        while not all(h.finals or h.errors for h in heard.values()):
            message = json.loads(await socket.recv())
            heard[message["contextId"]].take(message)
    return heard


async def silence(socket: ClientConnection, seconds: float = 0.2) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            await socket.recv()


async def close_of(socket: ClientConnection) -> tuple[list[dict[str, Any]], websockets.ConnectionClosed]:
    """What is still said, and how it ends."""
    said = []
    with pytest.raises(websockets.ConnectionClosed) as closed:
        async with asyncio.timeout(5):
            while True:
                said.append(json.loads(await socket.recv()))
    return said, closed.value


def code_of(closed: websockets.ConnectionClosed) -> int:
    assert closed.rcvd is not None
    return closed.rcvd.code


@pytest.mark.asyncio
async def test_the_sdk_has_one_text_spoken_as_it_writes_it() -> None:
    async with serving() as served, served.socket("stream-input", model_id="m", seed=3) as socket:
        await say(
            socket,
            {
                "text": " ",
                "try_trigger_generation": True,
                "voice_settings": None,
                "generation_config": {"chunk_length_schedule": [50]},
            },
        )
        for piece in ("Hello ", "world. ", "Good bye. "):
            await say(socket, {"text": piece, "try_trigger_generation": True})
        await say(socket, {"text": ""})
        messages, closed = await close_of(socket)
    heard = Heard()
    for message in messages:
        heard.take(message)
    assert code_of(closed) == 1000 and messages[-1] == {"audio": None, "isFinal": True}
    assert heard.pcm == sound(2, 3) + sound(2, 3)
    assert heard.text == "Hello world. Good bye. "
    assert heard.words == [("Hello", 0.0), ("world.", 0.12), ("Good", 0.24), ("bye.", 0.36)]


@pytest.mark.asyncio
async def test_messages_are_one_small_then_a_tenth_of_a_second() -> None:
    async with serving() as served, served.socket("stream-input") as socket:
        await say(socket, {"text": " "}, {"text": LONG}, {"text": ""})
        messages, _ = await close_of(socket)
    sizes = [len(base64.b64decode(message["audio"])) for message in messages if message["audio"]]
    assert sizes[0] <= 1_920 and set(sizes[1:-1]) == {4_800}


@pytest.mark.asyncio
async def test_sound_leaves_before_the_text_has_ended() -> None:
    async with serving() as served, served.socket("stream-input") as socket:
        await say(socket, {"text": " "}, {"text": "One two three "})
        async with asyncio.timeout(5):
            assert json.loads(await socket.recv())["audio"]


@pytest.mark.asyncio
async def test_pipecat_speaks_two_turns_keeps_alive_and_leaves() -> None:
    async with serving() as served, served.socket("multi-stream-input", auto_mode="true", seed=2) as socket:
        await say(socket, {"text": ""})
        for context in ("turn-1", "turn-2"):
            await say(
                socket,
                {"text": " ", "context_id": context, "voice_settings": {"stability": 0.5, "speed": None}},
                {"text": "One two.", "context_id": context},
                {"text": "", "context_id": context},
                {"text": " Three.", "context_id": context},
                {"context_id": context, "flush": True},
                {"context_id": context, "close_context": True},
            )
            heard = (await hear(socket, context))[context]
            assert heard.pcm == sound(2, 2) + sound(1, 2)
            assert (heard.text, heard.clock_ms) == ("One two. Three.", 360)
            assert heard.words == [("One", 0.0), ("two.", 0.12), ("Three.", 0.24)]
        await silence(socket)
        await say(socket, {"close_socket": True})
        said, closed = await close_of(socket)
        assert (said, code_of(closed)) == ([], 1000)


@pytest.mark.asyncio
async def test_pipecat_is_interrupted() -> None:
    """Before the flush once, behind its own flush and close the other time; the next turn is heard in full."""
    async with serving(lead_s=0.5) as served, served.socket("multi-stream-input", auto_mode="true", seed=2) as socket:
        for context, closes in (("a", 1), ("b", 2)):
            await say(socket, {"text": " ", "context_id": context}, {"text": LONG * 3, "context_id": context})
            async with asyncio.timeout(5):
                assert json.loads(await socket.recv())["audio"]
            if closes == 2:
                await say(socket, {"context_id": context, "flush": True})
            await say(socket, *[{"context_id": context, "close_context": True}] * closes)
            heard = (await hear(socket, context))[context]
            assert len(heard.pcm) < len(sound(36, 2)) and heard.text in LONG
        await say(
            socket, {"text": "Yes. ", "context_id": "c", "flush": True}, {"context_id": "c", "close_context": True}
        )
        assert (await hear(socket, "c"))["c"].pcm == sound(1, 2)
        await silence(socket)
        await served.until_free()


@pytest.mark.asyncio
async def test_livekit_speaks_several_turns_on_one_socket_at_once() -> None:
    query = {"inactivity_timeout": 180, "sync_alignment": "true", "auto_mode": "true", "seed": 4}
    async with serving() as served, served.socket("multi-stream-input", **query) as socket:
        for context in "abc":
            await say(socket, {"text": " ", "voice_settings": {}, "context_id": context})
        for words in (2, 1):
            for context in "abc":
                await say(socket, {"text": "word " * words + ". ", "context_id": context, "flush": True})
        for context in "abc":
            await say(
                socket,
                {"text": "", "context_id": context, "flush": True},
                {"context_id": context, "close_context": True},
            )
        heard = await hear(socket, *"abc")
        for context in "abc":
            assert heard[context].text == "word word . word . "
            assert heard[context].pcm == heard["a"].pcm and len(heard["a"].pcm) > 0
        await silence(socket)
        await served.until_free()


@pytest.mark.asyncio
async def test_more_sentences_than_a_session_counts_flushes_are_all_spoken() -> None:
    async with serving(pending_flushes=2, lead_s=100) as served, served.socket("multi-stream-input", seed=1) as socket:
        for _ in range(8):
            await say(socket, {"text": "Go. ", "context_id": "c", "flush": True})
        await say(socket, {"context_id": "c", "close_context": True})
        assert (await hear(socket, "c"))["c"].pcm == sound(1, 1) * 8


@pytest.mark.asyncio
async def test_ten_interruptions_in_a_row_are_each_answered_and_leave_nothing_behind() -> None:
    async with serving(lead_s=0.3, contexts_per_connection=2) as served, served.socket("multi-stream-input") as socket:
        for turn in range(10):
            context = f"turn-{turn}"
            await say(socket, {"text": " ", "context_id": context}, {"text": LONG * 2, "context_id": context})
            async with asyncio.timeout(5):
                while not json.loads(await socket.recv())["audio"]:
                    pass
            await say(socket, {"context_id": context, "close_context": True})
            heard = (await hear(socket, context))[context]
            assert (heard.finals, heard.errors) == (1, [])
        await silence(socket)
        await served.until_free()


@pytest.mark.asyncio
async def test_an_id_may_be_used_again_at_once() -> None:
    async with serving() as served, served.socket("multi-stream-input", seed=1) as socket:
        for words in (1, 2, 3):
            await say(
                socket, {"text": "w " * (words - 1) + "w.", "context_id": "c", "flush": True, "close_context": True}
            )
            assert (await hear(socket, "c"))["c"].pcm == sound(words, 1)


@pytest.mark.asyncio
async def test_a_context_too_many_fails_alone() -> None:
    gate = threading.Event()
    async with serving(FakeModel(gate=gate), slots=2) as served, served.socket("multi-stream-input", seed=1) as socket:
        for context in "abc":
            await say(socket, {"text": "one two. ", "context_id": context, "flush": True})
            await asyncio.sleep(0.1)
        await say(socket, *({"context_id": context, "close_context": True} for context in "ab"))
        gate.set()
        heard = await hear(socket, *"abc")
        assert heard["c"].errors == ["max_active_conversations"] and not heard["c"].pcm
        assert heard["a"].pcm == heard["b"].pcm == sound(2, 1)
        await say(
            socket, {"text": "late. ", "context_id": "c", "flush": True}, {"context_id": "c", "close_context": True}
        )
        assert json.loads(await socket.recv()) == {"audio": None, "isFinal": True, "contextId": "c"}
        await say(socket, {"text": "one two. ", "context_id": "c", "flush": True, "close_context": True})
        assert (await hear(socket, "c"))["c"].pcm == sound(2, 1)


@pytest.mark.asyncio
async def test_the_bound_on_contexts_is_told_to_the_one_beyond_it() -> None:
    async with serving(contexts_per_connection=1) as served, served.socket("multi-stream-input") as socket:
        await say(socket, {"text": " ", "context_id": "a"}, {"text": "too ", "context_id": "b"})
        told = json.loads(await socket.recv())
        assert (told["error"], told["contextId"], told["code"]) == ("max_active_conversations", "b", 1008)
        assert "(limit: 1)" in told["message"]
        await say(socket, {"context_id": "a", "close_context": True})
        assert json.loads(await socket.recv())["contextId"] == "a"


@pytest.mark.asyncio
async def test_a_silent_socket_is_closed_after_its_own_time() -> None:
    query = {"inactivity_timeout": "0.3"}
    async with serving() as served, served.socket("stream-input", **query) as one:
        async with served.socket("multi-stream-input", **query) as other:
            for socket in (one, other):
                said, closed = await close_of(socket)
                assert (said[0]["error"], said[0]["code"], code_of(closed)) == ("input_timeout_exceeded", 1008, 1008)


@pytest.mark.asyncio
async def test_keep_alives_do_keep_it() -> None:
    async with serving() as served, served.socket("multi-stream-input", inactivity_timeout="0.5") as socket:
        for _ in range(5):
            await asyncio.sleep(0.2)
            await say(socket, {"text": ""})
        await silence(socket, 0.05)


KEYED = Guard(keys=("sesame",))


KEYS: list[tuple[dict[str, str], dict[str, str], bool]] = [  # in the handshake, in the first message, whether it opens
    ({"xi-api-key": "sesame"}, {}, True),
    ({}, {"xi-api-key": "sesame"}, True),
    ({}, {"xi_api_key": "sesame"}, True),
    ({}, {"authorization": "Bearer sesame"}, True),
    ({"xi-api-key": "wrong"}, {}, False),
    ({"xi-api-key": "wrong"}, {"xi-api-key": "wronger"}, False),
    ({}, {}, False),
]


@pytest.mark.asyncio
async def test_a_key_may_come_with_the_handshake_or_the_first_message() -> None:
    async with serving(guard=KEYED) as served:
        for headers, first, welcome in KEYS:
            async with served.socket("stream-input", headers=headers) as socket:
                await say(socket, {"text": " ", **first}, {"text": "One. "}, {"text": ""})
                said, closed = await close_of(socket)
            if welcome:
                assert code_of(closed) == 1000 and said[-1]["isFinal"]
            else:
                assert (said[0]["error"], len(said), code_of(closed)) == ("invalid_api_key", 1, 1008)
                assert closed.rcvd is not None and "key" in closed.rcvd.reason


BAD: list[tuple[str | bytes, str]] = [
    ("not json", "invalid_input_message"),
    ("[]", "invalid_input_message"),
    (b"\x00", "invalid_input_message"),
    (json.dumps({"text": 7, "context_id": "c"}), "invalid_input_message"),
    (json.dumps({"text": "x" * 100_000, "context_id": "c"}), "message_too_large"),
    (json.dumps({"text": "x", "context_id": "c" * 65}), "invalid_input_message"),
]


@pytest.mark.asyncio
async def test_a_bad_message_ends_its_socket_and_no_other() -> None:
    async with serving() as served, served.socket("multi-stream-input", seed=1) as socket:
        for message, error in BAD:
            async with served.socket("multi-stream-input") as other:
                await say(other, {"text": " ", "context_id": "x"})
                await other.send(message)
                said, closed = await close_of(other)
            assert (said[-1]["error"], code_of(closed)) == (error, 1008)
            assert "xxxx" not in said[-1]["message"]
            await say(socket, {"text": "one.", "context_id": "a", "flush": True, "close_context": True})
            assert (await hear(socket, "a"))["a"].pcm == sound(1, 1)


CANNOT_BE: list[tuple[str, dict[str, str], str]] = [
    ("nobody", {}, "voice_not_found"),
    ("one", {"output_format": "gif_8000"}, "invalid_output_format"),
    ("one", {"inactivity_timeout": "soon"}, "invalid_input_message"),
]


@pytest.mark.asyncio
async def test_a_socket_that_cannot_be_says_why() -> None:
    async with serving() as served:
        for voice, query, error in CANNOT_BE:
            async with served.socket("stream-input", voice, **query) as socket:
                said, closed = await close_of(socket)
            assert (said[0]["error"], code_of(closed)) == (error, 1008)


@pytest.mark.asyncio
async def test_a_client_that_vanishes_frees_its_slots() -> None:
    async with serving(lead_s=0.5) as served:
        async with served.socket("multi-stream-input") as socket:
            for context in "abc":
                await say(socket, {"text": LONG * 20, "context_id": context})
            await socket.recv()
            assert len(served.core.scheduler.free) < 4
            socket.transport.abort()
        await served.until_free()


# HTTP.

SPEAK = "/v1/text-to-speech/one"


@pytest.mark.asyncio
async def test_a_text_is_answered_with_its_sound() -> None:
    body = {"text": "Hello <break time='1s'/> world.", "model_id": "m", "seed": 3, "voice_settings": None, "x": 1}
    async with serving() as served, served.http() as client:
        for path in (SPEAK, f"{SPEAK}/stream"):
            answer = await client.post(path, params={"output_format": "pcm_24000"}, json=body)
            assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/pcm")
            assert answer.headers["request-id"] and answer.content == sound(3, 3)  # a break is a word that is a pause


@pytest.mark.asyncio
async def test_timestamps_come_line_by_line_or_at_once() -> None:
    body, query = {"text": "One two. Three.", "seed": 3}, {"output_format": "pcm_24000"}
    async with serving() as served, served.http() as client:
        streamed = await client.post(f"{SPEAK}/stream/with-timestamps", params=query, json=body)
        whole = (await client.post(f"{SPEAK}/with-timestamps", params=query, json=body)).json()
    lines = [json.loads(line) for line in streamed.text.splitlines()]
    assert b"".join(base64.b64decode(line["audio_base64"]) for line in lines) == sound(2, 3) + sound(1, 3)
    assert base64.b64decode(whole["audio_base64"]) == sound(2, 3) + sound(1, 3)
    told = whole["alignment"]
    assert "".join(told["characters"]) == body["text"]
    starts = told["character_start_times_seconds"]
    assert [starts[body["text"].index(word)] for word in ("One", "two", "Three")] == [0.0, 0.12, 0.24]
    assert told["character_end_times_seconds"][-1] == 0.36


ERRORS: list[tuple[str, dict[str, Any], int, str]] = [
    ("/v1/text-to-speech/nobody", {"json": {"text": "x"}}, 404, "voice_not_found"),
    (f"{SPEAK}?output_format=gif", {"json": {"text": "x"}}, 422, "invalid_output_format"),
    (SPEAK, {"json": {"text": 7}}, 400, "protocol_error"),
    (SPEAK, {"content": b"{"}, 400, "protocol_error"),
    (SPEAK, {"json": {"text": "x" * 100_000}}, 413, "message_too_large"),
    (f"{SPEAK}/stream", {"json": {"text": "x"}, "headers": {"xi-api-key": "wrong"}}, 401, "invalid_api_key"),
]


@pytest.mark.asyncio
async def test_errors_have_a_status_and_a_detail() -> None:
    async with serving(guard=KEYED) as served, served.http() as client:
        for path, request, status, error in ERRORS:
            answer = await client.post(path, **{"headers": {"xi-api-key": "sesame"}, **request})
            assert (answer.status_code, answer.json()["detail"]["status"]) == (status, error)
            assert "xxxx" not in answer.text and answer.json()["detail"]["message"]


@pytest.mark.asyncio
async def test_voices_are_told_without_a_key() -> None:
    async with serving(guard=KEYED) as served, served.http() as client:
        first, second = (await client.get("/v1/voices")).json(), (await client.get("/v2/voices")).json()
        one = await client.get("/v1/voices/one")
        nobody = await client.get("/v1/voices/nobody")
    assert [voice["voice_id"] for voice in first["voices"]] == ["one", "two"]
    assert all(voice["name"] and voice["category"] for voice in first["voices"])
    assert second == {**first, "has_more": False, "total_count": 2, "next_page_token": None}
    assert (one.json(), nobody.status_code) == (first["voices"][0], 404)


@pytest.mark.asyncio
async def test_hanging_up_ends_the_speech() -> None:
    async with serving(unsent_s=0.5) as served, served.http() as client:
        async with client.stream("POST", SPEAK, json={"text": LONG * 200}) as answer:
            async for _ in answer.aiter_raw():
                break
        await served.until_free()
