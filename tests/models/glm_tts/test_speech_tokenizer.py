"""Codes of recordings against the original's, whichever way its switches are set."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stream_server.errors import ConfigError
from stream_server.models.glm_tts.speech_tokenizer import SpeechTokenizer, load_speech_tokenizer, read_tokenizer_config

GOLDEN = Path(__file__).parent / "golden" / "speech_tokenizer"
VARIANTS = {
    "plain": {},
    "block_causal": {"block": 20},
    "causal_conv_block": {"block": 20, "causal": True},
    "max_pool": {"maximum": True},
}


@pytest.fixture(scope="module")
def loaded() -> SpeechTokenizer:
    return load_speech_tokenizer(GOLDEN)


@pytest.mark.parametrize("variant", VARIANTS)
@torch.inference_mode()
def test_codes_are_the_original_s(loaded: SpeechTokenizer, variant: str) -> None:
    golden = np.load(GOLDEN / "golden.npz")
    tokenizer = SpeechTokenizer(replace(loaded.config, **VARIANTS[variant]))  # type: ignore[arg-type]
    tokenizer.load_state_dict(loaded.state_dict())
    features = torch.from_numpy(golden["input_features"]).mT
    valid = torch.from_numpy(golden["attention_mask"]).bool()
    values, kept = tokenizer.values(features, valid)
    np.testing.assert_allclose(values[kept], golden[f"pre_vq_{variant}"][kept.numpy()], atol=1e-4)
    codes, _ = tokenizer(features, valid)
    np.testing.assert_array_equal(codes[kept], golden[f"tokens_{variant}"][kept.numpy()])
    assert kept.sum(1).tolist() == [32, 22]


@torch.inference_mode()
def test_a_recording_has_25_codes_a_second_rounded_up(loaded: SpeechTokenizer) -> None:
    for samples in (16_000, 16_001, 16_640, 9_999):
        wave = torch.randn(samples, generator=torch.Generator().manual_seed(samples)) * 0.1
        assert len(loaded.read(wave)) == -(-samples // 640)


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"pooling_type": "sum"}, "pooling_type"),
        ({"encoder_attention_heads": 5}, "encoder_attention_heads"),
        ({"quantize_position": 9}, "quantize_position"),
        ({"d_model": "wide"}, "d_model"),
        ({"quantize_causal_block_size": 0}, "quantize_causal_block_size"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, changed: dict[str, object], key: str) -> None:
    config = json.loads((GOLDEN / "config.json").read_text()) | changed
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError) as refused:
        read_tokenizer_config(tmp_path / "config.json")
    assert refused.value.field == key
