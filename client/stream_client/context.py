"""Context: one text being spoken; text goes in, events come out.

Knows the order of a context's life, decodes its audio and keeps its events until they are taken.  Does not know the
socket, nor the other contexts on it.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_client.decoder import Decoder
from stream_client.errors import QueueOverflow, ServerError, StreamError, WireError
from stream_client.wire import Cancelled, Done, Failed, Flushed, Mark, Packet, Started, command


@dataclass(frozen=True, eq=False)
class Audio:
    """A piece of speech.

    `pcm` is at the context's `decode_rate`, and all pieces' pcm put together is the speech, exact to the sample.
    `pts` and `duration` are the server's own figures, at the context's sample rate: the pcm of an Opus message may
    lag behind them by the codec's delay.  It is empty where the format is one that this client does not decode.
    """

    pcm: NDArray[np.int16]
    pts: int
    duration: int
    arrived: float  # when the message was read from the socket, by the client's clock
    data: bytes  # as it came


Event = Started | Audio | Mark | Flushed | Done | Cancelled
Received = Started | Packet | Mark | Flushed | Done | Cancelled


class Context:
    """Made by `Client.start`; iterate over it for its events, which end with `Done` or `Cancelled`.

    An error ends the context and is raised by whatever touches it next.
    """

    def __init__(self, name: str, send: Callable[[str], Awaitable[None]], text_chars: int, queue_messages: int) -> None:
        self.name = name
        self.started: Started | None = None
        self._write = send
        self._text_chars = text_chars
        self._queue_messages = queue_messages
        self._queue: deque[tuple[Received, float]] = deque()
        self._news = asyncio.Event()  # the queue or the outcome changed
        self._over = asyncio.Event()  # the outcome is known
        self._outcome: Done | Cancelled | StreamError | None = None
        self._decoder: Decoder | None = None
        self._sequence = 0
        self._cancelling = False
        self._text = ""  # as sent so far, and the words spoken of it: to say what was heard
        self._marks: list[Mark] = []
        self._heard: int | None = None  # the last position that was reported

    # What the listener says.

    async def send(self, text: str) -> None:
        """Text to be spoken, in pieces of any size; words may be cut anywhere."""
        self._text += text
        for start in range(0, len(text), self._text_chars):
            await self._say("text", text=text[start : start + self._text_chars])

    async def flush(self) -> None:
        """Speak what is there; more text may follow."""
        await self._say("flush")

    async def end(self) -> None:
        """No more text: speak the rest and finish."""
        await self._say("end")

    async def speed(self, speed: float) -> None:
        await self._say("speed", speed=speed)

    async def played(self, samples: int) -> None:
        """Tell the server how much has been heard, in samples at the context's sample rate."""
        self._heard = samples
        await self._say("played", played=samples)

    async def cancel(self, played: int | None = None) -> Cancelled:
        """Barge in: nothing more of this context comes.  `played` is what has been heard, in samples at its rate;
        without it the last report counts.

        A context that is done has nothing left to stop, but some of it may not have been heard: the same answer is
        then made here.
        """
        if self._outcome is None and not self._cancelling:
            self._cancelling = True
            await self._say("cancel", played=played)
        self._drop_audio()
        await self._over.wait()
        if isinstance(self._outcome, Cancelled):
            return self._outcome
        if isinstance(self._outcome, Done):
            return self._interrupted(self._outcome.samples, played)
        assert self._outcome is not None
        raise self._outcome

    # What the listener hears.

    @property
    def decode_rate(self) -> int:
        """The rate of the pcm: the context's own, but 48 000 where Opus cannot decode at that (32 kHz)."""
        return self._begun().rate

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        while not self._queue:
            if self._outcome is not None:
                await self._finish(self._outcome)
            self._news.clear()
            await self._news.wait()
        message, arrived = self._queue.popleft()
        if not isinstance(message, Packet):
            return message
        return Audio(self._begun().decode(message), message.pts, message.duration, arrived, message.data)

    # What the client's reader brings.

    def deliver(self, message: Received | Failed, arrived: float) -> None:
        if self.over:
            return None
        if isinstance(message, Failed):
            return self.fail(server_error(message))
        if isinstance(message, Packet) and not self._expected(message):
            return None
        if len(self._queue) >= self._queue_messages:
            return self.fail(QueueOverflow(f"{self.name}: {self._queue_messages} messages wait and none is taken"))
        self._note(message)
        self._queue.append((message, arrived))
        self._news.set()

    def fail(self, error: StreamError) -> None:
        if self._outcome is None:
            self._outcome = error
            self._over.set()
            self._news.set()

    @property
    def over(self) -> bool:
        """Whether anything more can be delivered."""
        return self._outcome is not None

    def _expected(self, packet: Packet) -> bool:
        """The socket keeps order, so a hole is the server's mistake; what crosses a cancel is dropped."""
        if packet.sequence != self._sequence:
            raise WireError(f"{self.name}: audio message {packet.sequence} where {self._sequence} was due")
        self._sequence += 1
        return not self._cancelling

    def _note(self, message: Received) -> None:
        match message:
            case Started():
                self.started = message
                self._decoder = Decoder(message)
            case Mark():
                self._marks.append(message)
            case Done() | Cancelled():
                self._outcome = message
                self._over.set()

    def _begun(self) -> Decoder:
        if self._decoder is None:
            raise StreamError(f"{self.name}: its rate is known once it has started")
        return self._decoder

    async def _say(self, kind: str, **fields: object) -> None:
        if isinstance(self._outcome, StreamError):
            raise self._outcome
        if self._outcome is None:
            await self._write(command(kind, self.name, **fields))

    async def _finish(self, outcome: Done | Cancelled | StreamError) -> None:
        if isinstance(outcome, QueueOverflow):
            await self._write(command("cancel", self.name))  # the server need not speak on
        if isinstance(outcome, StreamError):
            raise outcome
        raise StopAsyncIteration

    def _drop_audio(self) -> None:
        self._queue = deque(item for item in self._queue if not isinstance(item[0], Packet))

    def _interrupted(self, sent: int, played: int | None) -> Cancelled:
        """The server's own reckoning: a word has been heard once it has begun."""
        played = self._heard if played is None else played
        if played is None:
            return Cancelled(self.name, sent)
        cut = max((mark.end for mark in self._marks if mark.pts < played), default=0)
        return Cancelled(self.name, sent, min(played, sent), self._text[:cut], self._text[cut:])


def server_error(failed: Failed) -> ServerError:
    return ServerError(failed.code, failed.message, failed.field, failed.limit, failed.retryable, failed.retry_after)
