"""Where a listener's player stands: assumed from the wall clock, or told by the player itself.

Until a player reports, it is taken to play from the first packet on, without a cushion: the strictest reading.  Knows
samples and seconds, no packets and no sockets.
"""


class PlaybackClock:
    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self.sent = 0  # samples handed over
        self.reported: int | None = None  # samples, by the player's own word
        self._origin: float | None = None  # when sample 0 was played, had there been no pause since

    def took(self, sent: int, now: float) -> float:
        """All up to sample `sent` is the listener's; → seconds for which it had had nothing left to play."""
        dry = 0.0
        if self._origin is None:
            self._origin = now
        else:
            dry = max(0.0, now - self.ends_at())
            self._origin += dry
        self.sent = sent
        return dry

    def report(self, played: int, now: float) -> None:
        """The player's word, which never goes back and never beyond what it was sent."""
        self.reported = max(self.reported or 0, min(played, self.sent))
        self._origin = now - self.reported / self.sample_rate

    def ends_at(self) -> float:
        """When the last sample sent will have been played.  Only once something was sent."""
        return self.plays_at(self.sent)

    def plays_at(self, sample: int) -> float:
        """When a sample, sent or not, is or will be played if nothing holds the player up."""
        assert self._origin is not None, "nothing has been sent"
        return self._origin + sample / self.sample_rate

    @property
    def has_begun(self) -> bool:
        return self._origin is not None
