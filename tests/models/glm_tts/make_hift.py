"""Random vocoder checkpoints in the release's layout, of any shape."""

import json
import math
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from stream_server.models.glm_tts.hift import HiFT, HiFTShape
from stream_server.models.glm_tts.hift_config import HiFTConfig
from stream_server.models.glm_tts.names import own_shapes

CONFIG = HiFTConfig()
SMALL = HiFTShape(
    mel=80, channels=(32, 16, 8, 8), pre_kernel=7, post_kernel=7, up_kernels=(16, 11, 7), kernels=(3, 7, 11),
    source_kernels=(7, 7, 11), down=((30, 15), (6, 3), (1, 1)), n_fft=16, harmonics=9, f0_channels=16, f0_kernel=3,
)  # fmt: skip
PLAIN = ("source_downs", "l_linear", "classifier")  # layers without weight norm
SPELLINGS = {
    "new": ("parametrizations.weight.original0", "parametrizations.weight.original1"),
    "old": ("weight_g", "weight_v"),
}


def spelt(name: str, size: tuple[int, ...], spelling: str) -> tuple[str, str]:
    """The two names of a weight with weight norm, or two empty ones."""
    if len(size) != 3 or not name.endswith(".weight") or any(plain in name for plain in PLAIN):
        return "", ""
    gain, direction = SPELLINGS[spelling]
    return name.removesuffix("weight") + gain, name.removesuffix("weight") + direction


def make_tensors(
    shape: HiFTShape = SMALL, config: HiFTConfig = CONFIG, seed: int = 0, spelling: str = "new"
) -> dict[str, Tensor]:
    """F0 lies between 100 and 300 Hz for a mel of unit variance; residual stacks and the last layer are gentle."""
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        sizes = own_shapes(HiFT(config, shape))
    tensors = {}
    for name, size in sizes.items():
        fan = size[0] * 2 if name.startswith("ups") else math.prod(size[1:])
        weight = torch.randn(size, generator=generator) * (max(fan, 1) ** -0.5 if len(size) > 1 else 0.1)
        if "convs2" in name or name.startswith("conv_post"):
            weight *= 0.3
        if name.endswith("alpha"):
            weight = 1 + weight
        gain, direction = spelt(name, size, spelling)
        if gain:
            tensors[gain] = weight.flatten(1).norm(dim=1).view(-1, 1, 1)
            tensors[direction] = weight * (0.5 + torch.rand(size[0], 1, 1, generator=generator))
        else:
            tensors[name] = weight
    tensors["f0_predictor.classifier.weight"] *= 60
    tensors["f0_predictor.classifier.bias"] += 200
    return tensors


def make_hift(directory: Path, shape: HiFTShape = SMALL, config: HiFTConfig = CONFIG, seed: int = 0) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    tree = asdict(config)
    tree["istft_params"] = {"n_fft": shape.n_fft, "hop_len": tree.pop("istft_hop")}
    (directory / "config.json").write_text(json.dumps({"hift": tree}))
    save_file(make_tensors(shape, config, seed), directory / "model.safetensors")
