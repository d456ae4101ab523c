"""A model with behaviour instead of weights: every word becomes TOKENS_PER_WORD tokens, every token 960 samples whose
value tells which sequence and which token they are, so a test can read off the sound whose it is and what it lacks.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stream_server.engine.messages import Controls, ModelSpec, Spoken
from stream_server.errors import BrokenVoice
from stream_server.models.interface import Sound, Step
from stream_server.models.plan import ChunkPlan
from stream_server.text.word import Word
from stream_server.voices.stored import StoredVoice

TOKENS_PER_WORD = 3
SAMPLES_PER_TOKEN = 960


@dataclass
class FakeRow:
    seed: int
    words: int = 0
    final: bool = False
    made: int = 0
    begun: int = 0  # tokens spoken before it, on which it goes on counting

    @property
    def known(self) -> int:
        """The last token waits for the word that nothing follows, as a pointer's last symbols do."""
        return self.begun + self.words * TOKENS_PER_WORD - (0 if self.final else 1)

    @property
    def ended(self) -> bool:
        return self.final and self.made >= self.known

    @property
    def starved(self) -> bool:
        return not self.final and self.made >= self.known


@dataclass
class FakeVoice:
    token: int = 0
    held: list[int] = field(default_factory=list)
    seed: int = 0
    speed: float = 1.0


def sample_value(seed: int, token: int) -> float:
    return (seed * 100 + token % 100) / 10_000


class FakeVocoder:
    lookahead = 1

    def allocate(self, num_slots: int) -> list[FakeVoice]:
        return [FakeVoice() for _ in range(num_slots)]

    def reset(self, slot: int, controls: Controls, state: list[FakeVoice]) -> None:
        state[slot] = FakeVoice(seed=controls.seed, speed=controls.speed)

    def set_speed(self, slot: int, speed: float, state: list[FakeVoice]) -> None:
        state[slot].speed = speed

    def chunk(self, index: int) -> ChunkPlan:
        return ChunkPlan(least=1, most=4, lookahead=self.lookahead)

    def decode(self, slots: list[int], tokens: list[Tensor], final: list[bool], state: list[FakeVoice]) -> list[Sound]:
        sounds = []
        for slot, new, end in zip(slots, tokens, final):
            voice = state[slot]
            voice.held += new[:, 0].tolist() if new.numel() else []
            keep = 0 if end else self.lookahead
            ready = voice.held[: len(voice.held) - keep]
            voice.held = voice.held[len(ready) :]
            length = int(SAMPLES_PER_TOKEN / voice.speed)
            pcm = np.repeat(np.array([sample_value(voice.seed, t) for t in ready], np.float32), length)
            sounds.append(Sound(pcm, [(voice.token + i, i * length) for i in range(len(ready))]))
            voice.token += len(ready)
        return sounds


