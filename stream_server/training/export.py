"""Trained checkpoints → the one file that ships: half precision safetensors with its shapes in the header.

python -m stream_server.training.export run/codec run/lm [--default slt]
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file

from stream_server.models import lark
from stream_server.models.lark.lm import LMConfig
from stream_server.training.dataset import VOICES

DESCRIPTIONS = {
    "slt": "clear and even; learned from a synthetic US English speaker",
    "kathleen": "warm, 50-70 years; learned from 1.4 h of a real US English speaker",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("codec", type=Path)
    parser.add_argument("lm", type=Path)
    parser.add_argument("--out", type=Path, default=Path(lark.__file__).parent / "data" / "lark.safetensors")
    options = parser.parse_args()
    codec = torch.load(options.codec / "last.pt", weights_only=True)
    lm = torch.load(options.lm / "last.pt", weights_only=True)
    tensors = {f"lm.{name}": tensor for name, tensor in lm["model"].items()}
    tensors |= {name: t for name, t in codec["model"].items() if name.startswith("decoder.")}
    tensors = {name: t.half().contiguous() for name, t in tensors.items()}
    config = {
        "lm": asdict(LMConfig()),
        "voices": VOICES,
        "descriptions": DESCRIPTIONS,
        "codec_steps": codec["step"],
        "lm_steps": lm["step"],
    }
    save_file(tensors, options.out, {"lark": json.dumps(config)})
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.1f} MB, {config}")


if __name__ == "__main__":
    main()
