"""GLM-TTS: a Llama over speech codes, a flow from codes to mel, a vocoder from mel to sound, voices from recordings.

A family like any other: a sequence is a segment of text, decoded in the company of others, its sound made in chunks
long before its end.  What a checkpoint's directory must hold is the release's own layout; voices are files beside it.
A segment's prompt is written into the cache in bounded pieces, so that a long one holds nobody up.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from stream_server.engine.messages import Controls, ModelSpec, Spoken
from stream_server.errors import ConfigError, TextTooLong
from stream_server.models.glm_tts import carry
from stream_server.models.glm_tts.lm import MOST, SpeechLM, lengths
from stream_server.models.glm_tts.marks import Units, closing, unit_at, units
from stream_server.models.glm_tts.sampling import Draw, choose
from stream_server.models.glm_tts.text import written
from stream_server.models.glm_tts.tokenizer import TextTokenizer
from stream_server.models.glm_tts.vocoder import GLMVocoder, VocoderState
from stream_server.models.glm_tts.voice import Voice, VoiceShape
from stream_server.models.interface import Step
from stream_server.nn.kv_cache import KVCache
from stream_server.text.word import Word
from stream_server.voices.store import FOLDER
from stream_server.voices.stored import StoredVoice

POSITIONS = 2560  # of one segment: 30 s of a reference and what is carried over, 60 units of text and what they come to


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
        vocoder: GLMVocoder,
        shape: VoiceShape,
        voices: dict[str, Voice],
    ) -> None:
        if not voices:
            raise ConfigError(f"the checkpoint has no voices: put one into its folder {FOLDER!r}", field="model")
        self.lm, self.tokenizer, self.vocoder, self.shape = lm, tokenizer, vocoder, shape
        self.voices: dict[str, Voice] = {}
        for name, voice in voices.items():
            self.add_voice(name, voice)
        rate = vocoder.rate
        self.spec = ModelSpec(
            name="glm-tts",
            voices=tuple(voices),
            sample_rates=(rate, *(other for other in (24_000, 32_000) if other != rate)),
            token_rate=vocoder.flow.flow.config.token_rate,
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

    def forget(self, slot: int, state: GLMState, vocoder_state: VocoderState) -> None:
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
        for place, slot, row, column, wrong in zip(places, slots, rows, columns, broken):
            step.broken[place] = wrong
            if wrong:
                cache.clear(slot)
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
