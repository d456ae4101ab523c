"""Real sockets on loopback, a model with behaviour behind them: what OpenAI's clients get, and what rude ones do."""

import asyncio
import base64
import json
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest

from stream_server.engine.core import EngineCore
from stream_server.models.interface import Step
from stream_server.protocols.voices import VoiceBook
from stream_server.transports.guard import Guard
from tests.fakes import SAMPLES_PER_TOKEN, TOKENS_PER_WORD, FakeModel, FakeRow, expected_sound
from tests.serving import serving_http

SPEECH = "/v1/audio/speech"
WORD = TOKENS_PER_WORD * SAMPLES_PER_TOKEN
STORY = "a long story indeed, " * 200


def says(heard: bytes, count: int, seed: int) -> bool:
    """Whether that is the sound of so many words."""
    return heard == (np.clip(expected_sound(seed, count), -1, 1) * 32767).round().astype("<i2").tobytes()


def text(count: int) -> str:
    return "w " * (count - 1) + "w."


@asynccontextmanager
async def asking(*arguments: Any, **named: Any) -> AsyncIterator[tuple[httpx.AsyncClient, EngineCore]]:
    async with serving_http(*arguments, **named) as (url, core), httpx.AsyncClient(base_url=url, timeout=10) as client:
        yield client, core


async def idle(core: EngineCore) -> None:
    """Until every slot is free and stays so: between two sentences one is free for a moment as well."""
    seen = 0
    async with asyncio.timeout(10):
        while seen < 10:
            await asyncio.sleep(0.02)
            seen = seen + 1 if len(core.scheduler.free) == core.scheduler.num_slots else 0


def fault(response: httpx.Response) -> tuple[int, str, str | None, str]:
    told = response.json()["error"]
    assert set(told) == {"message", "type", "param", "code"}
    return response.status_code, told["type"], told["param"], told["code"]


@pytest.mark.asyncio
async def test_a_text_is_answered_with_its_sound() -> None:
    async with asking() as (client, _):
        body = {"model": "tts-1", "voice": "alloy", "input": "one two three.", "response_format": "pcm", "seed": 3}
        answer = await client.post(SPEECH, json=body)
    assert answer.status_code == 200 and says(answer.content, 3, 3)
    assert answer.headers["content-type"] == "audio/pcm"
    assert answer.headers["transfer-encoding"] == "chunked" and "content-encoding" not in answer.headers


@pytest.mark.asyncio
async def test_where_the_server_carries_over_a_client_that_cannot_ask_has_it_too() -> None:
    model = FakeModel(False, carry_tokens=100)
    model.spec = replace(model.spec, carry_over=True)
    async with asking(model) as (client, _):
        answer = await client.post(SPEECH, json={"input": "one two. three.", "response_format": "pcm", "seed": 3})
    assert answer.status_code == 200 and says(answer.content, 3, 3)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("format", "media_type", "magic"),
    [
        (None, "audio/mpeg", b"\xff"),
        ("mp3", "audio/mpeg", b"\xff"),
        ("opus", "audio/ogg", b"OggS"),
        ("aac", "audio/aac", b"\xff\xf1"),
        ("flac", "audio/flac", b"fLaC"),
        ("wav", "audio/wav", b"RIFF\xff\xff\xff\xffWAVE"),
        ("pcm", "audio/pcm", b""),
    ],
)
async def test_each_format_has_its_type_and_its_bytes(format: str | None, media_type: str, magic: bytes) -> None:
    async with asking() as (client, _):
        answer = await client.post(SPEECH, json={"input": "one two.", "response_format": format})
    assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
    assert answer.content.startswith(magic) and len(answer.content) > 100


@pytest.mark.asyncio
async def test_sse_ends_with_the_words_and_the_tokens_there_were() -> None:
    async with asking() as (client, _):
        body = {"input": "one two three.", "response_format": "pcm", "stream_format": "sse", "seed": 1}
        answer = await client.post(SPEECH, json=body)
    assert answer.headers["content-type"] == "text/event-stream"
    events = [json.loads(line.removeprefix("data: ")) for line in answer.text.split("\n\n") if line]
    *deltas, done = events
    assert {event["type"] for event in deltas} == {"speech.audio.delta"}
    assert says(b"".join(base64.b64decode(event["audio"]) for event in deltas), 3, 1)
    usage = {"input_tokens": 3, "output_tokens": 9, "total_tokens": 12}
    assert done == {"type": "speech.audio.done", "usage": usage}


