"""A server on a real port with a model that behaves, for tests of what is spoken over HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from stream_server.engine.client import Engine
from stream_server.engine.core import EngineCore
from stream_server.engine.inprocess import InProcessEngine
from stream_server.limits import Limits
from stream_server.protocols.voices import VoiceBook
from stream_server.transports.guard import Guard
from stream_server.transports.house import House
from stream_server.transports.server import running
from stream_server.voices.maker import VoiceMaker
from tests.fakes import FakeModel


@asynccontextmanager
async def serving_http(
    model: FakeModel | None = None,
    slots: int = 4,
    guard: Guard | None = None,
    voices: VoiceBook | None = None,
    maker: VoiceMaker | None = None,
    **limits: Any,
) -> AsyncIterator[tuple[str, EngineCore]]:
    """Yields the address, without a path, and the core."""
    core = EngineCore(model or FakeModel(), slots, max_waiting=limits.get("queue", 64))
    engine = Engine(InProcessEngine(lambda: core), core.scheduler.num_slots)
    await engine.start()
    house = House(engine, Limits(**limits), voices=voices or VoiceBook(), guard=guard or Guard(), maker=maker)
    try:
        async with running(house) as url:
            yield url.replace("ws://", "http://").removesuffix("/v1/stream"), core
    finally:
        await engine.stop()
