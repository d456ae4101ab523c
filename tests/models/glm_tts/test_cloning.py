"""A recording becomes a voice of a checkpoint, and the voice speaks: from the command line, as its user would."""

import json
import wave
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from stream_server.cli import app
from stream_server.engine.core import EngineCore
from stream_server.engine.messages import Controls
from stream_server.models import registry
from stream_server.models.glm_tts.cloning import store_of, transcript
from stream_server.offline import synthesise
from tests.audio.recordings import speechlike, wav
from tests.models.glm_tts.make_checkpoint import make_checkpoint

pytestmark = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("tiktoken", "onnxruntime")), reason="needs the extra glm"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ckpt")
    make_checkpoint(folder, voices=("one",))
    return folder


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    (tmp_path / "me.wav").write_bytes(wav(speechlike(4)))
    return tmp_path / "me.wav"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_voices_from_the_command_line(folder: Path, recording: Path) -> None:
    model = ["--model", str(folder)]
    added = run("voices", "add", "friend", str(recording), *model, "--text", "Hello there.", "--consent", "hers")
    assert added.exit_code == 0, added.output
    listed = json.loads(run("voices", *model, "--json").stdout)
    assert listed == {"friend": "Hello there.", "one": "what is said"}
    assert store_of(folder).get("friend").about.consent == "hers"
    spoken = registry.load(str(folder))
    assert spoken.spec.voices == ("one", "friend")  # the oldest first
    speech = synthesise(EngineCore(spoken, 1), "你好，世界。", Controls("friend", seed=1))
    assert len(speech.pcm) > 9_600 and np.isfinite(speech.pcm).all()
    assert run("voices", "add", "friend", str(recording), *model, "--text", "Hello there.").exit_code != 0
    assert run("voices", "rename", "friend", "pal", *model).exit_code == 0
    assert run("voices", "rename", "pal", "one", *model).exit_code != 0
    assert run("voices", "delete", "friend", *model).exit_code != 0
    assert run("voices", "delete", "pal", *model).exit_code == 0
    assert store_of(folder).names() == ["one"]
    silent = run("voices", "add", "friend", __file__, *model, "--text", "Hello.")
    assert silent.exit_code == 1 and "invalid_audio" in silent.output


def test_a_batch_speaks_like_the_recordings_it_is_given(folder: Path, recording: Path, tmp_path: Path) -> None:
    items = [
        {"uttid": name, "syn_text": "你好，世界。", "prompt_speech": speech, "prompt_text": "Hello there."}
        for name, speech in (("a", str(recording)), ("b", str(recording)), ("c", "none.wav"))
    ]
    items.append({"uttid": "d", "syn_text": "你好，世界。"})
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, items)))
    result = run("batch", str(tmp_path / "t.jsonl"), "-o", str(tmp_path / "out"), "--model", str(folder))
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["broken"].keys() == {"c"}
    sounds = {}
    for name in "abd":
        with wave.open(str(tmp_path / "out" / f"{name}.wav")) as file:
            sounds[name] = file.readframes(file.getnframes())
    assert sounds["a"] == sounds["b"] != sounds["d"]


def test_a_transcript_is_written_like_a_text_and_a_space_behind_it() -> None:
    assert transcript("大家好,我是谁？") == "大家好，我是谁？ "
    assert transcript("  Well (then)!") == "well then. "
    assert transcript("…") == ""