@pytest.mark.asyncio
@pytest.mark.parametrize("input", ["   \n", "🙂🙂", "..."], ids=["blank", "emoji", "dots"])
async def test_text_with_nothing_to_say_is_an_answer_without_sound(input: str) -> None:
    async with asking() as (client, _):
        answer = await client.post(SPEECH, json={"input": input, "response_format": "pcm"})
        assert (answer.status_code, answer.content) == (200, b"")
        answer = await client.post(SPEECH, json={"input": input, "response_format": "wav"})
        assert (answer.status_code, len(answer.content)) == (200, 44)


@pytest.mark.asyncio
async def test_sound_leaves_before_generation_has_ended() -> None:
    gate = threading.Event()
    gate.set()
    async with asking(FakeModel(gate=gate), unsent_s=0.5) as (client, _):
        async with client.stream("POST", SPEECH, json={"input": STORY, "response_format": "pcm"}) as answer:
            pieces = answer.aiter_raw()
            assert await anext(pieces)
            gate.clear()  # not one more step until told
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    async for _ in pieces:
                        pass
            gate.set()


@pytest.mark.asyncio
async def test_two_requests_on_one_connection() -> None:
    async with serving_http() as (url, _):
        limits = httpx.Limits(max_connections=1)
        async with httpx.AsyncClient(base_url=url, limits=limits) as client:
            ports = set()
            for words in (1, 2, 3):
                async with client.stream(
                    "POST", SPEECH, json={"input": text(words), "response_format": "pcm", "seed": 1}
                ) as answer:
                    assert says(await answer.aread(), words, 1)
                    ports.add(answer.extensions["network_stream"].get_extra_info("client_addr"))
                assert (await client.post(SPEECH, content=b"{")).status_code == 400
    assert len(ports) == 1


@pytest.mark.asyncio
async def test_requests_sent_one_upon_the_other_are_all_answered() -> None:
    async with serving_http() as (url, _):
        reader, writer = await connect(url)
        body = json.dumps({"input": "one.", "response_format": "pcm", "seed": 1}).encode()
        writer.write(raw_request(body) * 3)
        async with asyncio.timeout(5):
            for _ in range(3):
                assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
                assert says(await read_chunks(reader), 1, 1)
        writer.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("spoken", [False, True], ids=["before the first sound", "in mid-answer"])
async def test_a_client_that_hangs_up_frees_its_slot(spoken: bool, caplog: pytest.LogCaptureFixture) -> None:
    gate = threading.Event()
    async with asking(FakeModel(gate=gate), slots=1) as (client, core):
        reader, writer = await connect(str(client.base_url))
        writer.write(raw_request(json.dumps({"input": STORY, "response_format": "pcm"}).encode()))
        if spoken:
            gate.set()
            await reader.readexactly(1000)
        else:
            await asyncio.sleep(0.2)
        writer.transport.abort()
        await asyncio.sleep(0.05)
        gate.set()
        await idle(core)
        answer = await client.post(SPEECH, json={"input": "one.", "response_format": "pcm", "seed": 1})
        assert says(answer.content, 1, 1)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.asyncio
async def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async with asking() as (client, _):
        _, writer = await connect(str(client.base_url))
        writer.write(raw_request(b"{" + b" " * 1000)[:-500])
        await asyncio.sleep(0.1)
        writer.transport.abort()
        assert (await client.get("/v1/")).status_code == 200
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.asyncio
async def test_a_client_that_does_not_read_is_cut_and_others_hear_all() -> None:
    async with asking(slots=2, slow_reader_s=0.3, unsent_s=1.0) as (client, core):
        deaf = narrow(str(client.base_url))
        deaf.sendall(raw_request(json.dumps({"input": STORY, "response_format": "pcm"}).encode()))
        answer = await client.post(SPEECH, json={"input": "one two.", "response_format": "pcm", "seed": 2})
        assert says(answer.content, 2, 2)
        await idle(core)
        deaf.settimeout(5)
        assert not (await asyncio.to_thread(read_all, deaf)).endswith(b"0\r\n\r\n")
        deaf.close()


def read_all(connection: socket.socket) -> bytes:
    heard = b""
    while piece := connection.recv(65536):
        heard += piece
    return heard


