"""A random speech tokenizer in the release's layout: the folder `speech_tokenizer`, of any width."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from stream_server.models.glm_tts.speech_tokenizer import PREFIX, read_encoder_config, table_of

SMALL: dict[str, Any] = {
    "model_type": "whisper",
    "activation_function": "gelu",
    "d_model": 24,
    "encoder_layers": 3,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 40,
    "num_mel_bins": 128,
    "max_source_positions": 1500,
    "pooling_kernel_size": 2,
    "pooling_type": "avg",
    "pooling_position": 2,
    "quantize_vocab_size": 64,
    "quantize_position": 2,
    "quantize_causal_block_size": None,
    "encoder_causal_convolution": False,
}


def make_speech_tokenizer(folder: Path, seed: int = 0, **settings: Any) -> dict[str, Tensor]:
    """Writes config.json and model.safetensors, with what the release keeps beside the encoder; → the encoder's."""
    config = SMALL | settings
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    random = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in table_of(read_encoder_config(folder / "config.json")).shapes.items():
        size = [number or 1 for number in shape]
        fan = torch.Size(size[1:]).numel() if len(size) > 1 else 16
        tensors[name] = torch.randn(size, generator=random) * (
            1.0 if "codebook" in name or "embed" in name else fan**-0.5
        )
        if name.endswith("norm.weight"):
            tensors[name] += 1
    width, last = config["d_model"], config["encoder_layers"] - 1
    beside = {"layer_norm.weight": torch.ones(width), "ema_count": torch.ones(config["quantize_vocab_size"])}
    if last >= config["quantize_position"]:
        beside[f"layers.{last}.fc1.bias"] = torch.zeros(config["encoder_ffn_dim"])
    save_file({PREFIX + name: each for name, each in (tensors | beside).items()}, folder / "model.safetensors")
    return tensors
