"""The front's side of the engine's door: one client over every placement, and the switchboard behind it.

A placement (`inprocess`, `process`) moves commands in and outputs out.  `Engine` gives each sequence to the listener
that owns it; what comes for a sequence nobody owns any more is dropped, so a late frame can reach no one else.
"""

import asyncio
import logging
from collections.abc import Callable
from itertools import count
from typing import Protocol

from stream_server.engine.messages import (
    AbortSequence,
    AddSequence,
    Command,
    Controls,
    EngineLoad,
    ExtendSequence,
    Finished,
    Frame,
    GrantCredit,
    ModelSpec,
    Ready,
    SequenceStats,
    Tick,
)
from stream_server.errors import EngineDead
from stream_server.text.word import Word

log = logging.getLogger(__name__)


class EngineClient(Protocol):
    """A placement of the core: the same verbs wherever it lives."""

    async def start(self) -> Ready: ...

    def send(self, command: Command) -> None:
        """Never blocks; raises `EngineDead` once the core is gone."""
        ...

    async def receive(self) -> Tick:
        """The next step's outputs; raises `EngineDead` when there will be none."""
        ...

    async def stop(self) -> None: ...


class Listener(Protocol):
    """Who a sequence belongs to.  Called in the event loop, never after `finished`."""

    def frame(self, frame: Frame) -> None: ...

    def finished(self, finished: Finished) -> None: ...


class Engine:
    """The switchboard: sequence ids here, listeners there."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client
        self._listeners: dict[int, Listener] = {}
        self._ids = count(1)
        self._pump: asyncio.Task[None] | None = None
        self._spec: ModelSpec | None = None
        self.load = EngineLoad(0, 0, 0, 0)
        self.alive = False
        self.on_tick: Callable[[Tick], None] = lambda tick: None

    @property
    def spec(self) -> ModelSpec:
        assert self._spec is not None, "the engine has not been started"
        return self._spec

    async def start(self) -> None:
        ready = await self._client.start()
        self._spec, self.load, self.alive = ready.spec, ready.load, True
        self._pump = asyncio.create_task(self._dispatch(), name="engine-outputs")

    async def stop(self) -> None:
        self.alive = False
        await self._client.stop()
        if self._pump:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)

    def submit(self, words: tuple[Word, ...], final: bool, controls: Controls, credit: int, listener: Listener) -> int:
        """→ the sequence's id; everything that becomes of it is told to `listener`."""
        self._require_life()
        id = next(self._ids)
        self._listeners[id] = listener
        self._client.send(AddSequence(id, words, final, controls, credit))
        return id

    def extend(self, id: int, words: tuple[Word, ...] = (), final: bool = False, speed: float | None = None) -> None:
        self._require_life()
        self._client.send(ExtendSequence(id, words, final, speed))

    def credit(self, id: int, samples: int) -> None:
        if self.alive:
            self._client.send(GrantCredit(id, samples))

    def abort(self, id: int) -> None:
        """From this call on its listener hears nothing more; the slot is free within one step."""
        if self._listeners.pop(id, None) is not None and self.alive:
            self._client.send(AbortSequence(id))

    def _require_life(self) -> None:
        if not self.alive:
            raise EngineDead("the speech engine is not running")

    async def _dispatch(self) -> None:
        try:
            while True:
                self._deliver(await self._client.receive())
        except EngineDead as dead:
            if self.alive:  # else it was told to stop
                self._mourn(dead)

    def _deliver(self, tick: Tick) -> None:
        self.load = tick.load or self.load
        for frame in tick.frames:
            if (listener := self._listeners.get(frame.sequence_id)) is not None:
                listener.frame(frame)
        for finished in tick.finished:
            if (listener := self._listeners.pop(finished.sequence_id, None)) is not None:
                listener.finished(finished)
        self.on_tick(tick)

    def _mourn(self, dead: EngineDead) -> None:
        log.error("engine died", extra={"sequences": len(self._listeners)})
        self.alive = False
        orphans, self._listeners = self._listeners, {}
        for id, listener in orphans.items():
            listener.finished(Finished(id, "engine_dead", SequenceStats(), dead.message))
