"""One websocket connection: two pumps under one task group; moves messages and leaves their meaning to the dialect.

The pump out is fair: contexts take turns, one event each.  A peer that stops reading stalls its own pump, so its
contexts earn no more credit; past the limit it is closed.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Iterable

from starlette.websockets import WebSocket, WebSocketDisconnect

from stream_server.errors import IdleTimeout, ProtocolError, SlowReader, StreamServerError, TooManyContexts
from stream_server.events import (
    Cancel,
    Command,
    Done,
    End,
    Event,
    Failed,
    Flush,
    PushText,
    Refuse,
    ReportPlayed,
    SetSpeed,
    Start,
)
from stream_server.protocols.dialect import Act, Close, Dialect, Reply
from stream_server.session import Session
from stream_server.transports.house import House

log = logging.getLogger(__name__)
ENDED_NAMES = 64  # contexts whose late messages are known for what they are


class Conversation:
    """One connection and the contexts that live on it."""

    def __init__(self, socket: WebSocket, dialect: Dialect, house: House, subprotocol: str | None = None) -> None:
        self._socket = socket
        self._dialect = dialect
        self._house = house
        self._limits = house.limits
        self._subprotocol = subprotocol
        self._sessions: dict[str, Session] = {}
        self._ended: deque[str] = deque(maxlen=ENDED_NAMES)
        self._failures: deque[Failed] = deque()  # about contexts that never were
        self._replies: deque[Reply] = deque()
        self._wake = asyncio.Event()
        self._numbers = 0
        self._heard = time.monotonic()

    async def serve(self) -> None:
        """Until either side leaves; every context it had is cancelled then."""
        await self._socket.accept(subprotocol=self._subprotocol)
        try:
            self._act(self._dialect.greet())
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump_in(), name="pump-in")
                group.create_task(self._pump_out(), name="pump-out")
                group.create_task(self._watch_idle(), name="idle")
        except* WebSocketDisconnect:
            pass
        except* StreamServerError as group_error:
            await self._fail(first_error(group_error))
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
            self._act(self._dialect.receive(message["bytes"] if text is None else text))

    def _act(self, acts: Iterable[Act]) -> None:
        """Raises `SlowReader` where a peer asks much and reads nothing."""
        for act in acts:
            if isinstance(act, str | bytes | Close):
                self._replies.append(act)
                self._wake.set()
                if len(self._replies) > self._limits.unsent_replies:
                    raise SlowReader("the peer reads no answers", limit=self._limits.unsent_replies)
            else:
                self._obey(act)

    def _obey(self, command: Command) -> None:
        """What is wrong with a command ends its context."""
        try:
            self._carry_out(command)
        except StreamServerError as error:
            self._complain(error, command.context)

    def _carry_out(self, command: Command) -> None:
        if isinstance(command, Refuse):
            raise command.error
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
        self._numbers = self._numbers % 0xFFFF + 1
        session = self._house.open(command.context, self._numbers, command.settings, self._wake.set)
        self._sessions[command.context] = session

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
        self._house.metrics.errors.labels(error.code).inc()
        if (session := self._sessions.get(context)) is not None:
            return session.fail(error)
        self._failures.append(Failed.of(error, context))
        self._wake.set()
        if len(self._failures) > self._limits.unsent_replies:
            raise SlowReader("the peer reads no answers", limit=self._limits.unsent_replies)

    async def _pump_out(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while await self._answer() or await self._take_turns():
                pass

    async def _answer(self) -> bool:
        """Whether there was anything to answer."""
        told = bool(self._replies or self._failures)
        while self._failures:
            self._act(self._dialect.tell(self._failures.popleft()))
        while self._replies:
            await self._send(self._replies.popleft())
        return told

    async def _take_turns(self) -> bool:
        """One event of each context that has one; whether there was any."""
        turn = self._next_turn()
        for event in turn:
            for act in self._dialect.tell(event):
                if isinstance(act, str | bytes | Close):
                    await self._send(act)
                else:
                    self._obey(act)
            if isinstance(event, Done):
                self._house.metrics.observe(event)
        return bool(turn)

    def _next_turn(self) -> list[Event]:
        turn: list[Event] = []
        for context, session in list(self._sessions.items()):
            if (event := session.next_event()) is not None:
                turn.append(event)
            if session.is_over:
                del self._sessions[context]
                self._ended.append(context)
        return turn

    async def _send(self, reply: Reply) -> None:
        """Raises `SlowReader` where the peer takes nothing for too long."""
        try:
            async with asyncio.timeout(self._limits.slow_reader_s):
                if isinstance(reply, bytes):
                    await self._socket.send_bytes(reply)
                elif isinstance(reply, str):
                    await self._socket.send_text(reply)
                else:
                    await self._socket.close(reply.code, reply.reason)
                    raise WebSocketDisconnect(reply.code)
        except TimeoutError:
            raise SlowReader("the peer stopped reading", limit=self._limits.slow_reader_s) from None
        except OSError as error:
            raise WebSocketDisconnect(1006) from error

    async def _watch_idle(self) -> None:
        limit = self._dialect.idle_timeout_s or self._limits.idle_timeout_s
        while (left := self._heard + limit - time.monotonic()) > 0 or any(
            session.is_speaking for session in self._sessions.values()
        ):
            await asyncio.sleep(max(left, 1.0))
            limit = self._dialect.idle_timeout_s or self._limits.idle_timeout_s
        raise IdleTimeout("nothing was said for too long", limit=limit)

    async def _fail(self, error: StreamServerError) -> None:
        """Say why, then close as the dialect does; a peer that does not read is not waited for."""
        log.info("connection closed", extra={"code": error.code})
        self._house.metrics.errors.labels(error.code).inc()
        with contextlib.suppress(Exception):
            async with asyncio.timeout(1.0):
                for reply in self._dialect.fail(error):
                    if isinstance(reply, Close) or not isinstance(error, SlowReader):
                        await self._send(reply)


def first_error(group: BaseExceptionGroup[StreamServerError]) -> StreamServerError:
    error = group.exceptions[0]
    return first_error(error) if isinstance(error, BaseExceptionGroup) else error
