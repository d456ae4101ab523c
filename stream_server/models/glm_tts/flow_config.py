"""The flow's settings, from the release's `config.yaml` or a plain `config.json`.

The release's file is HyperPyYAML, whose tags name Python objects to build.  Here a tag is dropped and what it stood on
is read as plain data, so that nothing is ever constructed or imported; `!ref <a[b]>` is followed, arithmetic in it is
refused.  Keys are found wherever they are nested.  Dimensions are the checkpoint's own: a file that says otherwise is
an error.
"""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from stream_server.errors import ConfigError

MAX_BYTES = 1 << 14  # the release's has 2 kB
MAX_NODES = 2_000  # aliases counted as often as they stand
MAX_BRACKETS = 200  # PyYAML takes its time over them
MAX_STEPS = 1000
SCHEDULES = ("cosine", "linear")
REFERENCE = re.compile(r"<([^<>]+)>")
SUBSCRIPT = re.compile(r"[^\[\]]+")
DIMENSIONS = {  # name in the file → name in DiTShape
    "trans_dim": "width",
    "depth": "depth",
    "heads": "heads",
    "dim_head": "head_dim",
    "text_emb_dim": "text",
    "conv_layers": "text_blocks",
    "mel_dim": "mel",
}


@dataclass(frozen=True)
class FlowConfig:
    token_rate: float  # tokens a second
    mel_rate: float  # frames a second
    token_cfg: bool  # whether the unconditional pass loses its tokens too
    steps: int = 10
    schedule: str = "cosine"
    cfg_rate: float = 0.7
    dimensions: tuple[tuple[str, str, int], ...] = ()  # (key in the file, field of DiTShape, value)
    speaker_modulates: bool | None = None  # None: the file does not say, the tensors do
    speaker_removed: bool | None = None  # from beside the condition mel

    @property
    def ratio(self) -> int:
        """Frames a token.  ConfigError where that is no whole number: such a flow cannot be cut."""
        ratio = self.mel_rate / self.token_rate
        if ratio != int(ratio):
            raise ConfigError(
                f"mel_framerate {self.mel_rate:g} is no multiple of input_frame_rate {self.token_rate:g}",
                field="mel_framerate",
            )
        return int(ratio)

    def with_steps(self, steps: int) -> "FlowConfig":
        return replace(self, steps=steps)


class PlainLoader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
    """Tags are dropped: a mapping is a mapping, whatever it was to become.  Merges, which can grow without bound, are
    refused."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise yaml.YAMLError("a merge")
        super().flatten_mapping(node)


def untagged(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_object(
        yaml.ScalarNode(loader.resolve(yaml.ScalarNode, node.value, (True, False)), node.value)
    )


PlainLoader.add_multi_constructor("!", untagged)
PlainLoader.add_multi_constructor("tag:", untagged)


def read_flow_config(path: Path) -> FlowConfig:
    """ConfigError names the file and the key."""
    where = str(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{where} is larger than a configuration may be", field=where, limit=MAX_BYTES)
        text = path.read_text(encoding="utf-8")
        if text.count("[") + text.count("{") > MAX_BRACKETS:
            raise ConfigError(f"{where} has too many lists in it", field=where, limit=MAX_BRACKETS)
        tree = json.loads(text) if path.suffix == ".json" else yaml.load(text, PlainLoader)
    except ConfigError:
        raise
    except Exception as error:  # PyYAML's parts raise what they like: KeyError for a truth value that is none, …
        raise ConfigError(f"cannot read {where}: {type(error).__name__}", field=where) from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{where} is no mapping", field=where)
    return flow_config(tree, where)


def flow_config(tree: dict[str, Any], where: str = "config") -> FlowConfig:
    found = Found(where, tree)
    return FlowConfig(
        token_rate=found.number("input_frame_rate", 1, 1000),
        mel_rate=found.number("mel_framerate", 1, 1000),
        token_cfg=found.flag("speech_token_cfg", True),
        steps=int(found.number("n_timesteps", 1, MAX_STEPS, 10)),
        schedule=found.choice("t_scheduler", SCHEDULES, "cosine"),
        cfg_rate=found.number("inference_cfg_rate", 0, 100, 0.7),
        dimensions=tuple(
            (key, field, int(found.number(key, 1, 1 << 24))) for key, field in DIMENSIONS.items() if key in found.values
        ),
        speaker_modulates=found.told("spkr_emb_adaLN"),
        speaker_removed=found.told("remove_spkr_concat_condition"),
    )


class Found:
    """Every key of a tree with its first value, references followed."""

    def __init__(self, where: str, tree: dict[str, Any]) -> None:
        self.where, self.tree = where, tree
        self.values: dict[str, Any] = {}
        self.nodes = 0
        self.gather(tree, 0)

    def gather(self, tree: Any, depth: int) -> None:
        self.nodes += 1
        if depth > 32 or self.nodes > MAX_NODES:
            raise ConfigError(f"{self.where} is nested too deeply, or says too much", field=self.where, limit=MAX_NODES)
        children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
        for key, value in children:
            self.values.setdefault(str(key), value)
            self.gather(value, depth + 1)

    def value(self, key: str, default: Any) -> Any:
        value = self.values.get(key, default)
        for _ in range(32):
            if not (isinstance(value, str) and value.startswith("<")):
                break
            value = self.follow(key, value)
        if value is None:
            raise ConfigError(f"{self.where} does not say {key}", field=key)
        return value

    def follow(self, key: str, reference: str) -> Any:
        whole = REFERENCE.fullmatch(reference)
        at: Any = self.tree
        for part in SUBSCRIPT.findall(whole[1]) if whole else [None]:
            if not (isinstance(at, dict) and part in at):
                raise ConfigError(f"{self.where}: {key} refers to what is not there", field=key)
            at = at[part]
        return at

    def number(self, key: str, low: float, high: float, default: float | None = None) -> float:
        value = self.value(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ConfigError(f"{self.where}: {key} must be a number from {low:g} to {high:g}", field=key, limit=high)
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self.value(key, default)
        if not isinstance(value, bool):
            raise ConfigError(f"{self.where}: {key} must be true or false", field=key)
        return value

    def told(self, key: str) -> bool | None:
        """A flag, where it is there."""
        return self.flag(key, False) if key in self.values else None

    def choice(self, key: str, choices: tuple[str, ...], default: str) -> str:
        value = self.value(key, default)
        if not isinstance(value, str) or value not in choices:
            raise ConfigError(f"{self.where}: {key} must be one of {', '.join(choices)}", field=key)
        return str(value)
