"""What a model family must offer the engine: a spec and a few small methods over rows of slots.

A family may be a prefix LM (all text goes in at `prefill`) or take text while it decodes (`spec.text_streaming`).
Every tensor of state has the slot as its first axis and is passed in; a model object itself is immutable once loaded.
Knows nothing of sequences' order, listeners or sockets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from stream_server.engine.messages import Controls, ModelSpec, Spoken
from stream_server.models.plan import ChunkPlan
from stream_server.text.word import Word
from stream_server.voices.stored import StoredVoice


@dataclass
class Step:
    """What one step gave each of its B rows.  A row that `has_token` is False only made ready (a pointer's prefill)."""

    tokens: Tensor  # int64 [B, K]
    has_token: list[bool]
    is_end: list[bool]  # nothing follows this token
    starved: list[bool]  # no further step before more text comes
    words: list[int]  # index of the word each token speaks, -1 before the first
    broken: list[bool]  # not a finite number came out: this row cannot go on
    revised: dict[int, list[int]] = field(default_factory=dict)  # by row: words of its latest tokens, better known now


@dataclass
class Sound:
    """What a vocoder made for one row."""

    pcm: np.ndarray  # float32 [n]
    starts: list[tuple[int, int]]  # (token number, offset in samples) of the tokens whose sound begins in it


class Vocoder(Protocol):
    def allocate(self, num_slots: int) -> Any: ...

    def reset(self, slot: int, controls: Controls, state: Any) -> None: ...

    def set_speed(self, slot: int, speed: float, state: Any) -> None: ...

    def chunk(self, index: int) -> ChunkPlan:
        """The plan of a sequence's `index`-th call: pure, so that it cannot leak from one listener to another.

        The scheduler chooses within it by the listener's lead; whatever it chooses, the sound is the same.
        """
        ...

    def decode(self, slots: list[int], tokens: list[Tensor], final: list[bool], state: Any) -> list[Sound]:
        """Each row's new tokens int64 [N_i, K]; `final`, whose N_i may be 0, lets go of what lookahead holds back."""
        ...


class SpeechModel(Protocol):
    spec: ModelSpec
    vocoder: Vocoder

    @property
    def parts(self) -> Mapping[str, Any]:
        """What its memory is told by: a name for each thing that holds tensors; the first that holds one has it."""
        ...

    def prompt(self, words: Sequence[Word], final: bool) -> Any:
        """Words → what the model reads; pure, on the CPU, well under a millisecond a word."""
        ...

    def after(self, prompt: Any, past: Sequence[Spoken]) -> Any:
        """The same, to be spoken on from these, which were spoken in this order.  Only where `spec.carry_tokens`."""
        ...

    def reading(self, words: Sequence[Word]) -> str:
        """What the model reads where these words stand, for people to look at."""
        ...

    def allocate(self, num_slots: int) -> Any: ...

    def prefill(self, slots: list[int], prompts: list[Any], controls: list[Controls], state: Any) -> Step:
        """Rows start afresh with these prompts."""
        ...

    def extend(self, slot: int, prompt: Any, state: Any) -> bool:
        """More text for a running row; → whether it is still starved.  Only where `spec.text_streaming`.

        A family holds back enough that at least one step follows the final words.
        """
        ...

    def decode_step(self, slots: list[int], state: Any) -> Step: ...


@runtime_checkable
class TakesVoices(Protocol):
    """What a family offers besides whose spec says `cloning`.  Called between steps, so never for long."""

    def take_voice(self, stored: StoredVoice) -> None:
        """It may be spoken in from now on, in the place of one of that name.  Raises `BrokenVoice`."""
        ...

    def drop_voice(self, name: str) -> None:
        """No row is begun in it any more; those that were are not disturbed.  What is not there is no error."""
        ...

    def forget(self, slot: int, state: Any, vocoder_state: Any) -> None:
        """The slot's sequence is over: what it held of its voice is let go of."""
        ...
