"""What of a text was spoken already, for its next sentence to be spoken on from.

As far back as the model looks and no farther: of a text of any length it holds the budget's tokens and their words.
"""

from collections import deque
from collections.abc import Sequence

from stream_server.engine.messages import Spoken
from stream_server.text.word import Word


class Carried:
    def __init__(self, budget: int) -> None:
        """budget: tokens, `ModelSpec.carry_tokens`."""
        self._budget = budget
        self._spoken: deque[Spoken] = deque()

    def add(self, words: Sequence[Word], tokens: tuple[int, ...]) -> None:
        """What became no sound, or is not told, is nothing to speak on from."""
        if not tokens:
            return
        self._spoken.append(Spoken(tuple(words), tokens))
        while sum(len(spoken.tokens) for spoken in self._spoken) > self._budget:
            self._spoken.popleft()

    @property
    def past(self) -> tuple[Spoken, ...]:
        return tuple(self._spoken)
