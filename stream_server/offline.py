"""Speech without a server: a text in, its samples out, through the same engine, in the calling thread."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from stream_server.carried import Carried
from stream_server.engine.core import EngineCore
from stream_server.engine.messages import AddSequence, Controls, Finished, Frame
from stream_server.errors import SequenceFailed
from stream_server.text.reader import make_reader
from stream_server.text.word import Word, full_stop

NO_LIMIT = 1 << 62  # samples of credit: nobody's playback is waited for


@dataclass
class Speech:
    pcm: np.ndarray  # float32 [n]
    sample_rate: int
    words: list[tuple[Word, int]] = field(default_factory=list)  # each with the sample it begins at
    tokens: int = 0
    truncated: bool = False
    ttfa_s: float = 0.0
    wall_s: float = 0.0

    @property
    def audio_s(self) -> float:
        return len(self.pcm) / self.sample_rate

    @property
    def rtf(self) -> float:
        return self.wall_s / self.audio_s if len(self.pcm) else 0.0


def sentences(words: list[Word]) -> Iterator[tuple[Word, ...]]:
    """Words in order, parted after each that ends a sentence."""
    held: list[Word] = []
    for word in words:
        held.append(word)
        if word.ends_sentence:
            yield tuple(held)
            held = []
    if held:
        yield tuple(held)


def read_words(core: EngineCore, text: str, pronunciations: Mapping[str, str] | None = None) -> list[Word]:
    """pronunciations: as `dictionary.checked` gives them."""
    reader = make_reader(core.spec.reader, core.spec.phones, pronunciations=pronunciations)
    words = reader.push(text) + reader.flush()
    if words and not words[-1].ends_sentence:
        words.append(full_stop(words[-1].end))
    return words


def synthesise(
    core: EngineCore, text: str, controls: Controls, pronunciations: Mapping[str, str] | None = None
) -> Speech:
    """Sentence by sentence; raises `SequenceFailed` where the model could not go on."""
    started = time.monotonic()
    speech = Speech(np.zeros(0, np.float32), controls.sample_rate)
    pieces: list[np.ndarray] = []
    ids = count(1)
    carried = Carried(core.spec.carry_tokens)
    for words in sentences(read_words(core, text, pronunciations)):
        base = sum(map(len, pieces))
        core.put(AddSequence(next(ids), words, True, controls, NO_LIMIT, past=carried.past))
        for output in run_to_end(core):
            if isinstance(output, Frame):
                speech.ttfa_s = speech.ttfa_s or time.monotonic() - started
                pieces.append(output.pcm)
                speech.words += [(words[s.index], base + s.offset) for s in output.words if words[s.index].source]
            elif output.reason == "failed":
                raise SequenceFailed(output.message)
            else:
                speech.tokens += output.stats.tokens
                carried.add(words, output.tokens)
                speech.truncated = speech.truncated or output.reason == "truncated"
    speech.pcm = np.concatenate(pieces) if pieces else speech.pcm
    speech.wall_s = time.monotonic() - started
    return speech


def run_to_end(core: EngineCore) -> Iterator[Frame | Finished]:
    """Step until nothing is left to do."""
    while (tick := core.step()) is not None:
        yield from tick.frames
        yield from tick.finished
