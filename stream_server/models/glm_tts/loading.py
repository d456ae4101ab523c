"""The release's directory → the model: its parts read by their tables, held against each other, its voices taken in."""

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from stream_server.errors import BrokenVoice, ConfigError, UnknownVoice
from stream_server.models.glm_tts import lm as speech_lm
from stream_server.models.glm_tts.cloning import (
    FLOW,
    FLOW_FILES,
    HIFT,
    SPEECH_TOKENIZER,
    TOKENIZER,
    hift_settings,
    store_of,
    voice_shape,
)
from stream_server.models.glm_tts.closed_vocoder import load_closed
from stream_server.models.glm_tts.convert import Part
from stream_server.models.glm_tts.flow import Flow, flow_table, load_flow
from stream_server.models.glm_tts.flow_config import read_flow_config
from stream_server.models.glm_tts.hift import HiFT, hift_table, load_hift
from stream_server.models.glm_tts.lm import LM_PART, SpeechLM
from stream_server.models.glm_tts.model import GLMTTS, POSITIONS
from stream_server.models.glm_tts.tokenizer import read_tokenizer
from stream_server.models.glm_tts.vocoder import GLMVocoder
from stream_server.models.glm_tts.voice import Voice, VoiceShape
from stream_server.models.glm_tts.weights import Checkpoint, Table, dtype_of, find
from stream_server.voices.store import FOLDER, VoiceStore

log = logging.getLogger(__name__)
LLM = "llm"
CHOOSABLE = ("lm", "flow")  # parts whose numbers may be narrow; the vocoder's phases bear no rounding
DATA = (TOKENIZER, SPEECH_TOKENIZER, "frontend", FOLDER)  # what is copied as it is
FLOW_PART = Part(
    FLOW,
    FLOW_FILES,
    lambda folder, shapes: Table(dict(flow_table(read_flow_config(folder / "config.yaml"), shapes))),
    copied=("config.yaml",),
)
HIFT_PART = Part(
    HIFT,
    ("model.safetensors", "hift.pt"),
    lambda folder, shapes: Table(dict(hift_table(hift_settings(folder), shapes))),
    copied=("config.json",),
)
PARTS = (LM_PART, FLOW_PART, HIFT_PART)


def load_part(folder: Path, part: Part) -> dict[str, Tensor]:
    checkpoint = Checkpoint(find(folder / part.name, part.files), part.prefix)
    return {
        name: checkpoint.tensor(name) for name in checkpoint.expect(part.table(folder / part.name, checkpoint.shapes))
    }


def voices_in(store: VoiceStore, shape: VoiceShape) -> dict[str, Voice]:
    """The oldest first, so that a new one never becomes the default; one that is broken keeps nobody from speaking."""
    found = {}
    for listed in store.list():
        try:
            found[listed.name] = shape.check(store.get(listed.name))
        except (BrokenVoice, UnknownVoice) as error:  # it may have been deleted meanwhile
            log.warning("voice not loaded", extra={"voice": listed.name, "code": error.code})
    return found


def chosen_dtypes(dtypes: Mapping[str, str]) -> list[torch.dtype]:
    """Of each CHOOSABLE part.  ConfigError where another is named, or no type of number."""
    if unknown := set(dtypes) - set(CHOOSABLE):
        raise ConfigError(
            f"dtype: no part {min(unknown)!r} whose numbers can be chosen", field="dtype", limit=", ".join(CHOOSABLE)
        )
    return [dtype_of(dtypes.get(part, "fp32"), f"dtype.{part}") for part in CHOOSABLE]


def check_fit(lm: SpeechLM, ids: int, codes: int, flow: Flow, hift: HiFT) -> None:
    """Whether networks belong together; ids of the text tokenizer, codes of the speech tokenizer."""
    for what, one, other in (
        ("mel bins of the flow and the vocoder", flow.shape.mel, hift.shape.mel),
        ("frames a second of the flow and the vocoder", flow.config.mel_rate, hift.config.sampling_rate / hift.hop),
        ("codes of the speech tokenizer and the language model", codes, lm.tokens.codes),
    ):
        if one != other:
            raise ConfigError(f"the checkpoint does not fit together: {what} are {one:g} and {other:g}", field="model")
    for what, needed, there in (
        ("codes, of which the flow knows", lm.tokens.codes, flow.shape.vocabulary),
        ("ids, of which the language model knows", ids, lm.config.vocabulary),
    ):
        if needed > there:
            raise ConfigError(f"the checkpoint does not fit together: {needed} {what} {there}", field="model")


def load_model(
    folder: Path,
    device: str = "cpu",
    dtypes: Mapping[str, str] | None = None,
    torchscript: bool = False,
    kept_voices: int = 0,
) -> GLMTTS:
    """The release's directory; ConfigError names the file and what is wrong with it.

    dtypes: of CHOOSABLE parts, by `dtype_of`'s names; float32 where none is said.  torchscript: whether the program
    that is the release's 32 kHz vocoder may be run.  kept_voices: as `GLMVocoder` has it.
    """
    lm_dtype, flow_dtype = chosen_dtypes(dtypes or {})
    tokenizer = read_tokenizer(folder / TOKENIZER)
    lm = speech_lm.load(folder / LLM, tokenizer.speech_tokens(), lm_dtype, POSITIONS, device)
    flow = load_flow(read_flow_config(folder / FLOW / "config.yaml"), load_part(folder, FLOW_PART), flow_dtype)
    hift = load_hift(hift_settings(folder / HIFT), load_part(folder, HIFT_PART))
    store, shape = store_of(folder), voice_shape(folder, tokenizer)
    check_fit(lm, tokenizer.size, shape.codes, flow, hift)
    closed = load_closed(folder, shape.mel, device) if torchscript else None
    voices = voices_in(store, shape)
    vocoder = GLMVocoder(flow.eval().to(device), hift.eval().to(device), closed, kept_voices)
    return GLMTTS(lm, tokenizer, vocoder, shape, voices)
