"""What may be asked of a checkpoint's language model: sampling, no cache, a text carried over, narrow numbers.

The engine's codes are held against a plain Llama that is given a prompt laid out by hand and knows no engine.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from stream_server.cli import app
from stream_server.engine.core import EngineCore
from stream_server.engine.messages import AddSequence, Controls, Finished, Spoken
from stream_server.errors import ConfigError
from stream_server.models import registry
from stream_server.models.glm_tts.model import GLMTTS
from stream_server.models.glm_tts.sampling import Draw, choose
from stream_server.models.glm_tts.tokenizer import read_tokenizer
from stream_server.offline import NO_LIMIT, read_words, run_to_end, sentences, synthesise
from stream_server.text.word import Word
from tests.models.glm_tts.make_checkpoint import make_checkpoint
from tests.models.glm_tts.plain_lm import PlainLM

pytestmark = pytest.mark.skipif(find_spec("tiktoken") is None, reason="needs the extra glm")
TEXT = "a b c d, e f g h."
READ = ["a b c d.", "e f g h."]  # its segments, as the model reads them
SHORTER = "a b c d, e."  # of two segments too
SEED = 7


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ckpt")
    make_checkpoint(folder, voices=("one",))
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> GLMTTS:
    """One that stops as soon as it may: after two codes for an id of text."""
    loaded = registry.load(str(folder))
    assert isinstance(loaded, GLMTTS)
    loaded.lm.plain.bias[loaded.lm.stop] = 1e4
    return loaded


@pytest.fixture(scope="module")
def segments(model: GLMTTS) -> list[tuple[Word, ...]]:
    found = list(sentences(read_words(EngineCore(model, 1), TEXT)))
    assert len(found) == len(READ)
    return found


def said(model: GLMTTS, words: Sequence[Word], past: Sequence[Spoken] = (), **how: object) -> tuple[int, ...]:
    """The codes one segment is spoken with."""
    return together(model, [(words, past, Controls("one", **{"seed": SEED} | how, carry_over=True))])[0]  # type: ignore[arg-type]


def together(
    model: GLMTTS, asked: Sequence[tuple[Sequence[Word], Sequence[Spoken], Controls]]
) -> list[tuple[int, ...]]:
    core = EngineCore(model, len(asked))
    for id, (words, past, controls) in enumerate(asked):
        core.put(AddSequence(id, tuple(words), True, controls, NO_LIMIT, past=tuple(past)))
    ends = {each.sequence_id: each for each in run_to_end(core) if isinstance(each, Finished)}
    assert all(end.reason == "done" for end in ends.values())
    return [ends[id].tokens for id in range(len(asked))]


def by_hand(folder: Path, texts: Sequence[str], codes: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The fewest codes of the last text, after the others and theirs, by the release's law."""
    tokenizer, plain = read_tokenizer(folder / "vq32k-phoneme-tokenizer"), PlainLM(folder / "llm")
    voice, tokens = registry.load(str(folder)).voices["one"], tokenizer.speech_tokens()  # type: ignore[attr-defined]
    ids = voice.text_ids.tolist()
    for text in texts:
        ids += tokenizer.encode(text)
    ids.append(tokens.begin)
    for said in (voice.codes.tolist(), *codes):
        ids += [tokens.first + code for code in said]
    found: list[int] = []
    with torch.inference_mode():
        for number in range(2 * len(tokenizer.encode(texts[-1]))):
            logits = plain.logits(ids)[-1:, [*range(tokens.first, tokens.last + 1), tokens.stop]]
            (column,), _ = choose(logits, [Draw(SEED, number, found, may_stop=False)], tokens.codes)
            found.append(column)
            ids.append(tokens.first + column)
    return tuple(found)


# Sampling.


def test_unless_asked_it_draws_by_the_release_s_law(model: GLMTTS, folder: Path, segments: list) -> None:
    assert said(model, segments[0]) == by_hand(folder, READ[:1], [])
    assert said(model, segments[0], temperature=1.0) == said(model, segments[0])


def test_what_is_asked_of_its_sampling_is_done(model: GLMTTS, segments: list) -> None:
    law = said(model, segments[0])
    assert law not in (said(model, segments[0], temperature=0.4), said(model, segments[0], top_k=20))
    greedy = {said(model, segments[0], seed=seed, temperature=0.0) for seed in (1, 2)}
    assert greedy == {said(model, segments[0], seed=3, top_k=1)}


# Without the cache.


def test_computed_anew_at_every_step_the_codes_are_the_same(model: GLMTTS, segments: list) -> None:
    past = [Spoken(segments[0], said(model, segments[0]))]
    for words, before in ((segments[0], []), (segments[1], past)):
        assert said(model, words, before, use_cache=False) == said(model, words, before)


def test_with_and_without_the_cache_in_one_step(model: GLMTTS, segments: list) -> None:
    asked = [
        (segments[0], (), Controls("one", seed=seed, use_cache=cached, carry_over=True))
        for seed in (1, 2)
        for cached in (True, False)
    ]
    one, one_anew, two, two_anew = together(model, asked)
    assert one == one_anew != two == two_anew


# Carry-over.