@pytest.mark.asyncio
async def test_a_listener_that_plays_as_it_reads_is_not_too_slow() -> None:
    """It takes nothing for longer than the limit, and has had more than that to play."""
    async with serving_http(slow_reader_s=0.2, unsent_s=1.0) as (url, _):
        reader, writer = await asyncio.open_connection(sock=narrow(url), limit=1024)
        body = {"input": text(60), "response_format": "pcm", "seed": 1}
        writer.write(raw_request(json.dumps(body).encode()))
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(1.0)
        async with asyncio.timeout(5):
            assert len(await read_chunks(reader)) == 60 * WORD * 2
        writer.close()


class Breaking(FakeModel):
    """Its rows fail after so many steps."""

    steps = 20

    def decode_step(self, slots: list[int], state: dict[int, FakeRow]) -> Step:
        self.steps -= 1
        self.fail_seed = 1 if self.steps < 0 else None
        return super().decode_step(slots, state)


@pytest.mark.asyncio
async def test_a_failure_in_mid_answer_cuts_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    async with asking(Breaking(), slots=1) as (client, core):
        with pytest.raises(httpx.RemoteProtocolError):
            body = {"input": text(60), "response_format": "pcm", "seed": 1}
            async with client.stream("POST", SPEECH, json=body) as answer:
                assert answer.status_code == 200
                await answer.aread()
        await idle(core)
    assert not [record for record in caplog.records if record.name.startswith("uvicorn")], "it was cut on purpose"


BAD: list[tuple[bytes, int, str, str | None]] = [  # body, status, code, param
    (b"", 400, "protocol_error", None),
    (b"{", 400, "protocol_error", None),
    (b"\xff\xfe", 400, "protocol_error", None),
    (b"[]", 400, "protocol_error", None),
    (b"7", 400, "protocol_error", None),
    (b"[" * 100_000, 400, "protocol_error", None),
    (b"{}", 400, "protocol_error", "input"),
    (b'{"input":null}', 400, "protocol_error", "input"),
    (b'{"input":""}', 400, "invalid_setting", "input"),
    (b'{"input":7}', 400, "protocol_error", "input"),
    (b'{"input":["xxxx"]}', 400, "protocol_error", "input"),
    (b'{"input":"\\ud800xxxx"}', 400, "protocol_error", None),
    (b'{"input":"xxxx [[q9]]"}', 400, "invalid_pronunciation", "input"),
    (b'{"input":"' + b"xxxx " * 30 + b'"}', 400, "text_too_long", "input"),
    (b'{"input":"xxxx","model":7}', 400, "protocol_error", "model"),
    (b'{"input":"xxxx","voice":7}', 400, "protocol_error", "voice"),
    (b'{"input":"xxxx","voice":"xxxx"}', 400, "unknown_voice", "voice"),
    (b'{"input":"xxxx","voice":{"id":"xxxx"}}', 400, "unknown_voice", "voice"),
    (b'{"input":"xxxx","voice":{"id":["xxxx"]}}', 400, "protocol_error", "voice"),
    (b'{"input":"xxxx","response_format":"xxxx"}', 400, "invalid_setting", "response_format"),
    (b'{"input":"xxxx","stream_format":"xxxx"}', 400, "invalid_setting", "stream_format"),
    (b'{"input":"xxxx","speed":0.25}', 400, "invalid_setting", "speed"),
    (b'{"input":"xxxx","speed":4}', 400, "invalid_setting", "speed"),
    (b'{"input":"xxxx","speed":NaN}', 400, "invalid_setting", "speed"),
    (b'{"input":"xxxx","speed":"xxxx"}', 400, "protocol_error", "speed"),
    (b'{"input":"xxxx","seed":-1}', 400, "invalid_setting", "seed"),
    (b'{"input":"' + b"xxxx" * 2000 + b'"}', 413, "message_too_large", "body"),
]


@pytest.mark.asyncio
async def test_what_is_wrong_is_named_and_harms_nobody() -> None:
    gate = threading.Event()
    async with asking(FakeModel(gate=gate), text_chars_per_context=100, body_bytes=5000) as (client, core):
        other = asyncio.create_task(
            client.post(SPEECH, json={"input": "one two.", "response_format": "pcm", "seed": 1})
        )
        for body, status, code, param in BAD:
            if body.startswith(b"[["):
                body = body[:4000]
            answer = await client.post(SPEECH, content=body)
            assert fault(answer) == (status, "invalid_request_error", param, code), body[:60]
            assert "xxxx" not in answer.text
            assert answer.headers["x-request-id"].startswith("req_")
        gate.set()
        assert says((await other).content, 2, 1)
        await idle(core)


