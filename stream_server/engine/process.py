"""The core in a process of its own: one compute thread there, sockets here, neither waits for the other's GIL.

One duplex pipe; a message each way is a pickled batch.  A closed pipe is `EngineDead`, whatever closed it.
"""

import asyncio
import gc
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from stream_server.engine.messages import Command, Ready, Stop, Tick
from stream_server.errors import EngineDead

if TYPE_CHECKING:  # the front must not load torch
    from stream_server.engine.core import EngineCore

STOP_GRACE_S = 5.0


class ProcessEngine:
    """`make_core` must be picklable: a module's function or a partial of one."""

    restarts = True

    def __init__(self, make_core: "Callable[[], EngineCore]") -> None:
        self._make_core = make_core
        self._outputs: asyncio.Queue[Ready | Tick | EngineDead] = asyncio.Queue()
        self._commands: queue.SimpleQueue[Command | None] = queue.SimpleQueue()
        self._process: multiprocessing.process.BaseProcess | None = None
        self._dead = True
        self._loaded = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self) -> Ready:
        """A new process, with new queues: nothing of one that died is left in them."""
        self._outputs, self._commands = asyncio.Queue(), queue.SimpleQueue()
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._process = context.Process(target=engine_main, args=(theirs, self._make_core), name="engine", daemon=True)
        self._process.start()
        theirs.close()
        link = Link(ours, self._commands, self._outputs, asyncio.get_running_loop())
        threading.Thread(target=link.read, name="engine-read", daemon=True).start()
        threading.Thread(target=link.write, name="engine-write", daemon=True).start()
        self._dead = self._loaded = False
        output = await self._next()
        assert isinstance(output, Ready)
        self._loaded = True
        return output

    def send(self, command: Command) -> None:
        if self._dead:
            raise EngineDead("the engine process is gone")
        self._commands.put(command)

    def is_running(self) -> bool:
        """By Linux's word; elsewhere it cannot be told, and silence is taken for what it looks like."""
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text()
        except OSError:
            return False
        return stat.rpartition(")")[2].split()[0] == "R"  # the name before it may have spaces

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    async def receive(self) -> Tick:
        output = await self._next()
        assert isinstance(output, Tick)
        return output

    async def stop(self) -> None:
        if self._process is None:
            return
        if not self._loaded:  # it reads no commands while it loads
            self._process.kill()
        self._commands.put(Stop())
        self._commands.put(None)
        await asyncio.to_thread(self._process.join, STOP_GRACE_S)
        if self._process.is_alive():
            self._process.kill()
            await asyncio.to_thread(self._process.join)
        self._process, self._dead = None, True

    async def _next(self) -> Ready | Tick:
        output = await self._outputs.get()
        if isinstance(output, EngineDead):
            self._dead = True
            raise output
        return output


@dataclass
class Link:
    """The two threads of one process's pipe, and the queues between them and the loop."""

    pipe: Connection
    commands: queue.SimpleQueue[Command | None]
    outputs: asyncio.Queue[Ready | Tick | EngineDead]
    loop: asyncio.AbstractEventLoop

    def read(self) -> None:
        try:
            while True:
                self.emit(self.pipe.recv())
        except (EOFError, OSError):
            self.emit(EngineDead("the engine process is gone"))
            self.commands.put(None)

    def write(self) -> None:
        try:
            while (command := self.commands.get()) is not None:
                self.pipe.send(command)
        except OSError:
            pass  # the reader tells of it

    def emit(self, output: Ready | Tick | EngineDead) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.outputs.put_nowait, output)


def engine_main(pipe: Connection, make_core: "Callable[[], EngineCore]") -> None:
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

    # What loading left behind stays: a collection that walked all of it would hold everybody up for 0.1 s.
    gc.collect()
    gc.freeze()
    threading.Thread(target=read, name="commands", daemon=True).start()
    core.run(pipe.send)
