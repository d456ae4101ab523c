"""Cut anywhere, same sound; alone or in company, same sound.  The shipped voice, through the engine's public door.

Tokens must be equal.  Samples may differ by TOLERANCE, which is rounding: a product over one row and the same row
among eight need not agree in the last bit.
"""

import random
from collections import defaultdict

import numpy as np
import pytest
import torch

from stream_server.engine.core import EngineCore
from stream_server.engine.messages import AbortSequence, AddSequence, Controls, ExtendSequence
from stream_server.models.interface import SpeechModel
from stream_server.models.lark.lm import LOOKAHEAD
from stream_server.models.lark.model import Lark
from stream_server.models.lark.vocoder import LarkVocoder
from stream_server.offline import NO_LIMIT, synthesise
from stream_server.text.segment import TextReader
from stream_server.text.word import Word

TOLERANCE = 1e-3  # of full scale, −60 dB
TEXT = "The quick brown fox, they said, had jumped over 25 lazy dogs by 4:30 p.m. on Friday!"
OTHERS = ("Who are the lawyers?", "See what you have done!", "Tea is ready, mother, she said in a quiet voice.")


def reading(*texts: str) -> list[Word]:
    reader = TextReader()
    words = [word for text in texts for word in reader.push(text)]
    return words + reader.flush()


def random_cuts(text: str, rng: random.Random) -> list[str]:
    places = sorted(rng.sample(range(1, len(text)), rng.randint(0, 12)))
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)])]


class Listener:
    """Everything the engine says, by sequence, with the tokens as the vocoder got them."""

    def __init__(self, core: EngineCore) -> None:
        self.core = core
        self.pcm: dict[int, list[np.ndarray]] = defaultdict(list)
        self.reasons: dict[int, str] = {}
        self.tokens: dict[int, list[list[int]]] = defaultdict(list)
        vocode = core.runner.vocode

        def spy(rows):  # type: ignore[no-untyped-def]
            for row in rows:
                self.tokens[row.sequence.id] += [t.tolist() for t in core.runner.tokens[row.sequence.slot].waiting]
            return vocode(rows)

        core.runner.vocode = spy  # type: ignore[method-assign]

    def step(self) -> bool:
        tick = self.core.step()
        for frame in tick.frames if tick else ():
            self.pcm[frame.sequence_id].append(frame.pcm)
        for finished in tick.finished if tick else ():
            self.reasons[finished.sequence_id] = finished.reason
        return tick is not None

    def run(self) -> None:
        while self.step():
            pass

    def sound(self, id: int) -> np.ndarray:
        return np.concatenate(self.pcm[id])


def alone(lark: SpeechModel, words: list[Word], controls: Controls) -> tuple[list[list[int]], np.ndarray]:
    listener = Listener(EngineCore(lark, 1))
    listener.core.put(AddSequence(1, tuple(words), True, controls, NO_LIMIT))
    listener.run()
    assert listener.reasons[1] == "done"
    return listener.tokens[1], listener.sound(1)


@pytest.mark.parametrize("seed", range(4))
def test_text_cut_and_delayed_at_random(lark: SpeechModel, seed: int) -> None:
    rng = random.Random(seed)
    controls = Controls(lark.spec.voices[seed % 2], seed=seed)
    tokens, sound = alone(lark, reading(TEXT), controls)
    reader, listener = TextReader(), Listener(EngineCore(lark, 2))
    listener.core.put(AddSequence(1, (), False, controls, NO_LIMIT))
    for piece in random_cuts(TEXT, rng):
        listener.core.put(ExtendSequence(1, tuple(reader.push(piece))))
        for _ in range(rng.randint(0, 30)):
            listener.step()
    listener.core.put(ExtendSequence(1, tuple(reader.flush()), final=True))
    listener.run()
    assert listener.tokens[1] == tokens
    np.testing.assert_allclose(listener.sound(1), sound, atol=TOLERANCE)