@pytest.mark.asyncio
async def test_a_limit_is_told_with_its_error() -> None:
    async with asking(text_chars_per_context=10) as (client, _):
        long = await client.post(SPEECH, json={"input": "more than ten characters"})
        fast = await client.post(SPEECH, json={"input": "x", "speed": 3})
        nobody = await client.post(SPEECH, json={"input": "x", "voice": "nobody"})
    assert "10" in long.json()["error"]["message"]
    assert fast.json()["error"]["message"] == "speed: Input should be less than or equal to 2"
    assert "one, two" in nobody.json()["error"]["message"]


@pytest.mark.asyncio
async def test_unknown_fields_and_nulls_are_as_if_they_were_not_there() -> None:
    body = {"input": "one.", "response_format": "pcm", "seed": 1, "stream": True, "speed": None, "voice": None}
    async with asking() as (client, _):
        answer = await client.post(SPEECH, json={**body, "instructions": "whisper", "x": {"y": [1]}})
    assert says(answer.content, 1, 1)


@pytest.mark.asyncio
async def test_voices_by_all_their_names() -> None:
    async with asking(voices=VoiceBook({"anna": "two"})) as (client, _):
        for voice in ("one", "two", "anna", "alloy", "verse", "", {"id": "two"}, {"id": "marin"}, {}):
            answer = await client.post(SPEECH, json={"input": "one.", "voice": voice, "response_format": "pcm"})
            assert answer.status_code == 200, voice
        listed = (await client.get("/v1/audio/voices")).json()
    assert listed == {"voices": [{"id": name, "name": name} for name in ("one", "two", "anna")]}


@pytest.mark.asyncio
async def test_a_full_server_says_when_to_come_back() -> None:
    gate = threading.Event()
    async with asking(FakeModel(gate=gate), slots=1) as (client, _):
        body = {"input": "one.", "response_format": "pcm", "seed": 1}
        first = asyncio.create_task(client.post(SPEECH, json=body))
        await asyncio.sleep(0.2)
        refused = await client.post(SPEECH, json=body)
        gate.set()
        assert says((await first).content, 1, 1)
        assert (await client.post(SPEECH, json=body)).status_code == 200
    assert fault(refused) == (503, "server_error", None, "overloaded")
    assert 1 <= int(refused.headers["retry-after"]) <= 10


@pytest.mark.asyncio
async def test_models_are_listed_and_found_without_a_key() -> None:
    async with asking(guard=Guard(keys=("secret",))) as (client, _):
        listed = (await client.get("/v1/models")).json()
        names = [entry["id"] for entry in listed["data"]]
        assert listed["object"] == "list" and names == ["fake", "tts-1", "tts-1-hd", "gpt-4o-mini-tts"]
        for name in names:
            assert (await client.get(f"/v1/models/{name}")).json()["id"] == name
        assert fault(await client.get("/v1/models/x/y")) == (404, "not_found_error", "model", "unknown_model")
        spoken = (await client.get("/v1/audio/models")).json()
        assert [entry["id"] for entry in spoken["models"]] == names
        assert (await client.get("/v1/")).status_code == 200


@pytest.mark.asyncio
async def test_where_nothing_is_served_it_is_said_in_the_same_form() -> None:
    async with asking() as (client, _):
        assert fault(await client.get("/v1/audio/songs")) == (404, "not_found_error", "path", "unknown_path")
        assert fault(await client.post("/v1/models")) == (405, "invalid_request_error", "method", "wrong_method")
        wrong = await client.get(SPEECH)
        assert fault(wrong) == (405, "invalid_request_error", "method", "wrong_method")
        assert wrong.headers["allow"] == "POST"
        assert (await client.get("/songs")).json()["error"]["code"] == "unknown_path"


# By hand, where a client library would be too polite.


async def connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address = httpx.URL(url)
    return await asyncio.open_connection(address.host, address.port)


def narrow(url: str) -> socket.socket:
    """A connection whose peer soon feels that nobody reads."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((httpx.URL(url).host, httpx.URL(url).port))
    return connection


def raw_request(body: bytes) -> bytes:
    head = f"POST {SPEECH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def read_chunks(reader: asyncio.StreamReader) -> bytes:
    """A chunked body to its end."""
    body = b""
    while length := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(length + 2))[:-2]
    await reader.readexactly(2)
    return body
