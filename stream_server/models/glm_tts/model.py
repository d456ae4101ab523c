"""GLM-TTS: a Llama over speech codes, a flow from codes to mel, a vocoder from mel to sound, voices from recordings.

A family like any other: a sequence is a segment of text, decoded in the company of others, its sound made in chunks
long before its end.  What a checkpoint's directory must hold is the release's own layout; voices are files beside it.
A segment's prompt is written into the cache in bounded pieces, so that a long one holds nobody up.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soxr
import torch
from torch import Tensor

from stream_server.engine.messages import Controls, ModelSpec
from stream_server.errors import ConfigError, TextTooLong
from stream_server.models.glm_tts import lm as speech_lm
from stream_server.models.glm_tts.chunks import Schedule, schedule
from stream_server.models.glm_tts.cloning import (
    FLOW,
    FLOW_FILES,
    HIFT,
    SPEECH_TOKENIZER,
    TOKENIZER,
    VOICES,
    hift_settings,
    store_of,
    voice_shape,
)
from stream_server.models.glm_tts.convert import Part
from stream_server.models.glm_tts.flow import Flow, Prompt, flow_table, load_flow
from stream_server.models.glm_tts.flow_config import read_flow_config
from stream_server.models.glm_tts.flow_stream import FlowState, FlowStream, FlowVoice
from stream_server.models.glm_tts.hift import HiFT, Reach, hift_table, load_hift
from stream_server.models.glm_tts.hift_stream import HiFTState, HiFTStream
from stream_server.models.glm_tts.lm import LM_PART, SpeechLM, lengths
from stream_server.models.glm_tts.sampling import Draw, choose
from stream_server.models.glm_tts.text import written
from stream_server.models.glm_tts.tokenizer import TextTokenizer, read_tokenizer
from stream_server.models.glm_tts.voice import Voice
from stream_server.models.glm_tts.weights import Checkpoint, Table, find
from stream_server.models.interface import Sound, Step
from stream_server.models.plan import ChunkPlan
from stream_server.nn.kv_cache import KVCache
from stream_server.text.word import Word

POSITIONS = 2048  # of one segment: a reference of 30 s, 60 units of text and what they come to
CHUNKS = "early"
TRIM, MEASURED = 2, Reach(15, 15, False)  # frames that hardly weigh, of this reach, which is the release's
LLM = "llm"
DATA = (TOKENIZER, SPEECH_TOKENIZER, "frontend", VOICES)  # what is copied as it is
CODES_A_UNIT = 6.0  # of speech for a unit of text, about: where a word is thought to begin
OTHER_SEED = 0x5EED  # for what is drawn beside codes


@dataclass(frozen=True)
class Segment:
    """A prompt: the segment's ids, and its units for the marks."""

    ids: tuple[int, ...]
    units: int


@dataclass
class Row:
    """What one slot's sequence has come to."""

    controls: Controls
    ids: list[int]  # of the prompt
    least: int
    most: int
    units: int
    at: int = 0  # ids written into the cache
    codes: list[int] = field(default_factory=list)

    @property
    def ready(self) -> bool:
        return self.at == len(self.ids) - 1 or bool(self.codes)


@dataclass
class GLMState:
    cache: KVCache
    rows: dict[int, Row] = field(default_factory=dict)  # by slot


