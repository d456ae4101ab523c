"""The process in which recordings become voices: its networks are large and slow, and nobody who listens waits for it.

It is started when it is first needed, does one thing after another at the lowest urgency, and is ended when it has had
no work for a while, or when it takes too long.  Its death is the error of the recording it was at, and of no other.
"""

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from stream_server.audio.reference import Reference
from stream_server.errors import MakingFailed, Overloaded, StreamServerError
from stream_server.limits import Limits
from stream_server.voices.add import Make
from stream_server.voices.stored import StoredVoice

log = logging.getLogger(__name__)
URGENCY = 19  # as `nice` counts: the engine and the sockets go first
RETRY_AFTER_S = 5.0
Asked = tuple[str, str, Reference, str]  # a `Make`'s arguments
Answer = StoredVoice | StreamServerError


class Workshop:
    def __init__(self, load: Callable[[], Make], limits: Limits) -> None:
        """load: picklable; loads the family's networks, there."""
        self._load, self._limits = load, limits
        self._bench: Bench | None = None
        self._turn = asyncio.Lock()
        self._inside = 0  # recordings that wait or are worked at
        self._rest: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        return None if self._bench is None else self._bench.process.pid

    async def make(self, name: str, text: str, audio: Reference, consent: str) -> StoredVoice:
        """Raises `Overloaded`, `MakingFailed`, or what the family finds wrong with the recording or with itself."""
        if self._inside >= self._limits.making:
            raise Overloaded(
                "too many voices are being made", field="making", limit=self._limits.making, retry_after=RETRY_AFTER_S
            )
        self._inside += 1
        try:
            await self._turn.acquire()
        except BaseException:
            self._inside -= 1
            raise
        work = asyncio.create_task(self._work((name, text, audio, consent)), name="workshop")
        work.add_done_callback(hear_out)
        return await asyncio.shield(work)  # who asked may leave; what was begun goes on, for its answer will come

    async def stop(self) -> None:
        await self._close()

    async def _work(self, asked: Asked) -> StoredVoice:
        try:
            return await self._ask(asked)
        finally:
            self._inside -= 1
            self._turn.release()
            self._rest = asyncio.get_running_loop().call_later(self._limits.maker_idle_s, self._close_if_idle)

    async def _ask(self, asked: Asked) -> StoredVoice:
        if self._rest is not None:
            self._rest.cancel()
        if self._bench is None:
            self._bench = open_bench(self._load)
        bench = self._bench
        asking = asyncio.create_task(asyncio.to_thread(bench.ask, asked))
        done, _ = await asyncio.wait({asking}, timeout=self._limits.make_s)
        if not done:
            bench.process.kill()  # so that there is an answer
        try:
            answer = await asking
        except (EOFError, OSError):
            await self._close()
            log.error("voice not made", extra={"too_long": not done})
            raise died(None if done else self._limits.make_s) from None
        except StreamServerError:  # it could not load
            await self._close()
            raise
        if isinstance(answer, StreamServerError):
            raise answer
        return answer

    def _close_if_idle(self) -> None:
        if not self._inside:
            self._closing = asyncio.create_task(self._close(), name="workshop-close")

    async def _close(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
        bench, self._bench = self._bench, None
        if bench is not None:
            bench.process.kill()
            await asyncio.to_thread(bench.process.join)


def died(limit: float | None) -> MakingFailed:
    if limit is None:
        return MakingFailed("the process that makes voices has died", field="reference", retry_after=RETRY_AFTER_S)
    return MakingFailed("the voice takes too long to make", field="make_s", limit=limit, retry_after=RETRY_AFTER_S)


def hear_out(work: "asyncio.Task[StoredVoice]") -> None:
    """An error that nobody waits for any more is nobody's."""
    if not work.cancelled():
        work.exception()


@dataclass
class Bench:
    """One such process and its pipe; used by one thread at a time."""

    process: BaseProcess
    pipe: Connection
    loaded: bool = field(default=False)

    def ask(self, asked: Asked) -> Answer:
        """Raises EOFError or OSError once the process is gone, and what kept it from loading."""
        if not self.loaded:
            refusal: StreamServerError | None = self.pipe.recv()
            if refusal is not None:
                raise refusal
            self.loaded = True
        self.pipe.send(asked)
        answer: Answer = self.pipe.recv()
        return answer


def open_bench(load: Callable[[], Make]) -> Bench:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=bench_main, args=(theirs, load), name="workshop", daemon=True)
    process.start()
    theirs.close()
    return Bench(process, ours)


def bench_main(pipe: Connection, load: Callable[[], Make]) -> None:
    """The child: says None once it has loaded, or why it could not; then answers whatever it is asked."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server decides when to stop
    os.nice(URGENCY)
    try:
        make = load()
    except Exception as error:
        pipe.send(told(error))
        return
    pipe.send(None)
    with contextlib.suppress(EOFError, OSError):  # the server is gone
        while True:
            asked: Asked = pipe.recv()
            try:
                pipe.send(make(*asked))
            except Exception as error:
                pipe.send(told(error))


def told(error: Exception) -> StreamServerError:
    if isinstance(error, StreamServerError):
        return error
    log.error("voice not made", exc_info=error)
    return MakingFailed(f"the voice could not be made: {type(error).__name__}", field="reference")
