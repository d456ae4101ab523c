"""The demo: start a server with the bundled voice, stream a text to it word by word as a chat bot would, hear it.

    make demo

Writes `demo.wav`, plays where there is a sound device, prints what happened when.
"""

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from stream_client import speak
from stream_client.sinks import device_available
from stream_client.timeline import timeline

TEXT = (
    "Hello! I am a small voice that lives inside this server. I began to speak before you finished typing this, "
    "and you may interrupt me at any moment. It is 4:30 p.m. on November 22, 2026, and 25 frames of speech are made "
    "for every second that you hear."
)
WORD_MS = 100
START_LIMIT_S = 120.0


@contextlib.contextmanager
def server() -> Iterator[str]:
    """A server in a process of its own on a free port; yields the address once it can speak."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "stream_server", "serve", "--port", str(port)]
    command += ["--wyoming-port", "off", "--log-level", "warning"]
    process = subprocess.Popen(command)
    try:
        wait_until_ready(process, f"http://127.0.0.1:{port}/ready")
        yield f"ws://127.0.0.1:{port}/v1/stream"
    finally:
        process.terminate()
        process.wait(20)


def wait_until_ready(process: "subprocess.Popen[bytes]", url: str) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"the server ended with code {process.returncode}")
        with contextlib.suppress(urllib.error.URLError, ConnectionError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.1)
    raise SystemExit(f"the server was not ready within {START_LIMIT_S:.0f} s")


async def demo(url: str) -> None:
    output = Path("demo.wav")
    words = [word + " " for word in TEXT.split()]
    report = await speak(words, url=url, output=output, play=device_available(), interval_s=WORD_MS / 1000, seed=1)
    print(f"\n“{TEXT}”\nsent word by word, {WORD_MS} ms each, to voice {report.voice}:\n")
    print(timeline(report))
    print(f"\n{output}: {report.audio_s:.1f} s of speech")


def main() -> None:
    print("starting the server ...", flush=True)
    with server() as url:
        asyncio.run(demo(url))


if __name__ == "__main__":
    main()
