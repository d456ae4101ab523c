"""Utterance: one slot of Lark speaking without end, stopped at chosen lengths to be stepped from there at will.

Text is topped up as in a streamed session, so the inputs at every position are those of real speech.  Does not know
what is measured.
"""

from collections.abc import Iterable
from copy import copy
from dataclasses import replace

import torch

from stream_server.engine.messages import Controls
from stream_server.models.lark.model import Lark, Row
from stream_server.text.segment import TextReader

TEXT = (
    "The ferry leaves at noon, and the harbour grows quiet behind it. Gulls follow for a mile, then turn back to the "
    "warm roofs of the town. Somebody on deck opens a book; somebody else falls asleep in the sun. "
)


class Utterance:
    """Rows are numbered by how they decode: slot 0 with the KV cache, slot 1 without."""

    def __init__(self, model: Lark, seed: int = 0) -> None:
        self.model, self.state = model, model.allocate(2)
        self.text = model.prompt(TextReader(frozenset(model.spec.phones)).push(TEXT), False)
        self.stops: dict[int, Row] = {}
        cached = Controls(model.spec.voices[0], seed)
        model.prefill([0, 1], [self.text] * 2, [cached, replace(cached, use_cache=False)], self.state)

    def advance(self, slot: int) -> None:
        """One step of a running row."""
        self.model.decode_step([self.ready(slot)], self.state)

    def ready(self, slot: int) -> int:
        """The slot, its row given more text where it needs some."""
        while self.state.rows[slot].pointer.starved:
            self.model.extend(slot, self.text, self.state)
        return slot

    def walk(self, stops: Iterable[int]) -> None:
        """With the cache to each length in turn; the inputs on the way are kept for the row without."""
        row = self.state.rows[0]
        for stop in sorted(stops):
            while row.steps < stop:
                self.ready(0)
                row.inputs.append(self.model.inputs([row])[0])
                self.advance(0)
            self.ready(0)
            self.stops[stop] = held(row, True)

    def step_from(self, stop: int, use_cache: bool) -> None:
        """The decode step at position `stop`; may be repeated, for it writes the same keys and values again."""
        self.state.rows[0] = held(self.stops[stop], use_cache)
        self.model.decode_step([0], self.state)

    @torch.inference_mode()
    def difference(self, stop: int) -> float:
        """The largest between the logits at a stop with the cache and without, over the largest logit."""
        rows = [held(self.stops[stop], use_cache) for use_cache in (True, False)]
        cached, recomputed = (self.model.logits([0], [row], self.state.cache).clone() for row in rows)
        return float((cached - recomputed).abs().max() / cached.abs().max())


def held(row: Row, use_cache: bool) -> Row:
    """A copy that may be stepped while the original stays where it is."""
    controls = replace(row.controls, use_cache=use_cache)
    return replace(row, controls=controls, pointer=copy(row.pointer), inputs=list(row.inputs))
