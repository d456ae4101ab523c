"""A watch over an engine that may hang: silence, where there is work, means death.

Knows no sequences, only whether there is work; what comes back from the engine is told to it.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger(__name__)
LONGEST = 2  # times as long as its longest step an engine may be silent
STARVED = 5  # times as long a silence is borne with where the engine only waits for a processor


class Watched(Protocol):
    restarts: bool

    def is_running(self) -> bool: ...

    def kill(self) -> None: ...


class Watch:
    def __init__(self, client: Watched, stall_s: float, has_work: Callable[[], bool], ask: Callable[[], None]) -> None:
        """stall_s: a silence that means death; ask: makes an engine that lives give a sign of it."""
        self._client, self._stall_s, self._has_work, self._ask = client, stall_s, has_work, ask
        self._longest_s = 0.0
        self.heard_at = time.monotonic()

    def heard(self, longest_s: float) -> None:
        """A sign of life from an engine whose steps have taken so long."""
        self.heard_at, self._longest_s = time.monotonic(), longest_s

    @property
    def patience(self) -> float:
        """Seconds of silence that mean death: a large model on a slow machine takes its time over a step."""
        return max(self._stall_s, LONGEST * self._longest_s)

    async def run(self) -> None:
        """Kills what hangs.  On a machine that is busy with other things an engine may be alive and starved: killing it
        would not feed it."""
        asked_at: float | None = None
        while self._client.restarts:
            before = time.monotonic()
            await asyncio.sleep(self._stall_s / 4)
            now = time.monotonic()
            late = now - before > self._stall_s / 2  # we were held up ourselves: its answer may lie unread
            if late or not self._has_work() or (asked_at and self.heard_at >= asked_at):
                asked_at = None
            elif asked_at is None:
                if now - self.heard_at > self._stall_s / 4:
                    self._ask()
                    asked_at = now
            elif now - asked_at > self.patience * (STARVED if self._client.is_running() else 1):
                log.error("engine stalled", extra={"seconds": round(now - self.heard_at, 3)})
                self._client.kill()
                asked_at = None
