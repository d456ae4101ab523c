"""Sequences of one model run alone, and run through each other at random: joins, leaves, aborts, pieces of any length.

Two ways in: the model's own methods, where even what the scheduler decides is drawn, and the engine.
"""

from dataclasses import dataclass, field
from random import Random

import numpy as np
import torch

from stream_server.engine.core import EngineCore
from stream_server.engine.messages import AbortSequence, AddSequence, Controls, Finished, Frame, GrantCredit, Tick
from stream_server.models.glm_tts.model import GLMTTS
from stream_server.offline import NO_LIMIT, read_words, run_to_end
from stream_server.text.word import Word

SPEEDS = (1.0, 0.8, 1.0, 1.37, 1.0)


@dataclass(frozen=True)
class Request:
    words: tuple[Word, ...]
    controls: Controls


@dataclass(frozen=True)
class Spoken:
    codes: tuple[int, ...]
    pcm: np.ndarray


@dataclass
class Row:
    request: int
    codes: list[int] = field(default_factory=list)
    given: int = 0  # codes, to the vocoder
    ended: bool = False
    pcm: list[np.ndarray] = field(default_factory=list)


class Stage:
    """The slots of one model, which outlive what is spoken in them."""

    def __init__(self, model: GLMTTS, slots: int, requests: list[Request]) -> None:
        self.model, self.requests, self.slots = model, requests, slots
        self.state, self.sounds = model.allocate(slots), model.vocoder.allocate(slots)
        self.rows: dict[int, Row] = {}  # by slot
        self.finished: list[tuple[int, Spoken]] = []  # the request, and what came of it

    @property
    def free(self) -> list[int]:
        return [slot for slot in range(self.slots) if slot not in self.rows]

    def join(self, slots: list[int], requests: list[int]) -> None:
        chosen = [self.requests[number] for number in requests]
        for slot, request in zip(slots, chosen):
            self.model.vocoder.reset(slot, request.controls, self.sounds)
        prompts = [self.model.prompt(request.words, True) for request in chosen]
        step = self.model.prefill(slots, prompts, [request.controls for request in chosen], self.state)
        assert not any(step.broken)
        self.rows |= {slot: Row(number) for slot, number in zip(slots, requests)}

    @torch.inference_mode()
    def step(self, slots: list[int]) -> None:
        step = self.model.decode_step(slots, self.state)
        for place, slot in enumerate(slots):
            assert not step.broken[place]
            if step.has_token[place]:
                self.rows[slot].codes.append(int(step.tokens[place, 0]))
            self.rows[slot].ended |= step.is_end[place]

    @torch.inference_mode()
    def sound(self, slots: list[int], counts: list[int]) -> None:
        """So many more codes of each row, or all there are."""
        rows = [self.rows[slot] for slot in slots]
        pieces = [torch.tensor(row.codes[row.given : row.given + n])[:, None] for row, n in zip(rows, counts)]
        for row, piece in zip(rows, pieces):
            row.given += len(piece)
        final = [row.ended and row.given == len(row.codes) for row in rows]
        for slot, row, end, sound in zip(
            slots, rows, final, self.model.vocoder.decode(slots, pieces, final, self.sounds)
        ):
            row.pcm.append(sound.pcm)
            if end:
                del self.rows[slot]
                self.finished.append((row.request, Spoken(tuple(row.codes), np.concatenate(row.pcm))))


def alone(model: GLMTTS, request: Request) -> Spoken:
    stage = Stage(model, 1, [request])
    stage.join([0], [0])
    while not stage.rows[0].ended:
        stage.step([0])
    stage.sound([0], [len(stage.rows[0].codes)])
    return stage.finished[0][1]


def episode(stage: Stage, rng: Random, joins: int) -> int:
    """So many sequences, some of them aborted, until the stage is empty; → operations it took."""
    operations = 0
    while joins or stage.rows:
        operations += 1
        live = list(stage.rows)
        speaking = [slot for slot in live if not stage.rows[slot].ended]
        kind = rng.choices(("join", "step", "sound", "abort"), (2, 12, 3, 0.15))[0]
        if kind == "join" and joins and stage.free:
            count = rng.randint(1, min(joins, len(stage.free)))
            stage.join(rng.sample(stage.free, count), [rng.randrange(len(stage.requests)) for _ in range(count)])
            joins -= count
        elif kind == "step" and speaking:
            stage.step(rng.sample(speaking, rng.randint(1, len(speaking))))
        elif kind == "sound" and live:
            here = rng.sample(live, rng.randint(1, len(live)))
            stage.sound(here, [rng.choice((0, 1, 5, 20, 1000)) for _ in here])
        elif kind == "abort" and live:
            del stage.rows[rng.choice(live)]
    return operations


def through_the_engine(
    core: EngineCore, requests: list[Request], rng: Random, joins: int
) -> list[tuple[int, np.ndarray]]:
    """Sequences that come when they like, with credit that comes when it likes; → those that ended of themselves."""
    asked: dict[int, int] = {}  # request by sequence
    pcm: dict[int, list[np.ndarray]] = {}
    done: list[tuple[int, np.ndarray]] = []
    while joins or pcm:
        if joins and (not pcm or rng.random() < 0.2):
            joins -= 1
            id = len(asked) + 1
            asked[id], pcm[id] = rng.randrange(len(requests)), []
            request = requests[asked[id]]
            credit = rng.choice((0, 50, 300, NO_LIMIT))
            core.put(AddSequence(id, request.words, True, request.controls, credit))
        for id in list(pcm):
            if rng.random() < 0.1:
                core.put(GrantCredit(id, rng.choice((10, 200, 2000))))
            elif rng.random() < 0.01:
                core.put(AbortSequence(id))
        tick = core.step() or Tick()
        for output in (*tick.frames, *tick.finished):
            if isinstance(output, Frame):
                pcm[output.sequence_id].append(output.pcm)
            elif isinstance(output, Finished):
                pieces = pcm.pop(output.sequence_id)
                assert output.reason in ("done", "aborted"), output
                if output.reason == "done":
                    done.append((asked[output.sequence_id], np.concatenate(pieces)))
    return done


def all_at_once(core: EngineCore, requests: list[Request]) -> list[np.ndarray]:
    """Nobody is interrupted; → each one's sound."""
    for id, request in enumerate(requests):
        core.put(AddSequence(id, request.words, True, request.controls, NO_LIMIT))
    pcm: list[list[np.ndarray]] = [[] for _ in requests]
    for output in run_to_end(core):
        if isinstance(output, Frame):
            pcm[output.sequence_id].append(output.pcm)
        else:
            assert output.reason == "done", output
    return [np.concatenate(pieces) for pieces in pcm]


def requests_of(core: EngineCore, texts: tuple[str, ...], count: int) -> list[Request]:
    """Each of another text, voice, rate, speed or seed."""
    voices, rates = core.spec.voices, core.spec.sample_rates
    return [
        Request(
            tuple(read_words(core, texts[number % len(texts)])),
            Controls(
                voices[number % len(voices)],
                seed=number,
                sample_rate=rates[number % len(rates)],
                speed=SPEEDS[number % len(SPEEDS)],
            ),
        )
        for number in range(count)
    ]
