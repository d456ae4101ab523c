"""A whole random checkpoint in the release's layout, with voices, small enough to speak in a test."""

import base64
import json
from pathlib import Path

import numpy as np

from stream_server.models.glm_tts.cloning import TOKENIZER, store_of, voice_shape
from stream_server.models.glm_tts.config import SpeechTokens
from stream_server.models.glm_tts.tokenizer import read_tokenizer
from stream_server.models.glm_tts.voice import FAMILY
from stream_server.voices.stored import About, StoredVoice
from tests.models.glm_tts.make_flow import make_flow
from tests.models.glm_tts.make_hift import make_hift
from tests.models.glm_tts.make_lm import make_lm
from tests.models.glm_tts.make_speaker import make_speaker
from tests.models.glm_tts.make_speech_tokenizer import make_speech_tokenizer

TEXT = 256 + 8  # every byte, and phonemes
PHONEMES = ("<|A1|>", "<|ZH|>", "<|IANG3|>", "<|B|>")
CODES = 64


def make_checkpoint(folder: Path, voices: tuple[str, ...] = ("one", "two"), seed: int = 0) -> None:
    tokens = make_lm(folder / "llm", codes=CODES, text=TEXT, positions=2048, seed=seed)
    make_tokenizer(folder / "vq32k-phoneme-tokenizer", tokens)
    make_flow(folder / "flow", seed=seed)
    make_hift(folder / "hift", seed=seed)
    make_speech_tokenizer(folder / "speech_tokenizer", seed=seed)
    make_speaker(folder / "frontend" / "campplus.onnx")
    for number, name in enumerate(voices):
        make_voice(folder, name, seed=100 + number)


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
    random = np.random.default_rng(seed)
    arrays = {
        "text_ids": random.integers(0, 256, 9),
        "codes": random.integers(0, CODES, codes),
        "mel": random.standard_normal((2 * codes - 1, 80)).astype(np.float32),
        "speaker": random.standard_normal(192).astype(np.float32),
    }
    made_with = voice_shape(folder, read_tokenizer(folder / TOKENIZER)).fingerprint
    about = About("what is said", "", "2026-01-01T00:00:00Z", 0.5, FAMILY, made_with)
    store_of(folder).save(StoredVoice(name, about, arrays))
