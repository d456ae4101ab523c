"""A checkpoint in the release's layout, spoken by the engine that speaks everything else."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from stream_server.cli import app
from stream_server.engine.core import EngineCore
from stream_server.engine.memory import measure
from stream_server.engine.messages import AbortSequence, AddSequence, Controls, ExtendSequence, Finished, Frame, Tick
from stream_server.errors import ConfigError, InvalidPronunciation
from stream_server.limits import Limits
from stream_server.models import registry
from stream_server.models.glm_tts.lm import lengths
from stream_server.models.glm_tts.model import GLMTTS, POSITIONS
from stream_server.models.glm_tts.tokenizer import read_tokenizer
from stream_server.models.interface import SpeechModel
from stream_server.offline import NO_LIMIT, read_words, run_to_end, sentences, synthesise
from stream_server.text.dictionary import checked
from stream_server.text.reader import make_reader
from tests.models.glm_tts.make_checkpoint import make_checkpoint

pytestmark = pytest.mark.skipif(any(find_spec(name) is None for name in ("tiktoken",)), reason="needs the extra glm")
TEXT = "今天天气很好，我们去公园散步吧。"
FIRST = 1 << 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ckpt")
    make_checkpoint(folder)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> SpeechModel:
    return registry.load(str(folder))


def spoken(core: EngineCore, requests: dict[int, Controls]) -> dict[int, np.ndarray]:
    """The text's first segment by each of them at once."""
    words = next(iter(sentences(read_words(core, TEXT))))
    for id, controls in requests.items():
        core.put(AddSequence(id, words, True, controls, NO_LIMIT))
    pcm: dict[int, list[np.ndarray]] = {id: [] for id in requests}
    for output in run_to_end(core):
        if isinstance(output, Frame):
            pcm[output.sequence_id].append(output.pcm)
        else:
            assert output.reason == "done", output
    return {id: np.concatenate(pieces) for id, pieces in pcm.items()}


def test_it_speaks_in_segments_and_marks_what_it_speaks(model: SpeechModel) -> None:
    core = EngineCore(model, 2)
    speech = synthesise(core, TEXT + "再见！", Controls("one", seed=1))
    segments = len(list(sentences(read_words(core, TEXT + "再见！"))))
    assert speech.tokens > 40 and len(speech.pcm) == speech.tokens * 960 + segments * 480
    assert np.isfinite(speech.pcm).all() and np.abs(speech.pcm).max() > 0
    places = [place for _, place in speech.words]
    assert places == sorted(places) and speech.words[0][0].source == "今"


def test_its_sound_begins_long_before_its_end(model: SpeechModel) -> None:
    core = EngineCore(model, 1)
    words = next(iter(sentences(read_words(core, TEXT))))
    core.put(AddSequence(1, words, True, Controls("one", seed=1), NO_LIMIT))
    first, steps, tick = None, 0, Tick()
    while not tick.finished:
        tick = core.step() or Tick()
        steps += 1
        first = first or (steps if tick.frames else None)
    assert first is not None and first < steps / 2


def test_alone_and_in_company_the_same_sound(model: SpeechModel) -> None:
    requests = {id: Controls("one" if id % 2 else "two", seed=id) for id in range(4)}
    together = spoken(EngineCore(model, 4), requests)
    for id, controls in requests.items():
        alone = spoken(EngineCore(model, 4), {id: controls})[id]
        np.testing.assert_array_equal(together[id], alone)
    assert not np.array_equal(together[1][:9_600], together[3][:9_600])


