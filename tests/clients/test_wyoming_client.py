"""The `wyoming` package's own client, as Home Assistant uses it, against a real server with the shipped voice."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.tts import (
    Synthesize,
    SynthesizeChunk,
    SynthesizeStart,
    SynthesizeStop,
    SynthesizeStopped,
    SynthesizeVoice,
)

from stream_server.engine.client import Engine
from stream_server.engine.core import EngineCore
from stream_server.engine.inprocess import InProcessEngine
from stream_server.limits import Limits
from stream_server.models.interface import SpeechModel
from stream_server.transports.house import House
from stream_server.transports.wyoming import listening

pytestmark = pytest.mark.clients
WORDS = ("I have ", "turned on the li", "ghts in the kitchen. ", "Is there anything ", "else I can do?")
SLT = SynthesizeVoice(name="slt")


@dataclass
class Served:
    port: int
    core: EngineCore

    def client(self) -> AsyncTcpClient:
        return AsyncTcpClient("127.0.0.1", self.port, connect_timeout=5, read_timeout=20)


@asynccontextmanager
async def serving(lark: SpeechModel) -> AsyncIterator[Served]:
    core = EngineCore(lark, 2)
    engine = Engine(InProcessEngine(lambda: core), core.scheduler.num_slots)
    await engine.start()
    try:
        async with listening(House(engine, Limits(unsent_s=1.0)), "127.0.0.1", 0) as port:
            yield Served(port, core)
    finally:
        await engine.stop()


@dataclass
class Heard:
    pcm: bytes = b""
    starts: list[AudioStart] = field(default_factory=list)
    stops: int = 0
    before_stop: int = 0  # bytes that came before the last of the text was sent

    @property
    def seconds(self) -> float:
        return len(self.pcm) / 2 / self.starts[0].rate

    @property
    def loudness(self) -> float:
        return float(np.abs(np.frombuffer(self.pcm, "<i2").astype(float)).mean())


async def hear(client: AsyncTcpClient, last: type[AudioStop] | type[SynthesizeStopped], heard: Heard) -> Heard:
    while (event := await client.read_event()) is not None:
        if AudioStart.is_type(event.type):
            heard.starts.append(AudioStart.from_event(event))
        elif AudioChunk.is_type(event.type):
            heard.pcm += AudioChunk.from_event(event).audio
        elif AudioStop.is_type(event.type):
            heard.stops += 1
        if last.is_type(event.type):
            break
    return heard


async def stream(client: AsyncTcpClient, chunks: Sequence[str], voice: SynthesizeVoice | None = SLT) -> Heard:
    """As Home Assistant: text goes out as it is written while sound is read, and the whole again before the stop."""
    heard = Heard()

    async def write() -> None:
        await client.write_event(SynthesizeStart(voice=voice).event())
        for chunk in chunks:
            await client.write_event(SynthesizeChunk(text=chunk).event())
            await asyncio.sleep(0.1)
        while not heard.pcm:
            await asyncio.sleep(0.01)
        heard.before_stop = len(heard.pcm)
        await client.write_event(Synthesize(text="".join(chunks), voice=voice).event())
        await client.write_event(SynthesizeStop().event())

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(write())
        group.create_task(hear(client, SynthesizeStopped, heard))
    return heard


async def synthesize(client: AsyncTcpClient, text: str, voice: SynthesizeVoice | None = SLT) -> Heard:
    await client.write_event(Synthesize(text=text, voice=voice).event())
    async with asyncio.timeout(30):
        return await hear(client, AudioStop, Heard())


def is_speech(heard: Heard, least_s: float, most_s: float) -> bool:
    assert (len(heard.starts), heard.stops) == (1, 1)
    assert (heard.starts[0].rate, heard.starts[0].width, heard.starts[0].channels) == (24_000, 2, 1)
    return least_s < heard.seconds < most_s and heard.loudness > 100


@pytest.mark.asyncio
async def test_describe(lark: SpeechModel) -> None:
    async with serving(lark) as served, served.client() as client:
        await client.write_event(Describe().event())
        event = await client.read_event()
    assert event is not None
    [program] = Info.from_event(event).tts
    assert program.installed and program.supports_synthesize_streaming
    assert {voice.name for voice in program.voices if voice.installed and "en" in voice.languages} == {
        "kathleen",
        "slt",
    }


@pytest.mark.asyncio
@pytest.mark.parametrize("voice", [None, SLT, SynthesizeVoice(language="en")])
async def test_a_whole_text(lark: SpeechModel, voice: SynthesizeVoice | None) -> None:
    async with serving(lark) as served, served.client() as client:
        heard = await synthesize(client, "The lights are on. Is there anything else?", voice)
    assert is_speech(heard, 1.5, 6)


@pytest.mark.asyncio
async def test_a_text_that_is_still_being_written(lark: SpeechModel) -> None:
    async with serving(lark) as served, served.client() as client:
        heard = await stream(client, WORDS)
        assert is_speech(heard, 2.5, 8) and 0 < heard.before_stop < len(heard.pcm)
        whole = await synthesize(client, "".join(WORDS))
    assert heard.seconds == pytest.approx(whole.seconds, rel=0.25)  # once, not twice


@pytest.mark.asyncio
async def test_turns_on_one_connection(lark: SpeechModel) -> None:
    async with serving(lark) as served, served.client() as client:
        for _ in range(2):
            assert is_speech(await stream(client, WORDS), 2.5, 8)
            assert is_speech(await synthesize(client, "Good night."), 0.4, 3)


@pytest.mark.asyncio
async def test_an_interruption_is_a_disconnect_and_frees_the_slot(lark: SpeechModel) -> None:
    async with serving(lark) as served:
        async with served.client() as client:
            await client.write_event(Synthesize(text=" ".join(WORDS * 50)).event())
            event: Event | None = None
            while event is None or not AudioChunk.is_type(event.type):
                event = await client.read_event()
                assert event is not None
        async with asyncio.timeout(5):
            while len(served.core.scheduler.free) < 2:
                await asyncio.sleep(0.01)
        async with served.client() as client:
            assert is_speech(await synthesize(client, "Good night."), 0.4, 3)


@pytest.mark.asyncio
async def test_an_error_is_said_and_ends_the_connection(lark: SpeechModel) -> None:
    async with serving(lark) as served:
        async with served.client() as client:
            await client.write_event(Synthesize(text="One.", voice=SynthesizeVoice(name="nobody")).event())
            event = await client.read_event()
            assert event is not None and Error.is_type(event.type)
            assert Error.from_event(event) == Error("voice: no such voice here (kathleen, slt)", "unknown_voice")
            assert await client.read_event() is None
        async with served.client() as client:
            assert is_speech(await synthesize(client, "Good night."), 0.4, 3)
