"""What each protocol costs beside the native one: first sound, the front's time, silence on a barge-in.

    python benchmarks/dialects.py [--quick]

TTFA is the client's, from the text sent on an open connection to the first sound of the answer; the ways take turns on
an idle server, same sentences, same voice, same seeds, so that all of them carry the same speech.  The front's CPU is
that of its process, a second of speech.  A barge-in closes an ElevenLabs context half a second after its first sound,
while it is still being typed: `final` is the wait until its `isFinal` came, `sound` until the last of its sound did (0:
none came any more), ten in a row on one socket.
"""

import argparse
import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any
from urllib.parse import urlencode

from report import conclude, table
from server import SERVE, Server, server
from texts import SENTENCES
from websockets import Subprotocol
from websockets.asyncio.client import ClientConnection, connect

VOICE = "slt"
WYOMING_PORT = 10_291
BARGE_INS = 10
FLOORS = {"barge_in_final_max_ms": 50.0}
Speak = Callable[[int, str, int], Awaitable[float]]  # port, text, seed → TTFA, s


async def native(port: int, text: str, seed: int, format: str = "pcm_s16le") -> float:
    url, protocol = f"ws://127.0.0.1:{port}/v1/stream", Subprotocol("stream-server.v1")
    async with connect(url, subprotocols=[protocol], compression=None) as socket:
        await socket.recv()
        await send(socket, {"type": "start", "context": "c", "voice": VOICE, "format": format, "seed": seed})
        await socket.recv()
        begun, first = time.monotonic(), 0.0
        await send(socket, {"type": "text", "context": "c", "text": text}, {"type": "end", "context": "c"})
        while isinstance(message := await socket.recv(), bytes) or json.loads(message)["type"] != "done":
            first = first or (time.monotonic() if isinstance(message, bytes) else 0.0)
        return first - begun


async def elevenlabs(port: int, text: str, seed: int, format: str = "pcm_24000") -> float:
    async with elevenlabs_socket(port, format, seed) as socket:
        await send(socket, {"text": " ", "context_id": "c"})
        await asyncio.sleep(0.05)
        begun, first = time.monotonic(), 0.0
        await send(socket, {"text": text + " ", "context_id": "c", "flush": True, "close_context": True})
        while not (message := json.loads(await socket.recv())).get("isFinal"):
            first = first or (time.monotonic() if message["audio"] else 0.0)
        return first - begun


async def cartesia(port: int, text: str, seed: int) -> float:
    format = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 24_000}
    asked = {"context_id": "c", "transcript": text, "voice": VOICE, "output_format": format, "seed": seed}
    async with connect(f"ws://127.0.0.1:{port}/tts/websocket", compression=None) as socket:
        begun, first = time.monotonic(), 0.0
        await send(socket, {**asked, "add_timestamps": True})
        while (message := json.loads(await socket.recv()))["type"] != "done":
            first = first or (time.monotonic() if message["type"] == "chunk" else 0.0)
        return first - begun


async def deepgram(port: int, text: str, seed: int) -> float:
    """Its protocol has no seed: the speech is another, of about the same length."""
    async with connect(f"ws://127.0.0.1:{port}/v1/speak?model={VOICE}", compression=None) as socket:
        await socket.recv()
        begun, first = time.monotonic(), 0.0
        await send(socket, {"type": "Speak", "text": text}, {"type": "Flush"})
        while isinstance(message := await socket.recv(), bytes) or json.loads(message)["type"] != "Flushed":
            first = first or (time.monotonic() if isinstance(message, bytes) else 0.0)
        return first - begun


async def openai(port: int, text: str, seed: int, format: str = "pcm") -> float:
    asked = {"input": text, "voice": VOICE, "response_format": format, "seed": seed}
    return await post(port, "/v1/audio/speech", asked)


