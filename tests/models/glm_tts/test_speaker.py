"""The speaker's vector, from a graph with CAM++'s input and output."""

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_server.errors import ConfigError
from stream_server.models.glm_tts.speaker import SpeakerEncoder
from tests.models.glm_tts.make_speaker import make_speaker, speaker_graph


@pytest.fixture
def path(tmp_path: Path) -> Path:
    pytest.importorskip("onnxruntime")
    return tmp_path / "campplus.onnx"


@pytest.mark.parametrize(("bins", "channels"), [(80, 192), (40, 512)])
def test_a_picture_of_any_length_is_one_vector(bins: int, channels: int, path: Path) -> None:
    matrix = make_speaker(path, bins, channels)
    encoder = SpeakerEncoder(path)
    assert (encoder.bins, encoder.channels) == (bins, channels)
    for frames in (1, 300):
        picture = np.random.default_rng(frames).standard_normal((frames, bins)).astype(np.float32)
        np.testing.assert_allclose(encoder(picture), picture.mean(0) @ matrix, atol=1e-4)


def test_what_is_no_such_graph(path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file") as refused:
        SpeakerEncoder(path)
    assert refused.value.field == str(path)
    path.write_bytes(b"\x08" * 400)
    with pytest.raises(ConfigError, match="cannot load"):
        SpeakerEncoder(path)
    path.write_bytes(speaker_graph(np.ones((80, 192), np.float32))[:-300])
    with pytest.raises(ConfigError, match="cut short"):
        SpeakerEncoder(path)


def test_a_graph_with_operators_of_its_own_is_not_loaded(path: Path) -> None:
    path.write_bytes(speaker_graph(np.ones((80, 192), np.float32)).replace(b"\x06MatMul", b"\x06EvilOp"))
    with pytest.raises(ConfigError, match="cannot load"):
        SpeakerEncoder(path)


def test_a_picture_that_is_not_of_its_kind(path: Path) -> None:
    make_speaker(path)
    with pytest.raises(ConfigError, match="cannot be run"):
        SpeakerEncoder(path)(np.zeros((10, 79), np.float32))


def test_without_onnxruntime_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name == "onnxruntime":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ConfigError) as refused:
        SpeakerEncoder(tmp_path / "campplus.onnx")
    assert "stream-server[glm]" in refused.value.message and refused.value.field == "onnxruntime"
