"""Lateness: how long sound waits for the front to take it.

The engine may be quick and its listeners run dry all the same, where the front has more sockets than its share of the
processor lets it serve.  Then nobody else is let in until it keeps up again.  Knows neither of them.
"""

import time
from collections.abc import Callable

LATE_S = 0.02  # a third of the cushion that a plain player begins with
BLEND = 0.1  # of the newest in the mean: a quarter of a second of steps
STALE_S = 1.0  # without sound for so long nobody waits for any


class Lateness:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.mean_s = 0.0
        self.noted_at = 0.0

    def note(self, made_at: float) -> None:
        """What was made then, by the clock of this machine, is taken now."""
        self.noted_at = self.clock()
        self.mean_s += BLEND * (self.noted_at - made_at - self.mean_s)

    @property
    def is_late(self) -> bool:
        return self.mean_s > LATE_S and self.clock() - self.noted_at < STALE_S
