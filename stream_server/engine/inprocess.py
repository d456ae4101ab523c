"""The core on a thread of this process: for tests, for one listener at home, for a debugger.

The thread shares the interpreter with the sockets and pays for it (15–29 % of its steps under load); a server uses
`process`.
"""

import asyncio
import gc
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from stream_server.engine.messages import Command, Ready, Stop, Tick
from stream_server.errors import EngineDead

if TYPE_CHECKING:  # the front must not load torch
    from stream_server.engine.core import EngineCore


class InProcessEngine:
    """`make_core` runs on the engine's own thread, so that loading a model does not hold up the loop."""

    restarts = False
    pid = None

    def __init__(self, make_core: "Callable[[], EngineCore]") -> None:
        self._make_core = make_core
        self._core: EngineCore | None = None
        self._outputs: asyncio.Queue[Ready | Tick | BaseException] = asyncio.Queue()
        self._thread: threading.Thread | None = None
        self._unwanted = threading.Event()  # what is being loaded is not to run

    async def start(self) -> Ready:
        """A new thread with new outputs: nothing of one that was stopped is left in them."""
        self._outputs, self._unwanted = asyncio.Queue(), threading.Event()
        life = (asyncio.get_running_loop(), self._outputs, self._unwanted)
        self._thread = threading.Thread(target=self._main, args=life, name="engine", daemon=True)
        self._thread.start()
        output = await self._next()
        assert isinstance(output, Ready)
        return output

    def send(self, command: Command) -> None:
        if self._core is None:
            raise EngineDead("the engine has stopped")
        self._core.put(command)

    async def receive(self) -> Tick:
        output = await self._next()
        assert isinstance(output, Tick)
        return output

    async def stop(self) -> None:
        """A load cannot be broken off: it is waited for."""
        self._unwanted.set()
        if self._core is not None:
            self._core.put(Stop())
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
        self._core = self._thread = None
        gc.collect()  # a model may refer to itself

    def is_running(self) -> bool:
        return True  # it cannot be replaced, so nobody acts upon it

    def kill(self) -> None:
        """A thread cannot be ended from outside."""

    async def _next(self) -> Ready | Tick:
        output = await self._outputs.get()
        if isinstance(output, BaseException):
            self._core = None
            raise EngineDead(f"the engine stopped: {str(output) or type(output).__name__}") from output
        return output

    def _main(
        self,
        loop: asyncio.AbstractEventLoop,
        outputs: "asyncio.Queue[Ready | Tick | BaseException]",
        unwanted: threading.Event,
    ) -> None:
        def emit(output: Ready | Tick | BaseException) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(outputs.put_nowait, output)

        try:
            self._core = self._make_core()
            if unwanted.is_set():
                return
            self._core.run(emit)
            emit(EngineDead("stopped"))
        except BaseException as error:  # whatever ends this thread, the front must hear of it
            emit(error)
