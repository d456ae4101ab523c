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
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Protocol

from stream_server.engine.admission import Admission
from stream_server.engine.lateness import Lateness
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
    ModelMemory,
    ModelSpec,
    Ping,
    Playback,
    Ready,
    SequenceStats,
    Spoken,
    Tick,
)
from stream_server.engine.voices import VoiceChanges
from stream_server.engine.watch import Watch
from stream_server.errors import EngineBusy, EngineDead, Overloaded
from stream_server.text.word import Word
from stream_server.voices.stored import StoredVoice

log = logging.getLogger(__name__)
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

    async def stop(self) -> None:
        """Lets go of the model and of all it holds; may be called again, and while it loads."""
        ...

    restarts: bool  # whether `start` may be called again after a death; after `stop` it always may

    @property
    def pid(self) -> int | None:
        """Of the engine's own process, while it has one."""
        ...

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

    def __init__(
        self,
        client: EngineClient,
        streams: int | None = None,
        stall_s: float = 0.2,
        idle_unload_s: float | None = None,
        load_s: float = 120.0,
        load_queue: int = 64,
    ) -> None:
        """streams: an operator's bound on contexts at once; stall_s: silence, where there is work, that means death.

        idle_unload_s: without anybody speaking for so long the model is let go of; load_s: how long a load after that
        may take; load_queue: contexts that may wait for it.
        """
        self._client = client
        self._idle_unload_s = idle_unload_s
        self._watch = Watch(client, stall_s, lambda: self.alive and bool(self._listeners), lambda: self._send(Ping()))
        self._load_s, self._load_queue = load_s, load_queue
        self.admission = Admission(streams)
        self.lateness = Lateness()
        self._listeners: dict[int, Listener] = {}
        self._ids = count(1)
        self._voices = VoiceChanges(self._send, partial(next, self._ids))
        self._pump: asyncio.Task[None] | None = None
        self._spec: ModelSpec | None = None
        self.load = EngineLoad(0, 0, 0, 0, 0)
        self.alive = False
        self.recovering = False
        self.released = False  # nothing is loaded; the next context that speaks loads it
        self.loading = False  # ... and has asked for it
        self.memory = ModelMemory()
        self.load_took_s = RESTART_S
        self._wanted = asyncio.Event()
        self._gone = asyncio.Event()
        self._turning = asyncio.Lock()  # one release at a time changes the pump
        self._left_at = 0.0  # when somebody last spoke, or the model was loaded
        self._watching: asyncio.Task[None] | None = None
        self._idle: asyncio.Task[None] | None = None
        self.on_tick: Callable[[Tick], None] = lambda tick: None

    @property
    def spec(self) -> ModelSpec:
        assert self._spec is not None, "the engine has not been started"
        return self._spec

    async def start(self) -> None:
        await self._begin()
        self._pump = asyncio.create_task(self._dispatch(), name="engine-outputs")
        self._watching = asyncio.create_task(self._watch.run(), name="engine-watch")
        if self._idle_unload_s is not None:
            self._idle = asyncio.create_task(self._watch_idle(self._idle_unload_s), name="engine-idle")

    async def stop(self) -> None:
        self.alive = self.recovering = self.released = self.loading = False
        tasks = [task for task in (self._idle, self._pump, self._watching) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.stop()
        self._voices.refuse(EngineDead("the speech engine has stopped"))
        self._gone.set()

    async def _begin(self) -> None:
        began = time.monotonic()
        ready = await self._client.start()
        self._spec, self.load, self.memory, self.alive = ready.spec, ready.load, ready.memory, True
        self._watch.heard(self.load.longest_s)
        self._left_at = time.monotonic()
        self.load_took_s = self._left_at - began

    @property
    def room(self) -> int:
        """Contexts that may speak at once, as things stand."""
        return self.admission.room(self._capacity)

    @property
    def _capacity(self) -> int:
        """No more than are inside while the front is late."""
        if self.lateness.is_late:
            return min(self.load.capacity, max(1, self.admission.inside))
        return self.load.capacity

    def enter(self) -> None:
        """A context is about to speak.  Raises `Overloaded` or `EngineDead`; what entered must `leave`.

        Where the model was released it is loaded now, and the context waits for it.
        """
        if not self.can_serve:
            raise EngineDead("the speech engine is not running", retry_after=RESTART_S)
        if self.loading and len(self._listeners) >= self._load_queue:
            raise Overloaded(
                "too many wait for the model to load",
                field="load_queue",
                limit=self._load_queue,
                retry_after=self.load_took_s,
            )
        self.admission.enter(self._capacity)
        self._want()

    def leave(self, stay_s: float) -> None:
        self.admission.leave(stay_s)
        self._left_at = time.monotonic()

    @property
    def can_serve(self) -> bool:
        """Loaded, or loaded by whoever speaks next."""
        return self.alive or self.released or self.loading

    @property
    def pid(self) -> int | None:
        return self._client.pid

    async def release(self, force: bool = False) -> None:
        """Let go of the model and its memory until a context speaks again; returns when it is gone.

        Raises `EngineBusy` where contexts are being spoken or wait to be; with `force` they fail instead, but for those
        between two sentences: their next loads the model again.
        """
        if self.admission.inside and not force:
            raise EngineBusy(
                "contexts are being spoken: wait for their end, or force", field="force", limit=self.admission.inside
            )
        async with self._turning:
            if not self.released:
                if not self.can_serve:
                    raise EngineDead("the speech engine is not running", retry_after=RESTART_S)
                log.info("model released", extra={"sequences": len(self._listeners)})
                await self._turn_away()
        await self._gone.wait()

    async def _turn_away(self) -> None:
        assert self._pump is not None
        self._gone.clear()
        self._lie_down(EngineDead("the model was released"))
        self._pump.cancel()  # and with it a load
        await asyncio.gather(self._pump, return_exceptions=True)
        self._pump = asyncio.create_task(self._rest(), name="engine-outputs")

    def _lie_down(self, why: EngineDead) -> None:
        """Nothing is loaded from here on; whoever was listening is told why."""
        self._wanted.clear()
        self.alive = self.recovering = self.loading = False
        self.released, self.memory = True, ModelMemory()
        self.load = replace(self.load, running=0, waiting=0)
        self._mourn(why)

    def _want(self) -> None:
        if self.released:
            self.released, self.recovering, self.loading = False, True, True
            self._wanted.set()

    async def _rest(self) -> None:
        """A pump's life without an engine: it ends when somebody speaks and the model has been loaded for them."""
        await self._client.stop()
        self._gone.set()
        while True:
            await self._wanted.wait()
            try:
                async with asyncio.timeout(self._load_s):
                    await self._begin()
                break
            except (EngineDead, TimeoutError) as error:  # the next who speaks tries again
                why = error if isinstance(error, EngineDead) else EngineDead("loading took longer than load_s")
                log.error("the model could not be loaded", extra={"sequences": len(self._listeners)})
                await self._client.stop()
                self._lie_down(why)
        self.recovering = self.loading = False
        log.info("model loaded", extra={"seconds": round(self.load_took_s, 2), "sequences": len(self._listeners)})
        self._resume()
        await self._dispatch()

    def _resume(self) -> None:
        """A new engine is there: it is given the voices it cannot know, and everybody takes up where they were."""
        self._voices.restore()
        interrupted, self._listeners = self._listeners, {}
        for listener in interrupted.values():
            listener.resume()

    async def _watch_idle(self, limit: float) -> None:
        while True:
            left = self._left_at + limit - time.monotonic()
            if left <= 0 and self.alive and not self.admission.inside:
                await self.release()
            await asyncio.sleep(left if left > 0 else min(limit, 1.0))

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
        past: tuple[Spoken, ...] = (),
    ) -> int:
        """→ the sequence's id; everything that becomes of it is told to `listener`.

        While the engine is coming back nothing is sent: all listeners are asked to `resume` then.
        """
        self._want()
        if not self.alive and not self.recovering:
            raise EngineDead("the speech engine is not running")
        id = next(self._ids)
        self._listeners[id] = listener
        self._send(AddSequence(id, words, final, controls, credit, lead_s, plays_at, begin, past))
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

    # Voices, as they come and go.

    async def add_voice(self, voice: StoredVoice, listed: bool = True) -> None:
        """It can be spoken in; where it is listed, the spec tells of it.

        One that is not is given to an engine that comes back as well; a listed one that engine must find by itself.
        Raises `BrokenVoice`, `CannotClone` or `EngineDead`.
        """
        if not listed:
            self._voices.guests[voice.name] = voice
        self._ready_for_voices()
        await self._voices.add(voice, listed)

    async def remove_voice(self, name: str) -> None:
        """Raises `CannotClone` or `EngineDead`."""
        self._ready_for_voices()
        await self._voices.remove(name)

    def forget_guest(self, name: str) -> None:
        """The same for a voice that is not listed, without waiting."""
        self._voices.forget_guest(name)

    def _ready_for_voices(self) -> None:
        """A model that was released is loaded for the change."""
        self._want()
        if not self.alive and not self.recovering:
            raise EngineDead("the speech engine is not running", retry_after=RESTART_S)

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
        self._resume()
        return True

    def _deliver(self, tick: Tick) -> None:
        if tick.made_at is not None:
            self.lateness.note(tick.made_at)
        self.load = tick.load or self.load
        self._watch.heard(self.load.longest_s)
        self._spec = tick.spec or self._spec
        for changed in tick.voices:
            self._voices.answer(changed)
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
        self._voices.refuse(dead)
