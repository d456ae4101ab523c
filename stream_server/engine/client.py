"""The front's side of the engine's door: one client over every placement, and the switchboard behind it.

A placement (`inprocess`, `process`) moves commands in and outputs out.  `Engine` gives each sequence to the listener
that owns it; what comes for a sequence nobody owns any more is dropped, so a late frame can reach no one else.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable
from itertools import count
from typing import Protocol

from stream_server.engine.admission import Admission
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
    Ping,
    Playback,
    Ready,
    SequenceStats,
    Tick,
)
from stream_server.errors import EngineDead
from stream_server.text.word import Word

log = logging.getLogger(__name__)
LONGEST = 2  # times as long as its longest step an engine may be silent
STARVED = 5  # times as long a silence is borne with where the engine only waits for a processor
RESTART_S = 3.0  # what a new engine usually takes to load


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

    restarts: bool  # whether `start` may be called again after a death

    def is_running(self) -> bool:
        """Whether it computes, or waits for a processor to compute on, as far as can be told."""
        ...

    def kill(self) -> None:
        """End it at once, so that `receive` raises; where it cannot be, nothing happens."""
        ...


class Listener(Protocol):
    """Who a sequence belongs to.  Called in the event loop, never after `finished`."""

    def frame(self, frame: Frame) -> None: ...

    def finished(self, finished: Finished) -> None: ...

    def resume(self) -> None:
        """The engine is a new one and knows nothing: submit again what was being spoken."""
        ...


class Engine:
    """The switchboard: sequence ids here, listeners there."""

    def __init__(self, client: EngineClient, streams: int | None = None, stall_s: float = 0.2) -> None:
        """streams: an operator's bound on contexts at once; stall_s: silence, where there is work, that means death."""
        self._client = client
        self._stall_s = stall_s
        self.admission = Admission(streams)
        self._listeners: dict[int, Listener] = {}
        self._ids = count(1)
        self._pump: asyncio.Task[None] | None = None
        self._spec: ModelSpec | None = None
        self.load = EngineLoad(0, 0, 0, 0, 0)
        self.alive = False
        self.recovering = False
        self._heard_at = 0.0  # when the engine last gave a sign of life
        self._watch: asyncio.Task[None] | None = None
        self.on_tick: Callable[[Tick], None] = lambda tick: None

    @property
    def spec(self) -> ModelSpec:
        assert self._spec is not None, "the engine has not been started"
        return self._spec

    async def start(self) -> None:
        await self._begin()
        self._pump = asyncio.create_task(self._dispatch(), name="engine-outputs")
        self._watch = asyncio.create_task(self._watch_life(), name="engine-watch")

    async def stop(self) -> None:
        self.alive = self.recovering = False
        tasks = [task for task in (self._pump, self._watch) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.stop()

    async def _begin(self) -> None:
        ready = await self._client.start()
        self._spec, self.load, self.alive = ready.spec, ready.load, True
        self._heard_at = time.monotonic()

    @property
    def room(self) -> int:
        """Contexts that may speak at once, as things stand."""
        return self.admission.room(self.load.capacity)

    def enter(self) -> None:
        """A context is about to speak.  Raises `Overloaded` or `EngineDead`; what entered must `leave`."""
        if not self.alive:
            raise EngineDead("the speech engine is not running", retry_after=RESTART_S)
        self.admission.enter(self.load.capacity)

    def leave(self, stay_s: float) -> None:
        self.admission.leave(stay_s)

    def submit(
        self,
        listener: Listener,
        words: tuple[Word, ...],
        final: bool,
        controls: Controls,
        *,
        credit: int,
        lead_s: float = math.inf,
        plays_at: float | None = None,
        begin: int = 0,
    ) -> int:
        """→ the sequence's id; everything that becomes of it is told to `listener`.

        While the engine is coming back nothing is sent: all listeners are asked to `resume` then.
        """
        if not self.alive and not self.recovering:
            raise EngineDead("the speech engine is not running")
        id = next(self._ids)
        self._listeners[id] = listener
        self._send(AddSequence(id, words, final, controls, credit, lead_s, plays_at, begin))
        return id

    def extend(self, id: int, words: tuple[Word, ...] = (), final: bool = False, speed: float | None = None) -> None:
        self._send(ExtendSequence(id, words, final, speed))

    def credit(self, id: int, samples: int) -> None:
        self._send(GrantCredit(id, samples))

    def playback(self, id: int, plays_at: float) -> None:
        self._send(Playback(id, plays_at))

    def abort(self, id: int) -> None:
        """From this call on its listener hears nothing more; the slot is free within one step."""
        if self._listeners.pop(id, None) is not None:
            self._send(AbortSequence(id))

    def _send(self, command: Command) -> None:
        if self.alive:
            with contextlib.suppress(EngineDead):  # its death is on its way to every listener
                self._client.send(command)

    async def _dispatch(self) -> None:
        """Outputs to their listeners; a death is followed by a new life where the placement can give one."""
        while True:
            try:
                while True:
                    self._deliver(await self._client.receive())
            except EngineDead as dead:
                self.alive = False
                log.error("engine died", extra={"sequences": len(self._listeners)})
                if not await self._recover():
                    return self._mourn(dead)

    async def _recover(self) -> bool:
        """Whether the engine is back; those who were listening take up where they were cut off."""
        if not self._client.restarts:
            return False
        self.recovering = True
        try:
            await self._begin()
        except EngineDead:
            return False
        finally:
            self.recovering = False
        log.warning("engine restarted", extra={"sequences": len(self._listeners)})
        interrupted, self._listeners = self._listeners, {}
        for listener in interrupted.values():
            listener.resume()
        return True

    @property
    def patience(self) -> float:
        """Seconds of silence that mean death: a large model on a slow machine takes its time over a step."""
        return max(self._stall_s, LONGEST * self.load.longest_s)

    async def _watch_life(self) -> None:
        """An engine that has work and gives no sign of life is dead, whatever its process says.

        On a machine that is busy with other things it may be alive and starved: killing it would not feed it.
        """
        asked_at: float | None = None
        while self._client.restarts:
            before = time.monotonic()
            await asyncio.sleep(self._stall_s / 4)
            now = time.monotonic()
            late = now - before > self._stall_s / 2  # we were held up ourselves: its answer may lie unread
            if late or not (self.alive and self._listeners) or (asked_at and self._heard_at >= asked_at):
                asked_at = None
            elif asked_at is None:
                if now - self._heard_at > self._stall_s / 4:
                    self._send(Ping())
                    asked_at = now
            elif now - asked_at > self.patience * (STARVED if self._client.is_running() else 1):
                log.error("engine stalled", extra={"seconds": round(now - self._heard_at, 3)})
                self._client.kill()
                asked_at = None

    def _deliver(self, tick: Tick) -> None:
        self._heard_at = time.monotonic()
        self.load = tick.load or self.load
        for frame in tick.frames:
            if (listener := self._listeners.get(frame.sequence_id)) is not None:
                listener.frame(frame)
        for finished in tick.finished:
            if (listener := self._listeners.pop(finished.sequence_id, None)) is not None:
                listener.finished(finished)
        self.on_tick(tick)

    def _mourn(self, dead: EngineDead) -> None:
        orphans, self._listeners = self._listeners, {}
        for id, listener in orphans.items():
            listener.finished(Finished(id, "engine_dead", SequenceStats(), dead.message))
