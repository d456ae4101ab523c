"""The whole road of a GLM-TTS checkpoint: as it is downloaded, served by its own command, heard on every surface."""

import asyncio
import base64
import io
import json
import os
import socket
import subprocess
import sys
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from server import server
from stream_client import Audio, Cancelled, Client
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from wyoming.event import async_read_event

from tests.audio.recordings import speechlike, wav
from tests.e2e.test_speech import SLACK, Spoken, speak
from tests.models.glm_tts.make_checkpoint import make_checkpoint, sizes_of
from tests.turns import turn_of

pytestmark = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("tiktoken", "onnxruntime")), reason="needs the extra glm"
)
TEXT = "Hi, come in. 你好。"
UNITS = ["Hi,", "come", "in.", "你", "好。"]
LONG = "Come in and sit down, there is tea. " * 6
SEED, VOICE, RATE = 5, "me", 24_000
APART = 1e-2 * 32_767  # two voices differ by more


@dataclass(frozen=True)
class Served:
    port: int
    wyoming: int
    alone: Spoken  # TEXT by VOICE with SEED, as 16-bit samples

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=30, trust_env=False)

    def native(self) -> Client:
        return Client(f"{self.ws}/v1/stream")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("glm")
    checkpoint, recording = folder / "ckpt", folder / "me.wav"
    make_checkpoint(checkpoint, ("other",), sizes=sizes_of(32, codes=16), released=True)
    recording.write_bytes(wav(speechlike(3.5)))
    command("voices", "add", VOICE, str(recording), "--text", "Hello there.", "--model", str(checkpoint))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        wyoming = probe.getsockname()[1]
    serve = ("-m", "stream_server", "serve", "--model", str(checkpoint), "--voice", VOICE, "--slots", "8")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("STREAM_SERVER_LIMITS__LEAD_S", "60")  # nobody plays: nobody need wait
        environment.setenv("STREAM_SERVER_LIMITS__UNSENT_S", "60")
        environment.setenv("STREAM_SERVER_LIMITS__STREAMS", "8")  # however slow a machine this is
        with server((*serve, "--wyoming-port", str(wyoming), "--log-level", "warning")) as running:
            yield Served(running.port, wyoming, asyncio.run(said(f"ws://127.0.0.1:{running.port}/v1/stream")))


def command(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "stream_server", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


async def said(url: str, **settings: Any) -> Spoken:
    async with Client(url) as client:
        return await speak(client, [TEXT], **{"voice": VOICE, "seed": SEED, "format": "pcm_s16le", **settings})


def heard(data: bytes) -> tuple[int, np.ndarray]:
    """A file's rate and its samples."""
    with av.open(io.BytesIO(data)) as file:
        frames = list(file.decode(audio=0))
    sound = np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames])
    assert np.isfinite(sound.astype(np.float64)).all() and np.abs(sound).max() > 0
    return frames[0].sample_rate, sound


def same(pcm: bytes, served: Served) -> bool:
    """Whether these are the samples that were heard when nobody else was there."""
    return np.array_equal(np.frombuffer(pcm, "<i2"), served.alone.sound)


@pytest.mark.parametrize("sample_rate", [24_000, 32_000])
@pytest.mark.parametrize("wire_format", ["opus", "pcm_s16le"])
@pytest.mark.asyncio
async def test_native(served: Served, wire_format: str, sample_rate: int) -> None:
    spoken = await said(f"{served.ws}/v1/stream", format=wire_format, sample_rate=sample_rate)
    done, length = spoken.done, len(served.alone.sound)
    assert done is not None and done.samples == spoken.durations and done.words == len(UNITS)
    assert abs(done.samples * RATE - length * sample_rate) <= 2 * sample_rate
    assert [mark.word for mark in spoken.marks] == UNITS
    places = [mark.pts for mark in spoken.marks]
    assert places == sorted(places) and places[0] >= 0 and places[-1] < done.samples
    decoded = sample_rate if wire_format == "pcm_s16le" else {24_000: 24_000, 32_000: 48_000}[sample_rate]
    assert abs(len(spoken.sound) * sample_rate - done.samples * decoded) <= 2 * decoded
    assert np.abs(spoken.sound).max() > SLACK
    if (wire_format, sample_rate) == ("pcm_s16le", RATE):
        assert same(spoken.sound.astype("<i2").tobytes(), served)


