"""The program that is the release's 32 kHz vocoder: run where that is allowed, cut anywhere, refused if another."""

import random
from importlib.util import find_spec
from math import log
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from stream_server.cli import app
from stream_server.engine.core import EngineCore
from stream_server.engine.messages import Controls
from stream_server.errors import ConfigError
from stream_server.models import registry
from stream_server.models.glm_tts.closed_vocoder import FILE, ClosedStream, ClosedVocoder, load_closed
from stream_server.models.glm_tts.features import MELS, log_mel
from stream_server.offline import synthesise
from tests.models.glm_tts.make_checkpoint import make_checkpoint
from tests.models.glm_tts.make_closed_vocoder import AFTER, BEFORE, make_closed_vocoder

pytestmark = [
    pytest.mark.skipif(find_spec("tiktoken") is None, reason="needs the extra glm"),
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),  # which is what the release's file is made with
]
MEL = MELS[24_000]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ckpt")
    make_checkpoint(folder, voices=("one",))
    make_closed_vocoder(folder / FILE)
    return folder


@pytest.fixture(scope="module")
def vocoder(folder: Path) -> ClosedVocoder:
    return load_closed(folder, MEL)


def test_how_far_a_frame_is_heard_is_measured(vocoder: ClosedVocoder) -> None:
    assert (vocoder.before, vocoder.after, vocoder.hop) == (BEFORE, AFTER, 640)


@pytest.mark.parametrize("seed", range(4))
def test_cut_anywhere_it_gives_the_same_sound(vocoder: ClosedVocoder, seed: int) -> None:
    rng = random.Random(seed)
    mels = [torch.randn(count, 80, generator=torch.Generator().manual_seed(count)) for count in (1, 2, 40, 71)]
    stream = ClosedStream(vocoder)
    state = stream.allocate(2, mels[0])
    for mel in mels:  # each takes the row of the one before
        stream.reset(1, state)
        pieces, at = [], 0
        while at < len(mel):
            step = rng.randint(0, 12)
            pieces.append(stream.decode(1, mel[at : at + step], at + step >= len(mel), state))
            at += step
        torch.testing.assert_close(torch.cat(pieces), vocoder(mel[None])[0], atol=1e-5, rtol=0)
        assert len(torch.cat(pieces)) == len(mel) * 640


def test_one_mel_serves_both_vocoders() -> None:
    """The same tones at both rates: what is left of ln window is the same picture."""
    tones = [sum(np.sin(2 * np.pi * hz * np.arange(rate) / rate) / 4 for hz in (220, 950, 3100)) for rate in MELS]
    low, high = (log_mel(torch.tensor(t, dtype=torch.float32), MELS[rate]) for t, rate in zip(tones, MELS))
    loud = (low > low.max() - 5)[5:-5]
    difference = (low - log(MELS[24_000].window)) - (high - log(MELS[32_000].window))
    assert loud.any() and difference[5:-5][loud].abs().max() < 0.02


def test_it_speaks_where_it_is_allowed_and_24_khz_stays_as_it_was(folder: Path) -> None:
    with_it, without = (EngineCore(registry.load(str(folder), torchscript=allowed), 1) for allowed in (True, False))
    sounds = {
        (allowed, rate): synthesise(core, "a b c.", Controls("one", seed=1, sample_rate=rate)).pcm
        for allowed, core in ((True, with_it), (False, without))
        for rate in (24_000, 32_000)
    }
    np.testing.assert_array_equal(sounds[True, 24_000], sounds[False, 24_000])
    assert len(sounds[True, 32_000]) * 3 == len(sounds[True, 24_000]) * 4
    assert not np.allclose(sounds[True, 32_000], sounds[False, 32_000][: len(sounds[True, 32_000])], atol=1e-3)


def test_the_command_line_asks_for_it(folder: Path, tmp_path: Path) -> None:
    said = [
        "say",
        "a b.",
        "--model",
        str(folder),
        "--sample-rate",
        "32000",
        "--torchscript",
        "-o",
        str(tmp_path / "a.wav"),
    ]
    assert CliRunner().invoke(app, said).exit_code == 0
    bundled = CliRunner().invoke(app, ["say", "a", "--torchscript", "-o", str(tmp_path / "b.wav")])
    assert bundled.exit_code == 2 and "torchscript" in bundled.output


class Silent(nn.Module):
    def forward(self, mel: Tensor) -> Tensor:
        return torch.zeros(mel.shape[0], mel.shape[1] * 640)


class Short(nn.Module):
    def forward(self, mel: Tensor) -> Tensor:
        return mel.sum(2)


class Raising(nn.Module):
    def forward(self, mel: Tensor) -> Tensor:
        raise ValueError("no")


@pytest.mark.parametrize("program", [Silent(), Short(), Raising()], ids=lambda each: type(each).__name__)
def test_a_program_that_is_no_vocoder_is_refused(program: nn.Module, tmp_path: Path) -> None:
    (tmp_path / FILE).parent.mkdir()
    torch.jit.save(torch.jit.script(program), str(tmp_path / FILE))
    with pytest.raises(ConfigError, match="generator_jit"):
        load_closed(tmp_path, MEL)


def test_what_is_no_program_or_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_closed(tmp_path, MEL)
    (tmp_path / FILE).parent.mkdir()
    (tmp_path / FILE).write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(ConfigError, match="no TorchScript"):
        load_closed(tmp_path, MEL)
