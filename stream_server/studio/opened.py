"""A studio for as long as a server runs: put together here, and everything it started ended."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from stream_server.engine.client import Engine
from stream_server.limits import Limits
from stream_server.studio.guests import Guests
from stream_server.studio.library import Library
from stream_server.studio.workshop import Workshop
from stream_server.voices.add import Make
from stream_server.voices.store import VoiceStore


@contextlib.asynccontextmanager
async def opened(
    engine: Engine, store: VoiceStore, load: Callable[[], Make], limits: Limits
) -> AsyncIterator[tuple[Library, Guests]]:
    """engine: started, with the voices of `store`; load: picklable, loads what makes voices, in another process."""
    workshop = Workshop(load, limits)
    library = Library(engine, store, workshop)
    watch = asyncio.create_task(library.watch(), name="voices-watch")
    try:
        yield library, Guests(engine, workshop, limits)
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        await workshop.stop()