@pytest.mark.asyncio
async def test_sound_comes_before_the_text_has_ended_and_falls_silent_when_told_to(served: Served) -> None:
    async with served.native() as client:
        context = await client.start(voice=VOICE, seed=1, format="pcm_s16le")
        await context.send(LONG)  # and no end
        played, last = 0, None
        async for event in context:
            last = event
            if isinstance(event, Audio):
                played += event.duration
                if played > RATE // 2:
                    break
        cancelled = await context.cancel(played=played)
        assert isinstance(last, Audio) and isinstance(cancelled, Cancelled)
        assert (cancelled.heard or "") + (cancelled.unheard or "") == LONG
        assert cancelled.heard and cancelled.unheard and len(cancelled.heard) < len(cancelled.unheard)
        after = await speak(client, [TEXT], voice=VOICE, seed=SEED, format="pcm_s16le")
    assert same(after.sound.astype("<i2").tobytes(), served)


@pytest.mark.asyncio
async def test_two_voices_at_once_are_each_as_alone(served: Served) -> None:
    url = f"{served.ws}/v1/stream"
    other = await said(url, voice="other", seed=9)
    together = await asyncio.gather(said(url), said(url, voice="other", seed=9), said(url, voice="other", seed=3))
    assert same(together[0].sound.astype("<i2").tobytes(), served)
    np.testing.assert_array_equal(together[1].sound, other.sound)
    assert len(together[2].sound) != len(other.sound) or np.abs(together[2].sound - other.sound).max() > APART


@pytest.mark.parametrize(("format", "rate"), [("wav", RATE), ("mp3", RATE), ("opus", 48_000), ("pcm", RATE)])
@pytest.mark.asyncio
async def test_openai(served: Served, format: str, rate: int) -> None:
    body = {"model": "tts-1", "voice": VOICE, "input": TEXT, "response_format": format, "seed": SEED}
    async with served.http() as client, client.stream("POST", "/v1/audio/speech", json=body) as answer:
        assert answer.status_code == 200
        pieces = [piece async for piece in answer.aiter_raw()]
    assert len(pieces) > 3, "it came in one piece"
    if format == "pcm":
        assert same(b"".join(pieces), served)
        return
    found, sound = heard(b"".join(pieces))
    assert found == rate and abs(len(sound) / rate - len(served.alone.sound) / RATE) < 0.2


@pytest.mark.asyncio
async def test_elevenlabs_by_socket_with_the_times_of_characters(served: Served) -> None:
    url = f"{served.ws}/v1/text-to-speech/{VOICE}/stream-input?output_format=pcm_24000&seed={SEED}"
    messages: list[dict[str, Any]] = []
    async with connect(url, additional_headers={"xi-api-key": "any"}) as stream:
        for text in (" ", *(piece + " " for piece in TEXT.split()), ""):
            await stream.send(json.dumps({"text": text}))
        async with asyncio.timeout(30):
            while not messages or not messages[-1].get("isFinal"):
                messages.append(json.loads(await stream.recv()))
    pcm = b"".join(base64.b64decode(message.get("audio") or "") for message in messages)
    told = [message["alignment"] for message in messages if message.get("alignment")]
    assert "".join("".join(each["chars"]) for each in told).strip() == TEXT
    for each in told:
        assert each["charStartTimesMs"] == sorted(each["charStartTimesMs"])
    assert same(pcm, served)


@pytest.mark.asyncio
async def test_elevenlabs_by_post(served: Served) -> None:
    async with served.http() as client:
        path, body = f"/v1/text-to-speech/{VOICE}/stream", {"text": TEXT, "seed": SEED}
        plain = await client.post(path, params={"output_format": "pcm_24000"}, json=body)
        mp3 = await client.post(path, params={"output_format": "mp3_44100_64"}, json=body)
    assert plain.status_code == mp3.status_code == 200
    assert same(plain.content, served)
    rate, sound = heard(mp3.content)
    assert rate == 44_100 and abs(len(sound) / rate - len(served.alone.sound) / RATE) < 0.2


