"""Pipecat's services as they are installed, in a small pipeline, against a real server with the shipped voice."""

from collections.abc import AsyncIterator, Sequence

import aiohttp
import pytest
import pytest_asyncio
from pipecat.frames.frames import (
    ErrorFrame,
    Frame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    TTSTextFrame,
)
from pipecat.pipeline.worker import PipelineParams
from pipecat.services.elevenlabs.tts import ElevenLabsHttpTTSService, ElevenLabsTTSService
from pipecat.services.openai.tts import OpenAITTSService
from pipecat.services.tts_service import TTSService
from pipecat.tests.utils import SleepFrame, run_test

pytestmark = pytest.mark.clients
RATE = 24_000
FIRST = "The first sentence is short. The second one is a little longer."
SECOND = "Another turn."
LONG = "This is a rather long answer, which nobody wants to hear to its end, so somebody will interrupt it soon. " * 4


def turn(text: str) -> list[Frame]:
    tokens = [LLMTextFrame(token) for token in text.replace(" ", " |").split("|")]
    return [LLMFullResponseStartFrame(), *tokens, LLMFullResponseEndFrame()]


async def run(service: TTSService, *frames: Frame) -> tuple[Sequence[Frame], Sequence[Frame]]:
    return await run_test(
        service,
        frames_to_send=frames,
        pipeline_params=PipelineParams(audio_out_sample_rate=RATE),
        start_timeout=10,
    )


def seconds(frames: Sequence[Frame]) -> float:
    return sum(len(frame.audio) for frame in frames if isinstance(frame, TTSAudioRawFrame)) / 2 / RATE


def spoken(frames: Sequence[Frame]) -> list[TTSTextFrame]:
    return [frame for frame in frames if isinstance(frame, TTSTextFrame)]


def websocket(server: str) -> ElevenLabsTTSService:
    settings = ElevenLabsTTSService.Settings(voice="slt", model="eleven_flash_v2_5")
    return ElevenLabsTTSService(api_key="any", url=f"ws://{server}", settings=settings)


@pytest_asyncio.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.mark.asyncio
async def test_two_turns_are_heard_and_their_words_told(server: str) -> None:
    down, up = await run(websocket(server), *turn(FIRST), SleepFrame(sleep=5), *turn(SECOND), SleepFrame(sleep=2))
    assert not [frame for frame in (*up, *down) if isinstance(frame, ErrorFrame)]
    assert 3 < seconds(down) < 9
    assert sum(isinstance(frame, TTSStartedFrame) for frame in down) == 2
    assert sum(isinstance(frame, TTSStoppedFrame) for frame in down) == 2
    words = spoken(down)
    assert " ".join(frame.text.strip() for frame in words).split() == f"{FIRST} {SECOND}".split()
    first = words[: len(FIRST.split())]
    times = [frame.pts for frame in first]
    assert len(set(times)) > 5 and times == sorted(times)


@pytest.mark.asyncio
async def test_an_interrupted_turn_falls_silent_and_the_next_is_heard(server: str) -> None:
    down, up = await run(
        websocket(server), *turn(LONG), SleepFrame(sleep=2), InterruptionFrame(), *turn(SECOND), SleepFrame(sleep=2)
    )
    assert not [frame for frame in (*up, *down) if isinstance(frame, ErrorFrame)]
    at = next(i for i, frame in enumerate(down) if isinstance(frame, InterruptionFrame))
    before, after = down[:at], down[at:]
    assert 0.5 < seconds(before) < 8
    assert 0.3 < seconds(after) < 2.5
    assert [frame.text.strip() for frame in spoken(after)] == SECOND.split()


@pytest.mark.asyncio
async def test_ten_interruptions_in_a_row(server: str) -> None:
    frames: list[Frame] = []
    for _ in range(10):
        frames += [*turn(LONG), SleepFrame(sleep=0.4), InterruptionFrame(), SleepFrame(sleep=0.1)]
    down, up = await run(websocket(server), *frames, *turn(SECOND), SleepFrame(sleep=2))
    assert not [frame for frame in (*up, *down) if isinstance(frame, ErrorFrame)]
    last = max(i for i, frame in enumerate(down) if isinstance(frame, InterruptionFrame))
    assert 0.3 < seconds(down[last:]) < 2.5
    assert any(isinstance(frame, TTSStoppedFrame) for frame in down[last:])


@pytest.mark.asyncio
async def test_over_http_too(server: str, session: aiohttp.ClientSession) -> None:
    settings = ElevenLabsHttpTTSService.Settings(voice="slt", model="eleven_flash_v2_5")
    service = ElevenLabsHttpTTSService(
        api_key="any", aiohttp_session=session, base_url=f"http://{server}", settings=settings
    )
    down, up = await run(service, *turn(FIRST), SleepFrame(sleep=3))
    assert not [frame for frame in (*up, *down) if isinstance(frame, ErrorFrame)]
    assert 2 < seconds(down) < 8
    assert " ".join(frame.text.strip() for frame in spoken(down)).split() == FIRST.split()


@pytest.mark.asyncio
async def test_the_openai_service(server: str) -> None:
    settings = OpenAITTSService.Settings(voice="alloy", model="gpt-4o-mini-tts")
    service = OpenAITTSService(api_key="any", base_url=f"http://{server}/v1", settings=settings)
    down, up = await run(service, *turn(SECOND), SleepFrame(sleep=2))
    assert not [frame for frame in (*up, *down) if isinstance(frame, ErrorFrame)]
    assert 0.3 < seconds(down) < 2.5
