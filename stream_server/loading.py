"""A model from its settings: the core around it, warm and with its costs known, and what makes voices of recordings.

Runs wherever the engine is placed; torch loads where it is used.  Knows nothing of sockets, nor of the terminal.
"""

import logging
import os
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stream_server import logs
from stream_server.config import ServerConfig, local_config
from stream_server.engine.messages import ModelSpec
from stream_server.errors import ConfigError

if TYPE_CHECKING:
    from stream_server.batch import Cloning
    from stream_server.engine.core import EngineCore
    from stream_server.voices.add import Make

log = logging.getLogger(__name__)
CALIBRATION_TEXT = "The old lighthouse keeper climbed the stairs slowly and lit the lamp."


def make_core(settings: ServerConfig) -> "EngineCore":
    """Load the model and put an engine around it; runs wherever the engine is placed."""
    import torch

    logs.setup(settings.log_level)
    torch.set_num_threads(settings.threads)
    torch.set_flush_denormal(True)
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device: this torch finds no GPU", field="device", limit="auto, cpu")
    if settings.device == "auto" and torch.cuda.is_available():
        try:
            return make_core_on("cuda", settings)
        except RuntimeError as error:
            log.warning("the GPU cannot be used, the CPU will do", extra={"error": type(error).__name__})
    return make_core_on("cuda" if settings.device == "cuda" else "cpu", settings)


def make_core_on(device: str, settings: ServerConfig) -> "EngineCore":
    """Raises `RuntimeError` where the device cannot be used."""
    from stream_server.engine.core import EngineCore
    from stream_server.models import registry

    core = EngineCore(
        registry.load(settings.model, device, settings.dtype, settings.torchscript, settings.kept_voices),
        settings.slots,
        settings.limits.queue,
    )
    core.spec = with_carry_over(with_default_voice(core.spec, settings.voice), settings.carry_over)
    warm_up(core)
    return core


def make_quiet_core(model: str, **settings: Any) -> "EngineCore":
    """For one who is waiting at the terminal."""
    return make_core(local_config(model=model, log_level="warning", **settings))


def make_serving_core(settings: ServerConfig) -> "EngineCore":
    """The same, and it knows how many streams this machine can serve."""
    from stream_server.engine.calibration import calibrate
    from stream_server.offline import read_words

    core = make_core(settings)
    calibrate(core, tuple(read_words(core, CALIBRATION_TEXT)))
    return core


def make_voices(settings: ServerConfig) -> "Make":
    """Load what makes voices of recordings; runs in a process of its own, beside the engine's threads."""
    import torch

    from stream_server.models.glm_tts.cloning import load_maker

    logs.setup(settings.log_level)
    torch.set_num_threads(max(1, (os.cpu_count() or 1) - settings.threads))
    return load_maker(Path(settings.model))


def with_default_voice(spec: ModelSpec, voice: str | None) -> ModelSpec:
    """The spec with `voice` first; raises `ConfigError` where the model has no such voice."""
    if voice is None:
        return spec
    if voice not in spec.voices:
        raise ConfigError(f"voice: {spec.name} has no voice {voice!r}", field="voice", limit=", ".join(spec.voices))
    return replace(spec, voices=(voice, *(other for other in spec.voices if other != voice)))


def with_carry_over(spec: ModelSpec, carry_over: bool) -> ModelSpec:
    """Raises `ConfigError` where the model cannot."""
    if carry_over and not spec.carry_tokens:
        raise ConfigError(f"carry_over: {spec.name} begins every sentence anew", field="carry_over", limit="false")
    return replace(spec, carry_over=carry_over)


def warm_up(core: "EngineCore") -> None:
    """One short utterance, so that the first listener does not pay for first calls."""
    from stream_server.engine.messages import Controls
    from stream_server.offline import synthesise

    synthesise(core, "Ready.", Controls(core.spec.voices[0]))


def cloning(core: "EngineCore", model: str) -> "Cloning | None":
    """Where the model is a checkpoint that can be given voices."""
    if not Path(model).is_dir():
        return None
    from stream_server.audio.reference import read_reference
    from stream_server.batch import clone_once
    from stream_server.engine.messages import AddVoice
    from stream_server.limits import Limits
    from stream_server.models.glm_tts.cloning import load_maker
    from stream_server.voices.add import Make

    numbers = count()
    loaded: list[Make] = []  # at the first recording: it is large, and many batches have none

    def make(data: bytes, text: str) -> str:
        recording = read_reference(data, Limits())
        if not loaded:
            loaded.append(load_maker(Path(model)))
        made = loaded[0](f"batch-{next(numbers)}", text, recording, "")
        core.put(AddVoice(0, made, listed=False))
        return made.name

    return clone_once(make)
