"""Real TCP on loopback, a model with behaviour behind it: what Home Assistant gets, what a rude peer does."""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from wyoming.event import Event, async_read_event

from stream_server.engine.client import Engine
from stream_server.engine.core import EngineCore
from stream_server.engine.inprocess import InProcessEngine
from stream_server.errors import ConfigError
from stream_server.limits import Limits
from stream_server.metrics import Metrics
from stream_server.transports.house import House
from stream_server.transports.wyoming import listening
from tests.fakes import SAMPLES_PER_TOKEN, TOKENS_PER_WORD, FakeModel

WORD = TOKENS_PER_WORD * SAMPLES_PER_TOKEN * 2  # bytes
FORMAT = {"rate": 24_000, "width": 2, "channels": 1}


class Peer:
    """Bytes there, the stock reader back."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def say(self, kind: str, **data: Any) -> None:
        """An event as the stock client writes it."""
        block = json.dumps(data).encode() if data else b""
        header = {"type": kind, "version": "1.10.2"} | ({"data_length": len(block)} if block else {})
        self.writer.write(json.dumps(header).encode() + b"\n" + block)

    def say_stream(self, *chunks: str) -> None:
        """All that Home Assistant 2026.11 writes: the text in pieces, then the whole for servers that cannot stream."""
        self.say("synthesize-start")
        for chunk in chunks:
            self.say("synthesize-chunk", text=chunk)
        self.say("synthesize", text="".join(chunks))
        self.say("synthesize-stop")

    async def hear(self) -> Event | None:
        async with asyncio.timeout(10):
            return await async_read_event(self.reader)

    async def hear_until(self, kind: str) -> list[Event]:
        """Everything up to an event of that kind, which must come."""
        events: list[Event] = []
        while not events or events[-1].type != kind:
            event = await self.hear()
            assert event is not None, [e.type for e in events]
            events.append(event)
        return events

    async def hear_answer(self, last: str = "audio-stop") -> bytes:
        """One sound's bytes, in one format and in pieces of 20–100 ms that say where they stand."""
        events = await self.hear_until(last)
        first, *chunks, stop = events if last == "audio-stop" else events[:-1]
        assert (first.type, stop.type) == ("audio-start", "audio-stop")
        assert {e.type for e in chunks} <= {"audio-chunk"}
        assert all(e.data | FORMAT == e.data for e in (first, *chunks))
        sound = b""
        for chunk in chunks:
            assert chunk.payload is not None and len(chunk.payload) in {960, 1920, 2880, 3840, 4800}
            assert chunk.data["timestamp"] == len(sound) // 48
            sound += chunk.payload
        return sound

    async def hear_error(self) -> tuple[str, str]:
        """→ code and text of an error, behind which the connection ends."""
        error = (await self.hear_until("error"))[-1]
        assert await self.hear() is None
        return error.data["code"], error.data["text"]


class Served:
    def __init__(self, port: int, core: EngineCore, metrics: Metrics) -> None:
        self.port, self.core, self.metrics = port, core, metrics

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield Peer(reader, writer)
        finally:
            writer.transport.abort()

    async def until(self, free: int) -> None:
        async with asyncio.timeout(5):
            while len(self.core.scheduler.free) != free:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(model: FakeModel | None = None, slots: int = 4, **limits: Any) -> AsyncIterator[Served]:
    core = EngineCore(model or FakeModel(), slots)
    engine, metrics = Engine(InProcessEngine(lambda: core), limits.get("streams", core.scheduler.num_slots)), Metrics()
    await engine.start()
    try:
        async with listening(House(engine, Limits(**limits), metrics), "127.0.0.1", 0) as port:
            yield Served(port, core, metrics)
    finally:
        await engine.stop()


def words(sound: bytes) -> int:
    """How many words it is; the fake model never makes silence but at a seed of 0."""
    assert len(sound) % WORD == 0
    return len(sound) // WORD


@pytest.mark.asyncio
async def test_a_whole_text_of_several_sentences_is_one_sound() -> None:
    async with serving() as served, served.peer() as peer:
        peer.say("synthesize", text="One two. Three! Four five six?")
        assert words(await peer.hear_answer()) == 6


