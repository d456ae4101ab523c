"""Who may begin to speak: contexts are counted, sockets are not, and a refusal is said at once.

What is inside is never put out; what is refused is told when a place is likely.  A queue would only turn a clear no
into a late one: with room for N streams the (N + 1)th waits for one of N to end, which is seconds.
"""

from stream_server.errors import Overloaded

SHORTEST_RETRY_S, LONGEST_RETRY_S = 0.1, 10.0
USUAL_STAY_S = 4.0  # of a context, before any has been seen to end
REMEMBER = 0.9  # of the mean stay, at each end


class Admission:
    """`limit` is an operator's own number of contexts, taken at its word; without it the engine's reckoning decides."""

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.inside = 0
        self._stay = USUAL_STAY_S

    def room(self, capacity: int) -> int:
        return capacity if self.limit is None else self.limit

    def enter(self, capacity: int) -> None:
        """Raises `Overloaded`, saying when to come back, where `capacity` is taken."""
        room = self.room(capacity)
        if self.inside >= room:
            raise Overloaded("too many are being served", limit=room, retry_after=self.retry_after())
        self.inside += 1

    def leave(self, stay_s: float) -> None:
        """One that had entered has ended, after so long."""
        self.inside -= 1
        self._stay += (1 - REMEMBER) * (stay_s - self._stay)

    def retry_after(self) -> float:
        """Seconds until the next of those inside is likely to end."""
        return round(min(max(self._stay / max(1, self.inside), SHORTEST_RETRY_S), LONGEST_RETRY_S), 2)