@pytest.mark.parametrize("use_cache", [True, False], ids=["cache", "no cache"])
def test_alone_or_among_eight_who_come_and_go(lark: SpeechModel, use_cache: bool) -> None:
    rng = random.Random(1)
    controls = Controls(lark.spec.voices[0], seed=5, use_cache=use_cache)
    tokens, sound = alone(lark, reading(TEXT), controls)
    listener = Listener(EngineCore(lark, 9))
    for id in range(2, 10):
        other = Controls(rng.choice(lark.spec.voices), seed=id, sample_rate=rng.choice((24_000, 32_000)))
        listener.core.put(AddSequence(id, tuple(reading(rng.choice(OTHERS))), True, other, NO_LIMIT))
        if id == 5:
            listener.core.put(AddSequence(1, tuple(reading(TEXT)), True, controls, NO_LIMIT))
        for _ in range(rng.randint(0, 5)):
            listener.step()
    listener.core.put(AbortSequence(3))
    listener.run()
    assert listener.tokens[1] == tokens
    np.testing.assert_allclose(listener.sound(1), sound, atol=TOLERANCE)


def test_a_slot_used_again_remembers_nothing(lark: SpeechModel) -> None:
    controls = Controls(lark.spec.voices[0], seed=3)
    core = EngineCore(lark, 1)
    first = synthesise(core, "See what you have done!", controls)
    synthesise(core, TEXT, Controls(lark.spec.voices[1], seed=9, speed=1.3))
    again = synthesise(core, "See what you have done!", controls)
    np.testing.assert_array_equal(first.pcm, again.pcm)


def test_the_cache_changes_the_cost_and_not_the_speech(lark: SpeechModel) -> None:
    words = reading("Surgery for a frozen shoulder is not particularly effective.")
    with_cache = alone(lark, words, Controls(lark.spec.voices[0], seed=2))
    without = alone(lark, words, Controls(lark.spec.voices[0], seed=2, use_cache=False))
    assert with_cache[0] == without[0]


@pytest.mark.parametrize("sample_rate", [24_000, 32_000])
@pytest.mark.parametrize("speed", [0.5, 0.83, 1.0, 2.0])
def test_the_vocoder_cut_anywhere_and_in_company(lark: SpeechModel, speed: float, sample_rate: int) -> None:
    vocoder = lark.vocoder
    assert isinstance(vocoder, LarkVocoder)
    rng = random.Random(7)
    generator = torch.Generator().manual_seed(7)
    tokens = torch.cat(
        [
            torch.randint(0, 4375, (40, 1), generator=generator),
            torch.randint(0, 100, (40, 3), generator=generator),
        ],
        dim=1,
    )
    controls = Controls(lark.spec.voices[0], seed=1, speed=speed, sample_rate=sample_rate)
    state = vocoder.allocate(3)
    vocoder.reset(0, controls, state)
    (whole,) = vocoder.decode([0], [tokens], [True], state)
    vocoder.reset(2, controls, state)
    pieces, starts, at, base = [], [], 0, 0
    while at < len(tokens):
        size = rng.randint(1, 6)
        vocoder.reset(1, Controls(lark.spec.voices[1], seed=at), state)  # company: another voice, always at its start
        _, sound = vocoder.decode(
            [1, 2], [tokens[: rng.randint(1, 6)], tokens[at : at + size]], [False, at + size >= len(tokens)], state
        )
        starts += [(token, base + offset) for token, offset in sound.starts]
        pieces.append(sound.pcm)
        base += len(sound.pcm)
        at += size
    cut = np.concatenate(pieces)
    assert len(cut) == len(whole.pcm)
    assert starts == whole.starts
    np.testing.assert_allclose(cut, whole.pcm, atol=TOLERANCE * max(1.0, np.abs(whole.pcm).max()))


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="other BLAS libraries were not measured")
@torch.inference_mode()
def test_a_symbol_reads_the_same_to_the_last_bit_however_many_are_read_with_it(lark: Lark) -> None:
    torch.manual_seed(0)
    symbols, inside = torch.randint(1, 40, (12, 2 * LOOKAHEAD + 1)), torch.rand(12, 2 * LOOKAHEAD + 1) > 0.1
    whole = lark.lm.text.windows(symbols, inside)
    for size in (1, 2, 5):
        pieces = [lark.lm.text.windows(symbols[at : at + size], inside[at : at + size]) for at in range(0, 12, size)]
        assert torch.equal(torch.cat(pieces), whole), size
