"""The whole road: the shipped voice, a real server, real sockets, real Opus, our own client."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest
import websockets
from stream_client import Audio, Client, Done, Mark
from websockets.asyncio.client import connect

from stream_server.engine.client import Engine
from stream_server.engine.core import EngineCore
from stream_server.engine.inprocess import InProcessEngine
from stream_server.engine.messages import Controls
from stream_server.limits import Limits
from stream_server.models.interface import SpeechModel
from stream_server.offline import synthesise
from stream_server.transports.house import House
from stream_server.transports.server import running

TEXT = "Welcome to my house. It has 3 rooms, and tea is ready!"
SLACK = 3  # of 32 767: rounding to int16 on top of the tolerance for company


@asynccontextmanager
async def serving(lark: SpeechModel, slots: int = 4, **limits: float) -> AsyncIterator[str]:
    engine = Engine(InProcessEngine(lambda: EngineCore(lark, slots)), slots)
    await engine.start()
    try:
        async with running(House(engine, Limits(**limits))) as url:  # type: ignore[arg-type]
            yield url
    finally:
        await engine.stop()


@dataclass
class Spoken:
    pcm: list[np.ndarray] = field(default_factory=list)
    durations: int = 0
    marks: list[Mark] = field(default_factory=list)
    done: Done | None = None
    first_audio_at: int = -1  # pieces of text sent before the first audio came

    @property
    def sound(self) -> np.ndarray:
        return np.concatenate(self.pcm) if self.pcm else np.zeros(0, np.int16)


async def speak(client: Client, pieces: list[str], pause_s: float = 0.0, **settings: object) -> Spoken:
    spoken, sent = Spoken(), 0
    context = await client.start(**settings)  # type: ignore[arg-type]

    async def send() -> None:
        nonlocal sent
        for piece in pieces:
            await context.send(piece)
            sent += 1
            await asyncio.sleep(pause_s)
        await context.end()

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(send())
        async for event in context:
            if isinstance(event, Audio):
                spoken.first_audio_at = sent if spoken.first_audio_at < 0 else spoken.first_audio_at
                spoken.pcm.append(event.pcm)
                spoken.durations += event.duration
            elif isinstance(event, Mark):
                spoken.marks.append(event)
            elif isinstance(event, Done):
                spoken.done = event
    return spoken


@pytest.mark.parametrize("sample_rate", [24_000, 32_000])
@pytest.mark.parametrize("wire_format", ["opus", "pcm_s16le", "wav"])
@pytest.mark.asyncio
async def test_exactly_the_samples_that_were_made_arrive(lark: SpeechModel, wire_format: str, sample_rate: int) -> None:
    made = synthesise(EngineCore(lark, 1), TEXT, Controls(lark.spec.voices[0], seed=4, sample_rate=sample_rate))
    async with serving(lark) as url, Client(url) as client:
        spoken = await speak(client, [TEXT], seed=4, format=wire_format, sample_rate=sample_rate)
    assert spoken.done is not None
    assert spoken.done.samples == spoken.durations == len(made.pcm)
    assert [(mark.word, mark.pts) for mark in spoken.marks] == [(word.source, at) for word, at in made.words]
    expected = np.round(np.clip(made.pcm, -1, 1) * 32767)
    if wire_format != "opus":
        np.testing.assert_allclose(spoken.sound, expected, atol=SLACK)
    elif sample_rate == 24_000:
        assert len(spoken.sound) == len(made.pcm)
        assert best_lag(spoken.sound.astype(float), expected, 240) == 0
    else:
        assert len(spoken.sound) == len(made.pcm) * 3 // 2


def best_lag(heard: np.ndarray, made: np.ndarray, reach: int) -> int:
    """By how many samples `heard` comes late, where the two match best."""
    middle = slice(reach, len(made) - reach)
    return max(range(-reach, reach + 1), key=lambda lag: float(np.roll(heard, -lag)[middle] @ made[middle]))


@pytest.mark.asyncio
async def test_first_audio_comes_long_before_the_last_text(lark: SpeechModel) -> None:
    words = [word + " " for word in TEXT.split()]
    async with serving(lark) as url, Client(url) as client:
        spoken = await speak(client, words, pause_s=0.1)
    assert 0 < spoken.first_audio_at < len(words) - 2


@pytest.mark.asyncio
async def test_text_cut_and_timed_at_random_sounds_the_same(lark: SpeechModel) -> None:
    rng = random.Random(2)
    async with serving(lark) as url, Client(url) as client:
        whole = await speak(client, [TEXT], seed=6, format="pcm_s16le")
        for _ in range(3):
            places = sorted(rng.sample(range(1, len(TEXT)), 9))
            pieces = [TEXT[a:b] for a, b in zip([0, *places], [*places, None])]
            cut = await speak(client, pieces, rng.choice((0.0, 0.01, 0.05)), seed=6, format="pcm_s16le")
            assert [mark.pts for mark in cut.marks] == [mark.pts for mark in whole.marks]
            np.testing.assert_allclose(cut.sound, whole.sound, atol=40)


@pytest.mark.asyncio
async def test_nine_at_once_sound_as_each_alone(lark: SpeechModel) -> None:
    settings = [
        {"seed": seed, "voice": lark.spec.voices[seed % 2], "format": "pcm_s16le", "speed": (1.0, 1.25)[seed % 2]}
        for seed in range(9)
    ]
    async with serving(lark, slots=9) as url, Client(url) as client:
        alone = [await speak(client, [TEXT], **one) for one in settings[:3]]
        async with asyncio.TaskGroup() as group:
            runs = [group.create_task(speak(client, [TEXT], **one)) for one in settings]
        for one, run in zip(alone, runs):
            np.testing.assert_allclose(run.result().sound, one.sound, atol=40)


@pytest.mark.asyncio
async def test_broken_utf8_closes_its_own_connection_only(lark: SpeechModel) -> None:
    async with serving(lark) as url, Client(url) as other:
        subprotocols = [websockets.Subprotocol("stream-server.v1")]
        async with connect(url, subprotocols=subprotocols, compression=None) as socket:
            await socket.recv()
            await socket.send(b'{"type":"start","context":"\xff"}', text=True)
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1007
        assert (await speak(other, [TEXT])).done is not None
