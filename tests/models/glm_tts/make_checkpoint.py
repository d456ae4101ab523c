"""A whole random checkpoint in the release's layout, with voices, small enough to speak in a test."""

import base64
import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from stream_server.models.glm_tts.config import SpeechTokens
from tests.models.glm_tts.make_flow import make_flow
from tests.models.glm_tts.make_hift import make_hift
from tests.models.glm_tts.make_lm import make_lm

TEXT = 256 + 8  # every byte, and phonemes
PHONEMES = ("<|A1|>", "<|ZH|>", "<|IANG3|>", "<|B|>")
CODES = 64


def make_checkpoint(folder: Path, voices: tuple[str, ...] = ("one", "two"), seed: int = 0) -> None:
    tokens = make_lm(folder / "llm", codes=CODES, text=TEXT, positions=2048, seed=seed)
    make_tokenizer(folder / "vq32k-phoneme-tokenizer", tokens)
    make_flow(folder / "flow", seed=seed)
    make_hift(folder / "hift", seed=seed)
    for number, name in enumerate(voices):
        make_voice(folder / "voices" / f"{name}.safetensors", seed=100 + number)


def make_tokenizer(folder: Path, tokens: SpeechTokens) -> None:
    folder.mkdir(parents=True)
    lines = [f"{base64.b64encode(bytes([byte])).decode()} {byte}" for byte in range(256)]
    (folder / "tokenizer.model").write_text("\n".join(lines) + "\n")
    added = {256 + i: name for i, name in enumerate(PHONEMES)}
    added |= {tokens.pad: "<|endoftext|>", tokens.stop: "<|user|>", tokens.begin: "<|begin_of_audio|>"}
    added |= {tokens.first + code: f"<|audio_{code}|>" for code in range(tokens.codes)}
    told = {str(id): {"content": content, "special": True} for id, content in added.items()}
    (folder / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": told}))


def make_voice(path: Path, seed: int, codes: int = 13) -> None:
    random = torch.Generator().manual_seed(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    voice = {
        "text": torch.randint(0, 256, (9,), generator=random),
        "codes": torch.randint(0, CODES, (codes,), generator=random),
        "mel": torch.randn(2 * codes - 1, 80, generator=random),
        "speaker": torch.randn(192, generator=random),
    }
    save_file(voice, path)
