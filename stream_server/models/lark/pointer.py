"""The pointer's walk over a sequence's symbols: pure Python, one object per slot.

The LM gives at each step the probabilities of moving 0 … 4 symbols.  The pointer moves when it is more likely than
not that it should have by now (the median of the duration the model has in mind), to the likeliest place.
"""

from dataclasses import dataclass, field

from stream_server.models.lark.frontend import Prompt, opening
from stream_server.models.lark.lm import LOOKAHEAD, MAX_DWELL


@dataclass
class Pointer:
    symbols: list[int] = field(default_factory=lambda: [opening()])
    owners: list[int] = field(default_factory=lambda: [-1])  # the word each symbol belongs to, -1 for the opening
    num_words: int = 0
    final: bool = False
    at: int = 0
    dwell: int = 0  # steps it has stood here
    stay: float = 1.0  # probability that it should still be here

    def extend(self, prompt: Prompt) -> None:
        self.symbols += prompt.symbols
        self.owners += [self.num_words + word for word in prompt.words]
        self.num_words += prompt.num_words
        self.final = self.final or prompt.final

    @property
    def certain(self) -> int:
        """How many symbols have all the neighbours their encoding looks at."""
        return len(self.symbols) if self.final else max(0, len(self.symbols) - LOOKAHEAD)

    @property
    def starved(self) -> bool:
        return not self.final and self.at >= self.certain

    @property
    def ended(self) -> bool:
        return self.final and self.at >= len(self.symbols)

    def move(self, probabilities: list[float]) -> None:
        """One step has been spoken here; `probabilities` of moving 0 … 4 symbols."""
        self.stay *= probabilities[0]
        self.dwell += 1
        if self.stay >= 0.5 and self.dwell < MAX_DWELL:
            return
        moves = probabilities[1:]
        self.at += 1 + moves.index(max(moves))
        self.dwell, self.stay = 0, 1.0

    def around(self, at: int, side: int) -> tuple[list[int], list[bool]]:
        """Symbols `side` to either side of one, and which of them exist."""
        places = range(at - side, at + side + 1)
        inside = [0 <= place < len(self.symbols) for place in places]
        return [self.symbols[p] if ok else opening() for p, ok in zip(places, inside)], inside
