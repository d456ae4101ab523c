"""`python -m stream_client "Hello"`: speak a text from a terminal.

Knows arguments, the terminal and exit codes: 0 spoken, 1 refused or failed, 2 wrong arguments, 3 no server,
130 interrupted.  Does not know how speaking works.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import io
import json
import shutil
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import CancelledError
from pathlib import Path
from typing import TextIO

from stream_client.client import DEFAULT_URL
from stream_client.context import Audio, Event
from stream_client.errors import StreamError, Unreachable
from stream_client.sinks import device_available
from stream_client.speak import ENCODED, SpeakReport, speak
from stream_client.timeline import figures, timeline
from stream_client.wire import Settings, Started

FALLBACK_FILE = Path("speech.wav")
QUIET_S = 2.0  # what takes longer shows that it lives
WAITING_LINES = 16  # read from standard input before the server has taken them


def main(argv: Sequence[str] | None = None) -> int:
    parser = _arguments()
    arguments = parser.parse_args(argv)
    if arguments.output and arguments.output.suffix.lower() in ENCODED and (arguments.play or arguments.format):
        parser.error(f"-o {arguments.output.suffix} goes without --play and --format: the file is written as it comes")
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # neither bad bytes nor a poor terminal are a reason to stop
    try:
        report = asyncio.run(_speak(arguments))
    except Unreachable as error:
        return _complain(f"{error}\nIs the server running? `stream-server serve` starts it.", 3)
    except (StreamError, OSError, UnicodeError) as error:
        return _complain(str(error), 1)
    except KeyboardInterrupt:
        return 130
    _show(report, arguments)
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m stream_client", description="Speak a text through stream-server.")
    parser.add_argument("text", help="what to say; - reads lines from standard input and speaks each as it comes")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="write a WAV file, or by its ending mp3, flac, aac, ogg, opus or webm",
    )
    parser.add_argument("--play", action="store_true", help="play it (the default, where something here can)")
    parser.add_argument("--url", default=DEFAULT_URL, help="the server (default: %(default)s)")
    parser.add_argument("--voice")
    parser.add_argument("--seed", type=int, help="the same seed speaks the same way again")
    parser.add_argument("--speed", type=float, help="1 is the voice's own")
    parser.add_argument("--format", choices=["opus", "pcm_s16le", "wav"], help="on the wire (default: opus)")
    parser.add_argument("--sample-rate", type=int, metavar="HZ")
    parser.add_argument("--interval-ms", type=float, default=0.0, metavar="N", help="send a word every N ms")
    parser.add_argument("--timeline", action="store_true", help="draw what came when")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


async def _speak(arguments: argparse.Namespace) -> SpeakReport:
    play = arguments.play or (arguments.output is None and device_available())
    if not play and arguments.output is None:
        arguments.output = FALLBACK_FILE
    live = arguments.text == "-"
    progress = _Progress(sys.stderr)
    showing = asyncio.create_task(progress.show())
    try:
        return await speak(
            lines(sys.stdin) if live else arguments.text,
            url=arguments.url,
            output=arguments.output,
            play=play,
            interval_s=arguments.interval_ms / 1000,
            flush=live,
            on_event=progress.heard,
            **_settings(arguments),
        )
    finally:
        showing.cancel()
        progress.clear()


def _settings(arguments: argparse.Namespace) -> Settings:
    """What was asked for; the rest is the server's choice."""
    asked: Settings = {}
    if arguments.voice is not None:
        asked["voice"] = arguments.voice
    if arguments.seed is not None:
        asked["seed"] = arguments.seed
    if arguments.speed is not None:
        asked["speed"] = arguments.speed
    if arguments.format is not None:
        asked["format"] = arguments.format
    if arguments.sample_rate is not None:
        asked["sample_rate"] = arguments.sample_rate
    return asked


async def lines(file: TextIO) -> AsyncIterator[str]:
    """Lines as they come.  The thread that waits for them is a daemon: an interrupt need not wait for a line."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[str] = asyncio.Queue(WAITING_LINES)

    def read() -> None:
        with contextlib.suppress(RuntimeError, CancelledError):  # the loop has ended: nobody listens any more
            try:
                while line := file.readline():
                    asyncio.run_coroutine_threadsafe(queue.put(line), loop).result()
            finally:
                asyncio.run_coroutine_threadsafe(queue.put(""), loop)

    threading.Thread(target=read, name="standard input", daemon=True).start()
    while line := await queue.get():
        yield line


class _Progress:
    """One line that says how much speech has come, where it takes long enough to wonder."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._rate = 1
        self._samples = 0
        self._shown = False

    def heard(self, event: Event) -> None:
        if isinstance(event, Started):
            self._rate = event.sample_rate
        elif isinstance(event, Audio):
            self._samples += event.duration

    async def show(self) -> None:
        while True:
            await asyncio.sleep(QUIET_S if not self._shown else 0.5)
            if self._shown and not self._out.isatty():
                continue  # a log needs it once
            start = "\r" if self._out.isatty() else ""
            end = "" if self._out.isatty() else "\n"
            print(f"{start}{self._samples / self._rate:.1f} s of speech so far", end=end, file=self._out, flush=True)
            self._shown = True

    def clear(self) -> None:
        if self._shown and self._out.isatty():
            print("\r\x1b[K", end="", file=self._out, flush=True)


def _show(report: SpeakReport, arguments: argparse.Namespace) -> None:
    if arguments.json:
        everything = dataclasses.asdict(report) | {"ttfa_s": report.ttfa_s, "rtf": report.rtf}
        return print(json.dumps(everything, ensure_ascii=False))
    if arguments.timeline:
        print(timeline(report, shutil.get_terminal_size().columns))
    else:
        print(figures(report))
    if report.output:
        print(f"written to {report.output}")


def _complain(message: str, code: int) -> int:
    print(message, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