@pytest.mark.asyncio
async def test_the_exchange_of_home_assistant_is_spoken_once_and_ends_with_stopped() -> None:
    async with serving() as served, served.peer() as peer:
        peer.say("describe")
        described = await peer.hear()
        assert described is not None and described.type == "info"
        [program] = described.data["tts"]
        assert program["supports_synthesize_streaming"] is True
        assert [voice["name"] for voice in program["voices"]] == ["one", "two"]
        peer.say_stream("Tur", "ned on", " two ligh", "ts. ", "Any", "thing else?")
        assert words(await peer.hear_answer("synthesize-stopped")) == 6


@pytest.mark.asyncio
async def test_sound_comes_before_the_text_has_ended_and_before_the_rest_is_made() -> None:
    gate = threading.Event()
    gate.set()
    async with serving(FakeModel(gate=gate)) as served, served.peer() as peer:
        peer.say("synthesize-start")
        peer.say("synthesize-chunk", text="One two three ")
        assert [e.type for e in await peer.hear_until("audio-chunk")] == ["audio-start", "audio-chunk"]
        gate.clear()  # not one more step until told
        peer.say("synthesize-chunk", text="four.")
        peer.say("synthesize-stop")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await peer.hear_until("audio-stop")
        gate.set()
        assert [e.type for e in await peer.hear_until("synthesize-stopped")][-2:] == [
            "audio-stop",
            "synthesize-stopped",
        ]


@pytest.mark.asyncio
async def test_answers_follow_each_other_on_one_connection_streamed_or_not() -> None:
    async with serving() as served, served.peer() as peer:
        for _ in range(2):
            peer.say_stream("One ", "two.")
            assert words(await peer.hear_answer("synthesize-stopped")) == 2
            peer.say("synthesize", text="One two three.")
            assert words(await peer.hear_answer()) == 3


@pytest.mark.asyncio
async def test_what_is_asked_while_an_answer_is_spoken_waits_for_its_turn() -> None:
    async with serving(slots=1, streams=1) as served, served.peer() as peer:
        for count in range(1, 41):
            peer.say("synthesize", text="word " * (count % 5) + "word.")
        peer.say_stream("One ", "two.")
        for count in range(1, 41):
            assert words(await peer.hear_answer()) == count % 5 + 1
        assert words(await peer.hear_answer("synthesize-stopped")) == 2


@pytest.mark.asyncio
async def test_a_peer_that_asks_without_end_is_not_read_without_end() -> None:
    gate = threading.Event()
    async with serving(FakeModel(gate=gate)) as served, served.peer() as peer:
        more = json.dumps({"type": "synthesize", "data": {"text": "x" * 60_000 + "."}}).encode() + b"\n"
        taken = 0
        peer.writer.transport.set_write_buffer_limits(high=0)
        try:
            with pytest.raises(TimeoutError):
                while taken < 50e6:  # the system's own buffers among it
                    async with asyncio.timeout(0.5):
                        peer.writer.write(more)
                        await peer.writer.drain()
                    taken += len(more)
        finally:
            gate.set()


@pytest.mark.asyncio
@pytest.mark.parametrize("texts", [[], [""], [" \n"], ["🙂", "🎉"], ["..."]])
async def test_text_with_nothing_to_say_is_an_empty_sound(texts: list[str]) -> None:
    async with serving() as served, served.peer() as peer:
        peer.say_stream(*texts)
        assert await peer.hear_answer("synthesize-stopped") == b""
        peer.say("synthesize", text="".join(texts))
        assert await peer.hear_answer() == b""


@pytest.mark.asyncio
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_peer_that_leaves_in_mid_speech_frees_the_slot(streamed: bool) -> None:
    async with serving(unsent_s=0.5) as served:
        async with served.peer() as peer:
            text = "a long story " * 500
            if streamed:
                peer.say("synthesize-start")
                peer.say("synthesize-chunk", text=text)
            else:
                peer.say("synthesize", text=text)
            await peer.hear_until("audio-chunk")
            assert (len(served.core.scheduler.free), served.metrics.open_connections) == (3, 1)
        await served.until(free=4)
        assert served.metrics.open_connections == 0


