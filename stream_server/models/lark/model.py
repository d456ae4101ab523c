"""Lark: the small voice that ships inside the package.  A pointer LM at 25 codes a second, a source-filter vocoder.

Weights, voices and shapes come from `data/lark.safetensors`; `stream_server.training` made it, `MODEL_CARD.md` says
how and how well it speaks.
"""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import as_file, files

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from stream_server.engine.messages import Controls, ModelSpec, Spoken
from stream_server.models.interface import Step
from stream_server.models.lark import fsq
from stream_server.models.lark.decoder import TOKEN_COLUMNS, Decoder
from stream_server.models.lark.frontend import Prompt, read
from stream_server.models.lark.lexicon import Lexicon, default_lexicon
from stream_server.models.lark.lm import FIRST, LOOKAHEAD, MAX_ADVANCE, MAX_DWELL, LMConfig, PointerLM
from stream_server.models.lark.pointer import Pointer
from stream_server.models.lark.symbols import PHONES
from stream_server.models.lark.vocoder import SAMPLE_RATES, LarkVocoder
from stream_server.nn.captured import SPARE, CapturedStep
from stream_server.nn.decode_step import DecodeStep, int64
from stream_server.nn.kv_cache import KVCache
from stream_server.nn.layout import lay_out_for_rows
from stream_server.nn.sampling import sample
from stream_server.text.word import Word

OPENING, PIECE = 12, 48  # symbols of text encoded at a time: a word or two before the first sound, then some ten words
MAX_TOKENS = 4096  # of one sequence, 164 s: more than 400 digits or 200 letters spelled out
TEMPERATURE, TOP_K = 0.3, 50  # where none is asked for


@dataclass
class Row:
    """What one slot's sequence has come to."""

    controls: Controls
    voice: int
    pointer: Pointer = field(default_factory=Pointer)
    encodings: list[np.ndarray] = field(default_factory=list)  # [width] each, of the pointer's certain symbols
    before: int = FIRST  # the last code
    steps: int = 0
    inputs: list[Tensor] = field(default_factory=list)  # [width] each, kept only where the cache is off


@dataclass
class LarkState:
    cache: KVCache
    rows: dict[int, Row] = field(default_factory=dict)  # by slot


