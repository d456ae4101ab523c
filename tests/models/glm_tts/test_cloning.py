"""A recording becomes a voice, and the voice speaks."""

import json
import shutil
import wave
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from stream_server.audio.reference import Recording
from stream_server.cli import app
from stream_server.engine.core import EngineCore
from stream_server.engine.messages import Controls
from stream_server.errors import ConfigError, InvalidSetting
from stream_server.models import registry
from stream_server.models.glm_tts.cloning import Cloner, load_cloner, save_voice
from stream_server.models.glm_tts.voice import read_voice, read_voices
from stream_server.offline import synthesise
from tests.models.glm_tts.make_checkpoint import make_checkpoint

pytestmark = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("tiktoken", "onnxruntime", "onnx")), reason="needs the extra glm"
)
GOLDEN = Path(__file__).parent / "golden" / "speech_tokenizer"
RATE = 24_000


def make_speaker(path: Path) -> None:
    """An encoder as the release's is seen from outside: the mean over time, through one product."""
    import onnx

    weight = np.random.default_rng(0).standard_normal((80, 192)).astype(np.float32)
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Abs", ["feature"], ["loud"]),
            onnx.helper.make_node("ReduceMean", ["loud"], ["mean"], axes=[1], keepdims=0),
            onnx.helper.make_node("MatMul", ["mean", "weight"], ["vector"]),
        ],
        "speaker",
        [onnx.helper.make_tensor_value_info("feature", onnx.TensorProto.FLOAT, [1, None, 80])],
        [onnx.helper.make_tensor_value_info("vector", onnx.TensorProto.FLOAT, [1, 192])],
        [onnx.numpy_helper.from_array(weight, "weight")],
    )
    path.parent.mkdir(parents=True)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ckpt")
    make_checkpoint(folder, voices=("one",))
    shutil.copytree(GOLDEN, folder / "speech_tokenizer")
    make_speaker(folder / "frontend" / "campplus.onnx")
    return folder


@pytest.fixture(scope="module")
def cloner(folder: Path) -> Cloner:
    return load_cloner(folder)


def recording(seconds: float = 3.0, seed: int = 0) -> Recording:
    random = np.random.default_rng(seed)
    pcm = (0.1 * random.standard_normal(int(seconds * RATE))).astype(np.float32)
    return Recording(pcm, pcm, RATE)


def test_a_voice_has_what_the_spec_says_of_its_recording(cloner: Cloner) -> None:
    voice = cloner.voice("me", recording(5.469), "大家好，我是谁？", consent="my own")
    assert (len(voice.codes), len(voice.mel), len(voice.speaker)) == (137, 273, 192)
    assert voice.text[-1] == ord(" ") and voice.about["consent"] == "my own"


def test_it_is_kept_whole_and_speaks(cloner: Cloner, folder: Path) -> None:
    made = cloner.voice("me", recording(), "Hello there.")
    made = made.__class__(**{**vars(made), "codes": tuple(code % 64 for code in made.codes)})  # the small flow's table
    path = save_voice(folder / "voices", made)
    kept = read_voice(path)
    assert (kept.text, kept.codes) == (made.text, made.codes)
    np.testing.assert_array_equal(kept.mel, made.mel)
    model = registry.load(str(folder))
    assert model.spec.voices == ("me", "one")
    speech = synthesise(EngineCore(model, 1), "你好，世界。", Controls("me", seed=1))
    assert len(speech.pcm) > 9_600
    with pytest.raises(ConfigError, match="of that name"):
        save_voice(folder / "voices", made)
    path.unlink()


def test_a_voice_that_could_not_be_written_leaves_nothing(
    cloner: Cloner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **more: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("stream_server.models.glm_tts.cloning.os.replace", full)
    with pytest.raises(OSError, match="no space"):
        save_voice(tmp_path, cloner.voice("me", recording(), "Hello."))
    assert list(tmp_path.iterdir()) == [] and read_voices(tmp_path) == {}


@pytest.mark.parametrize("name", ["", "Me", "a b", "../me", "-x", "x" * 65])
def test_names_are_plain(cloner: Cloner, name: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        cloner.voice(name, recording(), "Hello.")
    assert refused.value.field == "name"


def test_a_transcript_is_needed(cloner: Cloner) -> None:
    for text in ("", " ", "x" * 1_001):
        with pytest.raises(InvalidSetting) as refused:
            cloner.voice("me", recording(), text)
        assert refused.value.field == "text"


def test_what_is_no_graph_is_refused(tmp_path: Path) -> None:
    make_checkpoint(tmp_path, voices=("one",))
    shutil.copytree(GOLDEN, tmp_path / "speech_tokenizer")
    with pytest.raises(ConfigError, match=r"campplus\.onnx"):
        load_cloner(tmp_path)
    (tmp_path / "campplus.onnx").write_bytes(b"no graph")
    with pytest.raises(ConfigError, match="no ONNX graph"):
        load_cloner(tmp_path)


def test_from_the_command_line(folder: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["voices", *arguments])

    sound = tmp_path / "me.wav"
    with wave.open(str(sound), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes((recording(4.0).pcm * 32_767).astype("<i2").tobytes())
    model = ["--model", str(folder)]
    added = run("add", "friend", str(sound), *model, "--text", "Hello there.", "--consent", "hers")
    assert added.exit_code == 0, added.output
    assert json.loads(run(*model, "--json").stdout) == {"friend": "Hello there.", "one": ""}
    assert read_voice(folder / "voices" / "friend.safetensors").about["consent"] == "hers"
    assert run("add", "friend", str(sound), *model, "--text", "Hello there.").exit_code != 0
    assert run("rename", "friend", "pal", *model).exit_code == 0
    assert run("rename", "pal", "one", *model).exit_code != 0
    assert run("delete", "friend", *model).exit_code != 0
    assert run("delete", "pal", *model).exit_code == 0
    assert list(read_voices(folder / "voices")) == ["one"]
    silent = run("add", "friend", str(GOLDEN / "config.json"), *model, "--text", "Hello.")
    assert silent.exit_code == 1 and "audio" in silent.output
