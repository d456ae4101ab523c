"""Real sockets on loopback, a model with behaviour behind them: what a listener gets, what a rude one does."""

import asyncio
import json
import struct
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect

from stream_server.engine.client import Engine
from stream_server.engine.core import EngineCore
from stream_server.engine.inprocess import InProcessEngine
from stream_server.limits import Limits
from stream_server.transports.house import House
from stream_server.transports.server import running
from tests.fakes import SAMPLES_PER_TOKEN, TOKENS_PER_WORD, FakeModel, expected_sound

HEADER = struct.Struct(">BBHIQI")
WORD = TOKENS_PER_WORD * SAMPLES_PER_TOKEN


@asynccontextmanager
async def serving(
    model: FakeModel | None = None, slots: int = 4, **limits: Any
) -> AsyncIterator[tuple[str, EngineCore]]:
    core = EngineCore(model or FakeModel(), slots, max_waiting=limits.get("queue", 64))
    engine = Engine(InProcessEngine(lambda: core), core.scheduler.num_slots)
    await engine.start()
    try:
        async with running(House(engine, Limits(**limits))) as url:
            yield url, core
    finally:
        await engine.stop()


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[ClientConnection]:
    async with connect(url, subprotocols=[websockets.Subprotocol("stream-server.v1")], compression=None) as socket:
        hello = json.loads(await socket.recv())
        assert hello["type"] == "hello" and hello["voices"] == ["one", "two"]
        yield socket


async def say(socket: ClientConnection, kind: str, context: str | None = "a", **fields: Any) -> None:
    await socket.send(json.dumps({"type": kind, **({"context": context} if context else {}), **fields}))


class Heard:
    """What came for one context."""

    def __init__(self) -> None:
        self.number = -1
        self.pcm = b""
        self.marks: list[tuple[str, int]] = []
        self.sequence = 0
        self.pts = 0
        self.last: dict[str, Any] = {}


async def hear(socket: ClientConnection, *contexts: str) -> dict[str, Heard]:
    """Listen until each context has had its last word."""
    heard = {context: Heard() for context in contexts}
    numbers: dict[int, Heard] = {}
    async with asyncio.timeout(20):
        while not all(h.last for h in heard.values()):
            message = await socket.recv()
            if isinstance(message, bytes):
                kind, zero, number, sequence, pts, duration = HEADER.unpack_from(message)
                h = numbers[number]
                assert (kind, zero, sequence, pts) == (1, 0, h.sequence, h.pts)
                h.sequence, h.pts = sequence + 1, pts + duration
                h.pcm += message[HEADER.size :]
                continue
            event = json.loads(message)
            h = heard[event["context"]]
            match event["type"]:
                case "started":
                    h.number = event["number"]
                    numbers[h.number] = h
                case "mark":
                    h.marks.append((event["word"], event["pts"]))
                case _:
                    h.last = event
    return heard


def sound(count: int, seed: int) -> bytes:
    return (np.clip(expected_sound(seed, count), -1, 1) * 32767).round().astype("<i2").tobytes()


@pytest.mark.asyncio
async def test_a_text_in_pieces_is_spoken_marked_and_accounted_for() -> None:
    async with serving() as (url, _), listening(url) as socket:
        await say(socket, "start", format="pcm_s16le", seed=3)
        for piece in ("Hel", "lo wor", "ld. ", "Good", " bye."):
            await say(socket, "text", text=piece)
        await say(socket, "end")
        heard = (await hear(socket, "a"))["a"]
    assert heard.pcm == sound(2, 3) + sound(2, 3)
    assert heard.marks == [("Hello", 0), ("world.", WORD), ("Good", 2 * WORD), ("bye.", 3 * WORD)]
    done = heard.last
    assert (done["type"], done["samples"], done["words"], done["seed"]) == ("done", 4 * WORD, 4, 3)
    parts = {name: seconds for name, seconds in done["timing"].items() if name != "ttfa"}
    assert sum(parts.values()) == pytest.approx(done["timing"]["ttfa"], abs=1e-5)
    assert all(seconds >= 0 for seconds in parts.values()), parts


