"""A real server with the shipped voice, for clients whose packages live in an environment without torch.

STREAM_SERVER_PYTHON is the Python that has the server; without it, this one.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

# Each test belongs to the environment that has its client's package.
PACKAGES = {"cartesia", "deepgram", "elevenlabs", "livekit", "openai", "pipecat", "wyoming"}
collect_ignore = [f"test_{name}_client.py" for name in PACKAGES if find_spec(name) is None]

ROOT = Path(__file__).parents[2]
SERVE = "import sys; from stream_server.cli import main; sys.argv[0] = 'stream-server'; main()"
START_S = 60


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """host:port, plain."""
    with serving() as address:
        yield address


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Its own authority, for localhost: certificate, key."""
    cert, key = (tmp_path_factory.mktemp("tls") / name for name in ("cert.pem", "key.pem"))
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names]
    subprocess.run([*make, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    return cert, key


@pytest.fixture(scope="session")
def secure_server(certificate: tuple[Path, Path]) -> Iterator[str]:
    """host:port with TLS, and a key: "sesame"."""
    cert, key = certificate
    with serving("--tls-cert", str(cert), "--tls-key", str(key), "--key", "sesame") as address:
        yield address.replace("127.0.0.1", "localhost")


@contextmanager
def serving(*options: str, **settings: str) -> Iterator[str]:
    """settings: of the environment."""
    port = free_port()
    python = os.environ.get("STREAM_SERVER_PYTHON", sys.executable)
    command = [python, "-c", SERVE, "serve", "--port", str(port), "--wyoming-port", "off", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **settings}
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        wait_for(port, process)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError("the server did not start")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
