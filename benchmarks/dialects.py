"""What ElevenLabs' websocket costs beside the native one: first sound, silence on a barge-in, the front's time.

    python benchmarks/dialects.py [--quick]

TTFA is the client's, from the text sent on an open socket to the first message with sound; the ways take turns on an
idle server, same sentences, same seeds.  A barge-in closes a context half a second after its first sound, while it is
still typing: `final` is the wait until its `isFinal` came, `sound` until the last of its sound did (0: none came any
more), ten in a row on one socket.  The front's CPU is that of its process, a second of speech.
"""

import argparse
import asyncio
import base64
import json
import time
from dataclasses import dataclass
from statistics import median
from typing import Any

from report import conclude, table
from server import Server, server
from texts import SENTENCES
from websockets import Subprotocol
from websockets.asyncio.client import ClientConnection, connect

WAYS = ("native_pcm", "pcm_24000", "mp3_22050_32", "opus_48000_32")
BARGE_INS = 10
FLOORS = {"barge_in_final_max_ms": 50.0}


@dataclass(frozen=True)
class Spoken:
    ttfa_s: float
    audio_s: float
    front_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two sentences, nothing kept")
    options = parser.parse_args()
    sentences = SENTENCES[:2] if options.quick else SENTENCES * 2
    with server() as served:
        ways = asyncio.run(in_turns(served, sentences))
        waits = asyncio.run(interrupted(served))
    figures: dict[str, Any] = {"model": "lark", "sentences": len(sentences), "barge_ins": len(waits)}
    for way, spoken in ways.items():
        figures[way] = {
            "ttfa_p50_ms": 1000 * median(one.ttfa_s for one in spoken),
            "front_cpu_ms_per_s": 1000 * sum(one.front_s for one in spoken) / sum(one.audio_s for one in spoken),
        }
    for name, values in (("sound", [sound for sound, _ in waits]), ("final", [final for _, final in waits])):
        figures |= {f"barge_in_{name}_p50_ms": 1000 * median(values), f"barge_in_{name}_max_ms": 1000 * max(values)}
    table("ways", ["", "ttfa p50 ms", "front CPU ms/s"], [[way, *figures[way].values()] for way in WAYS])
    rows = [
        [name, figures[f"barge_in_{name}_p50_ms"], figures[f"barge_in_{name}_max_ms"]] for name in ("sound", "final")
    ]
    table("close_context to the last of it, ms", ["", "p50", "max"], rows)
    conclude("dialects", figures, FLOORS, keep=not options.quick)


async def in_turns(served: Server, sentences: tuple[str, ...]) -> dict[str, list[Spoken]]:
    ways: dict[str, list[Spoken]] = {way: [] for way in WAYS}
    for seed, text in enumerate(sentences):
        for way in WAYS:
            before = served.front.cpu_s()
            speak = native if way == "native_pcm" else foreign
            ttfa_s, audio_s = await speak(served.port, text, seed, way)
            ways[way].append(Spoken(ttfa_s, audio_s, served.front.cpu_s() - before))
    return ways


async def native(port: int, text: str, seed: int, way: str) -> tuple[float, float]:
    """→ TTFA, seconds of speech."""
    url, protocol = f"ws://127.0.0.1:{port}/v1/stream", Subprotocol("stream-server.v1")
    async with connect(url, subprotocols=[protocol], compression=None) as socket:
        await socket.recv()
        await send(socket, {"type": "start", "context": "c", "voice": "slt", "format": "pcm_s16le", "seed": seed})
        await socket.recv()
        begun = time.monotonic()
        await send(socket, {"type": "text", "context": "c", "text": text}, {"type": "end", "context": "c"})
        first = 0.0
        while True:
            message = await socket.recv()
            if isinstance(message, bytes):
                first = first or time.monotonic()
            elif (event := json.loads(message))["type"] == "done":
                return first - begun, event["samples"] / 24_000


async def foreign(port: int, text: str, seed: int, way: str) -> tuple[float, float]:
    async with foreign_socket(port, way, seed) as socket:
        await send(socket, {"text": " ", "context_id": "c"})
        await asyncio.sleep(0.05)
        begun = time.monotonic()
        await send(socket, {"text": text + " ", "context_id": "c", "flush": True, "close_context": True})
        first, spanned_ms = 0.0, 0
        while not (message := json.loads(await socket.recv())).get("isFinal"):
            first = first or (time.monotonic() if message["audio"] else 0.0)
            if (told := message["alignment"]) is not None:
                spanned_ms += told["charStartTimesMs"][-1] + told["charDurationsMs"][-1]
        return first - begun, spanned_ms / 1000


async def interrupted(served: Server) -> list[tuple[float, float]]:
    """Each barge-in's waits, for the last of the sound and for the end."""
    waits = []
    async with foreign_socket(served.port, "pcm_24000", 1) as socket:
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


def foreign_socket(port: int, output_format: str, seed: int) -> connect:
    query = f"output_format={output_format}&auto_mode=true&seed={seed}"
    return connect(f"ws://127.0.0.1:{port}/v1/text-to-speech/slt/multi-stream-input?{query}", compression=None)


async def send(socket: ClientConnection, *messages: dict[str, Any]) -> None:
    for message in messages:
        await socket.send(json.dumps(message))


if __name__ == "__main__":
    main()
