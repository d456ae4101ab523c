"""Listener: one person at the other end of a socket, who has a text spoken; and what became of it.

As cheap as a listener can be, since what it costs is taken from the machine it measures: of a packet the header is
read and nothing is decoded.  The player is arithmetic over arrival times (`GapMeter`).

Kinds:

* `live`: text as a chat bot writes it, OPENING words at once and then word by word at TEXT_WPM.
* `barge`: the same, but the listener interrupts after a share of what there would be to hear.
* `whole`: the whole text in one message.
* `slow`: a long text as raw PCM, and after a second of speech nothing is read from the socket for PAUSE_S, with a
  small receive buffer: a server that sends ahead feels it once the kernel's buffers are full, half a megabyte or ten
  seconds later.  What such a listener misses is its own doing and not counted.

**Whose gap it is.**  A live text could be the cause of a gap itself, so it is written a little faster than the voices
speak (180 to 195 words a minute), and the opening keeps it ahead.  Should speech catch up all the same, a gap is
`starved`, and no underrun, only if text it needed came after the opening and less than GRACE_S before the sound was
due: the word being spoken or one of the LOOKAHEAD words behind it, by which the server decides how to read it.  Every
other gap is an underrun of the server's.

Does not know how the packets sound, nor what other listeners do.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from urllib.parse import urlsplit

from stream_client.gaps import GapMeter
from stream_client.wire import HEADER, SUBPROTOCOL, command
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

KINDS = ("live", "barge", "whole", "slow")
NAME = "a"  # of the one context on the socket
RATE = 24_000  # Hz
SPEECH_WPM = 185  # of the voices, near enough to plan by
TEXT_WPM = 240
OPENING = 6  # words
LOOKAHEAD = 3  # words
GRACE_S = 0.2
REPORT_S = 0.2  # between two reports of what was played
PAUSE_S = 4.0
RECEIVE_BUFFER = 8192  # bytes, of a slow listener
SEGMENT = 1400  # bytes
SILENCE_S = 0.3  # for which a cancelled context is watched
PATIENCE_S = 30.0  # with a server that does not open the socket


@dataclass(frozen=True)
class Visit:
    """Who comes when and wants what."""

    at: float  # s since the load began
    kind: str
    text: str
    seed: int
    share: float = 1.0  # of the speech, at which a `barge` interrupts

    @property
    def expected_s(self) -> float:
        """Speech that will be heard, roughly."""
        return self.share * len(self.text.split()) * 60 / SPEECH_WPM


@dataclass
class Outcome:
    """Times are seconds on the machine's monotonic clock where they say `_at`, else durations."""

    visit: Visit
    end: str = ""  # done, cancelled, or the code of an error
    connect_s: float = 0.0
    text_at: float = 0.0  # the first text was sent
    first_audio_at: float | None = None
    began_at: float = 0.0  # the player
    ended_at: float = 0.0
    audio_s: float = 0.0  # received
    played_s: float = 0.0
    stalls: list[float] = field(default_factory=list)  # one an underrun
    starved: int = 0
    largest_gap_s: float = 0.0  # between two arrivals
    holes: int = 0  # packets missing or out of order
    error_s: float | None = None  # from the first message to an error
    retry_after: float | None = None
    cancel_s: float | None = None  # from the interruption to `cancelled`
    after_cancel: int = 0  # messages of the context behind `cancelled`
    timing: dict[str, float] = field(default_factory=dict)  # the server's own, from `done`
    lags: list[float] = field(default_factory=list)  # how late we did what was due

    @property
    def ttfa(self) -> float | None:
        return None if self.first_audio_at is None else self.first_audio_at - self.text_at

    @property
    def refused(self) -> bool:
        return self.end == "overloaded" and self.first_audio_at is None

    @property
    def failed(self) -> bool:
        return self.end not in ("done", "cancelled") and not self.refused