class Lark:
    """`voices` stand in the order in which they were trained; the spec lists the default first."""

    def __init__(
        self,
        lm: PointerLM,
        decoder: Decoder,
        voices: tuple[str, ...],
        default: str,
        lexicon: Lexicon,
        device: str = "cpu",
    ) -> None:
        """device: where the decode step runs; text, sampling and the vocoder stay on the CPU."""
        self.voices = voices
        self.lm = lm.eval()
        lay_out_for_rows(lm)
        lay_out_for_rows(decoder)
        self.lexicon = lexicon
        with torch.no_grad():
            self.codes = lm.code_table()
            self.coded = self.codes.numpy()  # [NUM_CODES + 1, width]
            self.standing = (
                (lm.voice.weight[:, None] + lm.dwell.weight).flatten(0, 1).numpy()
            )  # [voices * MAX_DWELL, width]
            step = DecodeStep(lm.transformer, lm.transformer.norm, *lm.head(self.codes), MAX_TOKENS)
            self.step = step if device == "cpu" else CapturedStep(step.to(device))
        self.device = device
        self.vocoder = LarkVocoder(decoder.eval(), voices)
        self.spec = ModelSpec(
            name="lark",
            voices=(default, *(voice for voice in voices if voice != default)),
            sample_rates=SAMPLE_RATES,
            token_rate=25.0,
            max_tokens=MAX_TOKENS,
            text_streaming=True,
            phones=PHONES,
            options=("temperature", "top_k", "use_cache"),
        )

    @property
    def parts(self) -> dict[str, object]:
        return {"lm": [self.lm, self.codes, self.standing, self.step], "vocoder": self.vocoder}

    def prompt(self, words: Sequence[Word], final: bool) -> Prompt:
        return read(words, self.lexicon, final)

    def after(self, prompt: Prompt, past: Sequence[Spoken]) -> Prompt:
        raise NotImplementedError("every sentence begins anew")

    def reading(self, words: Sequence[Word]) -> str:
        return " ".join(word.spoken for word in words)

    def allocate(self, num_slots: int) -> LarkState:
        if isinstance(self.step, DecodeStep):
            return LarkState(self.lm.transformer.allocate(num_slots, MAX_TOKENS))
        cache = self.lm.transformer.allocate(num_slots + SPARE, MAX_TOKENS, self.device)
        with torch.inference_mode():
            self.step.prepare(cache)
        return LarkState(cache)

    def prefill(self, slots: list[int], prompts: list[Prompt], controls: list[Controls], state: LarkState) -> Step:
        """There is no text in the KV cache: a prefill is the encoding of the symbols, and yields no token."""
        starved = []
        for slot, prompt, chosen in zip(slots, prompts, controls):
            state.rows[slot] = Row(chosen, self.voices.index(chosen.voice))
            starved.append(self.extend(slot, prompt, state))
        B = len(slots)
        nothing = torch.zeros(B, TOKEN_COLUMNS, dtype=torch.int64)
        return Step(nothing, [False] * B, [False] * B, starved, [-1] * B, [False] * B)

    @torch.inference_mode()
    def extend(self, slot: int, prompt: Prompt, state: LarkState) -> bool:
        row = state.rows[slot]
        row.pointer.extend(prompt)
        self.read_on(row)
        return row.pointer.starved

    def read_on(self, row: Row) -> None:
        """Encode what the pointer comes to next, a bounded piece, so that a long sentence holds nobody up."""
        known, at, certain = len(row.encodings), row.pointer.at, row.pointer.certain
        if known >= min(certain, at + MAX_ADVANCE + 1):
            return
        stop = min(certain, at + (PIECE if row.steps else OPENING))
        windows = [row.pointer.around(place, LOOKAHEAD) for place in range(known, stop)]
        symbols = torch.tensor([symbols for symbols, _ in windows])
        inside = torch.tensor([inside for _, inside in windows])
        row.encodings += list(self.lm.text.windows(symbols, inside).numpy())

    @torch.inference_mode()
    def decode_step(self, slots: list[int], state: LarkState) -> Step:
        rows = [state.rows[slot] for slot in slots]
        for row in rows:
            self.read_on(row)
        logits = self.logits(slots, rows, state.cache).numpy()
        codes, broken = sample(
            logits[:, : fsq.NUM_CODES],
            [heat(row.controls) for row in rows],
            [row.controls.top_k or TOP_K for row in rows],
            [row.controls.seed for row in rows],
            [row.steps for row in rows],
        )
        tokens, words = [], []
        for row, code, moves in zip(rows, codes, logits[:, fsq.NUM_CODES :].tolist()):
            tokens.append([code, *row.pointer.around(row.pointer.at, 1)[0]])
            words.append(row.pointer.owners[row.pointer.at])
            row.before, row.steps = code, row.steps + 1
            row.pointer.move(shares(moves))
        for slot, spoilt in zip(slots, broken):
            if spoilt:
                state.cache.clear(slot)
        return Step(
            int64(tokens),
            [True] * len(rows),
            [row.pointer.ended for row in rows],
            [row.pointer.starved for row in rows],
            words,
            broken,
        )

    def logits(self, slots: list[int], rows: list[Row], cache: KVCache) -> Tensor:
        """[B, NUM_CODES + 5], codes and moves, of one position with the cache or (the yardstick) of all without."""
        x = self.inputs(rows)
        if all(row.controls.use_cache for row in rows):
            return self.step(x, slots, [row.steps for row in rows], cache)
        logits = torch.empty(len(rows), fsq.NUM_CODES + MAX_ADVANCE + 1)
        cached = [i for i, row in enumerate(rows) if row.controls.use_cache]
        if cached:
            logits[cached] = self.step(x[cached], [slots[i] for i in cached], [rows[i].steps for i in cached], cache)
        for i, row in enumerate(rows):
            if not row.controls.use_cache:
                row.inputs.append(x[i])
                hidden = self.lm.transformer(torch.stack(row.inputs)[None])[0, -1]
                logits[i] = torch.cat(self.lm.heads(self.codes, hidden))
        return logits

    def inputs(self, rows: list[Row]) -> Tensor:
        """[B, width]: as `PointerLM.embed`, the voice and the dwell looked up together."""
        before = self.coded[[row.before for row in rows]]
        standing = [row.voice * MAX_DWELL + min(row.pointer.dwell, MAX_DWELL - 1) for row in rows]
        x = np.array([row.encodings[row.pointer.at] for row in rows])
        x += before
        x += self.standing[standing]
        return torch.from_numpy(x)


def shares(logits: list[float]) -> list[float]:
    """The softmax of a few logits."""
    highest = max(logits)
    weights = [math.exp(logit - highest) for logit in logits]
    total = sum(weights)
    return [weight / total for weight in weights]


def heat(controls: Controls) -> float:
    return TEMPERATURE if controls.temperature is None else controls.temperature


def load(device: str = "cpu") -> Lark:
    """The shipped weights, strictly: a missing or surplus name is an error that names it."""
    with checkpoint() as file:
        metadata = json.loads(file.metadata()["lark"])
        tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 (it is not a dict)
    lm, decoder = PointerLM(LMConfig(**metadata["lm"])), Decoder(len(metadata["voices"]))
    lm.load_state_dict({name[3:]: t for name, t in tensors.items() if name.startswith("lm.")})
    decoder.load_state_dict({name[8:]: t for name, t in tensors.items() if name.startswith("decoder.")})
    return Lark(lm, decoder, tuple(metadata["voices"]), metadata["default"], default_lexicon(), device)


def describe_voices() -> dict[str, str]:
    """Name → a sentence about it, the default first; reads the header alone."""
    with checkpoint() as file:
        metadata = json.loads(file.metadata()["lark"])
    names = sorted(metadata["voices"], key=lambda name: name != metadata["default"])
    return {name: metadata["descriptions"][name] for name in names}


@contextmanager
def checkpoint() -> Iterator[safe_open]:
    with as_file(files("stream_server.models.lark") / "data" / "lark.safetensors") as path:
        with safe_open(path, framework="pt") as file:
            yield file
