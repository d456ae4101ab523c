"""Trained checkpoints → the one file that ships: half precision safetensors with its shapes in the header.

Beside it goes the codec's encoder, with which `codec --decoder-only` can better the sound of the same codes later.

python -m stream_server.training.export run/codec run/lm
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file

from stream_server.models import lark
from stream_server.models.lark.features import NUM_ENVELOPE
from stream_server.models.lark.lm import LMConfig
from stream_server.training.dataset import VOICES

ENCODER = Path(__file__).parent / "encoder.safetensors"  # not for speaking: so that the same codes can be made again
DESCRIPTIONS = {
    "slt": "clear and even; learned from a synthetic US English speaker",
    "kathleen": "warm, 50-70 years; learned from 1.4 h of a real US English speaker",
}


# Relief added to the envelope against the smoothing of a trained mean.  Word errors of 1,223 on other sentences, at
# 0.2, 0.35 and 0.5: 198, 183, 188 for kathleen; 227, 242 at the first two for slt, who would have less.
SHARPEN = 0.35


def sharpened(decoder: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The decoder's last layer with the envelope's cepstrum, but for level and tilt, raised by SHARPEN.

    A linear map of the 80 envelope values, so it is folded into weights and costs nothing at run time.
    """
    rows, columns = torch.arange(NUM_ENVELOPE)[:, None], torch.arange(NUM_ENVELOPE)
    basis = torch.cos(torch.pi * (columns + 0.5) * rows / NUM_ENVELOPE) * (2 / NUM_ENVELOPE) ** 0.5
    basis[0] /= 2**0.5
    raise_by = torch.ones(NUM_ENVELOPE)
    raise_by[2:] += SHARPEN
    emphasis = basis.T @ (raise_by[:, None] * basis)
    scale, envelope = decoder["decoder.scale"][:NUM_ENVELOPE], slice(NUM_ENVELOPE)
    out = {name: tensor.clone() for name, tensor in decoder.items()}
    for name in ("decoder.head.weight", "decoder.head.bias"):
        rows_in_units = out[name][envelope] * scale.view(-1, *[1] * (out[name].dim() - 1))
        out[name][envelope] = (emphasis @ rows_in_units) / scale.view(-1, *[1] * (out[name].dim() - 1))
    out["decoder.mean"][envelope] = emphasis @ out["decoder.mean"][envelope]
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("codec", type=Path)
    parser.add_argument("lm", type=Path)
    parser.add_argument("--out", type=Path, default=Path(lark.__file__).parent / "data" / "lark.safetensors")
    parser.add_argument("--default", choices=VOICES, default="kathleen", help="the voice of whoever names none")
    options = parser.parse_args()
    codec = torch.load(options.codec / "last.pt", weights_only=True)
    lm = torch.load(options.lm / "last.pt", weights_only=True)
    tensors = {f"lm.{name}": tensor for name, tensor in lm["model"].items()}
    tensors |= sharpened({name: t for name, t in codec["model"].items() if name.startswith("decoder.")})
    tensors = {name: t.half().contiguous() for name, t in tensors.items()}
    config = {
        "lm": asdict(LMConfig()),
        "voices": VOICES,
        "default": options.default,
        "descriptions": DESCRIPTIONS,
        "codec_steps": codec["step"],
        "lm_steps": lm["step"],
    }
    encoder = {name: t.half().contiguous() for name, t in codec["model"].items() if name.startswith("encoder.")}
    save_file(encoder, ENCODER)
    save_file(tensors, options.out, {"lark": json.dumps(config)})
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.1f} MB, {config}")


if __name__ == "__main__":
    main()