class Listener:
    def __init__(self, url: str, visit: Visit, cushion_s: float, report_played: bool) -> None:
        self.url, self.visit, self.report_played = url, visit, report_played
        self.outcome = Outcome(visit)
        self.meter = GapMeter(RATE, cushion_s)
        self.typed: list[float] = []  # when each word was sent; the opening's always
        self.spoken = 0  # words begun, by the server's marks
        self.sequence = self.pts = 0  # that the next packet should bear
        self.last_arrival = 0.0
        self.interrupted_at: float | None = None
        self.hears = asyncio.Event()  # from the first packet on

    async def visit_server(self, began: float) -> Outcome:
        """The visit, due at `began + visit.at`; whatever goes wrong is told in the outcome."""
        await self.sleep_until(began + self.visit.at)
        try:
            async with self.connected() as socket:
                await self.converse(socket)
        except InvalidStatus as error:  # refused before the handshake
            self.end("overloaded" if error.response.status_code == 503 else "handshake")
        except (ConnectionClosed, OSError):
            self.end("connection_lost")
        finally:
            self.settle()
        return self.outcome

    async def converse(self, socket: ClientConnection) -> None:
        hello = json.loads(await socket.recv())
        voices = hello["voices"]
        format = "pcm_s16le" if self.visit.kind == "slow" else "opus"
        voice = voices[self.visit.seed % len(voices)]
        self.outcome.text_at = monotonic()  # so that a refusal of the start has a time too
        await socket.send(command("start", NAME, voice=voice, format=format, sample_rate=RATE, seed=self.visit.seed))
        tasks = [asyncio.create_task(self.type(socket))]
        if self.report_played:
            tasks.append(asyncio.create_task(self.report(socket)))
        if self.visit.kind == "barge":
            tasks.append(asyncio.create_task(self.interrupt(socket)))
        try:
            await self.listen(socket)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # What the listener does.

    async def type(self, socket: ClientConnection) -> None:
        words = [word + " " for word in self.visit.text.split()]
        first = OPENING if self.visit.kind in ("live", "barge") else len(words)
        began = self.outcome.text_at = monotonic()
        await socket.send(command("text", NAME, text="".join(words[:first])))
        self.typed += [float("-inf")] * first  # no excuse for a gap: speech began knowing it
        for number, word in enumerate(words[first:], 1):
            await self.sleep_until(began + number * 60 / TEXT_WPM)
            await socket.send(command("text", NAME, text=word))
            self.typed.append(monotonic())
        await socket.send(command("end", NAME))

    async def interrupt(self, socket: ClientConnection) -> None:
        await self.hears.wait()
        assert self.meter.began is not None
        await self.sleep_until(self.meter.began + self.visit.expected_s)
        self.interrupted_at = monotonic()
        await socket.send(command("cancel", NAME, played=self.position(self.interrupted_at)))

    async def report(self, socket: ClientConnection) -> None:
        await self.hears.wait()
        while True:
            await asyncio.sleep(REPORT_S)
            await socket.send(command("played", NAME, played=self.position(monotonic())))

    async def sleep_until(self, due: float) -> None:
        await asyncio.sleep(due - monotonic())
        self.outcome.lags.append(monotonic() - due)

    # What the listener hears.

    async def listen(self, socket: ClientConnection) -> None:
        pauses = self.visit.kind == "slow"
        while not self.outcome.end:
            message = await socket.recv()
            if isinstance(message, bytes):
                self.hear(message)
            else:
                self.told(json.loads(message))
            if pauses and self.pts > RATE:
                pauses = False
                await asyncio.sleep(PAUSE_S)
        if self.outcome.end == "cancelled":
            await self.watch_silence(socket)

    def hear(self, packet: bytes) -> None:
        now = monotonic()
        _, _, _, sequence, pts, duration = HEADER.unpack_from(packet)
        if sequence == 0:
            self.outcome.first_audio_at = self.last_arrival = now
            self.hears.set()
        self.outcome.holes += (sequence, pts) != (self.sequence, self.pts)
        self.outcome.largest_gap_s = max(self.outcome.largest_gap_s, now - self.last_arrival)
        self.last_arrival, self.sequence, self.pts = now, sequence + 1, pts + duration
        if self.interrupted_at is not None:
            return  # on its way when the listener spoke: nobody plays it
        stalled = self.meter.stall_s
        self.meter.add(now, pts, duration)
        if (late := self.meter.stall_s - stalled) and self.visit.kind != "slow":
            if now - late < self.needed_text_sent() + GRACE_S:
                self.outcome.starved += 1
            else:
                self.outcome.stalls.append(late)

    def told(self, message: dict[str, object]) -> None:
        kind = message["type"]
        if kind == "mark":
            self.spoken += 1
        elif kind == "done":
            self.outcome.timing = message["timing"]
            self.end("done")
        elif kind == "cancelled":
            assert self.interrupted_at is not None
            self.outcome.cancel_s = monotonic() - self.interrupted_at
            self.end("cancelled")
        elif kind == "error":
            self.outcome.error_s = monotonic() - self.outcome.text_at
            self.outcome.retry_after = message.get("retry_after")
            self.end(str(message["code"]))

    async def watch_silence(self, socket: ClientConnection) -> None:
        try:
            async with asyncio.timeout(SILENCE_S):
                while True:
                    await socket.recv()
                    self.outcome.after_cancel += 1
        except TimeoutError:
            pass

    def needed_text_sent(self) -> float:
        """When the text was sent that the word being spoken waits for; never, while it has not been."""
        needed = min(self.spoken + LOOKAHEAD, len(self.visit.text.split()))
        return self.typed[needed - 1] if needed <= len(self.typed) else float("inf")

    # The player.

    def position(self, now: float) -> int:
        """Samples played."""
        if self.meter.began is None:
            return 0
        played = (now - self.meter.began - self.meter.stall_s) * RATE
        return max(0, min(self.pts, int(played)))

    # The end.

    def end(self, how: str) -> None:
        self.outcome.end = self.outcome.end or how

    def settle(self) -> None:
        outcome, meter = self.outcome, self.meter
        outcome.audio_s = self.pts / RATE
        if meter.began is not None and meter.ended is not None:
            outcome.began_at, outcome.ended_at = meter.began, meter.ended
            if self.visit.kind == "barge":  # whether or not the server had already said all of it
                outcome.ended_at = min(meter.ended, meter.began + self.visit.expected_s)
            outcome.played_s = self.position(outcome.ended_at) / RATE

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[ClientConnection]:
        before = monotonic()
        slow = small_socket(self.url) if self.visit.kind == "slow" else None
        options = {"subprotocols": [SUBPROTOCOL], "compression": None, "open_timeout": PATIENCE_S, "sock": slow}
        async with connect(self.url, close_timeout=1, ping_interval=None, **options) as socket:
            self.outcome.connect_s = monotonic() - before
            yield socket


def small_socket(url: str) -> socket.socket:
    """Connected, with a receive buffer that fills in no time; it has to be small before the connection is made.

    Segments are those of a real network: with the loopback's, of 64 KiB, the server's kernel would buffer megabytes.
    """
    place = urlsplit(url)
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT)
    made.connect((place.hostname, place.port))
    made.setblocking(False)
    return made
