"""GLM-TTS: a Llama over speech codes, a flow from codes to mel, a vocoder from mel to sound, voices from recordings.

A family like any other: a sequence is a segment of text, decoded in the company of others, its sound made in chunks
long before its end.  What a checkpoint's directory must hold is the release's own layout; voices are files beside it.
A segment's prompt is written into the cache in bounded pieces, so that a long one holds nobody up.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from stream_server.engine.messages import Controls, ModelSpec, Spoken
from stream_server.errors import BrokenVoice, ConfigError, TextTooLong, UnknownVoice
from stream_server.models.glm_tts import carry
from stream_server.models.glm_tts import lm as speech_lm
from stream_server.models.glm_tts.chunks import Schedule, schedule
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
from stream_server.models.glm_tts.closed_vocoder import RATE as CLOSED_RATE
from stream_server.models.glm_tts.closed_vocoder import ClosedState, ClosedStream, ClosedVocoder, load_closed
from stream_server.models.glm_tts.convert import Part
from stream_server.models.glm_tts.flow import Flow, Prompt, flow_table, load_flow
from stream_server.models.glm_tts.flow_config import read_flow_config
from stream_server.models.glm_tts.flow_stream import FlowState, FlowStream
from stream_server.models.glm_tts.flow_voices import FlowVoices
from stream_server.models.glm_tts.hift import HiFT, Reach, hift_table, load_hift
from stream_server.models.glm_tts.hift_stream import HiFTState, HiFTStream
from stream_server.models.glm_tts.lm import LM_PART, MOST, SpeechLM, lengths
from stream_server.models.glm_tts.marks import Units, closing, unit_at, units
from stream_server.models.glm_tts.outlet import Outlet
from stream_server.models.glm_tts.pace import Pace, PaceState
from stream_server.models.glm_tts.sampling import Draw, choose
from stream_server.models.glm_tts.text import written
from stream_server.models.glm_tts.tokenizer import TextTokenizer, read_tokenizer
from stream_server.models.glm_tts.voice import Voice, VoiceShape
from stream_server.models.glm_tts.weights import Checkpoint, Table, dtype_of, find
from stream_server.models.interface import Sound, Step
from stream_server.models.plan import ChunkPlan
from stream_server.nn.kv_cache import KVCache
from stream_server.text.word import Word
from stream_server.voices.store import FOLDER, VoiceStore
from stream_server.voices.stored import StoredVoice

log = logging.getLogger(__name__)
POSITIONS = 2560  # of one segment: 30 s of a reference and what is carried over, 60 units of text and what they come to
CHUNKS = "early"
TRIM, MEASURED = 2, Reach(15, 15, False)  # frames that hardly weigh, of this reach, which is the release's
LLM = "llm"
CHOOSABLE = ("lm", "flow")  # parts whose numbers may be narrow; the vocoder's phases bear no rounding
DATA = (TOKENIZER, SPEECH_TOKENIZER, "frontend", FOLDER)  # what is copied as it is
OTHER_SEED = 0x5EED  # for what is drawn beside codes


@dataclass(frozen=True)
class Segment:
    """A prompt: the segment's ids, its units for the marks, and what of the same text it is spoken on from."""

    ids: tuple[int, ...]
    units: Units
    past: tuple[carry.Said, ...] = ()


@dataclass
class Row:
    """What one slot's sequence has come to."""

    controls: Controls
    ids: list[int]  # of the prompt
    least: int
    most: int
    units: Units
    pace: float  # codes a syllable of the voice
    at: int = 0  # ids written into the cache
    codes: list[int] = field(default_factory=list)

    @property
    def ready(self) -> bool:
        return self.at == len(self.ids) - 1 or bool(self.codes) or not self.controls.use_cache


@dataclass
class GLMState:
    cache: KVCache
    rows: dict[int, Row] = field(default_factory=dict)  # by slot


