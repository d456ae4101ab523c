"""A vocoder's chunk plan: plain numbers, so that the scheduler can read it without torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ChunkPlan:
    """Between how few and how many tokens' sound a vocoder gives out at a call, and how many more it must see."""

    least: int
    most: int
    lookahead: int
