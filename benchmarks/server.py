"""A real server in a process of its own, on a free port, for as long as a benchmark needs it."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from process import Process

SERVE = ("-m", "stream_server", "serve", "--wyoming-port", "off", "--log-level", "warning")
START_LIMIT_S = 120.0
STOP_LIMIT_S = 20.0


@dataclass(frozen=True)
class Server:
    port: int
    front: Process

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/stream"

    @property
    def engine(self) -> Process:
        """The front's largest child; the others are Python's own helpers."""
        return max(self.front.children(), key=Process.memory_kib)

    def metrics(self) -> dict[str, float]:
        """Every sample of /metrics by its name and labels, as Prometheus would read them."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as reply:
            lines = reply.read().decode().splitlines()
        samples = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, value in samples}


@contextmanager
def server(program: Sequence[str] = SERVE, **environment: str) -> Iterator[Server]:
    """Yields once it can speak.  `program` is Python's arguments, but for the port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, *program, "--port", str(port)], env=os.environ | environment)
    try:
        wait_until_ready(process, f"http://127.0.0.1:{port}/ready")
        yield Server(port, Process(process.pid))
    finally:
        process.terminate()
        process.wait(STOP_LIMIT_S)


def wait_until_ready(process: "subprocess.Popen[bytes]", url: str) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(urllib.error.URLError, ConnectionError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.1)
    raise SystemExit(f"the server ended or was not ready within {START_LIMIT_S:.0f} s")