@pytest.mark.asyncio
async def test_a_context_may_say_otherwise_than_the_server_of_carrying_over() -> None:
    model = FakeModel(False, carry_tokens=100)
    model.spec = replace(model.spec, carry_over=True)
    async with serving(model) as (url, _), listening(url) as socket:
        for context, asked in (("a", {}), ("b", {"carry_over": False}), ("c", {"carry_over": True})):
            await say(socket, "start", context, format="pcm_s16le", seed=3, **asked)
            await say(socket, "text", context, text="One two. Three.")
            await say(socket, "end", context)
        heard = await hear(socket, "a", "b", "c")
    assert heard["b"].pcm == sound(2, 3) + sound(1, 3)
    assert heard["a"].pcm == heard["c"].pcm == sound(3, 3)


@pytest.mark.asyncio
async def test_audio_leaves_before_the_text_has_ended_and_before_generation_has() -> None:
    gate = threading.Event()
    gate.set()
    async with serving(FakeModel(gate=gate)) as (url, _), listening(url) as socket:
        await say(socket, "start", format="pcm_s16le")
        await say(socket, "text", text="One two three ")
        async with asyncio.timeout(5):
            while not isinstance(await socket.recv(), bytes):
                pass
        gate.clear()  # not one more step until told
        await say(socket, "text", text="four.")
        await say(socket, "end")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                while json.loads(await text_of(socket))["type"] != "done":
                    pass
        gate.set()
        async with asyncio.timeout(5):
            while json.loads(await text_of(socket))["type"] != "done":
                pass


async def text_of(socket: ClientConnection) -> str:
    while isinstance(message := await socket.recv(), bytes):
        pass
    return message


@pytest.mark.asyncio
async def test_contexts_on_one_socket_do_not_mix() -> None:
    async with serving() as (url, _), listening(url) as socket:
        for seed, context in enumerate("abc", 1):
            await say(socket, "start", context, format="pcm_s16le", seed=seed)
            await say(socket, "text", context, text="w " * seed + "w.")
            await say(socket, "end", context)
        heard = await hear(socket, *"abc")
    for seed, context in enumerate("abc", 1):
        assert heard[context].pcm == sound(seed + 1, seed)
    assert len({h.number for h in heard.values()}) == 3


@pytest.mark.asyncio
async def test_a_name_may_be_used_again_when_its_context_is_over() -> None:
    async with serving() as (url, _), listening(url) as socket:
        for _ in range(2):
            await say(socket, "start", format="pcm_s16le", seed=1)
            await say(socket, "text", text="again.")
            await say(socket, "end")
            assert (await hear(socket, "a"))["a"].pcm == sound(1, 1)


@pytest.mark.asyncio
async def test_after_cancel_nothing_of_the_context_follows_and_what_was_heard_is_told() -> None:
    async with serving(lead_s=0.5) as (url, core), listening(url) as socket:
        await say(socket, "start", format="pcm_s16le", seed=1)
        text = "one two three four five six seven eight nine ten eleven twelve."
        await say(socket, "text", text=text)
        received = 0
        async with asyncio.timeout(5):
            while received < 3 * WORD:
                message = await socket.recv()
                received += HEADER.unpack_from(message)[5] if isinstance(message, bytes) else 0
            await say(socket, "cancel", played=WORD + 1)
            while True:
                message = await socket.recv()
                if isinstance(message, bytes):
                    received += HEADER.unpack_from(message)[5]
                elif (event := json.loads(message))["type"] == "cancelled":
                    break
        assert event["sent"] == received
        assert (event["played"], event["heard"]) == (WORD + 1, "one two")
        assert event["heard"] + event["unheard"] == text
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await socket.recv()
        assert len(core.scheduler.free) == core.scheduler.num_slots


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "texts", [[], [""], ["   \n\t "], ["🙂🙂 🎉"], ["..."]], ids=["none", "empty", "blank", "emoji", "dots"]
)
async def test_text_with_nothing_to_say_ends_cleanly(texts: list[str]) -> None:
    async with serving() as (url, _), listening(url) as socket:
        await say(socket, "start", format="pcm_s16le")
        for text in texts:
            await say(socket, "text", text=text)
        await say(socket, "end")
        heard = (await hear(socket, "a"))["a"]
    assert (heard.last["type"], heard.last["words"], heard.pcm) == ("done", 0, b"")


