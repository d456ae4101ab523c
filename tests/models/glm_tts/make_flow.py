"""Random flow checkpoints in the release's layout, of any shape."""

import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from stream_server.models.glm_tts.dit import DiTShape
from stream_server.models.glm_tts.flow import Flow
from stream_server.models.glm_tts.flow_config import flow_config
from stream_server.models.glm_tts.names import own_shapes

SMALL = DiTShape(
    mel=80, width=64, depth=2, heads=2, head_dim=32, mlp=128, vocabulary=65, text=32, text_blocks=2, text_hidden=64,
    text_kernel=7, position_kernel=31, position_groups=16, times=256, speaker=192, concat=0,
)  # fmt: skip


def make_config(shape: DiTShape, **settings: Any) -> dict[str, Any]:
    """What a flow/config.yaml says, as one tree."""
    return {
        "flow": {
            "speech_token_dim": shape.text,
            "vocab_size": shape.vocabulary - 1,
            "input_frame_rate": 25,
            "mel_framerate": 50,
            "mel_dim": shape.mel,
            "spkr_emb_adaLN": shape.speaker > 0,
            "speech_token_cfg": False,
            "remove_spkr_concat_condition": shape.concat == 0,
            **settings,
        }
    }


def make_tensors(shape: DiTShape, seed: int = 0) -> dict[str, Tensor]:
    """Every layer keeps about the loudness of what it gets, and gates are open."""
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        names = own_shapes(Flow(flow_config(make_config(shape)), shape, shape.speaker or 192))
    tensors = {}
    for name, size in names.items():
        fan = math.prod(size[1:]) or 1
        spread = 1.0 if "text_embed" in name else 0.3 if len(size) < 2 or "grn" in name else fan**-0.5
        tensors[name] = torch.randn(size, generator=generator) * spread
        if name.endswith("norm.weight"):
            tensors[name] += 1
    tensors["estimator.rotary_embed.inv_freq"] = 10_000.0 ** (-torch.arange(0, shape.head_dim, 2) / shape.head_dim)
    return tensors


def make_flow(directory: Path, shape: DiTShape = SMALL, seed: int = 0, **settings: Any) -> None:
    """config.yaml with the release's tags, and flow.pt's tensors as model.safetensors."""
    directory.mkdir(parents=True, exist_ok=True)
    lines = ["flow: !new:flow.flow.Flow"]
    lines += [f"  {key}: {str(value).lower()}" for key, value in make_config(shape, **settings)["flow"].items()]
    (directory / "config.yaml").write_text("\n".join(lines) + "\n")
    save_file(make_tensors(shape, seed), directory / "model.safetensors")
