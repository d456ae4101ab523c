"""The release's text tokenizer, read as data: a byte-pair vocabulary and the tokens added to it.

`tokenizer.model` has a line a token, base64 and rank; `tokenizer_config.json` the added ones.  No code of the
checkpoint's is run.  A listener's text never becomes a control token, however it is written; only phonemes may be.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from stream_server.errors import ConfigError
from stream_server.models.glm_tts.config import SpeechTokens
from stream_server.models.glm_tts.files import read_json

MODEL, CONFIG = "tokenizer.model", "tokenizer_config.json"
MAX_BYTES = 16 << 20  # of each file: the release's have 1.5 and about 7 MB
MAX_TOKENS = 1 << 19
# GLM-4's cut of a text into pieces, which is that of a widely used vocabulary of its size.
PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PHONEME = re.compile(r"<\|[A-Z]{1,6}[1-5]?\|>")
NAMES = {"pad": "<|endoftext|>", "stop": "<|user|>", "begin": "<|begin_of_audio|>"}
FIRST, LAST = "<|audio_0|>", "<|audio_{}|>"


class TextTokenizer:
    def __init__(self, ranks: Mapping[bytes, int], added: Mapping[str, int]) -> None:
        """ConfigError: the package that does the cutting is not there, or these are no vocabulary."""
        try:
            import tiktoken
        except ImportError:
            raise ConfigError("GLM-TTS needs the extra: pip install 'stream-server[glm]'", field="model") from None
        check_vocabulary(ranks, added)
        self.added = dict(added)
        self._phonemes = frozenset(name for name in added if PHONEME.fullmatch(name))
        self._coder = tiktoken.Encoding("glm", pat_str=PIECES, mergeable_ranks=dict(ranks), special_tokens=self.added)

    @property
    def size(self) -> int:
        """Ids are below it."""
        return self._coder.n_vocab

    @property
    def phonemes(self) -> tuple[str, ...]:
        """The names that may be written in a text: IANG3 for `<|IANG3|>`."""
        return tuple(sorted(name[2:-2] for name in self._phonemes))

    def encode(self, text: str) -> list[int]:
        return self._coder.encode(text, allowed_special=self._phonemes, disallowed_special=())

    def speech_tokens(self, codes: int | None = None) -> SpeechTokens:
        """Where speech lies in the vocabulary; `codes`, where given, is how many there are."""
        count = codes or sum(re.fullmatch(r"<\|audio_\d+\|>", name) is not None for name in self.added)
        first = self._id(FIRST)
        if any(self._id(LAST.format(code)) != first + code for code in range(count)):
            raise ConfigError(f"{CONFIG}: the speech tokens' ids do not follow each other", field=FIRST)
        found = {field: self._id(name) for field, name in NAMES.items()}
        return SpeechTokens(**found, first=first, last=first + count - 1)

    def _id(self, name: str) -> int:
        if name not in self.added:
            raise ConfigError(f"{CONFIG}: there is no token {name}", field=name)
        return self.added[name]


def check_vocabulary(ranks: Mapping[bytes, int], added: Mapping[str, int]) -> None:
    """What the cutting takes for granted, and breaks without."""
    ids = {*ranks.values(), *added.values()}
    if len(ids) != len(ranks) + len(added):
        raise ConfigError(f"{MODEL}: two tokens have one id", field=MODEL)
    if not all(0 <= id < MAX_TOKENS for id in ids):
        raise ConfigError(f"{MODEL}: an id is out of range", field=MODEL, limit=MAX_TOKENS - 1)
    if not all(bytes([byte]) in ranks for byte in range(256)):
        raise ConfigError(f"{MODEL}: there is a byte without a token", field=MODEL)


def read_tokenizer(folder: Path) -> TextTokenizer:
    """ConfigError names the file and what is wrong with it."""
    return TextTokenizer(read_ranks(folder / MODEL), read_added(folder / CONFIG))


def read_ranks(path: Path) -> dict[bytes, int]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path}: larger than a vocabulary may be", field=str(path), limit=MAX_BYTES)
        ranks: dict[bytes, int] = {}
        with path.open("rb") as file:
            for line in islice(file, MAX_TOKENS):
                token, rank = line.split()
                ranks[base64.b64decode(token, validate=True)] = int(rank)
    except (OSError, ValueError, binascii.Error) as error:
        raise ConfigError(f"{path}: cannot be read ({type(error).__name__})", field=str(path)) from None
    return ranks


def read_added(path: Path) -> dict[str, int]:
    found: Any = read_json(path, MAX_BYTES).get("added_tokens_decoder")
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: added_tokens_decoder is missing", field="added_tokens_decoder")
    try:
        return {str(token["content"]): int(id) for id, token in found.items()}
    except (KeyError, TypeError, ValueError):
        raise ConfigError(
            f"{path}: added_tokens_decoder is not a table of tokens", field="added_tokens_decoder"
        ) from None
