"""A server with behaviour but without a voice: every word becomes a tone.

It keeps the contract of the native protocol: words are spoken as soon as they are complete, Opus goes out in real
packets with the encoder's delay, and the durations add up to the speech.  What it is told to do wrong, it does.
"""

import asyncio
import contextlib
import json
import struct
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stream_client import opus
from websockets.asyncio.server import Server, ServerConnection, serve

Pcm = NDArray[np.int16]
WORD_SAMPLES = 1111  # on purpose no multiple of a packet
HELLO: dict[str, Any] = {
    "type": "hello",
    "protocol": "stream-server.v1",
    "model": "fake",
    "voices": ["slt", "kathleen"],
    "formats": ["opus", "pcm_s16le", "wav"],
    "sample_rates": [24000, 32000],
    "limits": {"message_bytes": 65536},
}


def tone(samples: int, rate: int, start: int = 0) -> Pcm:
    """A slow sweep, so that a shift by a few samples is seen."""
    t = (np.arange(samples) + start) / rate
    return np.round(9000 * np.sin(2 * np.pi * (220 * t + 150 * t * t))).astype(np.int16)


def speech(words: int, rate: int) -> Pcm:
    """What a client must end up with for so many words, at any rate."""
    return tone(words * WORD_SAMPLES, rate)


@dataclass
class Behaviour:
    """How the next contexts go."""

    word_delay_s: float = 0.0
    packet_delay_s: float = 0.0
    first_duration_whole: bool = False  # announce a first Opus packet as 480 samples, not as 480 less the pre-skip
    fail_after_messages: int | None = None
    vanish_after_messages: int | None = None
    garbled: bytes | None = None  # goes out in place of each audio message
    refuse: dict[str, Any] | None = None
    truncate_after_words: int | None = None


class FakeServer:
    def __init__(self, behaviour: Behaviour | None = None) -> None:
        self.behaviour = behaviour or Behaviour()
        self.received: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.hello = dict(HELLO)
        self._server: Server

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{next(iter(self._server.sockets)).getsockname()[1]}/v1/stream"

    def said(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.received if message["type"] == kind]

    async def __aenter__(self) -> "FakeServer":
        self._server = await serve(
            self._serve, "127.0.0.1", 0, subprotocols=["stream-server.v1"], compression=None, close_timeout=0.5
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, socket: ServerConnection) -> None:
        contexts: dict[str, Speaking] = {}
        await socket.send(json.dumps(self.hello))
        try:
            async for message in socket:
                await self._take(json.loads(message), contexts, socket)
        finally:
            for speaking in contexts.values():
                speaking.task.cancel()

    async def _take(self, said: dict[str, Any], contexts: dict[str, "Speaking"], socket: ServerConnection) -> None:
        self.received.append(said)
        self.times.append(asyncio.get_running_loop().time())
        name = said["context"]
        if said["type"] == "start":
            if self.behaviour.refuse:
                return await socket.send(json.dumps({"type": "error", "context": name, **self.behaviour.refuse}))
            contexts[name] = Speaking(said, len(contexts) + 1, socket, self.behaviour)
            return await contexts[name].begin()
        if name in contexts:
            await contexts[name].take(said)