class GLMTTS:
    def __init__(
        self, lm: SpeechLM, tokenizer: TextTokenizer, flow: Flow, hift: HiFT, voices: dict[str, Voice]
    ) -> None:
        if not voices:
            raise ConfigError(f"the checkpoint has no voices: put one into its folder {VOICES!r}", field="model")
        self.lm, self.tokenizer = lm, tokenizer
        self.voices: dict[str, Voice] = {}
        self.vocoder = GLMVocoder(flow, hift)
        for name, voice in voices.items():
            self.add_voice(name, voice)
        rate = hift.config.sampling_rate
        self.spec = ModelSpec(
            name="glm-tts",
            voices=tuple(voices),
            sample_rates=(rate, *(other for other in (24_000, 32_000) if other != rate)),
            token_rate=flow.config.token_rate,
            max_tokens=POSITIONS,
            text_streaming=False,
            speeds=False,
            reader="plain",
        )

    def add_voice(self, name: str, voice: Voice) -> None:
        """It may be spoken in from now on; one that is added later is not in the spec, for nobody else to choose."""
        self.voices[name] = voice
        self.vocoder.add_voice(name, voice)

    def prompt(self, words: Sequence[Word], final: bool) -> Segment:
        return Segment(tuple(self.tokenizer.encode(self.reading(words))), len(words))

    def reading(self, words: Sequence[Word]) -> str:
        return written(words)

    def allocate(self, num_slots: int) -> GLMState:
        return GLMState(self.lm.allocate(num_slots))

    def prefill(self, slots: list[int], prompts: list[Segment], controls: list[Controls], state: GLMState) -> Step:
        """The prompt's layout alone; its ids are written from the next step on, a piece at a time."""
        tokens, step = self.lm.tokens, self.step(len(slots))
        for place, (slot, segment, chosen) in enumerate(zip(slots, prompts, controls)):
            voice = self.voices[chosen.voice]
            codes = (tokens.first + voice.codes).tolist()
            ids = [*voice.text_ids.tolist(), *segment.ids, tokens.begin, *codes]
            try:
                least, most = lengths(len(ids), len(segment.ids), self.lm.positions)
            except TextTooLong:  # its own loss: whoever begins or speaks beside it does not notice
                step.broken[place] = True
                continue
            state.rows[slot] = Row(chosen, ids, least, most, segment.units)
        return step

    def extend(self, slot: int, prompt: Segment, state: GLMState) -> bool:
        raise NotImplementedError("a segment is whole when it is begun")

    @torch.inference_mode()
    def decode_step(self, slots: list[int], state: GLMState) -> Step:
        rows = [state.rows[slot] for slot in slots]
        for slot, row in zip(slots, rows):
            if not row.ready:
                row.at = self.lm.prefill(row.ids, slot, row.at, state.cache)
        step = self.step(len(rows))
        ready = [at for at, row in enumerate(rows) if row.ready]
        if ready:
            self.draw(ready, [slots[at] for at in ready], [rows[at] for at in ready], state.cache, step)
        return step

    def draw(self, places: list[int], slots: list[int], rows: list[Row], cache: KVCache, step: Step) -> None:
        first = self.lm.tokens.first
        latest = [first + row.codes[-1] if row.codes else row.ids[-1] for row in rows]
        logits = self.lm.logits(latest, slots, [len(row.ids) - 1 + len(row.codes) for row in rows], cache)
        draws = [
            Draw(row.controls.seed, len(row.codes), row.codes, may_stop=len(row.codes) >= row.least) for row in rows
        ]
        columns, broken = choose(logits, draws, self.lm.stop)
        for place, row, column, wrong in zip(places, rows, columns, broken):
            step.broken[place] = wrong
            if column == self.lm.stop:
                step.is_end[place] = True
                continue
            row.codes.append(column)
            step.tokens[place, 0] = column
            step.has_token[place] = True
            step.words[place] = min(int(len(row.codes) / CODES_A_UNIT), row.units - 1)
            step.is_end[place] = len(row.codes) >= row.most

    def step(self, count: int) -> Step:
        """Nothing happened, in so many rows."""
        no = [False] * count
        return Step(torch.zeros(count, 1, dtype=torch.int64), [*no], [*no], [*no], [-1] * count, [*no])


@dataclass
class Resampling:
    """One slot's way to another rate."""

    stream: soxr.ResampleStream

    def push(self, pcm: np.ndarray, last: bool) -> np.ndarray:
        resampled: np.ndarray = self.stream.resample_chunk(pcm, last=last)
        return resampled


@dataclass
class VocoderState:
    flow: FlowState
    hift: HiFTState
    resamplings: dict[int, Resampling] = field(default_factory=dict)  # by slot
    lead: dict[int, int] = field(default_factory=dict)  # samples before the first token's, by slot
    begun: dict[int, int] = field(default_factory=dict)  # tokens whose beginning was told, by slot
    samples: dict[int, int] = field(default_factory=dict)  # given out, by slot


