"""LiveKit's plugins as they are installed, without a room, against a real server with the shipped voice."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from livekit.agents import tts
from livekit.agents.types import USERDATA_TIMED_TRANSCRIPT
from livekit.plugins import elevenlabs, openai

pytestmark = pytest.mark.clients
FIRST = "The first sentence is short. The second one is a little longer."
SECOND = "Another turn, with words of its own."
LONG = "This is a rather long answer, which nobody wants to hear to its end, so somebody will interrupt it soon. " * 4


@dataclass
class Heard:
    seconds: float = 0.0
    frames: int = 0
    words: list[str] = field(default_factory=list)

    def take(self, event: tts.SynthesizedAudio) -> None:
        self.seconds += event.frame.duration
        self.frames += 1
        self.words += [str(word) for word in event.frame.userdata.get(USERDATA_TIMED_TRANSCRIPT, [])]

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


@pytest_asyncio.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def service(server: str, session: aiohttp.ClientSession, **chosen: Any) -> elevenlabs.TTS:
    return elevenlabs.TTS(base_url=f"http://{server}/v1", api_key="any", voice_id="slt", http_session=session, **chosen)


async def speak(service: tts.TTS, text: str, pieces: Sequence[str] = ()) -> Heard:
    """As an agent does: the text in small pieces while sound is taken."""
    heard = Heard()
    stream = service.stream()

    async def write() -> None:
        for piece in pieces or text.replace(" ", " |").split("|"):
            stream.push_text(piece)
            await asyncio.sleep(0.01)
        stream.end_input()

    async with asyncio.timeout(30), stream:
        writing = asyncio.create_task(write())
        async for event in stream:
            heard.take(event)
        await writing
    return heard


@pytest.mark.asyncio
@pytest.mark.parametrize("encoding", ["mp3_22050_32", "pcm_24000", "opus_48000_32"])
async def test_turns_on_one_connection(server: str, session: aiohttp.ClientSession, encoding: Any) -> None:
    speaker = service(server, session, encoding=encoding)
    first = await speak(speaker, FIRST)
    connection = (await speaker._current_connection())[0]
    second = await speak(speaker, SECOND)
    assert (await speaker._current_connection())[0] is connection
    await speaker.aclose()
    assert 2 < first.seconds < 8 and 1 < second.seconds < 5
    assert (first.text, second.text) == (FIRST, SECOND)


@pytest.mark.asyncio
async def test_turns_at_the_same_time(server: str, session: aiohttp.ClientSession) -> None:
    speaker = service(server, session)
    heard = await asyncio.gather(*(speak(speaker, text) for text in (FIRST, SECOND, FIRST)))
    await speaker.aclose()
    assert [h.text for h in heard] == [FIRST, SECOND, FIRST]


@pytest.mark.asyncio
async def test_a_turn_that_is_broken_off_leaves_the_next_alone(server: str, session: aiohttp.ClientSession) -> None:
    speaker = service(server, session, encoding="pcm_24000")
    for _ in range(3):
        stream = speaker.stream()
        stream.push_text(LONG)
        async for _event in stream:
            break
        await stream.aclose()
    assert (await speak(speaker, SECOND)).text == SECOND
    await speaker.aclose()


@pytest.mark.asyncio
async def test_a_text_at_once(server: str, session: aiohttp.ClientSession) -> None:
    speaker = service(server, session)
    heard = Heard()
    async with asyncio.timeout(30), speaker.synthesize(FIRST) as stream:
        async for event in stream:
            heard.take(event)
    await speaker.aclose()
    assert 2 < heard.seconds < 8


@pytest.mark.asyncio
async def test_voices(server: str, session: aiohttp.ClientSession) -> None:
    speaker = service(server, session)
    assert [voice.id for voice in await speaker.list_voices()] == ["kathleen", "slt"]
    await speaker.aclose()


@pytest.mark.asyncio
@pytest.mark.parametrize("model", ["tts-1", "gpt-4o-mini-tts"])
async def test_the_openai_plugin(server: str, model: str) -> None:
    speaker = openai.TTS(base_url=f"http://{server}/v1", api_key="any", voice="alloy", model=model)
    heard = Heard()
    async with asyncio.timeout(30), speaker.synthesize(FIRST) as stream:
        async for event in stream:
            heard.take(event)
    await speaker.aclose()
    assert 2 < heard.seconds < 8