class FakeModel:
    """`gate`, where given, must be set for a decode step to pass; `fail_seed` breaks the rows with that seed."""

    def __init__(
        self,
        text_streaming: bool = True,
        gate: threading.Event | None = None,
        fail_seed: int | None = None,
        raise_seed: int | None = None,
        endless_seed: int | None = None,
        max_tokens: int = 100_000,
        carry_tokens: int = 0,
    ) -> None:
        self.vocoder = FakeVocoder()
        self.gate, self.fail_seed, self.raise_seed, self.endless_seed = gate, fail_seed, raise_seed, endless_seed
        self.spec = ModelSpec(
            "fake",
            ("one", "two"),
            (24_000,),
            25.0,
            max_tokens,
            text_streaming,
            ("aa1", "b"),
            options=("temperature", "top_k", "use_cache"),
            carry_tokens=carry_tokens,
        )
        self.weights = torch.zeros(100)  # 400 bytes
        self.parts = {"lm": [self.weights, self.weights[:10]], "vocoder": self.weights}

    def prompt(self, words: Sequence[Word], final: bool) -> tuple[int, bool, int]:
        return len(words), final, 0

    def after(self, prompt: tuple[int, bool, int], past: Sequence[Spoken]) -> tuple[int, bool, int]:
        return prompt[0], prompt[1], sum(len(spoken.tokens) for spoken in past)

    def reading(self, words: Sequence[Word]) -> str:
        return " ".join(word.spoken for word in words)

    def allocate(self, num_slots: int) -> dict[int, FakeRow]:
        return {}

    def prefill(
        self,
        slots: list[int],
        prompts: list[tuple[int, bool, int]],
        controls: list[Controls],
        state: dict[int, FakeRow],
    ) -> Step:
        """A prefix LM's prefill gives the first token; a text-streaming family's makes ready."""
        for slot, (words, final, begun), chosen in zip(slots, prompts, controls):
            state[slot] = FakeRow(chosen.seed, words, final, begun, begun)
        if not self.spec.text_streaming:
            return self.decode_step(slots, state)
        rows = [state[slot] for slot in slots]
        B = len(slots)
        starved = [row.starved for row in rows]
        return Step(torch.zeros(B, 1, dtype=torch.int64), [False] * B, [False] * B, starved, [-1] * B, [False] * B)

    def extend(self, slot: int, prompt: tuple[int, bool, int], state: dict[int, FakeRow]) -> bool:
        state[slot].words += prompt[0]
        state[slot].final |= prompt[1]
        return state[slot].starved

    def decode_step(self, slots: list[int], state: dict[int, FakeRow]) -> Step:
        if self.gate is not None:
            self.gate.wait()
        rows = [state[slot] for slot in slots]
        if any(row.seed == self.raise_seed for row in rows):
            raise RuntimeError("told to")
        made = [row.made for row in rows]
        for row in rows:
            row.made += 1
        return Step(
            torch.tensor(made)[:, None],
            [True] * len(rows),
            [row.ended and row.seed != self.endless_seed for row in rows],
            [row.starved for row in rows],
            [min((token - row.begun) // TOKENS_PER_WORD, row.words - 1) for token, row in zip(made, rows)],
            [row.seed == self.fail_seed for row in rows],
        )


def words(text: str) -> tuple[Word, ...]:
    """Plain words, the last closing a sentence."""
    found, at = [], 0
    parts = text.split()
    for index, part in enumerate(parts):
        found.append(Word(part, at, at + len(part), part.lower(), "." if index == len(parts) - 1 else ""))
        at += len(part) + 1
    return tuple(found)


def expected_sound(seed: int, count: int) -> np.ndarray:
    """What `count` words sound like."""
    tokens = range(count * TOKENS_PER_WORD)
    return np.repeat(np.array([sample_value(seed, t) for t in tokens], np.float32), SAMPLES_PER_TOKEN)


class CloningVocoder(FakeVocoder):
    """Sound is raised by what was heard in the voice's recording."""

    def __init__(self) -> None:
        self.heard: dict[str, float] = {}
        self.raised: dict[int, float] = {}  # by slot

    def reset(self, slot: int, controls: Controls, state: list[FakeVoice]) -> None:
        super().reset(slot, controls, state)
        self.raised[slot] = self.heard[controls.voice]

    def decode(self, slots: list[int], tokens: list[Tensor], final: list[bool], state: list[FakeVoice]) -> list[Sound]:
        sounds = super().decode(slots, tokens, final, state)
        return [Sound(sound.pcm + np.float32(self.raised[slot]), sound.starts) for slot, sound in zip(slots, sounds)]


class CloningModel(FakeModel):
    """Has the voices it is given, or "one" and "two": `heard` is all it wants of them."""

    def __init__(self, voices: Sequence[StoredVoice] = (), **behaviour: Any) -> None:
        super().__init__(text_streaming=False, **behaviour)
        self.heard = CloningVocoder()
        self.vocoder = self.heard
        self.heard.heard = {} if voices else {"one": 0.0, "two": 0.0}
        for voice in voices:
            self.take_voice(voice)
        self.spec = replace(self.spec, cloning=True, voices=(*self.heard.heard,))

    def take_voice(self, stored: StoredVoice) -> None:
        if "heard" not in stored.arrays:
            raise BrokenVoice("nothing was heard", field="voice")
        self.heard.heard[stored.name] = float(stored.arrays["heard"][0])

    def drop_voice(self, name: str) -> None:
        self.heard.heard.pop(name, None)

    def forget(self, slot: int, state: dict[int, FakeRow], vocoder_state: list[FakeVoice]) -> None:
        del state[slot], self.heard.raised[slot]
