"""A text spoken for one HTTP answer: its events as they come, its bytes as they are taken.

A peer that hangs up, or takes no bytes for too long, cancels it; one that plays while it takes has what it was given to
play before that time begins.  Nothing of the answer is sent before there is sound, so that what goes wrong until then
has its own status; what goes wrong later cuts the connection.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from stream_server.errors import StreamServerError, error_of
from stream_server.events import Audio, Done, Event, Failed, Settings, Started
from stream_server.transports.house import House

log = logging.getLogger(__name__)
CONTEXT = "answer"


class Utterance:
    """Whoever makes one closes it."""

    def __init__(self, house: House, settings: Settings, text: str) -> None:
        """Raises a `ClientError` for a setting or a text that cannot be."""
        self._metrics = house.metrics
        self._wake = asyncio.Event()
        self._session = house.open(CONTEXT, 1, settings, self._wake.set)
        self._begun: list[Event] = []
        try:
            self._session.push_text(text)
            self._session.end()
        except StreamServerError:
            self.close()
            raise

    async def begin(self) -> None:
        """Waits for the first sound; raises the `StreamServerError` that came instead."""
        while not (self._begun and isinstance(self._begun[-1], Audio | Done)):
            self._begun.append(await self._next())

    async def events(self) -> AsyncIterator[Event]:
        """Everything, `Started` first; raises the error of a failure."""
        for event in self._begun:
            yield event
        while not self._session.is_over:
            yield await self._next()

    def close(self) -> None:
        self._session.cancel()

    async def _next(self) -> Event:
        while (event := self._session.next_event()) is None:
            self._wake.clear()
            await self._wake.wait()
        if isinstance(event, Failed):
            raise error_of(
                event.code, event.message, field=event.field, limit=event.limit, retry_after=event.retry_after
            )
        if isinstance(event, Done):
            self._metrics.observe(event)
        return event


class SpeechResponse(Response):
    """200 and a body of pieces made from an utterance's events, each sent as soon as it is there; closes it."""

    def __init__(
        self,
        utterance: Utterance,
        pieces: Callable[[Event], bytes],
        media_type: str,
        slow_reader_s: float,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """utterance: begun.  pieces: event → bytes, empty where it tells nothing."""
        super().__init__(headers={"cache-control": "no-store", **(headers or {})})
        del self.headers["content-length"]
        self.headers["content-type"] = media_type
        self._utterance = utterance
        self._pieces = pieces
        self._slow_reader_s = slow_reader_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await unless_gone(receive, self._speak(send))
        except (StreamServerError, TimeoutError) as error:
            # The status is out: an answer without an end is how HTTP says that it failed.
            log.info("answer cut", extra={"code": getattr(error, "code", "slow_reader")})
        except OSError:
            pass  # the peer left
        finally:
            self._utterance.close()

    async def _speak(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        rate, played_by = 1, time.monotonic()  # when a peer that plays as it takes has played what it was given
        async for event in self._utterance.events():
            if isinstance(event, Started):
                rate = event.sample_rate
            if piece := self._pieces(event):
                async with asyncio.timeout(max(0.0, played_by - time.monotonic()) + self._slow_reader_s):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            if isinstance(event, Audio):
                played_by += event.duration / rate
        await send({"type": "http.response.body", "body": b""})


async def speak(
    request: Request,
    house: House,
    settings: Settings,
    text: str,
    pieces: Callable[[Event], bytes],
    media_type: str,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer to a request whose body has been read; raises what went wrong before the first sound."""
    utterance = Utterance(house, settings, text)
    try:
        await unless_gone(request.receive, utterance.begin())
    except BaseException:
        utterance.close()
        raise
    return SpeechResponse(utterance, pieces, media_type, house.limits.slow_reader_s, headers)


class Gone(OSError):
    """The peer hung up."""


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Raises `Gone`, the work being cancelled, as soon as the peer hangs up."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(disconnected(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Gone
        await working
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