class GLMTTS:
    def __init__(
        self,
        lm: SpeechLM,
        tokenizer: TextTokenizer,
        flow: Flow,
        hift: HiFT,
        shape: VoiceShape,
        voices: dict[str, Voice],
        closed: ClosedVocoder | None = None,
    ) -> None:
        if not voices:
            raise ConfigError(f"the checkpoint has no voices: put one into its folder {FOLDER!r}", field="model")
        self.lm, self.tokenizer, self.shape = lm, tokenizer, shape
        self.voices: dict[str, Voice] = {}
        self.vocoder = GLMVocoder(flow, hift, closed)
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
            options=("temperature", "top_k", "use_cache"),
            carry_tokens=carry.BUDGET,
            reader="plain",
            cloning=True,
            phones=tokenizer.phonemes,
        )

    def add_voice(self, name: str, voice: Voice) -> None:
        """The voice of a name; rows that were begun in another of that name keep it."""
        self.voices[name] = voice
        self.vocoder.add_voice(name, voice)

    def take_voice(self, stored: StoredVoice) -> None:
        self.add_voice(stored.name, self.shape.check(stored))

    def drop_voice(self, name: str) -> None:
        self.voices.pop(name, None)
        self.vocoder.voices.remove(name)

    def forget(self, slot: int, state: GLMState, vocoder_state: "VocoderState") -> None:
        state.rows.pop(slot, None)
        self.vocoder.flow.forget(slot, vocoder_state.flow)

    @property
    def parts(self) -> dict[str, object]:
        voices = [self.voices, self.vocoder.voices.prompts, self.vocoder.voices.latest]
        return {"voices": voices, "lm": self.lm, "flow": self.vocoder.flow, "vocoder": self.vocoder.hift}

    def prompt(self, words: Sequence[Word], final: bool) -> Segment:
        return Segment(tuple(self.tokenizer.encode(self.reading(words))), units(words))

    def after(self, prompt: Segment, past: Sequence[Spoken]) -> Segment:
        said = (carry.Said(self.prompt(each.words, True).ids, each.tokens) for each in past)
        return replace(prompt, past=tuple(said))

    def reading(self, words: Sequence[Word]) -> str:
        return written(words)

    def allocate(self, num_slots: int) -> GLMState:
        return GLMState(self.lm.allocate(num_slots))

    def prefill(self, slots: list[int], prompts: list[Segment], controls: list[Controls], state: GLMState) -> Step:
        """The prompt's layout alone; its ids are written from the next step on, a piece at a time."""
        step = self.step(len(slots))
        for place, (slot, segment, chosen) in enumerate(zip(slots, prompts, controls)):
            voice = self.voices[chosen.voice]
            ids = self.layout(voice, segment)
            try:
                least, most = lengths(len(ids), len(segment.ids), self.lm.positions)
            except TextTooLong:  # its own loss: whoever begins or speaks beside it does not notice
                step.broken[place] = True
                continue
            state.rows[slot] = Row(chosen, ids, least, most, segment.units, voice.pace)
        return step

    def layout(self, voice: Voice, segment: Segment) -> list[int]:
        """What of the past fits stands before the segment; a row has to hold the most that this may come to."""
        reference = carry.Said(tuple(voice.text_ids.tolist()), tuple(voice.codes.tolist()))
        upcoming = len(segment.ids)
        room = self.lm.positions - 1 - upcoming - MOST * upcoming
        before = carry.kept(reference, segment.past, upcoming, room=room)
        return carry.layout(before, segment.ids, self.lm.tokens)

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
        for slot, row in zip(slots, rows):
            if not row.controls.use_cache:
                self.lm.recompute([*row.ids, *(first + code for code in row.codes)], slot, cache)
        latest = [first + row.codes[-1] if row.codes else row.ids[-1] for row in rows]
        logits = self.lm.logits(latest, slots, [len(row.ids) - 1 + len(row.codes) for row in rows], cache)
        draws = [draw_of(row) for row in rows]
        columns, broken = choose(logits, draws, self.lm.stop)
        for place, row, column, wrong in zip(places, rows, columns, broken):
            step.broken[place] = wrong
            if column != self.lm.stop:
                row.codes.append(column)
                step.tokens[place, 0] = column
                step.has_token[place] = True
                step.words[place] = unit_at(row.units, len(row.codes) - 1, row.pace)
            step.is_end[place] = column == self.lm.stop or len(row.codes) >= row.most
            if step.is_end[place]:
                step.revised[place] = self.last_words(row)

    def last_words(self, row: Row) -> list[int]:
        """Units of the codes whose sound cannot have been given out, now that there will be no more."""
        codes = len(row.codes)
        return closing(row.units, codes, codes - self.vocoder.schedule.settled(codes), row.pace)

    def step(self, count: int) -> Step:
        """Nothing happened, in so many rows."""
        no = [False] * count
        return Step(torch.zeros(count, 1, dtype=torch.int64), [*no], [*no], [*no], [-1] * count, [*no])


def draw_of(row: Row) -> Draw:
    """The release's law; with a top_k its other one, plain."""
    temperature = 1.0 if row.controls.temperature is None else row.controls.temperature
    number, may_stop = len(row.codes), len(row.codes) >= row.least
    return Draw(row.controls.seed, number, row.codes, temperature, row.controls.top_k, may_stop)


@dataclass
class VocoderState:
    flow: FlowState
    hift: HiFTState
    pace: PaceState
    closed: ClosedState | None = None
    outlets: dict[int, Outlet] = field(default_factory=dict)  # by slot