@pytest.mark.asyncio
async def test_cartesia(served: Served) -> None:
    form = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": RATE}
    asked = {"voice": {"mode": "id", "id": VOICE}, "output_format": form, "add_timestamps": True}
    async with connect(f"{served.ws}/tts/websocket") as stream, asyncio.timeout(30):
        await stream.send(json.dumps({**asked, "context_id": "a", "transcript": LONG, "continue": True}))
        while json.loads(await stream.recv())["type"] != "chunk":  # long before its end is known
            pass
        await stream.send(json.dumps({"context_id": "a", "cancel": True}))
        await stream.send(json.dumps({**asked, "context_id": "b", "transcript": TEXT, "continue": False}))
        messages: list[dict[str, Any]] = []
        while not messages or (messages[-1]["type"], messages[-1]["context_id"]) != ("done", "b"):
            messages.append(json.loads(await stream.recv()))
    mine = [message for message in messages if message["context_id"] == "b"]
    assert messages[messages.index(mine[0]) :] == mine, "something of what was cancelled followed"
    seconds = len(b"".join(base64.b64decode(m["data"]) for m in mine if m["type"] == "chunk")) / 2 / RATE
    told = [message["word_timestamps"] for message in mine if message["type"] == "timestamps"]
    words = [word for each in told for word in each["words"]]
    starts = [start for each in told for start in each["start"]]
    assert words == UNITS and starts == sorted(starts) and starts[-1] < seconds and seconds > 0.5


@pytest.mark.asyncio
async def test_deepgram(served: Served) -> None:
    url = f"{served.ws}/v1/speak?model={VOICE}&encoding=linear16&sample_rate={RATE}"
    async with connect(url) as stream, asyncio.timeout(30):
        await stream.send(json.dumps({"type": "Speak", "text": LONG}))
        while not isinstance(await stream.recv(), bytes):
            pass
        await stream.send(json.dumps({"type": "Clear"}))
        await turn_of(stream, "Cleared")
        for message in ({"type": "Speak", "text": TEXT}, {"type": "Flush"}):
            await stream.send(json.dumps(message))
        assert len((await turn_of(stream, "Flushed"))[0]) > RATE
        await stream.send(json.dumps({"type": "Close"}))
        with pytest.raises(ConnectionClosed):
            await turn_of(stream, "never")
    async with served.http() as client:
        asked = {"model": VOICE, "encoding": "linear16", "container": "wav", "sample_rate": str(RATE)}
        answer = await client.post("/v1/speak", params=asked, json={"text": TEXT})
    rate, sound = heard(answer.content)
    assert rate == RATE and len(sound) > RATE // 2


@pytest.mark.asyncio
async def test_piper(served: Served) -> None:
    async with served.http() as client:
        answer = await client.post("/piper", json={"text": TEXT, "voice": VOICE})
    with wave.open(io.BytesIO(answer.content)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2)
    assert len(heard(answer.content)[1]) > RATE // 2


@pytest.mark.asyncio
async def test_wyoming(served: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.wyoming)
    for kind, data in (
        ("synthesize-start", {"voice": {"name": VOICE}}),
        ("synthesize-chunk", {"text": TEXT}),
        ("synthesize-stop", {}),
    ):
        block = json.dumps(data).encode()
        writer.write(json.dumps({"type": kind, "data_length": len(block)}).encode() + b"\n" + block)
    sound, kinds = b"", []
    async with asyncio.timeout(30):
        while not kinds or kinds[-1] != "synthesize-stopped":
            event = await async_read_event(reader)
            assert event is not None and event.type != "error", event
            kinds.append(event.type)
            if event.type.startswith("audio-") and event.type != "audio-stop":
                assert event.data | {"rate": RATE, "width": 2, "channels": 1} == event.data
                sound += event.payload or b""
    writer.close()
    assert kinds[0] == "audio-start" and kinds[-2] == "audio-stop" and len(sound) > RATE


def test_a_checkpoint_is_made_by_a_command(tmp_path: Path) -> None:
    make = [sys.executable, "-m", "tests.models.glm_tts.make_checkpoint", str(tmp_path / "ckpt"), "--width", "32"]
    done = subprocess.run(make, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    there = {str(path.relative_to(tmp_path / "ckpt")) for path in (tmp_path / "ckpt").rglob("*.*")}
    assert there - {"voices/.lock"} == {
        "llm/config.json",
        "llm/model.safetensors.index.json",
        "llm/model-00001-of-00002.safetensors",
        "llm/model-00002-of-00002.safetensors",
        "flow/config.yaml",
        "flow/flow.pt",
        "hift/hift.pt",
        "speech_tokenizer/config.json",
        "speech_tokenizer/model.safetensors",
        "vq32k-phoneme-tokenizer/tokenizer.model",
        "vq32k-phoneme-tokenizer/tokenizer_config.json",
        "frontend/campplus.onnx",
        "voices/one.safetensors",
        "voices/two.safetensors",
    }