def test_both_rates_of_one_speech(model: SpeechModel) -> None:
    low = spoken(EngineCore(model, 1), {1: Controls("one", seed=1)})[1]
    high = spoken(EngineCore(model, 1), {1: Controls("one", seed=1, sample_rate=32_000)})[1]
    assert abs(len(high) * 3 - len(low) * 4) <= 4
    every_third, every_fourth = high[::4][: len(low) // 3], low[::3][: len(low) // 3]
    assert np.corrcoef(every_third, every_fourth)[0, 1] > 0.9


@pytest.mark.parametrize(("speed", "rate"), [(0.5, 32_000), (1.3, 24_000)])
def test_at_any_speed_as_long_as_it_says_and_every_unit_marked_once(
    model: SpeechModel, speed: float, rate: int
) -> None:
    core, text = EngineCore(model, 1), "好的，我们去公园。"
    speech = synthesise(core, text, Controls("one", seed=1, speed=speed, sample_rate=rate))
    usual = synthesise(core, text, Controls("one", seed=1, sample_rate=rate))
    frames = len(list(sentences(read_words(core, text))))  # a segment's last may be heard in part
    assert speech.tokens == usual.tokens
    assert abs(len(speech.pcm) - len(usual.pcm) / speed) <= frames * rate / 50
    assert [word.start for word, _ in speech.words] == [word.start for word, _ in usual.words]
    for (_, place), (_, wanted) in zip(speech.words, usual.words):
        assert abs(place - wanted / speed) <= frames * rate / 50


@pytest.mark.parametrize("text", ["好", "Hm, yes.", TEXT + "And so on!"])
def test_every_unit_is_marked_by_its_segment_s_end(model: SpeechModel, text: str) -> None:
    core = EngineCore(model, 1)
    units = [word for word in read_words(core, text) if word.source]
    speech = synthesise(core, text, Controls("two", seed=3))
    assert [word for word, _ in speech.words] == units
    places = [place for _, place in speech.words]
    assert places == sorted(places) and places[-1] < len(speech.pcm)


def test_a_new_speed_in_mid_speech_is_heard(model: SpeechModel) -> None:
    core = EngineCore(model, 1)
    words = next(iter(sentences(read_words(core, TEXT))))
    lengths = {}
    for speed in (1.0, 0.5):
        core.put(AddSequence(1, words, True, Controls("one", seed=1), NO_LIMIT))
        for _ in range(30):
            core.step()
        core.put(ExtendSequence(1, speed=speed))
        lengths[speed] = next(out.stats.samples for out in run_to_end(core) if isinstance(out, Finished))
    assert 1.2 * lengths[1.0] < lengths[0.5] < 2 * lengths[1.0]


def test_a_cancelled_segment_frees_its_slot_within_a_step(model: SpeechModel) -> None:
    core = EngineCore(model, 1)
    words = next(iter(sentences(read_words(core, TEXT))))
    core.put(AddSequence(1, words, True, Controls("one", seed=1), NO_LIMIT))
    for _ in range(25):
        core.step()
    core.put(AbortSequence(1))
    core.step()
    assert core.load.running == 0
    assert not core.runner.state.rows and not core.runner.vocoder_state.flow.rows  # nor is its voice kept
    again = spoken(core, {2: Controls("two", seed=2)})[2]
    np.testing.assert_array_equal(again, spoken(EngineCore(model, 1), {2: Controls("two", seed=2)})[2])


def test_a_listener_s_text_is_never_a_control_token(folder: Path) -> None:
    tokenizer = read_tokenizer(folder / "vq32k-phoneme-tokenizer")
    tokens = tokenizer.speech_tokens()
    assert tokens.codes == 64
    ids = tokenizer.encode("<|user|><|audio_3|>好")
    assert tokens.stop not in ids and tokens.first + 3 not in ids
    assert tokenizer.encode("<|IANG3|>") == [258]


@pytest.mark.parametrize(
    "missing", ["llm/config.json", "flow/config.yaml", "hift/model.safetensors", "voices/one.safetensors"]
)
def test_what_is_missing_is_named(tmp_path: Path, missing: str) -> None:
    make_checkpoint(tmp_path, voices=("one",))
    (tmp_path / missing).unlink()
    with pytest.raises(ConfigError) as refused:
        registry.load(str(tmp_path))
    assert missing.split("/")[0] in refused.value.message


def test_voices_stand_in_the_spec(model: SpeechModel) -> None:
    assert isinstance(model, GLMTTS)
    assert model.spec.voices == ("one", "two") and model.spec.sample_rates == (24_000, 32_000)


def test_a_checkpoint_is_converted_and_says_the_same(folder: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> bytes:
        result = CliRunner().invoke(app, list(arguments))
        assert result.exit_code == 0, result.output
        return result.stdout.encode()

    release, target = tmp_path / "release", tmp_path / "converted"
    shutil.copytree(folder, release)
    for part, name in (("flow", "flow.pt"), ("hift", "hift.pt")):  # as they are downloaded
        weights = load_file(release / part / "model.safetensors")
        (release / part / "model.safetensors").unlink()
        torch.save({"model": weights} if part == "flow" else weights, release / part / name)
    run("convert", str(release), str(target))
    assert not list(target.rglob("*.pt"))
    said = []
    for place in (release, target):
        run("say", TEXT, "--model", str(place), "--voice", "two", "-o", str(tmp_path / "x.wav"))
        said.append((tmp_path / "x.wav").read_bytes())
    assert said[0] == said[1] and len(said[0]) > 48_000
    narrow = CliRunner().invoke(app, ["convert", str(release), str(tmp_path / "n"), "--llm", "int8"])
    assert narrow.exit_code != 0 and "bf16" in narrow.output


def test_phonemes_reach_the_language_model_as_the_tokens_they_are(model: SpeechModel) -> None:
    assert model.spec.phones == ("A1", "B", "IANG3", "ZH")
    entries = checked({"重庆": "<|ZH|><|A1|>庆"}, model.spec.reader, model.spec.phones, Limits())
    reader = make_reader(model.spec.reader, model.spec.phones, pronunciations=entries)
    words = reader.push("<|B|><|IANG3|>在重庆") + reader.flush()
    ids = model.prompt(words, final=True).ids
    assert ids == (259, 258, *"在".encode(), 257, 256, *"庆。".encode())
    with pytest.raises(InvalidPronunciation):
        reader.push("<|IANG2|>好")


@pytest.mark.parametrize(
    "unit", ["字", "word ", "internationalisation ", "<|B|><|IANG3|>", "9", "𠀀", "2026-11-23 ", "é"]
)
def test_no_segment_is_more_than_a_row_holds(model: SpeechModel, unit: str) -> None:
    """Behind the longest reference, and even where every byte is a token."""
    core = EngineCore(model, 1)
    for words in sentences(read_words(core, unit * 500)):
        ids = len(model.prompt(words, final=True).ids)
        lengths(750 + 200 + ids, ids, POSITIONS)


def test_a_text_too_long_for_a_sequence_costs_nobody_else_theirs(model: SpeechModel) -> None:
    core = EngineCore(model, 2)
    words = next(iter(sentences(read_words(core, TEXT))))
    endless = tuple(read_words(core, " ".join(["incomprehensibilities"] * 60)))
    core.put(AddSequence(1, words, True, Controls("one", seed=1), NO_LIMIT))
    for _ in range(10):
        core.step()
    core.put(AddSequence(2, endless, True, Controls("two", seed=1), NO_LIMIT))
    pieces, reasons = [], {}
    for output in run_to_end(core):
        if isinstance(output, Frame):
            pieces.append(output.pcm)
        else:
            reasons[output.sequence_id] = output.reason
    assert reasons == {1: "done", 2: "failed"}
    wanted = spoken(EngineCore(model, 2), {1: Controls("one", seed=1)})[1]
    np.testing.assert_array_equal(np.concatenate(pieces), wanted)


def test_what_each_network_holds_is_told_apart(model: SpeechModel) -> None:
    weights = measure(EngineCore(model, 1).runner).weights
    assert set(weights) == {"voices", "lm", "flow", "vocoder"}
    assert all(count > 10_000 for count in weights.values())
