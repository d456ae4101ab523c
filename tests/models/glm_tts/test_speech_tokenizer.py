"""The speech tokenizer against the original's own numbers, and at other shapes against the plain one beside this."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from stream_server.errors import ConfigError
from stream_server.models.glm_tts.features import whisper_mel
from stream_server.models.glm_tts.speech_tokenizer import PREFIX, EncoderConfig, load_speech_tokenizer, table_of
from tests.models.glm_tts import plain_speech_tokenizer as plain
from tests.models.glm_tts.make_speech_tokenizer import SMALL, make_speech_tokenizer

GOLDEN = Path(__file__).parent / "golden/speech_tokenizer"
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "block_causal": {"block": 20},
    "causal_conv_block": {"block": 20, "causal_convolution": True},
    "max_pool": {"pooled_by_max": True},
}
SHAPES: dict[str, dict[str, Any]] = {
    "pooled by three, later": {"d_model": 36, "encoder_attention_heads": 3, "encoder_layers": 4, "quantize_position": 4,
                               "pooling_position": 2, "pooling_kernel_size": 3, "encoder_ffn_dim": 20,
                               "quantize_causal_block_size": 7},
    "not pooled": {"pooling_kernel_size": None, "pooling_position": None, "num_mel_bins": 40, "quantize_position": 1},
    "causal, by the loudest": {"encoder_causal_convolution": True, "pooling_type": "max", "quantize_vocab_size": 33,
                               "quantize_causal_block_size": 200, "encoder_layers": 2},
}  # fmt: skip


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return {name: torch.from_numpy(each) for name, each in np.load(GOLDEN / "golden.npz").items()}


@torch.inference_mode()
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_original_s_numbers(variant: str, golden: dict[str, Tensor]) -> None:
    tokenizer = load_speech_tokenizer(GOLDEN)
    tokenizer.config = replace(tokenizer.config, **VARIANTS[variant])
    found = tokenizer(golden["input_features"].mT, golden["attention_mask"].bool())
    torch.testing.assert_close(found, golden[f"pre_vq_{variant}"], atol=3e-5, rtol=0)
    codes = tokenizer.nearest(found)
    assert torch.equal(codes, golden[f"tokens_{variant}"])
    torch.testing.assert_close(tokenizer.embedded(codes), golden[f"hidden_{variant}"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_other_shapes(shape: str, tmp_path: Path) -> None:
    tensors = make_speech_tokenizer(tmp_path, seed=3, **SHAPES[shape])
    tokenizer = load_speech_tokenizer(tmp_path)
    pcm = torch.randn(16_000, generator=torch.Generator().manual_seed(1)) * 0.1
    step = tokenizer.samples_per_code
    picture = whisper_mel(torch.nn.functional.pad(pcm, (0, -len(pcm) % step))[None], tokenizer.picture)[0]
    wanted = plain.before_codebook(tensors, SMALL | SHAPES[shape], picture.double().numpy(), len(pcm) // 160)
    with torch.inference_mode():
        found = tokenizer(picture[None], torch.arange(len(picture))[None] * 160 < len(pcm))[0]
    np.testing.assert_allclose(found.numpy(), wanted, atol=2e-5)
    codes = plain.nearest(tensors["codebook.weight"].double().numpy(), wanted)[: -(-len(pcm) // step)]
    assert tokenizer.codes(pcm).tolist() == codes.tolist() and len(set(codes.tolist())) > 1


def test_the_release_s_own_dimensions_give_as_many_numbers_as_its_file_has() -> None:
    config = EncoderConfig(1280, 20, 5120, 16, 16, 128, 1500, 32_768, 16, 2, False, None, False)
    shapes = table_of(config).shapes.values()
    assert sum(math.prod(number or 0 for number in shape) for shape in shapes) + 32_768 * 1281 == 407_026_688


@pytest.mark.parametrize(("samples", "codes"), [(0, 0), (1, 1), (640, 1), (641, 2), (87_504, 137)])
def test_codes_are_rounded_up(samples: int, codes: int, tmp_path: Path) -> None:
    make_speech_tokenizer(tmp_path)
    tokenizer = load_speech_tokenizer(tmp_path)
    assert len(tokenizer.codes(torch.randn(samples) * 0.1)) == codes


def test_longer_audio_goes_through_in_pieces(tmp_path: Path) -> None:
    make_speech_tokenizer(tmp_path, max_source_positions=75)
    tokenizer = load_speech_tokenizer(tmp_path)
    piece = tokenizer.samples_per_piece
    assert piece == 37 * 640
    pcm = torch.randn(2 * piece + 5_000, generator=torch.Generator().manual_seed(0)) * 0.1
    codes = tokenizer.codes(pcm)
    assert len(codes) == -(-len(pcm) // 640)
    each = [tokenizer.codes(pcm[at : at + piece]) for at in (0, piece)]
    assert torch.equal(codes[: 2 * 37], torch.cat(each))


def test_thirty_seconds_are_one_piece(tmp_path: Path) -> None:
    make_speech_tokenizer(tmp_path, encoder_layers=1, quantize_position=1, pooling_position=1)
    tokenizer = load_speech_tokenizer(tmp_path)
    assert tokenizer.samples_per_piece == 30 * 16_000
    assert len(tokenizer.codes(torch.randn(30 * 16_000) * 0.1)) == 750


@pytest.mark.parametrize(
    ("name", "change", "named"),
    [
        (f"{PREFIX}conv2.bias", None, "missing: conv2.bias"),
        (f"{PREFIX}layers.0.self_attn.k_proj.bias", torch.zeros(24), "surplus: layers.0.self_attn.k_proj.bias"),
        (f"{PREFIX}codebook.weight", torch.zeros(63, 24), "codebook.weight [63, 24] instead of [64, 24]"),
        (f"{PREFIX}conv1.bias", torch.full((24,), torch.nan), "conv1.bias holds NaN"),
    ],
)
def test_a_checkpoint_that_does_not_fit(name: str, change: Tensor | None, named: str, tmp_path: Path) -> None:
    make_speech_tokenizer(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors.pop(name, None)
    if change is not None:
        tensors[name] = change
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ConfigError) as refused:
        load_speech_tokenizer(tmp_path)
    assert named in refused.value.message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("activation_function", "relu"),
        ("pooling_type", "median"),
        ("encoder_attention_heads", 5),
        ("quantize_position", 9),
        ("pooling_position", 3),
        ("quantize_causal_block_size", 1),
        ("quantize_causal_block_size", True),
        ("encoder_causal_convolution", 1),
        ("d_model", None),
        ("max_source_positions", 1 << 30),
    ],
)
def test_a_config_that_cannot_be(key: str, value: Any, tmp_path: Path) -> None:
    make_speech_tokenizer(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(SMALL | {key: value}))
    with pytest.raises(ConfigError) as refused:
        load_speech_tokenizer(tmp_path)
    assert refused.value.field == key and "config.json" in refused.value.message
