"""Families by name, imported when chosen."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import cast

from stream_server.errors import ConfigError
from stream_server.models.interface import SpeechModel

CHECKPOINTS = "stream_server.models.glm_tts.loading"  # the one family that comes as a directory
FAMILIES = {"lark": "stream_server.models.lark.model"}


def load(
    name: str,
    device: str = "cpu",
    dtypes: Mapping[str, str] | None = None,
    torchscript: bool = False,
    kept_voices: int = 0,
) -> SpeechModel:
    """A family's model by its name, or a checkpoint by its directory, decoding on a device of torch's.

    dtypes: of a checkpoint's parts, by their names: "fp32", "bf16" or "fp16".  torchscript: whether a program that
    comes with a checkpoint may be run.  kept_voices: of how many a checkpoint keeps what it would compute again.
    `ConfigError` lists what exists, or names what is wrong with the checkpoint.
    """
    if Path(name).is_dir():
        load_model = import_module(CHECKPOINTS).load_model
        return cast(SpeechModel, load_model(Path(name), device, dtypes or {}, torchscript, kept_voices))
    if name not in FAMILIES:
        raise ConfigError(
            f"unknown model {name!r}", field="model", limit=", ".join((*FAMILIES, "a GLM-TTS checkpoint's directory"))
        )
    if dtypes:
        raise ConfigError(f"dtype: {name} has no parts to choose it for", field="dtype")
    if torchscript:
        raise ConfigError(f"torchscript: {name} comes with no program", field="torchscript")
    if kept_voices:
        raise ConfigError(f"kept_voices: {name} computes nothing of a voice that could be kept", field="kept_voices")
    return cast(SpeechModel, import_module(FAMILIES[name]).load(device))