class GLMVocoder:
    """Codes → mel → sound.  The 32 kHz of the release's other vocoder is this one's, resampled."""

    def __init__(self, flow: Flow, hift: HiFT) -> None:
        self.schedule: Schedule = schedule(CHUNKS)
        self.flow = FlowStream(flow, self.schedule)
        self.hift = HiFTStream(hift, TRIM if hift.reach() == MEASURED else 0)
        self.rate = hift.config.sampling_rate
        self.voices: dict[str, FlowVoice] = {}

    def add_voice(self, name: str, voice: Voice) -> None:
        self.voices[name] = self.flow.voice(Prompt(voice.codes, voice.mel, voice.speaker))

    def allocate(self, num_slots: int) -> VocoderState:
        return VocoderState(self.flow.allocate(num_slots), self.hift.allocate(num_slots))

    def reset(self, slot: int, controls: Controls, state: VocoderState) -> None:
        seed = controls.seed ^ OTHER_SEED
        self.flow.reset(slot, self.voices[controls.voice], seed, state.flow)
        self.hift.reset(slot, seed, state.hift)
        state.resamplings.pop(slot, None)
        if controls.sample_rate != self.rate:
            stream = soxr.ResampleStream(self.rate, controls.sample_rate, 1, dtype="float32", quality="HQ")
            state.resamplings[slot] = Resampling(stream)
        state.begun[slot] = state.samples[slot] = 0
        state.lead[slot] = self.lead(self.voices[controls.voice].prompt)

    def set_speed(self, slot: int, speed: float, state: VocoderState) -> None:
        """There is no such control."""

    def chunk(self, index: int) -> ChunkPlan:
        """Calls and the flow's chunks go together: each call brings what its chunk reads beyond the one before."""
        plan = self.schedule.plan(index)
        if index == 0:
            return plan
        tokens = plan.most + plan.lookahead - self.schedule.plan(index - 1).lookahead
        return ChunkPlan(least=tokens, most=tokens, lookahead=0)

    def decode(self, slots: list[int], tokens: list[Tensor], final: list[bool], state: VocoderState) -> list[Sound]:
        mels = self.flow.decode(slots, [each.flatten() for each in tokens], final, state.flow)
        sounds = self.hift.decode(slots, mels, final, state.hift)
        return [self.told(slot, pcm, end, state) for slot, pcm, end in zip(slots, sounds, final)]

    def lead(self, prompt: Prompt) -> int:
        """Codes of a recording round up, frames down: what the frames lack of the codes' is heard before the text."""
        frames = len(prompt.tokens) * self.flow.ratio - len(prompt.mel)
        return max(0, frames) * self.hift.hift.hop

    def told(self, slot: int, pcm: Tensor, final: bool, state: VocoderState) -> Sound:
        """A token's sound begins where its frames do; those that begin in this sound are told with it."""
        samples = pcm.float().cpu().numpy()
        if (resampling := state.resamplings.get(slot)) is not None:
            samples = resampling.push(samples, final)
        per_token = self.rate / self.flow.flow.config.token_rate
        before, state.samples[slot] = state.samples[slot], state.samples[slot] + len(pcm)
        scale = len(samples) / max(1, len(pcm))
        starts = []
        while (begins := state.lead[slot] + state.begun[slot] * per_token) < state.samples[slot]:
            offset = begins - before
            starts.append((state.begun[slot], int(max(0.0, offset) * scale)))
            state.begun[slot] += 1
        return Sound(samples, starts)


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


def load_model(folder: Path, device: str = "cpu", **dtypes: torch.dtype) -> GLMTTS:
    """The release's directory; ConfigError names the file and what is wrong with it.

    dtypes: of the parts `lm` and `flow`; the vocoder stays float32.
    """
    tokenizer = read_tokenizer(folder / TOKENIZER)
    lm_dtype = dtypes.get("lm", torch.float32)
    lm = speech_lm.load(folder / LLM, tokenizer.speech_tokens(), lm_dtype, POSITIONS, device)
    flow = load_flow(read_flow_config(folder / FLOW / "config.yaml"), load_part(folder, FLOW_PART))
    hift = load_hift(hift_settings(folder / HIFT), load_part(folder, HIFT_PART))
    store, shape = store_of(folder), voice_shape(folder, tokenizer)
    check_fit(lm, tokenizer.size, shape.codes, flow, hift)
    voices = {name: shape.check(store.get(name)) for name in store.names()}
    return GLMTTS(lm, tokenizer, flow.eval().to(device), hift.eval().to(device), voices)
