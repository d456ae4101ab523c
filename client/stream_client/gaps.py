"""GapMeter: what a listener with a plain player would have heard, from arrival times alone.

Knows when each piece of speech arrived and when a player at 1x would have needed it.  Does not know samples' values,
clocks or devices: it is arithmetic over times.
"""

CUSHION_S = 0.060  # what a player collects before it begins
TOLERANCE_S = 1e-9  # arithmetic, not lateness


class GapMeter:
    """A player that begins `cushion_s` after the first piece arrived, and from then on plays without a pause.

    A piece that is not there when its turn comes is an underrun: the player stalls until it arrives and goes on at
    once, later than planned by as much.  Times are seconds on any one clock; positions are samples at `rate`.
    """

    def __init__(self, rate: int, cushion_s: float = CUSHION_S) -> None:
        self._rate = rate
        self._cushion_s = cushion_s
        self._began: float | None = None
        self._end = 0  # samples: where the speech that has arrived ends
        self.underruns = 0
        self.stall_s = 0.0
        self.largest_gap_s = 0.0

    def add(self, arrived: float, pts: int, duration: int) -> None:
        """The next piece; pieces come in their order."""
        if self._began is None:
            self._began = arrived + self._cushion_s - pts / self._rate
        late = arrived - self._heard_at(self._began, pts)
        if late > TOLERANCE_S:
            self.underruns += 1
            self.stall_s += late
            self.largest_gap_s = max(self.largest_gap_s, late)
        self._end = pts + duration

    @property
    def began(self) -> float | None:
        """When the first sample was heard."""
        return self._began

    @property
    def ended(self) -> float | None:
        """When the last sample that has arrived is heard out."""
        return None if self._began is None else self._heard_at(self._began, self._end)

    def _heard_at(self, began: float, position: int) -> float:
        return began + position / self._rate + self.stall_s
