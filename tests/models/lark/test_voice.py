"""What the shipped voice does with the controls, and what its marks say."""

import re

import numpy as np
import pytest
import torch
from torch import Tensor

from stream_server.engine.core import EngineCore
from stream_server.engine.messages import AddSequence, Controls, ExtendSequence
from stream_server.models.interface import SpeechModel
from stream_server.models.lark.model import Lark, LarkState
from stream_server.offline import NO_LIMIT, read_words, synthesise

SENTENCE = "There are many startup accelerators to boost the economy."
LONG = (
    "He strolled round to the tennis lawn and was welcomed riotously by the players. They told me he was there. "
    "The knots had been cunningly tied, and it took Dr. Smith 25 minutes, or 1/2 an hour, to untie all 14 of them! "
    "Where shall we find a new pin more bright? It cost $3.50 in 1999; today it is £12. "
    "Write to jane.doe@example.com, or see www.example.org/help for more. NASA and the FBI did not reply. "
) * 3


@pytest.fixture(scope="module")
def core(lark: SpeechModel) -> EngineCore:
    return EngineCore(lark, 2)


def controls(core: EngineCore, **fields: object) -> Controls:
    return Controls(**{"voice": core.spec.voices[0], "seed": 1, **fields})  # type: ignore[arg-type]


def test_it_is_sound_and_neither_silence_nor_noise(core: EngineCore) -> None:
    for voice in core.spec.voices:
        pcm = synthesise(core, SENTENCE, controls(core, voice=voice)).pcm
        assert np.isfinite(pcm).all()
        blocks = np.sqrt((pcm[: len(pcm) // 480 * 480].reshape(-1, 480) ** 2).mean(1))
        assert 0.02 < np.quantile(blocks, 0.8) < 0.3
        assert blocks.max() > 20 * np.quantile(blocks, 0.05)  # speech has pauses and syllables


def test_the_same_seed_speaks_the_same_samples_and_another_does_not(core: EngineCore) -> None:
    first, again, other = (synthesise(core, SENTENCE, controls(core, seed=seed)).pcm for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert len(first) != len(other) or np.abs(first - other).max() > 0.01


def test_greedy_needs_no_seed(core: EngineCore) -> None:
    one = synthesise(core, SENTENCE, controls(core, temperature=0.0, seed=1))
    two = synthesise(core, SENTENCE, controls(core, top_k=1, seed=2))
    assert one.tokens == two.tokens


def test_speed_shortens_and_lengthens(core: EngineCore) -> None:
    plain, fast, slow = (len(synthesise(core, SENTENCE, controls(core, speed=s)).pcm) for s in (1.0, 2.0, 0.5))
    assert fast == pytest.approx(plain / 2, abs=480)
    assert slow == pytest.approx(plain * 2, abs=480)


def test_speed_may_change_in_mid_stream(core: EngineCore) -> None:
    plain = synthesise(core, SENTENCE, controls(core))
    words = tuple(read_words(core, SENTENCE))
    core.put(AddSequence(99, words, True, controls(core), NO_LIMIT))
    made, changed = 0, 0
    while (tick := core.step()) is not None:
        made += sum(len(frame.pcm) for frame in tick.frames)
        if made > 24_000 and not changed:
            changed = made
            core.put(ExtendSequence(99, speed=2.0))
    assert made == pytest.approx(changed + (len(plain.pcm) - changed) / 2, abs=5000)


def test_both_rates_last_as_long(core: EngineCore) -> None:
    low, high = (synthesise(core, SENTENCE, controls(core, sample_rate=rate)) for rate in (24_000, 32_000))
    assert low.audio_s == pytest.approx(high.audio_s)
    assert high.sample_rate == 32_000


def test_every_word_of_a_long_text_is_marked_once_in_order_and_in_time(core: EngineCore) -> None:
    assert len(LONG) > 1000
    speech = synthesise(core, LONG, controls(core))
    assert [word for word, _ in speech.words] == [word for word in read_words(core, LONG) if word.source]
    assert " ".join(word.source for word, _ in speech.words).split() == LONG.split()
    starts = [at for _, at in speech.words]
    assert starts == sorted(starts) and starts[-1] < len(speech.pcm)
    assert not speech.truncated


def test_marks_stand_where_the_sound_rises(core: EngineCore) -> None:
    """After a pause, the mark of the next word lies within 100 ms of the end of the silence."""
    speech = synthesise(core, "Come here. Sit down. Be still.", controls(core))
    power = np.convolve(speech.pcm**2, np.ones(480) / 480, "same")
    for word, at in speech.words:
        if re.match("Sit|Be", word.source):
            loud = np.flatnonzero(power[at - 4800 : at + 4800] > 1e-4)
            assert len(loud), word


def test_an_inline_pronunciation_is_what_is_said(core: EngineCore) -> None:
    plain = synthesise(core, "I say tomato.", controls(core))
    same = synthesise(core, "I say [[tomato|t ax0 m ey1 t ow1]].", controls(core))
    other = synthesise(core, "I say [[tomato|t ax0 m aa1 t ow1]].", controls(core))
    np.testing.assert_array_equal(plain.pcm, same.pcm)
    assert len(plain.pcm) != len(other.pcm) or np.abs(plain.pcm - other.pcm).max() > 0.01


@pytest.mark.parametrize("text", ["", "  ", "🙂", "..."])
def test_nothing_to_say_is_no_sound(core: EngineCore, text: str) -> None:
    assert len(synthesise(core, text, controls(core)).pcm) == 0


def test_an_end_always_comes(core: EngineCore) -> None:
    for text in ("A.", "Hm!", "x" * 200, "zzz zzz zzz?", "1234567890123", "tsk tsk"):
        speech = synthesise(core, text, controls(core, temperature=1.5))
        assert speech.tokens and not speech.truncated


def test_a_row_that_came_to_no_number_leaves_nothing_to_the_next_in_its_slot(lark: Lark) -> None:
    words = tuple(read_words(EngineCore(lark, 1), SENTENCE))
    chosen = Controls(lark.spec.voices[0], seed=1)

    def tokens(state: LarkState) -> list[Tensor]:
        lark.prefill([0], [lark.prompt(words, True)], [chosen], state)
        return [lark.decode_step([0], state).tokens for _ in range(40)]

    used = lark.allocate(1)
    tokens(used)
    used.rows[0].encodings[used.rows[0].pointer.at] = np.full(lark.lm.config.width, np.nan, np.float32)
    assert lark.decode_step([0], used).broken == [True]
    assert torch.equal(torch.stack(tokens(used)), torch.stack(tokens(lark.allocate(1))))
