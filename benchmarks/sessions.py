"""What sockets cost the engine: speech made a second with 48 sessions taking it, over the engine by itself.

    python benchmarks/sessions.py [--quick] [--sessions 48] [--seconds 10] [--rounds 3]

Both sides speak the same texts as fast as they can, 48 at a time, a finished one giving way to the next.  By itself the
engine steps in a process of its own and its frames are dropped; with sessions it is the real server's engine, and what
it says goes through the front, Opus and websockets to listeners in one more process (`paced` off).  The two take turns,
so that a machine that gets slower does so for both.  Speech is counted behind a second's warm-up.
"""

import argparse
import asyncio
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import count, cycle
from multiprocessing import get_context
from statistics import median

from lap import use_one_thread
from report import conclude, table
from server import server
from texts import SENTENCES

WARM_UP_S = 1.0
TEXT = " ".join(SENTENCES[:3])
FLOORS = {"of_the_engine_alone": 0.95}
ROOM = {"STREAM_SERVER_LIMITS__STREAMS": "{}", "STREAM_SERVER_LIMITS__CONNECTIONS": "1024"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=48)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one short round, nothing kept")
    options = parser.parse_args()
    seconds, rounds = (2.0, 1) if options.quick else (options.seconds, options.rounds)
    os.environ |= {name: value.format(options.sessions) for name, value in ROOM.items()}
    alone, among = [], []
    with server() as served:
        for _ in range(rounds):
            alone.append(in_a_process(speak_alone, options.sessions, seconds))
            among.append(in_a_process(listen_to_all, served.url, options.sessions, seconds))
    ratio = median(a / b for a, b in zip(among, alone))
    table(
        f"speech made a second, {options.sessions} at once",
        ["round", "the engine alone", "with sessions", "of it"],
        [[i, b, a, a / b] for i, (a, b) in enumerate(zip(among, alone), 1)],
    )
    figures = {"sessions": options.sessions, "alone_x": median(alone), "with_sessions_x": median(among)}
    conclude("sessions", figures | {"of_the_engine_alone": ratio}, FLOORS, keep=not options.quick)


def in_a_process(function, *arguments):  # type: ignore[no-untyped-def]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


# The engine alone.


def speak_alone(streams: int, seconds: float) -> float:
    """Seconds of speech made a second."""
    from stream_server.config import load_config
    from stream_server.engine.messages import AddSequence, Controls
    from stream_server.loading import make_serving_core
    from stream_server.offline import NO_LIMIT, read_words, sentences

    use_one_thread()
    core = make_serving_core(load_config())
    controls = Controls(core.spec.voices[0])
    parts = list(sentences(read_words(core, TEXT)))
    speaking: dict[int, Iterator[tuple]] = {}
    ids = count(1)

    def next_sentence(texts: Iterator[tuple]) -> None:
        id = next(ids)
        speaking[id] = texts
        core.put(AddSequence(id, next(texts), True, controls, NO_LIMIT))

    for stream in range(streams):
        texts = cycle(parts)
        for _ in range(stream % len(parts)):
            next(texts)
        next_sentence(texts)
    samples, began = 0, time.monotonic()
    while (now := time.monotonic()) < began + WARM_UP_S + seconds:
        tick = core.step()
        assert tick is not None
        if now > began + WARM_UP_S:
            samples += sum(len(frame.pcm) for frame in tick.frames)
        for finished in tick.finished:
            next_sentence(speaking.pop(finished.sequence_id))
    return samples / controls.sample_rate / seconds


# The same through sockets.


def listen_to_all(url: str, sessions: int, seconds: float) -> float:
    import uvloop

    return uvloop.run(listen(url, sessions, seconds))


async def listen(url: str, sessions: int, seconds: float) -> float:
    heard = [0]
    from_, until = time.monotonic() + WARM_UP_S, time.monotonic() + WARM_UP_S + seconds
    await asyncio.gather(*(session(url, i, heard, from_, until) for i in range(sessions)))
    return heard[0] / 24_000 / seconds


async def session(url: str, number: int, heard: list[int], from_: float, until: float) -> None:
    from stream_client.wire import HEADER, SUBPROTOCOL, command
    from websockets.asyncio.client import connect

    options = {"subprotocols": [SUBPROTOCOL], "compression": None, "ping_interval": None, "close_timeout": 0.1}
    async with connect(url, **options) as socket:
        await socket.recv()
        for turn in count():
            name = f"{number}-{turn}"
            await socket.send(command("start", name, paced=False, seed=number))
            await socket.send(command("text", name, text=TEXT))
            await socket.send(command("end", name))
            ended = False
            while not ended:
                message = await socket.recv()
                now = time.monotonic()
                if now > until:
                    return
                if isinstance(message, bytes):
                    heard[0] += HEADER.unpack_from(message)[5] if now > from_ else 0
                else:
                    event = json.loads(message)
                    assert event["type"] != "error", event
                    ended = event["type"] == "done"


if __name__ == "__main__":
    main()
