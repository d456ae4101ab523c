"""The Wyoming port: asyncio streams, one answer at a time; moves bytes and gives them no meaning.

What is asked while an answer is being spoken waits for its end, at most READS_AHEAD pieces of what the peer wrote; past
them the peer is not read.  After an `error` the connection is closed: a client that does not know the event, as Home
Assistant does not, would wait for the rest of its answer for ever.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from itertools import islice

from wyoming.event import Event as WireEvent

from stream_server.errors import ConfigError, IdleTimeout, Overloaded, SlowReader, StreamServerError
from stream_server.events import Command, Done, End, Event, Failed, PushText, Start
from stream_server.protocols.wyoming import Conversation, Inbox
from stream_server.session import Session
from stream_server.transports.conversation import first_error
from stream_server.transports.house import House

log = logging.getLogger(__name__)
READ_BYTES = 16_384  # of one piece
READS_AHEAD = 16  # pieces taken from the peer that wait for an answer's end
EVENTS_A_TURN = 5  # pieces of sound of 20 ms each that may go out as one
LINGER_S = 1.0  # for a peer to read the last words of a connection that is over


class PeerLeft(Exception):
    pass


class LastWord(Exception):
    """The peer was told what is wrong; there is no more to say."""


class WyomingConnection:
    """One connection and the session that is speaking on it, if any."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, house: House) -> None:
        self._reader = reader
        self._writer = writer
        self._house = house
        self._limits = house.limits
        self._metrics = house.metrics
        self._inbox = Inbox(house.limits)
        self._conversation = Conversation(lambda: house.engine.spec, house.voices)
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue(READS_AHEAD)
        self._session: Session | None = None  # the answer being spoken
        self._listening: Session | None = None  # the same while its text may still come
        self._silent = asyncio.Event()  # nothing is being spoken
        self._silent.set()
        self._wake = asyncio.Event()
        self._sending = asyncio.Lock()
        self._heard = time.monotonic()  # the last whole event

    async def serve(self) -> None:
        """Until either side leaves."""
        try:
            await self._converse()
        except* PeerLeft:
            pass
        except* LastWord:
            await self._hang_up()
        except* StreamServerError as group_error:
            await self.refuse(first_error(group_error))

    async def _converse(self) -> None:
        """Whatever ends it, what is being spoken is cancelled at once."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read(), name="wyoming-read")
                group.create_task(self._obey(), name="wyoming-obey")
                group.create_task(self._pump_out(), name="wyoming-out")
                group.create_task(self._watch_idle(), name="wyoming-idle")
        finally:
            if self._session is not None:
                self._session.cancel()

    async def refuse(self, error: StreamServerError) -> None:
        """Instead of `serve`: say why, and hang up."""
        self._metrics.errors.labels(error.code).inc()
        if not isinstance(error, SlowReader):
            with contextlib.suppress(PeerLeft, SlowReader):
                await self._send(self._conversation.serialize([Failed.of(error, None)]))
            await self._hang_up()

    async def _hang_up(self) -> None:
        """What the peer still writes is thrown away for a while: a reset would overtake our last words."""
        with contextlib.suppress(OSError, RuntimeError):
            async with asyncio.timeout(LINGER_S):
                self._writer.write_eof()
                while await self._reader.read(READ_BYTES):
                    pass

    async def _read(self) -> None:
        try:
            while piece := await self._reader.read(READ_BYTES):
                await self._pieces.put(piece)
        except OSError as error:
            raise PeerLeft from error
        raise PeerLeft

    async def _obey(self) -> None:
        """What is wrong with what a peer says ends the answer it is about; one that is complete is spoken first."""
        try:
            while True:
                for event in self._inbox.push(await self._pieces.get()):
                    await self._heed(event)
        except StreamServerError:
            if self._listening is None:
                await self._silent.wait()
            raise

    async def _heed(self, event: WireEvent) -> None:
        self._heard = time.monotonic()
        if reply := self._conversation.reply(event):
            await self._send(reply)
        for command in self._conversation.commands(event):
            if isinstance(command, Start):
                await self._silent.wait()
                self._start(command)
            elif self._listening is not None:
                self._steer(self._listening, command)

    def _start(self, command: Start) -> None:
        self._session = self._listening = self._house.open(command.context, 1, command.settings, self._wake.set)
        self._silent.clear()

    def _steer(self, session: Session, command: Command) -> None:
        match command:
            case PushText():
                session.push_text(command.text)
            case End():
                session.end()
                self._listening = None

    async def _pump_out(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while (session := self._session) is not None and (events := next_events(session)):
                await self._send(self._conversation.serialize(events))
                for event in events:
                    self._account(event)
                if session.is_over:
                    self._heard = time.monotonic()
                    self._session = None
                    self._silent.set()

    def _account(self, event: Event) -> None:
        if isinstance(event, Done):
            self._metrics.observe(event)
        elif isinstance(event, Failed):
            self._metrics.errors.labels(event.code).inc()
            raise LastWord

    async def _send(self, data: bytes) -> None:
        """Raises `SlowReader` where the peer takes nothing for too long."""
        try:
            async with self._sending, asyncio.timeout(self._limits.slow_reader_s):
                self._writer.write(data)
                await self._writer.drain()
        except TimeoutError:
            raise SlowReader("the peer stopped reading", limit=self._limits.slow_reader_s) from None
        except OSError as error:
            raise PeerLeft from error

    async def _watch_idle(self) -> None:
        limit = self._limits.idle_timeout_s
        while (left := self._heard + limit - time.monotonic()) > 0 or self._is_speaking:
            await asyncio.sleep(left if left > 0 else 1.0)
        raise IdleTimeout("nothing was said for too long", limit=limit)

    @property
    def _is_speaking(self) -> bool:
        return self._session is not None and self._session.is_speaking


def next_events(session: Session) -> list[Event]:
    """As many as may go out together, of those that are there."""
    return list(islice(iter(session.next_event, None), EVENTS_A_TURN))


@contextlib.asynccontextmanager
async def listening(house: House, host: str, port: int) -> AsyncIterator[int]:
    """The port is open for as long as the block runs; yields it, for 0 is any that is free.  Raises `ConfigError`."""
    tasks: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = WyomingConnection(reader, writer, house)
        try:
            if house.metrics.open_connections >= house.limits.connections:
                await connection.refuse(
                    Overloaded("too many connections", field="connections", limit=house.limits.connections)
                )
            else:
                with house.metrics.connected():
                    await connection.serve()
        finally:
            writer.transport.abort()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(answer(reader, writer), name="wyoming")
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    try:
        server = await asyncio.start_server(accept, host, port, limit=READ_BYTES)
    except OSError as error:
        message = f'wyoming_port: cannot listen: {error.strerror}; choose another port, or "off"'
        raise ConfigError(message, field="wyoming_port") from None
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
