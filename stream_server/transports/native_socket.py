"""The native protocol's socket: two pumps under one task group; moves messages and gives them no meaning.

The pump out is fair: contexts take turns, one message each.  A peer that stops reading stalls its own pump, so its
contexts earn no more credit; past the limit it is closed.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque

from starlette.websockets import WebSocket, WebSocketDisconnect

from stream_server.audio.format import FORMATS
from stream_server.engine.client import Engine
from stream_server.errors import (
    IdleTimeout,
    InvalidSetting,
    ProtocolError,
    SlowReader,
    StreamServerError,
    TooManyContexts,
)
from stream_server.events import (
    Cancel,
    Command,
    Done,
    End,
    Event,
    Failed,
    Flush,
    PushText,
    ReportPlayed,
    SetSpeed,
    Start,
)
from stream_server.limits import Limits
from stream_server.metrics import Metrics
from stream_server.protocols import native
from stream_server.protocols.schema import check_settings
from stream_server.session import Session

log = logging.getLogger(__name__)
SUBPROTOCOL = native.NAME
ENDED_NAMES = 64  # contexts whose late messages are known for what they are


class NativeSocket:
    """One connection and the contexts that live on it."""

    def __init__(self, socket: WebSocket, engine: Engine, limits: Limits, metrics: Metrics) -> None:
        self._socket = socket
        self._engine = engine
        self._limits = limits
        self._metrics = metrics
        self._sessions: dict[str, Session] = {}
        self._ended: deque[str] = deque(maxlen=ENDED_NAMES)
        self._failures: deque[Failed] = deque()  # about contexts that never were
        self._wake = asyncio.Event()
        self._numbers = 0
        self._heard = time.monotonic()

    async def serve(self) -> None:
        """Until either side leaves; every context it had is cancelled then."""
        await self._socket.accept(subprotocol=SUBPROTOCOL)
        try:
            await self._send(native.hello(self._engine.spec, self._limits, FORMATS))
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump_in(), name="pump-in")
                group.create_task(self._pump_out(), name="pump-out")
                group.create_task(self._watch_idle(), name="idle")
        except* WebSocketDisconnect:
            pass
        except* StreamServerError as group_error:
            await self._close(first_error(group_error))
        finally:
            for session in self._sessions.values():
                session.cancel()
            self._sessions.clear()

    async def _pump_in(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1006))
            self._heard = time.monotonic()
            text = message.get("text")
            self._obey(message["bytes"] if text is None else text)

    def _obey(self, message: str | bytes) -> None:
        """What is wrong with a message ends its context; what belongs to none ends the connection (raised)."""
        try:
            command = native.parse(message, self._limits)
        except StreamServerError as error:
            context = native.context_of(message, self._limits)
            if context is None:
                raise
            return self._complain(error, context)
        try:
            self._carry_out(command)
        except StreamServerError as error:
            self._complain(error, command.context)

    def _carry_out(self, command: Command) -> None:
        if isinstance(command, Start):
            self._start(command)
        elif (session := self._sessions.get(command.context)) is not None:
            self._steer(session, command)
        elif command.context not in self._ended:  # a message may cross the end of its context on the wire
            raise ProtocolError("no such context: send start first", field="context")

    def _start(self, command: Start) -> None:
        if command.context in self._sessions:
            raise ProtocolError("this context is already open", field="context")
        if len(self._sessions) >= self._limits.contexts_per_connection:
            limit = self._limits.contexts_per_connection
            raise TooManyContexts("too many open contexts on this connection", field="context", limit=limit)
        check_settings(command.settings, self._engine.spec)
        if not command.settings.use_cache and not self._limits.uncached:
            raise InvalidSetting("this server always decodes with its cache", field="use_cache", limit="true")
        self._numbers = self._numbers % 0xFFFF + 1
        self._sessions[command.context] = Session(
            command.context,
            self._numbers,
            command.settings,
            self._engine,
            self._limits,
            time.monotonic,
            self._wake.set,
        )

    def _steer(self, session: Session, command: Command) -> None:
        match command:
            case PushText():
                session.push_text(command.text)
            case Flush():
                session.flush()
            case End():
                session.end()
            case Cancel():
                session.cancel(command.played)
            case ReportPlayed():
                session.report_played(command.played)
            case SetSpeed():
                session.set_speed(command.speed)

    def _complain(self, error: StreamServerError, context: str) -> None:
        self._metrics.errors.labels(error.code).inc()
        if (session := self._sessions.get(context)) is not None:
            session.fail(error)
        else:
            self._failures.append(failure(error, context))
            self._wake.set()

    async def _pump_out(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while turn := self._next_turn():
                for event in turn:
                    await self._send(native.serialize(event))
                    if isinstance(event, Done):
                        self._metrics.observe(event)

    def _next_turn(self) -> list[Event]:
        """One event of each context that has one."""
        turn: list[Event] = list(self._failures)
        self._failures.clear()
        for context, session in list(self._sessions.items()):
            if (event := session.next_event()) is not None:
                turn.append(event)
            if session.is_over:
                del self._sessions[context]
                self._ended.append(context)
        return turn

    async def _send(self, message: str | bytes) -> None:
        """Raises `SlowReader` where the peer takes nothing for too long."""
        try:
            async with asyncio.timeout(self._limits.slow_reader_s):
                if isinstance(message, bytes):
                    await self._socket.send_bytes(message)
                else:
                    await self._socket.send_text(message)
        except TimeoutError:
            raise SlowReader("the peer stopped reading", limit=self._limits.slow_reader_s) from None
        except OSError as error:
            raise WebSocketDisconnect(1006) from error

    async def _watch_idle(self) -> None:
        limit = self._limits.idle_timeout_s
        while (left := self._heard + limit - time.monotonic()) > 0 or any(
            session.is_speaking for session in self._sessions.values()
        ):
            await asyncio.sleep(max(left, 1.0))
        raise IdleTimeout("nothing was said for too long", limit=limit)

    async def _close(self, error: StreamServerError) -> None:
        """Say why, then close with the error's code; a peer that does not read is not waited for."""
        log.info("connection closed", extra={"code": error.code})
        with contextlib.suppress(Exception):
            async with asyncio.timeout(1.0):
                if not isinstance(error, SlowReader):
                    await self._socket.send_text(str(native.serialize(failure(error, None))))
                await self._socket.close(error.ws_code, error.code)


def failure(error: StreamServerError, context: str | None) -> Failed:
    return Failed(context, error.code, error.message, error.field, error.limit, error.retryable, error.retry_after)


def first_error(group: BaseExceptionGroup[StreamServerError]) -> StreamServerError:
    error = group.exceptions[0]
    return first_error(error) if isinstance(error, BaseExceptionGroup) else error