@dataclass
class Speaking:
    """One context."""

    settings: dict[str, Any]
    number: int
    socket: ServerConnection
    behaviour: Behaviour
    text: str = ""
    spoken: int = 0  # characters
    words: int = 0
    ended: bool = False
    sent: int = 0  # samples
    sequence: int = 0
    task: asyncio.Task[None] = field(init=False)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def name(self) -> str:
        return str(self.settings["context"])

    async def begin(self) -> None:
        self.rate = int(self.settings.get("sample_rate", 24000))
        self.format = self.settings.get("format", "opus")
        self.encoder: PlainEncoder | PacketEncoder = (
            PacketEncoder(self.rate, self.behaviour.first_duration_whole)
            if self.format == "opus"
            else PlainEncoder(self.format, self.rate)
        )
        await self.say(
            "started",
            number=self.number,
            voice=self.settings.get("voice", "slt"),
            format=self.format,
            sample_rate=self.rate,
            seed=self.settings.get("seed", 7),
            pre_skip=self.encoder.pre_skip,
        )
        self.task = asyncio.create_task(self.speak())

    async def take(self, said: dict[str, Any]) -> None:
        match said["type"]:
            case "text":
                self.text += said["text"]
            case "end":
                self.ended = True
            case "flush":
                self.text += " " if not self.text.endswith((" ", "\n")) else ""
            case "cancel" if not self.task.done():
                self.task.cancel()
                await self.say("cancelled", sent=self.sent, played=said.get("played"), heard=None, unheard=None)
        self.news.set()

    async def speak(self) -> None:
        with contextlib.suppress(ConnectionError):
            while word := await self.next_word():
                await asyncio.sleep(self.behaviour.word_delay_s)
                start = self.text.index(word, self.spoken)
                self.spoken = start + len(word)
                pts = self.words * WORD_SAMPLES
                self.words += 1
                await self.say("mark", word=word, start=start, end=self.spoken, pts=pts)
                await self.send_audio(self.encoder.push(WORD_SAMPLES))
                if self.words == self.behaviour.truncate_after_words:
                    break
            await self.send_audio(self.encoder.finish())
            await self.say(
                "done",
                samples=self.sent,
                tokens=self.words,
                words=self.words,
                seed=7,
                reason="done",
                timing={"queue": 0.001, "ttfa": 0.01},
                wall=0.1,
            )

    async def next_word(self) -> str | None:
        """The next word that is complete: followed by a space, or by the end."""
        while True:
            rest = self.text[self.spoken :].lstrip()
            word = rest.split(maxsplit=1)[0] if rest else ""
            if word and (self.ended or len(rest) > len(word)):
                return word
            if self.ended:
                return None
            self.news.clear()
            await self.news.wait()

    async def send_audio(self, pieces: Iterator[tuple[int, bytes]]) -> None:
        for duration, data in pieces:
            if self.sequence == self.behaviour.fail_after_messages:
                await self.say("error", code="engine_dead", message="the engine is gone", retryable=True)
                raise asyncio.CancelledError
            if self.sequence == self.behaviour.vanish_after_messages:
                self.socket.transport.abort()
                raise asyncio.CancelledError
            header = struct.pack(">BBHIQI", 1, 0, self.number, self.sequence, self.sent, duration)
            await self.socket.send(self.behaviour.garbled or header + data)
            self.sequence += 1
            self.sent += duration
            await asyncio.sleep(self.behaviour.packet_delay_s)

    async def say(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, "context": self.name, **fields}))


class PlainEncoder:
    """pcm_s16le, or the same behind a WAV header that states no sizes."""

    pre_skip = 0

    def __init__(self, format: str, rate: int) -> None:
        self.rate, self.made = rate, 0
        sizes = 0xFFFFFFFF
        header = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", sizes, b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16,
                             b"data", sizes)  # fmt: skip
        self.header = header if format == "wav" else b""

    def push(self, samples: int) -> Iterator[tuple[int, bytes]]:
        pcm = tone(samples, self.rate, self.made)
        self.made += samples
        for start in range(0, samples, 480):
            piece = pcm[start : start + 480]
            yield len(piece), self.header + piece.tobytes()
            self.header = b""

    def finish(self) -> Iterator[tuple[int, bytes]]:
        return iter(())


class PacketEncoder:
    """Opus in 20 ms packets, at 24 kHz or, for 32 kHz contexts, at 48 kHz; durations stay at the context's rate."""

    def __init__(self, rate: int, first_duration_whole: bool) -> None:
        opuslib = opus.load()
        self.rate, self.opus_rate = rate, opus.decode_rate(rate)
        self.encoder = opuslib.Encoder(self.opus_rate, 1, opuslib.APPLICATION_AUDIO)
        self.encoder.bitrate = 96000
        self.pre_skip: int = self.encoder.lookahead
        self.whole = first_duration_whole
        self.speech = 0  # samples at the context's rate that were pushed
        self.announced = 0
        self.fed = 0  # samples at Opus' rate that were encoded

    def push(self, samples: int) -> Iterator[tuple[int, bytes]]:
        self.speech += samples
        while self.fed + self.opus_rate // 50 <= self._at_opus_rate():
            yield self._packet()

    def finish(self) -> Iterator[tuple[int, bytes]]:
        while self.fed < self._at_opus_rate() + self.pre_skip:
            yield self._packet()

    def _at_opus_rate(self) -> int:
        return round(self.speech * self.opus_rate / self.rate)

    def _packet(self) -> tuple[int, bytes]:
        size = self.opus_rate // 50
        pcm = tone(size, self.opus_rate, self.fed)
        pcm[max(0, self._at_opus_rate() - self.fed) :] = 0
        self.fed += size
        out = max(0, self.fed - (0 if self.whole else self.pre_skip)) * self.rate // self.opus_rate
        duration = min(out, self.speech) - self.announced
        self.announced += duration
        return duration, self.encoder.encode(pcm.tobytes(), size)


@contextlib.asynccontextmanager
async def fake_server(**behaviour: Any) -> AsyncIterator[FakeServer]:
    async with FakeServer(Behaviour(**behaviour)) as server:
        yield server
