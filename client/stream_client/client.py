"""Client: one socket to a server, and the contexts that share it.

Knows connecting, the one task that reads, and which context a message belongs to.  Does not know what a context does
with it.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Self, Unpack

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from stream_client import opus
from stream_client.context import Context, server_error
from stream_client.errors import ConnectionFailed, StreamError, Unreachable, WireError
from stream_client.wire import (
    SUBPROTOCOL,
    Failed,
    Hello,
    Packet,
    ServerMessage,
    Settings,
    Started,
    command,
    parse,
)

DEFAULT_URL = "ws://127.0.0.1:8765/v1/stream"
CONNECT_TIMEOUT_S = 10.0
MAX_MESSAGE_BYTES = 1 << 20  # from the server
MESSAGE_BYTES = 65536  # to the server, where its hello states no limit
QUEUE_MESSAGES = 30_000  # that one context may leave untaken: ten minutes of speech at 20 ms each
ENVELOPE_BYTES = 512  # of a text message, beside its text
BYTES_PER_CHAR = 6  # at most, in JSON

log = logging.getLogger(__name__)


class Client:
    """`async with Client(url) as client:` connects and waits for the server's hello; leaving ends every context.

    A context whose events are not taken fails when `queue_messages` of them wait; it never holds up the others.
    """

    hello: Hello

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        headers: Mapping[str, str] | None = None,
        queue_messages: int = QUEUE_MESSAGES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = url
        self._headers = dict(headers or {})
        self._queue_messages = queue_messages
        self._clock = clock
        self._contexts: dict[str, Context] = {}
        self._numbers: dict[int, Context | None] = {}  # None: its context is over
        self._made = 0
        self._failure: StreamError | None = None
        self._socket: ClientConnection
        self._reader: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def connect(self) -> None:
        self._socket = await self._open()
        try:
            self.hello = await self._greeting()
        except BaseException:
            await self._socket.close()
            raise
        self._reader = asyncio.create_task(self._read(), name=f"reader of {self.url}")

    async def close(self) -> None:
        self._fail(ConnectionFailed("the client was closed"))
        await self._socket.close()
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def start(self, name: str | None = None, **settings: Unpack[Settings]) -> Context:
        """Begin a context.  Text may be sent at once; what it got, or why not, is the context's first event."""
        if settings.get("format", "opus") == "opus":
            opus.load()  # better now than at the first packet
        self._made += 1
        name = name if name is not None else f"c{self._made}"
        if name in self._contexts:
            raise ValueError(f"a context {name!r} is running already")
        bytes_free = self.hello.limits.get("message_bytes", MESSAGE_BYTES) - ENVELOPE_BYTES - BYTES_PER_CHAR * len(name)
        context = Context(name, self._send, max(1, bytes_free // BYTES_PER_CHAR), self._queue_messages)
        self._contexts[name] = context
        await self._send(command("start", name, **settings))
        return context

    async def _open(self) -> ClientConnection:
        try:
            return await connect(
                self.url,
                subprotocols=[SUBPROTOCOL],  # type: ignore[list-item]  # a NewType of str
                additional_headers=self._headers,
                compression=None,  # speech is compressed already, and deflate costs time to first audio
                max_size=MAX_MESSAGE_BYTES,
                open_timeout=CONNECT_TIMEOUT_S,
            )
        except (OSError, InvalidHandshake, InvalidURI) as error:  # a timeout is an OSError
            raise Unreachable(f"cannot connect to {self.url}: {error}") from error

    async def _greeting(self) -> Hello:
        if self._socket.subprotocol != SUBPROTOCOL:
            raise WireError(f"{self.url} does not speak {SUBPROTOCOL}")
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                hello = parse(await self._socket.recv())
        except (TimeoutError, ConnectionClosed) as error:
            raise Unreachable(f"{self.url} said no hello ({error or 'timeout'})") from error
        if isinstance(hello, Failed):
            raise server_error(hello)
        if not isinstance(hello, Hello):
            raise WireError(f"{self.url} began with {hello}")
        return hello

    async def _send(self, message: str) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            await self._socket.send(message)
        except ConnectionClosed as error:
            raise self._failure or ConnectionFailed(f"the connection is gone: {error}") from error

    async def _read(self) -> None:
        try:
            while True:
                self._dispatch(parse(await self._socket.recv()), self._clock())
        except ConnectionClosed as error:
            self._fail(ConnectionFailed(f"the server's connection ended: {error}"))
        except StreamError as error:
            self._fail(error)
            await self._socket.close(1002, str(error)[:100])

    def _dispatch(self, message: ServerMessage, arrived: float) -> None:
        if isinstance(message, Failed) and message.context is None:
            return self._fail(server_error(message))
        if isinstance(message, Hello):
            raise WireError("a second hello")
        context = self._owner(message)
        if context is None:  # an answer that crossed with the context's end
            return log.debug("for no running context: %s", message)
        context.deliver(message, arrived)
        if context.over:
            self._forget(context)

    def _owner(self, message: ServerMessage) -> Context | None:
        if isinstance(message, Packet):
            if message.number not in self._numbers:
                raise WireError(f"an audio message of no context: number {message.number}")
            return self._numbers[message.number]
        context = self._contexts.get(getattr(message, "context", ""))
        if isinstance(message, Started) and context is not None:
            self._numbers[message.number] = context
        return context

    def _forget(self, context: Context) -> None:
        self._contexts.pop(context.name, None)
        if context.started is not None:
            self._numbers[context.started.number] = None

    def _fail(self, error: StreamError) -> None:
        self._failure = self._failure or error
        for context in self._contexts.values():
            context.fail(self._failure)
        self._contexts.clear()