@pytest.mark.asyncio
async def test_a_peer_that_leaves_while_it_waits_is_forgotten_too() -> None:
    gate = threading.Event()
    async with serving(FakeModel(gate=gate), slots=1) as served:
        async with served.peer() as peer:
            for _ in range(3):
                peer.say("synthesize", text="word.")
            await served.until(free=0)
        async with asyncio.timeout(5):
            while served.metrics.open_connections:
                await asyncio.sleep(0.01)
        gate.set()
        await served.until(free=1)
        async with served.peer() as other:
            other.say("synthesize", text="One two.")
            assert words(await other.hear_answer()) == 2


@pytest.mark.asyncio
async def test_events_that_are_not_known_are_passed_over() -> None:
    async with serving() as served, served.peer() as peer:
        peer.say("select-program", name="other")
        peer.say("synthesize-start")
        peer.say("transcript", text="x")
        peer.say("synthesize-chunk", text="One.")
        peer.say("ping", text="now")
        peer.say("synthesize-stop")
        events = await peer.hear_until("synthesize-stopped")
        assert [e.data for e in events if e.type == "pong"] == [{"text": "now"}]
        assert {e.type for e in events} == {"pong", "audio-start", "audio-chunk", "audio-stop", "synthesize-stopped"}


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["synthesize", "synthesize-start"])
async def test_a_voice_that_is_not_there_is_an_error_that_names_those_that_are(kind: str) -> None:
    async with serving() as served, served.peer() as peer:
        peer.say(kind, text="One.", voice={"name": "nobody"})
        assert await peer.hear_error() == ("unknown_voice", "voice: no such voice here (one, two)")


@pytest.mark.asyncio
async def test_a_voice_may_be_named_or_left_to_the_server() -> None:
    async with serving() as served, served.peer() as peer:
        for voice in ({"name": "two"}, {"language": "en"}, {"language": "xx"}):
            peer.say("synthesize", text="One.", voice=voice)
            assert words(await peer.hear_answer()) == 1


@pytest.mark.asyncio
async def test_a_full_server_says_so_at_once_and_when_to_come_back() -> None:
    gate = threading.Event()
    async with serving(FakeModel(gate=gate), streams=1) as served, served.peer() as first, served.peer() as second:
        first.say("synthesize", text="One.")
        await served.until(free=3)
        second.say_stream("One ", "two.")
        code, text = await second.hear_error()
        assert code == "overloaded" and "(1); try again in " in text
        gate.set()
        assert words(await first.hear_answer()) == 1


@pytest.mark.asyncio
async def test_connections_are_counted_with_those_of_the_other_protocols() -> None:
    async with serving(connections=2) as served, served.peer() as peer:
        with served.metrics.connected():
            peer.say("synthesize", text="One.")
            await peer.hear_answer()
            async with served.peer() as third:
                third.say("describe")
                assert await third.hear_error() == ("overloaded", "connections: too many connections (2)")
        async with served.peer() as third:
            third.say("synthesize", text="One.")
            assert words(await third.hear_answer()) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_sequence_that_fails_ends_its_answer_with_an_error(streamed: bool) -> None:
    async with serving(FakeModel(max_tokens=10), text_chars_per_context=40) as served, served.peer() as peer:
        text = "One [[q9]] two."
        if streamed:
            peer.say_stream("One two. ", text)
        else:
            peer.say("synthesize", text=text)
        assert (await peer.hear_error())[0] == "invalid_pronunciation"
        await served.until(free=4)


@pytest.mark.asyncio
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_text_that_is_too_long_is_refused_with_the_bound(streamed: bool) -> None:
    async with serving(text_chars_per_context=40) as served, served.peer() as peer:
        if streamed:
            peer.say_stream("word " * 8, "w.")
        else:
            peer.say("synthesize", text="word " * 9)
        assert await peer.hear_error() == ("text_too_long", "text: the context's text is too long (40)")
        await served.until(free=4)


