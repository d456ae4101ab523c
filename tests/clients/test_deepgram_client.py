"""Deepgram's SDK, Pipecat's and LiveKit's services for it, as they are installed, against a real server."""

import asyncio

import aiohttp
import pytest
from deepgram import DeepgramClient, DeepgramClientEnvironment
from deepgram.core.api_error import ApiError
from deepgram.speak.v1.types import SpeakV1Text
from livekit.plugins import deepgram as livekit_deepgram
from pipecat.frames.frames import ErrorFrame, InterruptionFrame
from pipecat.services.deepgram.tts import DeepgramTTSService
from pipecat.tests.utils import SleepFrame

from tests.clients.test_pipecat_client import FIRST, LONG, SECOND, run, seconds, turn

pytestmark = pytest.mark.clients


def sdk(server: str) -> DeepgramClient:
    place = DeepgramClientEnvironment(
        base=f"http://{server}", production=f"ws://{server}", agent=f"ws://{server}", agent_rest=f"http://{server}"
    )
    return DeepgramClient(api_key="any", environment=place)


def test_the_sdk_s_socket_speaks_is_cleared_and_speaks_again(server: str) -> None:
    with sdk(server).speak.v1.connect(model="aura-2-thalia-en", encoding="linear16", sample_rate=24_000) as socket:
        for cleared in (False, *[True] * 10, False):
            socket.send_text(SpeakV1Text(type="Speak", text=LONG if cleared else SECOND))
            socket.send_flush()
            sound = b""
            while True:
                message = socket.recv()
                if isinstance(message, bytes):
                    if cleared and not sound:
                        socket.send_clear()
                    sound += message
                elif message.type == ("Cleared" if cleared else "Flushed"):
                    break
            assert sound and (cleared or 0.3 < len(sound) / 48_000 < 2.5)
        socket.send_close()


def test_the_sdk_s_post_and_errors(server: str) -> None:
    generate = sdk(server).speak.v1.audio.generate
    sound = b"".join(generate(text=SECOND, model="aura-2-thalia-en", encoding="linear16", container="none"))
    assert 0.3 < len(sound) / 48_000 < 2.5
    assert b"".join(generate(text=SECOND))[:2] in (b"\xff\xfb", b"\xff\xf3", b"\xff\xfa", b"\xff\xf2")
    with pytest.raises(ApiError) as refused:
        list(generate(text=SECOND, model="nobody"))
    assert refused.value.status_code == 404 and refused.value.body["err_code"] == "UNKNOWN_VOICE"


@pytest.mark.asyncio
async def test_pipecat_s_service_two_turns_and_an_interruption(server: str) -> None:
    service = DeepgramTTSService(api_key="any", base_url=f"ws://{server}")
    down, up = await run(
        service,
        *turn(FIRST),
        SleepFrame(sleep=5),
        *turn(LONG),
        SleepFrame(sleep=1.5),
        InterruptionFrame(),
        SleepFrame(sleep=0.2),
        *turn(SECOND),
        SleepFrame(sleep=2),
    )
    assert not [frame for frame in (*up, *down) if isinstance(frame, ErrorFrame)]
    at = next(i for i, frame in enumerate(down) if isinstance(frame, InterruptionFrame))
    assert seconds(down[:at]) > 3
    assert 0.3 < seconds(down[at:]) < 2.5


@pytest.mark.asyncio
async def test_livekit_s_plugin_streams_two_turns(server: str) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(60):
        speaker = livekit_deepgram.TTS(api_key="any", base_url=f"http://{server}/v1/speak", http_session=session)
        for text in (FIRST, SECOND):
            duration = 0.0
            async with speaker.stream() as stream:
                for piece in text.replace(" ", " |").split("|"):
                    stream.push_text(piece)
                stream.end_input()
                async for event in stream:
                    duration += event.frame.duration
            assert 0.3 < duration < 9
        await speaker.aclose()
