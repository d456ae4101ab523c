"""The language model's config is checked key by key before anything is made of it."""

import json
from pathlib import Path

import pytest

from stream_server.errors import ConfigError
from stream_server.models.glm_tts.config import LMConfig, read_lm_config

RELEASE = {
    "model_type": "llama",
    "hidden_act": "silu",
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "vocab_size": 98304,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "torch_dtype": "float32",
}


def read(folder: Path, **changed: object) -> LMConfig:
    kept = {key: value for key, value in (RELEASE | changed).items() if value != "absent"}
    (folder / "config.json").write_text(json.dumps(kept))
    return read_lm_config(folder / "config.json")


def test_the_release_s_dimensions(tmp_path: Path) -> None:
    assert read(tmp_path) == LMConfig(2048, 28, 16, 4, 128, 6144, 98304, 8192, 1e-5, 10_000.0, True)


def test_what_a_config_may_leave_out_is_what_a_llama_takes(tmp_path: Path) -> None:
    left_out = ("num_key_value_heads", "rms_norm_eps", "rope_theta", "max_position_embeddings", "tie_word_embeddings")
    found = read(tmp_path, **dict.fromkeys(left_out, "absent"))
    assert (found.kv_heads, found.eps, found.theta, found.positions) == (16, 1e-6, 10_000.0, 2048)
    assert found.tied is None
    assert read(tmp_path, **dict.fromkeys(left_out, None), head_dim=None) == found


def test_heads_may_be_of_any_even_width_and_turn_as_later_configs_say(tmp_path: Path) -> None:
    rope = {"rope_theta": 5e5, "rope_type": "default"}
    found = read(tmp_path, head_dim=64, hidden_size=1000, rope_theta="absent", rope_parameters=rope)
    assert (found.head_dim, found.width, found.theta) == (64, 1000, 5e5)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_size", "absent"),
        ("hidden_size", 0),
        ("hidden_size", 2048.0),
        ("hidden_size", True),
        ("hidden_size", 1 << 40),
        ("intermediate_size", -1),
        ("num_hidden_layers", 1_000_000),
        ("num_attention_heads", 12),
        ("num_key_value_heads", 3),
        ("head_dim", 63),
        ("vocab_size", "many"),
        ("max_position_embeddings", 1 << 20),
        ("rms_norm_eps", 0),
        ("rms_norm_eps", "1e-5"),
        ("rope_theta", float("inf")),
        ("rope_theta", float("nan")),
        ("rope_scaling", {"rope_type": "llama3", "factor": 8}),
        ("rope_scaling", {"type": "linear"}),
        ("rope_parameters", 3),
        ("tie_word_embeddings", 1),
        ("attention_bias", True),
        ("mlp_bias", True),
        ("quantization_config", {"bits": 4}),
        ("model_type", "qwen2"),
        ("hidden_act", "gelu"),
    ],
)
def test_a_wrong_value_names_its_key_and_its_file(key: str, value: object, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, **{key: value})
    assert refused.value.field == key and str(tmp_path / "config.json") in str(refused.value)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1, "a": 2}', "[" * 100_000, '{"a": "' + "x" * (5 << 20) + '"}'])
def test_a_file_that_is_no_config_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigError) as refused:
        read_lm_config(tmp_path / "config.json")
    assert refused.value.field == str(tmp_path / "config.json")
    with pytest.raises(ConfigError, match="no such file"):
        read_lm_config(tmp_path / "other.json")
