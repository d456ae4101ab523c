"""Start, serve, drain, stop: uvicorn around the application, with the `websockets` package speaking the protocol."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from stream_server.protocols.reference import largest
from stream_server.transports.app import make_app
from stream_server.transports.house import House

MAX_FRAME = 4 << 20  # bytes the library reads before it closes with 1009; `Limits.message_bytes` answers in words
LINGER_S = 2.0  # for a peer to read the last words of a connection that is over
DRAIN_S = 5  # how long open sockets may finish after a signal to stop
SEND_BUFFER = 1 << 16  # bytes the kernel holds of what a peer has not taken: more would hide that it does not read


class HttpProtocol(H11Protocol):
    """Uvicorn's, but an answer that was cut short is dropped with what a peer leaves unread of it."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._inner: Any = self.app
        self.app = self._answer

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        cycle = self.cycle  # the next request's may take its place as soon as this one is answered
        try:
            await self._inner(scope, receive, send)
        finally:
            if not cycle.response_complete:
                self.loop.call_later(LINGER_S, self.transport.abort)
        if cycle.response_started and not cycle.response_complete:  # cut on purpose, which uvicorn would call an error
            cycle.disconnected = True
            self.transport.close()


class SocketProtocol(WebSocketsSansIOProtocol):
    """Uvicorn's, but a peer that does not read cannot keep its socket: what it leaves unread is dropped.

    Closing a transport waits until its buffer is empty, which for such a peer is never.  And a handshake that was
    refused in full is no error of ours.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._inner: Any = self.app
        self.app = self._answer

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._inner(scope, receive, send)
        if self.close_sent:
            self.handshake_complete = True  # there is none to come, which uvicorn would call an error

    async def run_asgi(self) -> None:
        await super().run_asgi()
        self.loop.call_later(LINGER_S, self.transport.abort)


def make_server(
    house: House, host: str, port: int, tls_cert: Path | None = None, tls_key: Path | None = None
) -> uvicorn.Server:
    """tls_cert, tls_key: PEM files; https and wss instead of http and ws."""
    config = uvicorn.Config(
        make_app(house),
        host=host,
        port=port,
        http=HttpProtocol,
        ws=SocketProtocol,
        ws_max_size=max(MAX_FRAME, largest(house.limits.message_bytes, house.limits)),
        ws_per_message_deflate=False,  # Opus does not shrink, and base64 is not what we send
        log_config=None,
        access_log=False,
        lifespan="off",
        ssl_certfile=tls_cert,
        ssl_keyfile=tls_key,
        timeout_graceful_shutdown=DRAIN_S,
    )
    return uvicorn.Server(config)


@contextlib.asynccontextmanager
async def running(house: House, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """A server on a free port for as long as the block runs; yields the native protocol's address."""
    with socket.socket() as listener:
        listener.bind((host, 0))
        port = listener.getsockname()[1]
        server = make_server(house, host, port)
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
