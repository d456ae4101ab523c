"""The language model's settings: its own `config.json` (a Llama's) and the tokens that the tokenizer knows.

Every value is checked before anything is made of it; an error names the file and the key.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream_server.errors import ConfigError
from stream_server.models.glm_tts.files import read_json

MAX_SIZE = 1 << 20  # of any one dimension: the release's largest is its vocabulary of 98,304
MAX_LAYERS, MAX_POSITIONS = 1024, 1 << 17
FIXED = {"model_type": "llama", "hidden_act": "silu"}  # what other values would ask for is not built here
ABSENT = ("attention_bias", "mlp_bias", "quantization_config")
DEFAULT_THETA, DEFAULT_EPS, DEFAULT_POSITIONS = 10_000.0, 1e-6, 2048  # a Llama's whose config does not say


@dataclass(frozen=True)
class LMConfig:
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int  # of the feed-forward layers
    vocabulary: int
    positions: int  # of one sequence
    eps: float
    theta: float
    tied: bool | None  # whether the embedding is the head as well; None: it is where there is no head


@dataclass(frozen=True)
class SpeechTokens:
    """Where speech lies in the vocabulary; code c is id first + c."""

    pad: int
    stop: int
    begin: int  # of audio
    first: int
    last: int

    @property
    def codes(self) -> int:
        return self.last - self.first + 1

    def check(self, vocabulary: int) -> None:
        """ConfigError where these are no tokens of such a vocabulary, or do not leave each other room."""
        for name, value in vars(self).items():
            if not 0 <= value < vocabulary:
                raise ConfigError(f"token {name}: {value} is beyond the vocabulary", field=name, limit=vocabulary - 1)
        if self.last < self.first:
            raise ConfigError("token last: the last speech token comes before the first", field="last")
        for name in ("pad", "stop", "begin"):
            if self.first <= getattr(self, name) <= self.last:
                raise ConfigError(f"token {name}: lies among the speech tokens", field=name)


def read_lm_config(path: Path) -> LMConfig:
    """llm/config.json, as Hugging Face's transformers write it."""
    keys = Keys(path, read_json(path))
    for key, value in FIXED.items():
        if keys.found.get(key, value) != value:
            raise keys.wrong(key, f"must be {value}")
    for key in ABSENT:
        if keys.found.get(key):
            raise keys.wrong(key, "is not supported")
    width, heads = keys.whole("hidden_size"), keys.whole("num_attention_heads")
    kv_heads = keys.whole("num_key_value_heads", heads)
    if heads % kv_heads:
        raise keys.wrong("num_key_value_heads", f"does not divide num_attention_heads, {heads}")
    if keys.found.get("head_dim") is None and width % heads:
        raise keys.wrong("num_attention_heads", f"does not divide hidden_size, {width}")
    head_dim = keys.whole("head_dim", width // heads)
    if head_dim % 2:
        raise keys.wrong("head_dim", "must be even")
    return LMConfig(
        width,
        keys.whole("num_hidden_layers", most=MAX_LAYERS),
        heads,
        kv_heads,
        head_dim,
        keys.whole("intermediate_size"),
        keys.whole("vocab_size"),
        keys.whole("max_position_embeddings", DEFAULT_POSITIONS, MAX_POSITIONS),
        keys.positive("rms_norm_eps", DEFAULT_EPS),
        theta(keys),
        keys.switch("tie_word_embeddings"),
    )


def theta(keys: "Keys") -> float:
    """The base of the rotation, which later releases of transformers write into `rope_parameters`."""
    for key in ("rope_scaling", "rope_parameters"):
        scaling = keys.found.get(key) or {}
        if not isinstance(scaling, dict) or scaling.get("rope_type", scaling.get("type", "default")) != "default":
            raise keys.wrong(key, "is not supported")
    if "rope_theta" not in keys.found and "rope_theta" in (keys.found.get("rope_parameters") or {}):
        return Keys(keys.path, keys.found["rope_parameters"]).positive("rope_theta", DEFAULT_THETA)
    return keys.positive("rope_theta", DEFAULT_THETA)


@dataclass(frozen=True)
class Keys:
    path: Path
    found: dict[str, Any]

    def wrong(self, key: str, why: str, limit: float | None = None) -> ConfigError:
        return ConfigError(f"{self.path}: {key} {why}", field=key, limit=limit)

    def whole(self, key: str, default: int | None = None, most: int = MAX_SIZE) -> int:
        value = self.found.get(key)
        value = default if value is None else value
        if value is None:
            raise self.wrong(key, "is missing")
        if type(value) is not int or not 1 <= value <= most:
            raise self.wrong(key, f"must be a whole number from 1 to {most}", most)
        return value

    def positive(self, key: str, default: float) -> float:
        value = self.found.get(key)
        value = default if value is None else value
        if type(value) not in (int, float) or not 0 < value <= 1e12 or not math.isfinite(value):
            raise self.wrong(key, "must be a number above 0")
        return float(value)

    def switch(self, key: str) -> bool | None:
        value = self.found.get(key)
        if value is not None and type(value) is not bool:
            raise self.wrong(key, "must be true or false")
        return value
