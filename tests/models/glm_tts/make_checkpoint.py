"""A whole random checkpoint in the release's layout, of any width, small enough to speak in a test.

    python -m tests.models.glm_tts.make_checkpoint DIR [--width 64] [--voices one,two] [--seed 0] [--safetensors]

The command writes it as people download it: the language model in shards, pickles of flow and vocoder, no settings of
the vocoder's.  It speaks noise, and `stream-server convert`, `voices add`, `serve` and `batch` take it like the real
one.
"""

import argparse
import base64
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from stream_server.models.glm_tts.cloning import TOKENIZER, store_of, voice_shape
from stream_server.models.glm_tts.config import SpeechTokens
from stream_server.models.glm_tts.dit import DiTShape
from stream_server.models.glm_tts.hift import HiFTShape
from stream_server.models.glm_tts.hift_config import HiFTConfig
from stream_server.models.glm_tts.tokenizer import read_tokenizer
from stream_server.models.glm_tts.voice import FAMILY
from stream_server.voices.stored import About, StoredVoice
from tests.models.glm_tts import make_flow, make_hift
from tests.models.glm_tts.make_lm import make_lm
from tests.models.glm_tts.make_speaker import make_speaker
from tests.models.glm_tts.make_speech_tokenizer import make_speech_tokenizer

TEXT = 256 + 8  # every byte, and phonemes
PHONEMES = ("<|A1|>", "<|ZH|>", "<|IANG3|>", "<|B|>")
CODES = 64
FRAMES_A_TOKEN = 2


@dataclass(frozen=True)
class Sizes:
    lm: dict[str, Any]
    flow: DiTShape
    hift: HiFTShape
    speech: dict[str, Any]
    hift_config: HiFTConfig = HiFTConfig()
    flow_settings: dict[str, Any] = field(default_factory=dict)


