"""How a sequence's tokens are cut into chunks: a pure function of the chunk's index, so the same for every listener.

A chunk's sound depends on how it was cut, so the least and the most are one number; the chunk waits for its lookahead
whatever else is there.  A first chunk must be longer than what the vocoder holds back (9 or 10 tokens) to be heard.
"""

from dataclasses import dataclass

from stream_server.errors import ConfigError
from stream_server.models.plan import ChunkPlan


@dataclass(frozen=True)
class Schedule:
    """Tokens given out and looked ahead: listed ones first, then growing by `growth` up to `most` and `furthest`."""

    emit: tuple[int, ...]
    lookahead: tuple[int, ...]
    growth: float = 1.0
    most: int = 0
    furthest: int = 0

    def plan(self, index: int) -> ChunkPlan:
        emit = self.at(self.emit, index, self.most)
        return ChunkPlan(least=emit, most=emit, lookahead=self.at(self.lookahead, index, self.furthest))

    def settled(self, tokens: int) -> int:
        """Of a sequence's first `tokens`, those whose chunks may be made before its end is known."""
        done = index = 0
        while done + (plan := self.plan(index)).most + plan.lookahead <= tokens:
            done, index = done + plan.most, index + 1
        return done

    def at(self, listed: tuple[int, ...], index: int, bound: int) -> int:
        if index < len(listed):
            return listed[index]
        times = min(index - len(listed) + 1, 64)  # beyond, any growth has met its bound
        return max(listed[-1], min(bound, round(listed[-1] * self.growth**times)))


SCHEDULES = {
    "early": Schedule((14,), (5,), growth=1.4, most=50, furthest=12),  # sound after 19 tokens
    "growing": Schedule((20,), (8,), growth=2.0, most=100, furthest=25),
    "steady": Schedule((25,), (10,)),
    "released": Schedule((25, 50, 200), (12, 25, 100)),  # the checkpoint's own defaults
}


def schedule(name: str) -> Schedule:
    if name not in SCHEDULES:
        raise ConfigError(f"unknown chunk plan {name!r}", field="chunks", limit=", ".join(SCHEDULES))
    return SCHEDULES[name]


def chunk(name: str, index: int) -> ChunkPlan:
    """The plan of a sequence's `index`-th chunk, from 0."""
    return schedule(name).plan(index)