async def post(port: int, path: str, body: dict[str, Any], **query: str) -> float:
    """HTTP by hand, so that the client costs little and its first byte is seen when it comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    data = json.dumps(body).encode()
    head = f"POST {path}?{urlencode(query)} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n"
    begun = time.monotonic()
    writer.write(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    await reader.readexactly(1)
    first = time.monotonic()
    while await reader.read(1 << 16):
        pass
    writer.close()
    return first - begun


async def wyoming(port: int, text: str, seed: int) -> float:
    """No seed either."""
    reader, writer = await asyncio.open_connection("127.0.0.1", WYOMING_PORT)
    begun, first = time.monotonic(), 0.0
    writer.write(json.dumps({"type": "synthesize", "data": {"text": text, "voice": {"name": VOICE}}}).encode() + b"\n")
    while True:
        event = json.loads(await reader.readline())
        await reader.readexactly((event.get("data_length") or 0) + (event.get("payload_length") or 0))
        if event["type"] == "audio-chunk":
            first = first or time.monotonic()
        elif event["type"] == "audio-stop":
            writer.close()
            return first - begun


WAYS: dict[str, Speak] = {
    "native pcm_s16le": native,
    "native opus": lambda *asked: native(*asked, "opus"),
    "openai pcm": openai,
    "openai mp3": lambda *asked: openai(*asked, "mp3"),
    "elevenlabs pcm_24000": elevenlabs,
    "elevenlabs mp3_22050_32": lambda *asked: elevenlabs(*asked, "mp3_22050_32"),
    "elevenlabs opus_48000_32": lambda *asked: elevenlabs(*asked, "opus_48000_32"),
    "cartesia pcm_s16le": cartesia,
    "deepgram linear16": deepgram,
    "wyoming": wyoming,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two sentences, nothing kept")
    options = parser.parse_args()
    sentences = SENTENCES[:2] if options.quick else SENTENCES[:12]
    port = str(WYOMING_PORT)
    with server([port if word == "off" else word for word in SERVE]) as served:
        ways = asyncio.run(in_turns(served, sentences))
        waits = asyncio.run(interrupted(served))
    base = ways["native pcm_s16le"]
    for found in ways.values():
        found["ttfa_over_native_ms"] = found["ttfa_p50_ms"] - base["ttfa_p50_ms"]
        found["cpu_over_native_ms_per_s"] = found["front_cpu_ms_per_s"] - base["front_cpu_ms_per_s"]
    figures: dict[str, Any] = {"model": "lark", "sentences": len(sentences), "ways": ways, "barge_ins": len(waits)}
    for name, values in (("sound", [sound for sound, _ in waits]), ("final", [final for _, final in waits])):
        figures |= {f"barge_in_{name}_p50_ms": 1000 * median(values), f"barge_in_{name}_max_ms": 1000 * max(values)}
    table("ways", ["", *base], [[way, *found.values()] for way, found in ways.items()])
    rows = [
        [name, figures[f"barge_in_{name}_p50_ms"], figures[f"barge_in_{name}_max_ms"]] for name in ("sound", "final")
    ]
    table("close_context to the last of it, ms", ["", "p50", "max"], rows)
    conclude("dialects", figures, FLOORS, keep=not options.quick)


async def in_turns(served: Server, sentences: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """The server tells how much speech each way carried."""
    ttfa: dict[str, list[float]] = {way: [] for way in WAYS}
    cpu, samples = dict.fromkeys(WAYS, 0.0), dict.fromkeys(WAYS, 0.0)
    for seed, text in enumerate(sentences):
        for way, speak in WAYS.items():
            before, spoken = served.front.cpu_s(), served.metrics()["audio_samples_total"]
            ttfa[way].append(await speak(served.port, text, seed))
            cpu[way] += served.front.cpu_s() - before
            samples[way] += served.metrics()["audio_samples_total"] - spoken
    return {
        way: {
            "ttfa_p50_ms": 1000 * median(ttfa[way]),
            "front_cpu_ms_per_s": 1000 * cpu[way] / (samples[way] / 24_000),
        }
        for way in WAYS
    }


async def interrupted(served: Server) -> list[tuple[float, float]]:
    """Each barge-in's waits, for the last of the sound and for the end."""
    waits = []
    async with elevenlabs_socket(served.port, "pcm_24000", 1) as socket:
        for turn in range(BARGE_INS):
            context = f"turn-{turn}"
            await send(
                socket, {"text": " ", "context_id": context}, {"text": " ".join(SENTENCES), "context_id": context}
            )
            await until_sound(socket, 0.5)
            closed, sound = time.monotonic(), 0.0
            await send(socket, {"context_id": context, "close_context": True})
            while not (message := json.loads(await socket.recv())).get("isFinal"):
                sound = time.monotonic() - closed if message["audio"] else sound
            waits.append((sound, time.monotonic() - closed))
    return waits


async def until_sound(socket: ClientConnection, seconds: float) -> None:
    """So long after the first sound, all that comes meanwhile being taken."""
    until: float | None = None
    while until is None or time.monotonic() < until:
        left = None if until is None else until - time.monotonic()
        try:
            message = json.loads(await asyncio.wait_for(socket.recv(), left))
        except TimeoutError:
            return
        if until is None and base64.b64decode(message["audio"] or ""):
            until = time.monotonic() + seconds


def elevenlabs_socket(port: int, output_format: str, seed: int) -> connect:
    query = f"output_format={output_format}&auto_mode=true&seed={seed}"
    return connect(f"ws://127.0.0.1:{port}/v1/text-to-speech/{VOICE}/multi-stream-input?{query}", compression=None)


async def send(socket: ClientConnection, *messages: dict[str, Any]) -> None:
    for message in messages:
        await socket.send(json.dumps(message))


if __name__ == "__main__":
    main()
