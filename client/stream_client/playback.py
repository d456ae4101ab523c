"""Player: one context's speech into a sink, and how much of it has been heard.

Knows the context's sample rate and the sink's, and what to tell the server.  Does not know what the sink is.
"""

import asyncio

from stream_client.context import Audio, Context
from stream_client.sinks import Sink
from stream_client.wire import Cancelled, Started

REPORT_EVERY_S = 0.25  # of speech, at least, between two reports of what was heard
POLL_S = 0.01


class Player:
    """Give it the context's events; `interrupt` is barge-in, with the position that only the player knows."""

    def __init__(self, context: Context, sink: Sink) -> None:
        self._context = context
        self._sink = sink
        self._started: Started | None = None
        self._reported = 0

    def start(self, started: Started) -> None:
        self._started = started
        self._sink.open(self._context.decode_rate)

    async def play(self, audio: Audio) -> None:
        self._sink.write(audio.pcm)
        await self._report()

    @property
    def position(self) -> int:
        """Samples heard, at the context's sample rate: the unit of `pts` and `played`."""
        if self._started is None:
            return 0
        return self._sink.heard * self._started.sample_rate // self._context.decode_rate

    async def finish(self) -> None:
        """Wait until all of it has been heard."""
        if self._started is None:
            return
        self._sink.finish()
        while not self._sink.drained:
            await self._report()
            await asyncio.sleep(POLL_S)

    async def interrupt(self) -> Cancelled:
        position = self.position
        if self._started is not None:
            self._sink.clear()
        return await self._context.cancel(played=position)

    def close(self) -> None:
        self._sink.close()

    async def _report(self) -> None:
        if self._started is None or self._context.over:
            return
        position = self.position
        if position - self._reported >= REPORT_EVERY_S * self._started.sample_rate:
            self._reported = position
            await self._context.played(position)
