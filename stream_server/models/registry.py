"""Families by name, imported when chosen."""

from importlib import import_module
from typing import cast

from stream_server.errors import ConfigError
from stream_server.models.interface import SpeechModel

FAMILIES = {"lark": "stream_server.models.lark.model"}


def load(name: str, device: str = "cpu") -> SpeechModel:
    """A family's model by its name, decoding on a device of torch's; `ConfigError` lists what exists."""
    if name not in FAMILIES:
        raise ConfigError(f"unknown model {name!r}", field="model", limit=", ".join(FAMILIES))
    return cast(SpeechModel, import_module(FAMILIES[name]).load(device))