BAD = [  # message, code, field, whether it is about context "b" alone
    ('{"type":"start","context":"b","voice":"nobody"}', "unknown_voice", "voice", True),
    ('{"type":"start","context":"b","speed":9}', "invalid_setting", "speed", True),
    ('{"type":"start","context":"b","format":"gif"}', "unsupported_format", "format", True),
    ('{"type":"start","context":"b","sample_rate":11}', "invalid_setting", "sample_rate", True),
    ('{"type":"start","context":"b","seed":"x"}', "protocol_error", "seed", True),
    ('{"type":"text","context":"b","text":"x"}', "protocol_error", "context", True),
    ('{"type":"text","context":"b","text":7}', "protocol_error", "text", True),
    ('{"type":"dance","context":"b"}', "protocol_error", "type", True),
    ("[]", "protocol_error", None, False),
    ("not json", "protocol_error", None, False),
    (b"\x00\x01", "protocol_error", None, False),
    ('{"type":"text","context":"b","text":"' + "x" * 1_000_000 + '"}', "message_too_large", None, False),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(("message", "code", "field", "contained"), BAD, ids=[f"{i}-{b[1]}" for i, b in enumerate(BAD)])
async def test_a_bad_message_is_named_and_harms_nobody(
    message: str | bytes, code: str, field: str | None, contained: bool
) -> None:
    async with serving() as (url, _), listening(url) as socket, listening(url) as other:
        for s in (socket, other):
            await say(s, "start", format="pcm_s16le", seed=1)
            await say(s, "text", text="one ")
        await socket.send(message)
        async with asyncio.timeout(5):
            while (event := json.loads(await text_of(socket)))["type"] != "error":
                pass
        assert (event["context"], event["code"]) == ("b" if contained else None, code)
        assert field is None or event["field"] == field
        assert "xxxx" not in event["message"]
        for s in (socket, other) if contained else (other,):
            await say(s, "text", text="two.")
            await say(s, "end")
            async with asyncio.timeout(5):
                while json.loads(await text_of(s))["type"] != "done":
                    pass


@pytest.mark.asyncio
async def test_an_error_in_a_context_ends_it_and_late_messages_are_passed_over() -> None:
    async with serving() as (url, core), listening(url) as socket:
        await say(socket, "start", format="pcm_s16le")
        await say(socket, "text", text="one [[q9]] two.")
        await say(socket, "end")
        heard = (await hear(socket, "a"))["a"]
        assert (heard.last["code"], heard.last["field"]) == ("invalid_pronunciation", "text")
        await say(socket, "start", format="pcm_s16le", seed=1)
        await say(socket, "text", text="again.")
        await say(socket, "end")
        assert (await hear(socket, "a"))["a"].pcm == sound(1, 1)
        assert len(core.scheduler.free) == 4


@pytest.mark.asyncio
async def test_bounds_are_named() -> None:
    async with serving(text_chars_per_context=10, contexts_per_connection=1) as (url, _), listening(url) as socket:
        await say(socket, "start", format="pcm_s16le")
        await say(socket, "start", "b")
        await say(socket, "text", text="more than ten characters")
        events: list[dict[str, Any]] = []
        async with asyncio.timeout(5):
            while len(events) < 2:
                event = json.loads(await text_of(socket))
                events += [event] if event["type"] == "error" else []
    assert [(e["context"], e["code"], e["field"], e["limit"]) for e in events] == [
        ("b", "too_many_contexts", "context", 1),
        ("a", "text_too_long", "text", 10),
    ]


@pytest.mark.asyncio
async def test_without_the_subprotocol_the_handshake_says_what_is_spoken() -> None:
    async with serving() as (url, _):
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with connect(url, subprotocols=[websockets.Subprotocol("stream-server.v99")]):
                pass
    assert refused.value.response.status_code == 400
    assert b"stream-server.v1" in (refused.value.response.body or b"")


@pytest.mark.asyncio
async def test_a_client_that_vanishes_frees_its_slots_and_others_hear_all() -> None:
    async with serving(slots=2, lead_s=0.5) as (url, core), listening(url) as other:
        async with listening(url) as socket:
            await say(socket, "start", format="pcm_s16le")
            await say(socket, "text", text="a long story " * 50)
            await socket.recv()
            socket.transport.abort()
        await say(other, "start", format="pcm_s16le", seed=2)
        await say(other, "text", text="one two.")
        await say(other, "end")
        assert (await hear(other, "a"))["a"].pcm == sound(2, 2)
        async with asyncio.timeout(5):
            while len(core.scheduler.free) < 2:
                await asyncio.sleep(0.01)


@pytest.mark.asyncio
async def test_a_client_that_stops_reading_is_paced_then_closed_and_others_hear_all() -> None:
    async with serving(slots=2, lead_s=1.0, slow_reader_s=0.5) as (url, core), listening(url) as other:
        async with listening(url) as socket:
            socket.transport.pause_reading()
            await say(socket, "start", format="pcm_s16le", paced=False)
            for _ in range(20):
                await say(socket, "text", text="a long story indeed, " * 200)
            await say(other, "start", format="pcm_s16le", seed=2)
            await say(other, "text", text="one two.")
            await say(other, "end")
            assert (await hear(other, "a"))["a"].pcm == sound(2, 2)
            idle = 0  # in a row: between two sentences the slot is free for a moment as well
            async with asyncio.timeout(20):
                while idle < 20:
                    await asyncio.sleep(0.05)
                    idle = idle + 1 if len(core.scheduler.free) == 2 else 0
            socket.transport.resume_reading()
            with pytest.raises(websockets.ConnectionClosed) as closed:
                async with asyncio.timeout(20):
                    while True:
                        await socket.recv()
            assert closed.value.rcvd is None or closed.value.rcvd.code == 1008


@pytest.mark.asyncio
@pytest.mark.parametrize("allowed", [False, True])
async def test_only_a_server_that_allows_it_decodes_without_its_cache(allowed: bool) -> None:
    async with serving(uncached=allowed) as (url, _), listening(url) as socket:
        await say(socket, "start", use_cache=False, format="pcm_s16le", seed=1)
        await say(socket, "text", text="one.")
        await say(socket, "end")
        last = (await hear(socket, "a"))["a"].last
    assert (last["type"] == "done") is allowed
    assert allowed or (last["code"], last["field"]) == ("invalid_setting", "use_cache")


@pytest.mark.asyncio
async def test_a_full_server_refuses_at_once_and_says_when_to_come_back() -> None:
    gate = threading.Event()
    async with serving(FakeModel(gate=gate), slots=2) as (url, _), listening(url) as socket:
        for context in "abc":
            await say(socket, "start", context, format="pcm_s16le", seed=1)
            await say(socket, "text", context, text="one.")
            await say(socket, "end", context)
            await asyncio.sleep(0.1)
        gate.set()
        heard = await hear(socket, *"abc")
    assert [heard[c].last["type"] for c in "abc"] == ["done", "done", "error"]
    assert (heard["c"].last["code"], heard["c"].last["retryable"], heard["c"].last["limit"]) == ("overloaded", True, 2)
    assert 0 < heard["c"].last["retry_after"] < 10


@pytest.mark.asyncio
async def test_an_idle_connection_is_closed_with_the_limit_named() -> None:
    async with serving(idle_timeout_s=0.2) as (url, _), listening(url) as socket:
        event = json.loads(await text_of(socket))
        assert (event["code"], event["limit"]) == ("idle_timeout", 0.2)
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 4408
