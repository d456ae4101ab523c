"""A real server in a process of its own, on a free port, for as long as a benchmark needs it."""

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress

START_LIMIT_S = 120.0


@contextmanager
def server() -> Iterator[str]:
    """Yields the websocket's address once the server can speak."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "stream_server", "serve", "--port", str(port), "--log-level", "warning"]
    process = subprocess.Popen(command)
    try:
        wait_until_ready(process, f"http://127.0.0.1:{port}/ready")
        yield f"ws://127.0.0.1:{port}/v1/stream"
    finally:
        process.terminate()
        process.wait(20)


def wait_until_ready(process: "subprocess.Popen[bytes]", url: str) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(urllib.error.URLError, ConnectionError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.1)
    raise SystemExit(f"the server ended or was not ready within {START_LIMIT_S:.0f} s")
