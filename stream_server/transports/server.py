"""Start, serve, drain, stop: uvicorn around the application, with the `websockets` package speaking the protocol."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from stream_server.engine.client import Engine
from stream_server.limits import Limits
from stream_server.metrics import Metrics
from stream_server.transports.app import make_app

MAX_FRAME = 4 << 20  # bytes the library reads before it closes with 1009; `Limits.message_bytes` answers in words
LINGER_S = 2.0  # for a peer to read the last words of a connection that is over
DRAIN_S = 5  # how long open sockets may finish after a signal to stop


class SocketProtocol(WebSocketsSansIOProtocol):
    """Uvicorn's, but a peer that does not read cannot keep its socket: what it leaves unread is dropped.

    Closing a transport waits until its buffer is empty, which for such a peer is never.
    """

    async def run_asgi(self) -> None:
        await super().run_asgi()
        self.loop.call_later(LINGER_S, self.transport.abort)


def make_server(engine: Engine, limits: Limits, metrics: Metrics, host: str, port: int) -> uvicorn.Server:
    config = uvicorn.Config(
        make_app(engine, limits, metrics),
        host=host,
        port=port,
        ws=SocketProtocol,
        ws_max_size=MAX_FRAME,
        ws_per_message_deflate=False,  # Opus does not shrink, and base64 is not what we send
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=DRAIN_S,
    )
    return uvicorn.Server(config)


@contextlib.asynccontextmanager
async def running(engine: Engine, limits: Limits, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """A server on a free port for as long as the block runs; yields the native protocol's address."""
    with socket.socket() as listener:
        listener.bind((host, 0))
        port = listener.getsockname()[1]
        server = make_server(engine, limits, Metrics(), host, port)
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        task = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            if task.done():
                await task
            await asyncio.sleep(0.01)
        try:
            yield f"ws://{host}:{port}/v1/stream"
        finally:
            server.should_exit = True
            await task
