"""One stretch of text while it lives in the engine: what it asked for, where it stands.  No torch, no clock."""

from dataclasses import dataclass, field, replace
from enum import IntEnum

from stream_server.engine.messages import Controls, SequenceStats
from stream_server.text.word import Word


class Status(IntEnum):
    """In the order of a life.

    WAITING ──slot──▶ RUNNING ◀──text──▶ STARVED      RUNNING ──last token──▶ DRAINING ──last sound──▶ FINISHED
       └──────────────────┴──── abort, failure ────────────────────────────────────────────────────────▶ FINISHED

    Being paced (no credit left) is not a status but a fact about credit: see `Sequence.paced`.
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
    words: list[Word] = field(default_factory=list)  # not yet given to the model
    final: bool = False  # no more words will come
    closing: bool = False  # ... and the model has not been told so yet
    status: Status = Status.WAITING
    slot: int | None = None
    undecoded: int = 0  # tokens the vocoder has not taken yet
    chunks: int = 0  # calls of the vocoder so far
    truncated: bool = False
    stats: SequenceStats = SequenceStats()

    def stamp(self, **fields: float) -> None:
        """Note times and counts; a time once noted stays."""
        self.stats = replace(self.stats, **fields)  # type: ignore[arg-type]

    def paced(self, samples_per_token: int) -> bool:
        """Whether what it has emitted, and what its tokens will become, uses up its credit."""
        return self.stats.samples + self.undecoded * samples_per_token >= self.credit
