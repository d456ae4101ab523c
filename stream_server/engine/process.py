"""The core in a process of its own: one compute thread there, sockets here, neither waits for the other's GIL.

One duplex pipe; a message each way is a pickled batch.  A closed pipe is `EngineDead`, whatever closed it.
"""

import asyncio
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection

from stream_server.engine.core import EngineCore
from stream_server.engine.messages import Command, Ready, Stop, Tick
from stream_server.errors import EngineDead

STOP_GRACE_S = 5.0


class ProcessEngine:
    """`make_core` must be picklable: a module's function or a partial of one."""

    def __init__(self, make_core: Callable[[], EngineCore]) -> None:
        self._make_core = make_core
        self._outputs: asyncio.Queue[Ready | Tick | EngineDead] = asyncio.Queue()
        self._commands: queue.SimpleQueue[Command | None] = queue.SimpleQueue()
        self._process: multiprocessing.process.BaseProcess | None = None
        self._dead = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self) -> Ready:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._process = context.Process(target=engine_main, args=(theirs, self._make_core), name="engine", daemon=True)
        self._process.start()
        theirs.close()
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._read, args=(ours, loop), name="engine-read", daemon=True).start()
        threading.Thread(target=self._write, args=(ours,), name="engine-write", daemon=True).start()
        output = await self._next()
        assert isinstance(output, Ready)
        return output

    def send(self, command: Command) -> None:
        if self._dead:
            raise EngineDead("the engine process is gone")
        self._commands.put(command)

    async def receive(self) -> Tick:
        output = await self._next()
        assert isinstance(output, Tick)
        return output

    async def stop(self) -> None:
        if self._process is None:
            return
        self._commands.put(Stop())
        self._commands.put(None)
        await asyncio.to_thread(self._process.join, STOP_GRACE_S)
        if self._process.is_alive():
            self._process.kill()
            await asyncio.to_thread(self._process.join)

    async def _next(self) -> Ready | Tick:
        output = await self._outputs.get()
        if isinstance(output, EngineDead):
            self._dead = True
            raise output
        return output

    def _read(self, pipe: Connection, loop: asyncio.AbstractEventLoop) -> None:
        def emit(output: Ready | Tick | EngineDead) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._outputs.put_nowait, output)

        try:
            while True:
                emit(pipe.recv())
        except (EOFError, OSError):
            emit(EngineDead("the engine process is gone"))
            self._commands.put(None)

    def _write(self, pipe: Connection) -> None:
        try:
            while (command := self._commands.get()) is not None:
                pipe.send(command)
        except OSError:
            pass  # the reader tells of it


def engine_main(pipe: Connection, make_core: Callable[[], EngineCore]) -> None:
    """The child: commands are read on a thread, the core steps on the main one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the front decides when to stop
    try:
        core = make_core()
    except Exception as error:
        pipe.send(EngineDead(f"the engine could not start: {error}"))
        return

    def read() -> None:
        try:
            while True:
                core.put(pipe.recv())
        except (EOFError, OSError):
            os._exit(0)  # the front is gone; nobody is left to speak to

    threading.Thread(target=read, name="commands", daemon=True).start()
    core.run(pipe.send)
