"""A step's plan → tensors → tokens → sound.  Holds the model, every slot's state and the tokens between the two.

Decides nothing: who runs is the scheduler's business.  Knows no listener.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stream_server.engine.messages import WordStart
from stream_server.engine.scheduler import Reading, StepPlan, Vocode
from stream_server.engine.sequence import Sequence
from stream_server.models.interface import SpeechModel, Step, TakesVoices


@dataclass
class SlotTokens:
    """Tokens a slot has decoded and the vocoder has not taken, and the word of every token so far."""

    waiting: list[Tensor] = field(default_factory=list)  # int64 [K] each
    words: list[int] = field(default_factory=list)
    marked: int = -1  # the last word whose beginning was told


@dataclass
class TokenResult:
    got_token: bool = False
    ended: bool = False
    starved: bool = False
    broken: bool = False
    token: int = 0  # its first column, of a sequence that tells its tokens


@dataclass
class SoundResult:
    pcm: np.ndarray  # float32 [n]
    words: list[WordStart]  # offsets from the beginning of this pcm


@dataclass
class StepResult:
    prefilled: dict[int, TokenResult] = field(default_factory=dict)  # by sequence id
    extended: dict[int, TokenResult] = field(default_factory=dict)
    decoded: dict[int, TokenResult] = field(default_factory=dict)
    sounds: dict[int, SoundResult] = field(default_factory=dict)
    tokens_at: float = 0.0  # when everything but the vocoder was done
    vocoded: int = 0  # tokens given to the vocoder
    reading_s: float = 0.0  # spent on text: extending and prefilling


class Runner:
    def __init__(self, model: SpeechModel, num_slots: int, clock: Callable[[], float]) -> None:
        self.model = model
        self.clock = clock
        self.state: Any = model.allocate(num_slots)
        self.vocoder_state: Any = model.vocoder.allocate(num_slots)
        self.tokens = [SlotTokens() for _ in range(num_slots)]

    @torch.inference_mode()
    def run(self, plan: StepPlan) -> StepResult:
        """Prefill, extend, decode, vocode; the vocoder sees this step's tokens."""
        result = StepResult()
        began = self.clock()
        if plan.extend:
            result.extended = {reading.sequence.id: self.extend(reading) for reading in plan.extend}
        extended = self.clock()
        if plan.decode:
            result.decoded = self.collect(plan.decode, self.model.decode_step(slots(plan.decode), self.state))
        decoded = self.clock()
        if plan.prefill:
            result.prefilled = self.prefill(plan.prefill)
        result.tokens_at = self.clock()
        result.reading_s = (extended - began) + (result.tokens_at - decoded)
        ready = [v for v in plan.vocode if v.final or self.tokens[slot(v.sequence)].waiting]
        if ready:
            result.vocoded = sum(min(v.tokens, len(self.tokens[slot(v.sequence)].waiting)) for v in ready)
            result.sounds = self.vocode(ready)
        return result

    def prefill(self, readings: list[Reading]) -> dict[int, TokenResult]:
        sequences = [reading.sequence for reading in readings]
        for s in sequences:
            self.tokens[slot(s)] = SlotTokens()
            self.model.vocoder.reset(slot(s), s.controls, self.vocoder_state)
        prompts = [self.prompt(reading) for reading in readings]
        step = self.model.prefill(slots(sequences), prompts, [s.controls for s in sequences], self.state)
        return self.collect(sequences, step)

    def prompt(self, reading: Reading) -> Any:
        prompt, past = self.model.prompt(reading.words, reading.final), reading.sequence.past
        return self.model.after(prompt, past) if past else prompt

    def extend(self, reading: Reading) -> TokenResult:
        prompt = self.model.prompt(reading.words, reading.final)
        return TokenResult(starved=self.model.extend(slot(reading.sequence), prompt, self.state))

    def forget(self, sequence: Sequence) -> None:
        """It is over, and has its slot still."""
        if isinstance(self.model, TakesVoices):
            self.model.forget(slot(sequence), self.state, self.vocoder_state)

    def set_speed(self, sequence: Sequence, speed: float) -> None:
        self.model.vocoder.set_speed(slot(sequence), speed, self.vocoder_state)

    def collect(self, sequences: list[Sequence], step: Step) -> dict[int, TokenResult]:
        results = {}
        for row, s in enumerate(sequences):
            if step.has_token[row]:
                self.tokens[slot(s)].waiting.append(step.tokens[row])
                self.tokens[slot(s)].words.append(step.words[row])
            if revised := step.revised.get(row):
                self.tokens[slot(s)].words[-len(revised) :] = revised
            token = int(step.tokens[row, 0]) if s.controls.carry_over else 0
            results[s.id] = TokenResult(
                step.has_token[row], step.is_end[row], step.starved[row], step.broken[row], token
            )
        return results

    def vocode(self, rows: list[Vocode]) -> dict[int, SoundResult]:
        held = [self.tokens[slot(v.sequence)] for v in rows]
        empty = torch.zeros(0, 0, dtype=torch.int64)
        tokens = [torch.stack(h.waiting[: v.tokens]) if h.waiting else empty for v, h in zip(rows, held)]
        for v, h in zip(rows, held):
            h.waiting = h.waiting[v.tokens :]
        sounds = self.model.vocoder.decode(
            [slot(v.sequence) for v in rows], tokens, [v.final for v in rows], self.vocoder_state
        )
        return {
            v.sequence.id: SoundResult(sound.pcm, word_starts(h, sound.starts))
            for v, h, sound in zip(rows, held, sounds)
        }


def word_starts(held: SlotTokens, starts: list[tuple[int, int]]) -> list[WordStart]:
    """Where words begin among tokens whose sound begins.

    A word so short that the pointer passed it within one token begins where its successor does.
    """
    found = []
    for token, offset in starts:
        word = held.words[token]
        found += [WordStart(passed, offset) for passed in range(held.marked + 1, word + 1)]
        held.marked = max(held.marked, word)
    return found


def slot(sequence: Sequence) -> int:
    assert sequence.slot is not None
    return sequence.slot


def slots(sequences: list[Sequence]) -> list[int]:
    return [slot(sequence) for sequence in sequences]
