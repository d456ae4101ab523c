"""A recording becomes a voice of a checkpoint, and the voice speaks: from the command line, as its user would."""

import json
import shutil
import wave
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from typer.testing import CliRunner

from stream_server.cli import app
from stream_server.engine.core import EngineCore
from stream_server.engine.messages import Controls
from stream_server.errors import ConfigError
from stream_server.models import registry
from stream_server.models.glm_tts.cloning import store_of, transcript
from stream_server.models.glm_tts.features import MelSettings, log_mel
from stream_server.models.glm_tts.hift_config import HiFTConfig
from stream_server.offline import synthesise
from tests.audio.recordings import speechlike, wav
from tests.models.glm_tts.make_checkpoint import SMALL, make_checkpoint, sizes_of

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
    lines = map(json.loads, (tmp_path / "out" / "manifest.jsonl").read_text().splitlines())
    told = {line["id"]: line for line in lines}
    assert told["a"]["reference"] == str(recording) and told["a"]["reference_text"] == "Hello there."
    assert told["a"]["voice"] is None and told["d"]["voice"] == "one" and told["d"]["reference"] is None
    assert {line["normalised"] for line in told.values()} == {"你好，世界。"}


def test_a_transcript_is_written_like_a_text_and_a_space_behind_it() -> None:
    assert transcript("大家好,我是谁？") == "大家好，我是谁？ "
    assert transcript("  Well (then)!") == "well then. "
    assert transcript("…") == ""


def test_a_checkpoint_of_other_rates_and_sizes_gets_voices_and_speaks(recording: Path, tmp_path: Path) -> None:
    """16 kHz, 100 frames a second, 20 bins, the speaker beside the mel, a checkpoint as it is downloaded."""
    small = sizes_of(32, codes=20)
    sizes = replace(
        small,
        flow=replace(small.flow, mel=20, speaker=0, concat=10),
        hift=replace(small.hift, mel=20, up_kernels=(16, 7, 4), down=((20, 10), (4, 2), (1, 1))),
        hift_config=HiFTConfig(sampling_rate=16_000, upsample_rates=(8, 5, 2), istft_hop=2),
        flow_settings={"mel_framerate": 100, "input_frame_rate": 25, "n_timesteps": 4},
    )
    make_checkpoint(tmp_path / "ckpt", (), sizes=sizes, released=True)
    model = ["--model", str(tmp_path / "ckpt")]
    added = run("voices", "add", "friend", str(recording), *model, "--text", "Hello there.")
    assert added.exit_code == 0, added.output
    arrays = store_of(tmp_path / "ckpt").get("friend").arrays
    assert arrays["mel"].shape == (400, 20) and arrays["speaker"].shape == (192,) and len(arrays["codes"]) == 100
    wanted = log_mel(torch.from_numpy(speechlike(4, 24_000)), MelSettings(24_000, 960, 240, 20))
    assert np.abs(arrays["mel"][5:-5, :8] - wanted.numpy()[5:-5, :8]).mean() < 1.0  # the same sound, at 16 kHz
    spoken = registry.load(str(tmp_path / "ckpt"))
    assert spoken.spec.sample_rates == (16_000, 24_000, 32_000)
    for rate in spoken.spec.sample_rates:
        speech = synthesise(EngineCore(spoken, 1), "你好。", Controls("friend", seed=1, sample_rate=rate))
        assert abs(len(speech.pcm) - speech.tokens * rate // 25) <= 2 and np.abs(speech.pcm).max() > 0


@pytest.mark.parametrize(
    ("part", "sizes", "named"),
    [
        ("hift", {"hift": replace(SMALL.hift, mel=40)}, "mel bins"),
        ("flow", {"flow_settings": {"mel_framerate": 100}}, "frames a second"),
        ("flow", {"flow": replace(SMALL.flow, vocabulary=60)}, "of which the flow knows"),
        ("speech_tokenizer", {"speech": SMALL.speech | {"quantize_vocab_size": 63}}, "codes of the speech tokenizer"),
    ],
)
def test_networks_of_different_checkpoints_are_told_apart(part: str, sizes: dict, named: str, tmp_path: Path) -> None:
    make_checkpoint(tmp_path / "ckpt")
    make_checkpoint(tmp_path / "other", (), sizes=replace(SMALL, **sizes))
    shutil.rmtree(tmp_path / "ckpt" / part)
    shutil.copytree(tmp_path / "other" / part, tmp_path / "ckpt" / part)
    with pytest.raises(ConfigError) as refused:
        registry.load(str(tmp_path / "ckpt"))
    assert named in refused.value.message