class GLMVocoder:
    """Codes → mel, walked over at the listener's speed → sound.

    32 kHz is the release's other vocoder's where the user has allowed that program, and else this one's, resampled.
    """

    def __init__(self, flow: Flow, hift: HiFT, closed: ClosedVocoder | None = None) -> None:
        self.schedule: Schedule = schedule(CHUNKS)
        self.flow = FlowStream(flow, self.schedule)
        self.hift = HiFTStream(hift, TRIM if hift.reach() == MEASURED else 0)
        self.closed = None if closed is None else ClosedStream(closed)
        self.pace = Pace()
        self.rate = hift.config.sampling_rate
        self.voices = FlowVoices(self.flow)

    def add_voice(self, name: str, voice: Voice) -> None:
        self.voices[name] = Prompt(voice.codes, voice.mel, voice.speaker)

    def allocate(self, num_slots: int) -> VocoderState:
        hift = self.hift.allocate(num_slots)
        closed = None if self.closed is None else self.closed.allocate(num_slots, hift.mel)
        return VocoderState(self.flow.allocate(num_slots), hift, self.pace.allocate(num_slots, hift.mel), closed)

    def reset(self, slot: int, controls: Controls, state: VocoderState) -> None:
        seed = controls.seed ^ OTHER_SEED
        self.flow.reset(slot, self.voices[controls.voice], seed, state.flow)
        self.hift.reset(slot, seed, state.hift)
        self.pace.reset(slot, controls.speed, state.pace)
        lead = self.lead(self.voices[controls.voice].prompt)
        rate, hop = self.rate, self.hift.hift.hop
        if self.closed is not None and state.closed is not None and controls.sample_rate == CLOSED_RATE:
            self.closed.reset(slot, state.closed)
            rate, hop = CLOSED_RATE, self.closed.vocoder.hop
        state.outlets[slot] = Outlet(rate, controls.sample_rate, hop, lead, self.flow.ratio)

    def set_speed(self, slot: int, speed: float, state: VocoderState) -> None:
        self.pace.set_speed(slot, speed, state.pace)

    def chunk(self, index: int) -> ChunkPlan:
        """Calls and the flow's chunks go together: each call brings what its chunk reads beyond the one before."""
        plan = self.schedule.plan(index)
        if index == 0:
            return plan
        tokens = plan.most + plan.lookahead - self.schedule.plan(index - 1).lookahead
        return ChunkPlan(least=tokens, most=tokens, lookahead=0)

    def decode(self, slots: list[int], tokens: list[Tensor], final: list[bool], state: VocoderState) -> list[Sound]:
        """The flow's chunks go on one by one, so that what becomes of them does not depend on how many come at once."""
        chunks = self.flow.decode(slots, [each.flatten() for each in tokens], final, state.flow)
        for row, end in zip(chunks, final):
            if end and not row:
                row.append(torch.zeros_like(state.hift.mel[0, :0]))
        pcm: dict[int, list[Tensor]] = {slot: [state.hift.mel.new_zeros(0)] for slot in slots}
        for number in range(max(map(len, chunks))):
            rows = [at for at, row in enumerate(chunks) if number < len(row)]
            here, ends = [slots[at] for at in rows], [final[at] and number == len(chunks[at]) - 1 for at in rows]
            frames = [self.walk(slots[at], chunks[at][number], end, state) for at, end in zip(rows, ends)]
            for slot, sound in zip(here, self.sounds(here, frames, ends, state)):
                pcm[slot].append(sound)
        return [
            state.outlets[slot].give(torch.cat(pcm[slot]).float().cpu().numpy(), end) for slot, end in zip(slots, final)
        ]

    def sounds(self, slots: list[int], frames: list[Tensor], final: list[bool], state: VocoderState) -> list[Tensor]:
        """By each slot's own vocoder; those of the open one are decoded together."""
        found: dict[int, Tensor] = {}
        for slot, mel, end in zip(slots, frames, final):
            if self.closed is not None and state.closed is not None and state.outlets[slot].rate == CLOSED_RATE:
                found[slot] = self.closed.decode(slot, mel, end, state.closed)
        others = [at for at, slot in enumerate(slots) if slot not in found]
        if others:
            rows = [slots[at] for at in others]
            made = self.hift.decode(rows, [frames[at] for at in others], [final[at] for at in others], state.hift)
            found |= dict(zip(rows, made))
        return [found[slot] for slot in slots]

    def walk(self, slot: int, mel: Tensor, final: bool, state: VocoderState) -> Tensor:
        frames, places = self.pace.walk(slot, mel, final, state.pace)
        state.outlets[slot].note(places)
        return frames

    def lead(self, prompt: Prompt) -> int:
        """Codes of a recording round up, frames down: the frames that are too few of it are heard before the text."""
        return max(0, len(prompt.tokens) * self.flow.ratio - len(prompt.mel))


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
    folder: Path, device: str = "cpu", dtypes: Mapping[str, str] | None = None, torchscript: bool = False
) -> GLMTTS:
    """The release's directory; ConfigError names the file and what is wrong with it.

    dtypes: of CHOOSABLE parts, by `dtype_of`'s names; float32 where none is said.  torchscript: whether the program
    that is the release's 32 kHz vocoder may be run.
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
    return GLMTTS(lm, tokenizer, flow.eval().to(device), hift.eval().to(device), shape, voices, closed)
