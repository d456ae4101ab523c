"""Cartesia's SDK, Pipecat's and LiveKit's services for it, as they are installed, against a real server."""

import asyncio
from typing import Any

import aiohttp
import pytest
from cartesia import APIStatusError, AsyncCartesia, Cartesia
from livekit.agents.types import USERDATA_TIMED_TRANSCRIPT
from livekit.plugins import cartesia as livekit_cartesia
from pipecat.frames.frames import ErrorFrame, InterruptionFrame, TTSStoppedFrame
from pipecat.services.cartesia.tts import CartesiaTTSService
from pipecat.tests.utils import SleepFrame

from tests.clients.test_pipecat_client import FIRST, LONG, SECOND, run, seconds, spoken, turn

pytestmark = pytest.mark.clients
FORMAT: Any = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 24_000}
VOICE: Any = {"mode": "id", "id": "slt"}


def sdk(server: str) -> Cartesia:
    return Cartesia(api_key="any", base_url=f"http://{server}", websocket_base_url=f"ws://{server}", max_retries=0)


def test_the_sdk_s_websocket_speaks_turn_after_turn_with_word_times(server: str) -> None:
    with sdk(server).tts.websocket_connect() as connection:
        for text in (FIRST, SECOND):
            context = connection.context(model_id="sonic-3", voice=VOICE, output_format=FORMAT, add_timestamps=True)
            for piece in text.replace(" ", " |").split("|"):
                context.push(piece)
            context.no_more_inputs()
            sound, words = b"", []
            for event in context.receive():
                if event.type == "chunk" and event.audio:
                    sound += event.audio
                elif event.type == "timestamps" and event.word_timestamps:
                    words += event.word_timestamps.words
            assert 0.5 < len(sound) / 48_000 < 9
            assert words == text.split()


def test_the_sdk_s_cancel_leaves_the_socket_to_the_next(server: str) -> None:
    with sdk(server).tts.websocket_connect() as connection:
        for _ in range(10):
            context = connection.context(model_id="sonic-3", voice=VOICE, output_format=FORMAT)
            context.send(model_id="sonic-3", transcript=LONG, voice=VOICE, output_format=FORMAT, continue_=False)
            next(iter(context.receive()))
            context.cancel()
        context = connection.context(model_id="sonic-3", voice=VOICE, output_format=FORMAT)
        context.send(model_id="sonic-3", transcript=SECOND, voice=VOICE, output_format=FORMAT, continue_=False)
        sound = b"".join(event.audio for event in context.receive() if event.type == "chunk" and event.audio)
    assert 0.3 < len(sound) / 48_000 < 2.5


def test_the_sdk_s_posts_and_errors(server: str) -> None:
    client = sdk(server)
    asked: dict[str, Any] = {"model_id": "sonic-3", "transcript": SECOND, "voice": VOICE}
    mp3: Any = {"container": "mp3", "sample_rate": 44_100, "bit_rate": 128_000}
    body = client.tts.generate(**asked, output_format=mp3).read()
    assert body[:2] in (b"\xff\xfb", b"\xff\xfa") and len(body) > 5_000
    events = list(client.tts.generate_sse(**asked, output_format=FORMAT, add_timestamps=True))
    assert {event.type for event in events} == {"chunk", "timestamps", "done"}
    with pytest.raises(APIStatusError) as refused:
        client.tts.generate(**(asked | {"voice": {"mode": "id", "id": "nobody"}}), output_format=mp3)
    assert refused.value.status_code == 404


@pytest.mark.asyncio
async def test_the_asynchronous_sdk_hears_what_is_wrong_with_its_context_and_speaks_on(server: str) -> None:
    place = {"base_url": f"http://{server}", "websocket_base_url": f"ws://{server}"}
    asked: dict[str, Any] = {"model_id": "sonic-3", "transcript": SECOND, "voice": VOICE}
    cassette: Any = {**FORMAT, "encoding": "cassette"}
    async with asyncio.timeout(20), AsyncCartesia(api_key="any", **place) as client:
        async with client.tts.websocket_connect() as connection:
            told = []
            for format in (cassette, FORMAT):
                context = connection.context()
                await context.send(**asked, output_format=format, continue_=False)
                told.append([event.type async for event in context.receive()][-1])
    assert told == ["error", "done"]


@pytest.mark.asyncio
async def test_pipecat_s_service_two_turns_and_an_interruption(server: str) -> None:
    settings = CartesiaTTSService.Settings(voice="slt", model="sonic-3")
    service = CartesiaTTSService(api_key="any", url=f"ws://{server}/tts/websocket", settings=settings)
    down, up = await run(
        service,
        *turn(FIRST),
        SleepFrame(sleep=5),
        *turn(LONG),
        SleepFrame(sleep=1.5),
        InterruptionFrame(),
        *turn(SECOND),
        SleepFrame(sleep=2),
    )
    assert not [frame for frame in (*up, *down) if isinstance(frame, ErrorFrame)]
    at = next(i for i, frame in enumerate(down) if isinstance(frame, InterruptionFrame))
    assert seconds(down[:at]) > 3
    assert 0.3 < seconds(down[at:]) < 2.5
    assert any(isinstance(frame, TTSStoppedFrame) for frame in down[at:])
    assert [frame.text.strip() for frame in spoken(down[at:])] == SECOND.split()


@pytest.mark.asyncio
async def test_livekit_s_plugin_streams_two_turns(server: str) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(60):
        speaker = livekit_cartesia.TTS(api_key="any", base_url=f"http://{server}", http_session=session)
        for text in (FIRST, SECOND):
            duration, words = 0.0, []
            async with speaker.stream() as stream:
                for piece in text.replace(" ", " |").split("|"):
                    stream.push_text(piece)
                stream.end_input()
                async for event in stream:
                    duration += event.frame.duration
                    words += [str(word) for word in event.frame.userdata.get(USERDATA_TIMED_TRANSCRIPT, [])]
            assert 0.5 < duration < 9
            assert "".join(words).split() == text.split()
        await speaker.aclose()