HOSTILE = [
    (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "protocol_error"),
    (b"\x16\x03\x01\x02\x00\n", "protocol_error"),
    (b'{"type":"x","data_length":-1}\n', "invalid_setting"),
    (b'{"type":"x","payload_length":999999999999}\n', "message_too_large"),
    (b'{"type":"x","data_length":3}\n\xff\xff\xff', "protocol_error"),
    (b'{"type":"synthesize-chunk","data":{"text":null}}\n', "protocol_error"),
    (b"x" * 3_000_000, "message_too_large"),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(("data", "code"), HOSTILE, ids=[str(i) for i in range(len(HOSTILE))])
@pytest.mark.parametrize("before", ["nothing", "a whole text", "an open stream"])
async def test_what_makes_no_sense_is_an_error_and_harms_nobody(data: bytes, code: str, before: str) -> None:
    async with serving() as served, served.peer() as peer, served.peer() as other:
        other.say("synthesize-start")
        other.say("synthesize-chunk", text="One ")
        if before == "a whole text":
            peer.say("synthesize", text="One two.")
        elif before == "an open stream":
            peer.say("synthesize-start")
            peer.say("synthesize-chunk", text="One ")
        peer.writer.write(data)
        if before == "a whole text":  # was asked in good order
            assert words(await peer.hear_answer()) == 2
        assert (await peer.hear_until("error"))[-1].data["code"] == code
        await served.until(free=3)  # before this peer has left
        assert await peer.hear() is None
        other.say("synthesize-chunk", text="two.")
        other.say("synthesize-stop")
        assert words(await other.hear_answer("synthesize-stopped")) == 2
        await served.until(free=4)


@pytest.mark.asyncio
@pytest.mark.parametrize("half", [b"", b'{"type":"synth', b'{"type":"x","data_length":9}\n{"a"'])
async def test_half_an_event_is_waited_for_no_longer_than_an_idle_peer(half: bytes) -> None:
    async with serving(idle_timeout_s=0.2) as served, served.peer() as peer:
        peer.writer.write(half)
        assert await peer.hear_error() == ("idle_timeout", "nothing was said for too long (0.2)")


@pytest.mark.asyncio
async def test_whoever_leaves_in_the_middle_of_an_event_is_forgotten() -> None:
    async with serving() as served:
        async with served.peer() as peer:
            peer.writer.write(b'{"type":"synth')
            await asyncio.sleep(0.05)
            assert served.metrics.open_connections == 1
        async with asyncio.timeout(5):
            while served.metrics.open_connections:
                await asyncio.sleep(0.01)


@pytest.mark.asyncio
async def test_a_peer_that_stops_reading_is_dropped_and_others_hear_all() -> None:
    async with serving(slots=2, slow_reader_s=0.3) as served, served.peer() as other:
        async with served.peer() as peer:
            peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
            peer.say("synthesize", text="a long story indeed, " * 2500)
            other.say("synthesize", text="One two.")
            assert words(await other.hear_answer()) == 2
            async with asyncio.timeout(15):
                while served.metrics.open_connections > 1:
                    await asyncio.sleep(0.05)
            await served.until(free=2)


@pytest.mark.asyncio
async def test_a_port_that_is_taken_is_named_with_its_setting() -> None:
    async with serving() as served:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            engine = Engine(InProcessEngine(lambda: served.core), 4)
            with pytest.raises(ConfigError, match=f"^wyoming_port: .*{port}.* in use") as refused:
                async with listening(House(engine), "127.0.0.1", port):
                    pass
    assert refused.value.field == "wyoming_port"


@pytest.mark.asyncio
async def test_a_server_that_stops_leaves_no_connection_open() -> None:
    async with serving() as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        peer = Peer(reader, writer)
        peer.say("synthesize-start")
        peer.say("synthesize-chunk", text="One two three ")
        await peer.hear_until("audio-chunk")
    async with asyncio.timeout(5):
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            while True:
                await reader.readexactly(1)
    writer.transport.abort()
