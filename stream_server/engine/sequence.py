"""One stretch of text while it lives in the engine: what it asked for, where it stands.  No torch, no clock."""

import math
from dataclasses import dataclass, field
from enum import IntEnum

from stream_server.engine.messages import Controls, SequenceStats, Spoken
from stream_server.text.word import Word


class Status(IntEnum):
    """In the order of a life.

    WAITING ──slot──▶ RUNNING ◀──text──▶ STARVED      RUNNING ──last token──▶ DRAINING ──last sound──▶ FINISHED
       └──────────────────┴──── abort, failure ────────────────────────────────────────────────────────▶ FINISHED

    Having no credit left and resting far ahead of the listener are no statuses but facts about sound and time.
    """

    WAITING = 0
    RUNNING = 1
    STARVED = 2
    DRAINING = 3
    FINISHED = 4


@dataclass
class Sequence:
    id: int
    controls: Controls
    credit: int  # samples it may emit in all
    token_s: float = 0.04  # seconds of speech a token becomes, at speed 1
    lead_s: float = math.inf  # how far ahead of playback it is spoken
    plays_at: float | None = None  # when its first sample is wanted; None before there is any sound
    begin: int = 0  # samples from its start that are made and not given out
    past: tuple[Spoken, ...] = ()  # what it is spoken on from
    resting: bool = False  # far enough ahead
    words: list[Word] = field(default_factory=list)  # not yet given to the model
    final: bool = False  # no more words will come
    closing: bool = False  # ... and the model has not been told so yet
    status: Status = Status.WAITING
    slot: int | None = None
    undecoded: int = 0  # tokens the vocoder has not taken yet
    chunks: int = 0  # calls of the vocoder so far
    chunk: int = 0  # tokens the last of them was given
    truncated: bool = False
    tokens: list[int] = field(default_factory=list)  # so far, where they are to be told
    stats: SequenceStats = field(default_factory=SequenceStats)

    def stamp(self, **fields: float) -> None:
        """Note times and counts."""
        for name, value in fields.items():
            setattr(self.stats, name, value)

    @property
    def sample_rate(self) -> int:
        return self.controls.sample_rate

    @property
    def token_lasts(self) -> float:
        """Seconds of speech a token becomes, at its own speed."""
        return self.token_s / self.controls.speed

    @property
    def undecoded_s(self) -> float:
        """Seconds of speech in the tokens the vocoder has not taken."""
        return self.undecoded * self.token_lasts

    def has_credit(self, chunk: int) -> bool:
        """For one more token.  Fewer than a chunk are no sound yet: whoever may sound may have as many."""
        held = self.undecoded_s * self.sample_rate if self.undecoded >= chunk else 0
        return self.stats.samples + held < self.credit

    def lead(self, now: float) -> float:
        """Seconds until the listener has played all it was given; before the first sound, less the longer it waits."""
        if self.plays_at is None:
            return self.stats.submitted - now
        return self.plays_at + self.stats.samples / self.sample_rate - now

    def ahead(self, now: float) -> float:
        """The lead when all its tokens will have become sound."""
        return max(0.0, self.lead(now)) + self.undecoded_s

    def played_dry(self, now: float) -> None:
        """Sound comes now for a player that has none left: its clock goes on from here."""
        if self.plays_at is None or self.lead(now) < 0:
            self.plays_at = now - self.stats.samples / self.sample_rate
