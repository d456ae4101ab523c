"""Lap: what some calls of a function took each, by the wall and by the CPU.

CPU time is the whole process's, so with one thread it says what the wall would have said on an idle machine (but for
caches and clock rates).
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch


@dataclass(frozen=True)
class Lap:
    wall: float  # s
    cpu: float  # s

    def __add__(self, other: "Lap") -> "Lap":
        return Lap(self.wall + other.wall, self.cpu + other.cpu)


def use_one_thread() -> None:
    """The state in which the server's engine computes by default."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


def timed(call: Callable[[], Any], times: int = 1) -> Lap:
    """The mean of `times` calls."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(times):
        call()
    return Lap((time.perf_counter() - wall) / times, (time.process_time() - cpu) / times)


def middle(laps: Iterable[Lap]) -> Lap:
    laps = list(laps)
    return Lap(median(lap.wall for lap in laps), median(lap.cpu for lap in laps))


def clocked(owner: Any, method: str) -> list[Lap]:
    """From now on every call of this object's `method` leaves a lap in the list given back."""
    laps: list[Lap] = []
    inner = getattr(owner, method)

    def outer(*args: Any) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        result = inner(*args)
        laps.append(Lap(time.perf_counter() - wall, time.process_time() - cpu))
        return result

    setattr(owner, method, outer)
    return laps
