"""The vocoder's settings: those that no tensor's shape tells.  Defaults are the 24 kHz release's, which has no file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from stream_server.errors import ConfigError

MAX_BYTES = 1 << 16
MAX_LIST, MAX_DILATION, MAX_HOP = 8, 1 << 10, 1 << 14
Dilations = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class HiFTConfig:
    sampling_rate: int = 24_000
    upsample_rates: tuple[int, ...] = (8, 5, 3)
    istft_hop: int = 4  # samples
    resblock_dilation_sizes: Dilations = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    source_resblock_dilation_sizes: Dilations = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    nsf_alpha: float = 0.1  # of a harmonic
    nsf_sigma: float = 0.003  # of a voiced frame's noise
    nsf_voiced_threshold: float = 10.0  # Hz
    lrelu_slope: float = 0.1
    audio_limit: float = 0.99

    @property
    def hop(self) -> int:
        """Samples a frame."""
        hop = self.istft_hop
        for rate in self.upsample_rates:
            hop *= rate
        return hop


def read_hift_config(path: Path) -> HiFTConfig:
    """ConfigError names the file and the key."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path} is larger than a configuration may be", field=str(path), limit=MAX_BYTES)
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"cannot read {path}: {type(error).__name__}", field=str(path)) from None
    return hift_config(tree, str(path))


def hift_config(tree: Any, where: str = "config") -> HiFTConfig:
    """The `hift` part of a tree, or the tree itself; what it does not name keeps its default."""
    part = tree.get("hift", tree) if isinstance(tree, Mapping) else None
    if not isinstance(part, Mapping):
        raise ConfigError(f"{where} is no mapping", field=where)
    told = {field.name: part[field.name] for field in fields(HiFTConfig) if field.name in part}
    params = part.get("istft_params", {})
    if isinstance(params, Mapping) and "hop_len" in params:
        told["istft_hop"] = params["hop_len"]
    for key, value in told.items():
        told[key] = checked(value, getattr(HiFTConfig, key), key, where)
    config = HiFTConfig(**told)
    for key in ("resblock_dilation_sizes", "source_resblock_dilation_sizes"):
        if max(max(each) for each in getattr(config, key)) > MAX_DILATION:
            raise ConfigError(f"{where}: {key} must be at most {MAX_DILATION}", field=key, limit=MAX_DILATION)
    if config.hop > MAX_HOP:
        raise ConfigError(
            f"{where}: upsample_rates make too many samples a frame", field="upsample_rates", limit=MAX_HOP
        )
    return config


def checked(value: Any, like: Any, key: str, where: str) -> Any:
    """A positive number of the default's kind, or lists of them."""
    if isinstance(like, tuple):
        if not isinstance(value, list) or not 0 < len(value) <= MAX_LIST:
            raise ConfigError(f"{where}: {key} must be a list of 1 to {MAX_LIST}", field=key, limit=MAX_LIST)
        return tuple(checked(each, like[0], key, where) for each in value)
    kinds = int if isinstance(like, int) else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value < 1e6:
        raise ConfigError(f"{where}: {key} must be a number above 0", field=key, limit=1e6)
    return value