def test_earlier_segments_stand_in_the_prompt_all_texts_before_all_codes(
    model: GLMTTS, folder: Path, segments: list
) -> None:
    voice, tokens, state = model.voices["one"], model.lm.tokens, model.allocate(1)
    texts = [model.tokenizer.encode(text) for text in READ]
    past = [Spoken(segments[0], (5, 0, 63, 5))]

    def laid_out(past: Sequence[Spoken]) -> list[int]:
        prompt = model.prompt(segments[1], True)
        model.prefill([0], [model.after(prompt, past) if past else prompt], [Controls("one")], state)
        return state.rows[0].ids

    mark, first = [tokens.begin], [tokens.first + code for code in voice.codes.tolist()]
    second = [tokens.first + code for code in (5, 0, 63, 5)]
    assert laid_out([]) == [*voice.text_ids.tolist(), *texts[1], *mark, *first]
    assert laid_out(past) == [*voice.text_ids.tolist(), *texts[0], *texts[1], *mark, *first, *second]


def test_what_is_carried_over_is_heard(model: GLMTTS, folder: Path, segments: list) -> None:
    first = said(model, segments[0])
    second = said(model, segments[1], [Spoken(segments[0], first)])
    assert second == by_hand(folder, READ, [first])
    assert second != said(model, segments[1])


def test_a_text_goes_on_from_itself_only_where_that_is_asked(model: GLMTTS, segments: list) -> None:
    core = EngineCore(model, 1)
    plain, carried = (synthesise(core, TEXT, Controls("one", SEED, carry_over=asked)) for asked in (False, True))
    first, seam = said(model, segments[0]), 16 * 960
    assert len(first) == 16 and len(plain.pcm) == len(carried.pcm)
    np.testing.assert_allclose(plain.pcm[:seam], carried.pcm[:seam], atol=1e-4)
    assert said(model, segments[1]) != said(model, segments[1], [Spoken(segments[0], first)])
    assert np.abs(plain.pcm[seam:] - carried.pcm[seam:]).max() > 1e-2


def test_a_row_holds_the_prompt_and_the_most_that_may_come_whatever_is_carried_over(model: GLMTTS) -> None:
    state, reference = model.allocate(1), len(model.voices["one"].text_ids) + len(model.voices["one"].codes)

    def laid_out(*past: Spoken) -> int:
        """Ids of the past that are kept."""
        prompt = model.after(model.prompt(words("花" * 20), True), past)
        model.prefill([0], [prompt], [Controls("one")], state)
        row = state.rows[0]
        assert len(row.ids) + row.most <= model.lm.positions
        return len(row.ids) - reference - len(prompt.ids) - 1

    def words(text: str) -> tuple[Word, ...]:
        return (Word(text, 0, len(text), text, "."),)

    wordy = [Spoken(words("长" * 100), (1,)) for _ in range(9)]  # each of 303 ids of text
    assert 0 < laid_out(*wordy) < 9 * 304 and laid_out(*wordy) % 304 == 0
    assert laid_out(Spoken(words("短"), (2,) * 700)) == 0  # 700 codes and what is to come: beyond the budget
    assert laid_out(Spoken(words("短" * 50), (2,) * 500)) == 653


# Narrow numbers.


@pytest.mark.parametrize("dtypes", [{"lm": "bf16"}, {"lm": "fp16"}, {"lm": "bf16", "flow": "bf16"}], ids=str)
def test_parts_may_be_held_in_narrow_numbers(folder: Path, dtypes: dict[str, str]) -> None:
    core = EngineCore(registry.load(str(folder), dtypes=dtypes), 2)
    speech = synthesise(core, TEXT, Controls("one", SEED))
    assert speech.tokens > 30 and np.isfinite(speech.pcm).all() and np.abs(speech.pcm).max() > 0
    assert not speech.truncated


@pytest.mark.parametrize(
    ("dtypes", "field", "limit"),
    [
        ({"lm": "int8"}, "dtype.lm", "fp32, bf16, fp16"),
        ({"hift": "bf16"}, "dtype", "lm, flow"),
    ],
    ids=str,
)
def test_a_part_or_a_type_that_there_is_not_is_named(folder: Path, dtypes: dict, field: str, limit: str) -> None:
    with pytest.raises(ConfigError) as refused:
        registry.load(str(folder), dtypes=dtypes)
    assert (refused.value.field, refused.value.limit) == (field, limit)


def test_the_command_line_asks_for_all_of_it(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoken(*asked: str) -> bytes:
        out = tmp_path / "x.wav"
        found = CliRunner().invoke(app, ["say", SHORTER, "--model", str(folder), "-o", str(out), *asked])
        assert found.exit_code == 0, found.output
        return out.read_bytes()

    plain, carried = spoken(), spoken("--carry-over")
    assert spoken("--dtype", "flow=fp32,lm=fp32") == plain
    assert plain not in (carried, spoken("--temperature", "0.5"), spoken("--kept-voices", "1"))
    monkeypatch.setenv("STREAM_SERVER_CARRY_OVER", "true")
    assert spoken() == carried and spoken("--no-carry-over") == plain


def test_a_batch_s_items_are_carried_over_as_they_ask_or_all(folder: Path, tmp_path: Path) -> None:
    tasks = tmp_path / "tasks.jsonl"
    tasks.write_text(f'{{"id": "a", "text": "{SHORTER}"}}\n{{"id": "b", "text": "{SHORTER}", "carry_over": true}}\n')

    def spoken(name: str, *asked: str) -> list[np.ndarray]:
        out = tmp_path / name
        found = CliRunner().invoke(app, ["batch", str(tasks), "--model", str(folder), "-o", str(out), *asked])
        assert found.exit_code == 0, found.output
        return [np.frombuffer((out / f"{item}.wav").read_bytes()[44:], np.int16) for item in "ab"]

    (off, on), every = spoken("mixed"), spoken("every", "--carry-over")
    assert not np.array_equal(off, on) and np.array_equal(on, every[0]) and np.array_equal(on, every[1])