def sizes_of(width: int, codes: int = CODES) -> Sizes:
    """Every network about so wide; `width` is a multiple of 32."""
    if width % 32 or width < 32:
        raise ValueError("width must be a multiple of 32")
    heads, half = width // 16, width // 2
    flow = replace(
        make_flow.SMALL, width=width, heads=width // 32, mlp=2 * width, text=half, text_hidden=width,
        vocabulary=codes + 1,
    )  # fmt: skip
    channels = tuple(max(8, width // times) for times in (2, 4, 8, 16))
    return Sizes(
        lm={"width": width, "heads": heads, "kv_heads": heads // 2, "hidden": 2 * width},
        flow=flow,
        hift=replace(make_hift.SMALL, channels=channels, f0_channels=max(8, width // 4)),
        speech={"d_model": half, "encoder_attention_heads": 2, "encoder_ffn_dim": width, "quantize_vocab_size": codes},
    )


SMALL = sizes_of(64)
FEW = 16
TINY = Sizes(  # for many thousand sequences: 1200 samples a second, two steps, few codes and so early ends
    lm={"width": 16, "layers": 1, "heads": 2, "kv_heads": 1, "hidden": 16},
    flow=DiTShape(
        mel=8, width=16, depth=1, heads=2, head_dim=8, mlp=16, vocabulary=FEW + 1, text=8, text_blocks=1,
        text_hidden=8, text_kernel=3, position_kernel=3, position_groups=4, times=8, speaker=12, concat=0,
    ),
    hift=HiFTShape(
        mel=8, channels=(8, 4, 4), pre_kernel=3, post_kernel=3, up_kernels=(8, 4), kernels=(3,), source_kernels=(3, 3),
        down=((4, 2), (1, 1)), n_fft=6, harmonics=2, f0_channels=4, f0_kernel=3,
    ),
    speech={"d_model": 8, "encoder_attention_heads": 2, "encoder_ffn_dim": 8, "quantize_vocab_size": FEW},
    hift_config=HiFTConfig(
        sampling_rate=1_200, upsample_rates=(4, 2), istft_hop=3, resblock_dilation_sizes=((1,),),
        source_resblock_dilation_sizes=((1,), (1,)),
    ),
    flow_settings={"n_timesteps": 2},
)  # fmt: skip


def make_checkpoint(
    folder: Path,
    voices: tuple[str, ...] = ("one", "two"),
    seed: int = 0,
    sizes: Sizes = SMALL,
    released: bool = False,
    dtype: torch.dtype = torch.float32,
    codes: int = 13,
) -> None:
    """released: as it is downloaded, not as `convert` writes it; dtype: of the language model; codes: of a voice."""
    rows = sizes.speech["quantize_vocab_size"]
    settings = {"codes": rows, "text": TEXT, "positions": 2048, "shards": 2 if released else 1} | sizes.lm
    tokens = make_lm(folder / "llm", **settings, dtype=dtype, seed=seed)
    make_tokenizer(folder / TOKENIZER, tokens)
    make_flow.make_flow(folder / "flow", sizes.flow, seed, **sizes.flow_settings)
    make_hift.make_hift(folder / "hift", sizes.hift, sizes.hift_config, seed)
    make_speech_tokenizer(folder / "speech_tokenizer", seed, **sizes.speech)
    make_speaker(folder / "frontend" / "campplus.onnx", channels=sizes.flow.speaker or 192)
    if released:
        as_released(folder, sizes)
    for number, name in enumerate(voices):
        make_voice(folder, name, seed=100 + number, codes=codes)


def as_released(folder: Path, sizes: Sizes) -> None:
    for part in ("flow", "hift"):
        weights = load_file(folder / part / "model.safetensors")
        (folder / part / "model.safetensors").unlink()
        torch.save({"model": weights} if part == "flow" else weights, folder / part / f"{part}.pt")
    if sizes.hift_config == HiFTConfig():
        (folder / "hift" / "config.json").unlink()


def make_tokenizer(folder: Path, tokens: SpeechTokens) -> None:
    folder.mkdir(parents=True)
    lines = [f"{base64.b64encode(bytes([byte])).decode()} {byte}" for byte in range(256)]
    (folder / "tokenizer.model").write_text("\n".join(lines) + "\n")
    added = {256 + i: name for i, name in enumerate(PHONEMES)}
    added |= {tokens.pad: "<|endoftext|>", tokens.stop: "<|user|>", tokens.begin: "<|begin_of_audio|>"}
    added |= {tokens.first + code: f"<|audio_{code}|>" for code in range(tokens.codes)}
    told = {str(id): {"content": content, "special": True} for id, content in added.items()}
    (folder / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": told}))


def make_voice(folder: Path, name: str, seed: int, codes: int = 13) -> None:
    """One that nobody's recording stands behind."""
    random, shape = np.random.default_rng(seed), voice_shape(folder, read_tokenizer(folder / TOKENIZER))
    arrays = {
        "text_ids": random.integers(0, 256, 9),
        "codes": random.integers(0, shape.codes, codes),
        "mel": random.standard_normal((FRAMES_A_TOKEN * codes - 1, shape.mel.bins)).astype(np.float32),
        "speaker": random.standard_normal(shape.speaker).astype(np.float32),
    }
    about = About("what is said", "", "2026-01-01T00:00:00Z", 0.5, FAMILY, shape.fingerprint)
    store_of(folder).save(StoredVoice(name, about, arrays))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--width", type=int, default=64, help="of every network, about: a multiple of 32")
    parser.add_argument("--codes", type=int, default=CODES)
    parser.add_argument("--voices", default="one,two", help="names of voices that nobody's recording stands behind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--safetensors", action="store_true", help="as `stream-server convert` writes it")
    asked = parser.parse_args()
    names = tuple(filter(None, asked.voices.split(",")))
    make_checkpoint(asked.folder, names, asked.seed, sizes_of(asked.width, asked.codes), not asked.safetensors)
    print(f"{asked.folder}: {sum(path.stat().st_size for path in asked.folder.rglob('*.*')) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
