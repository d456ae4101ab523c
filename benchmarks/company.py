"""Company: several rows of Lark that speak side by side, stopped at one position to be stepped from there at will.

Each says the same text with a seed of its own.  Does not know what is measured.
"""

import torch
from torch import Tensor
from utterance import TEXT, held

from stream_server.engine.messages import Controls
from stream_server.models.lark.model import Lark, Row
from stream_server.text.segment import TextReader

TOKENS = 4  # of a vocoder call, once a stream is under way


class Company:
    @torch.inference_mode()
    def __init__(self, model: Lark, rows: int, position: int) -> None:
        self.model, self.slots = model, list(range(rows))
        self.state, self.sounds = model.allocate(rows), model.vocoder.allocate(rows)
        self.text = model.prompt(TextReader(frozenset(model.spec.phones)).push(TEXT), False)
        controls = [Controls(model.spec.voices[slot % len(model.spec.voices)], seed=slot) for slot in self.slots]
        model.prefill(self.slots, [self.text] * rows, controls, self.state)
        for slot in self.slots:
            model.vocoder.reset(slot, controls[slot], self.sounds)
        steps = []
        for _ in range(position):
            self.feed()
            steps.append(model.decode_step(self.slots, self.state).tokens)
        self.feed()
        self.spoken = torch.stack(steps[-TOKENS:], dim=1)  # int64 [rows, TOKENS, columns]
        self.stopped = [self.state.rows[slot] for slot in self.slots]

    def feed(self) -> None:
        for slot in self.slots:
            while self.state.rows[slot].pointer.starved:
                self.model.extend(slot, self.text, self.state)

    def rows(self) -> list[Row]:
        """Copies to be stepped, each once: a step moves its row on, and writes the cache where it always does."""
        return [held(row, True) for row in self.stopped]

    def logits(self) -> Tensor:
        """A step as far as the logits; moves nothing."""
        return self.model.logits(self.slots, self.stopped, self.state.cache)

    def step(self, rows: list[Row]) -> None:
        """A whole step: the logits, the draw, the pointers."""
        self.state.rows = dict(zip(self.slots, rows))
        self.model.decode_step(self.slots, self.state)

    def vocode(self) -> None:
        """The next TOKENS tokens of every row to sound; it goes on, for its cost does not depend on where it stands."""
        self.model.vocoder.decode(self.slots, list(self.spoken), [False] * len(self.slots), self.sounds)
