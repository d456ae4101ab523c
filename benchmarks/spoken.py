"""Spoken: a sentence put through the engine in this process, with the time that each part of it took.

No socket, no Opus, no other process: what a server's figures are compared with.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from lap import Lap, timed

from stream_server.engine.core import EngineCore
from stream_server.engine.messages import AddSequence, Controls, Finished
from stream_server.models.lark.model import load
from stream_server.offline import NO_LIMIT, read_words, run_to_end


@dataclass(frozen=True)
class Spoken:
    """Seconds."""

    whole: Lap  # text to last frame
    read: float  # text → words, before the engine sees it
    prefill: float  # words → symbols → encodings
    first_tokens: float  # the decode steps the first vocoder call waits for
    first_sound: float  # that call
    audio: float

    @property
    def rtf(self) -> float:
        return self.whole.wall / self.audio

    @property
    def ttfa(self) -> float:
        """From the words' submission to the first frame."""
        return self.prefill + self.first_tokens + self.first_sound


def warm_engine() -> EngineCore:
    """For one sentence at a time; first calls cost more, and a server has made them."""
    core = EngineCore(load(), num_slots=1)
    speak(core, "Ready.", Controls(core.spec.voices[0]))
    return core


def speak(core: EngineCore, text: str, controls: Controls) -> Spoken:
    ended: list[Finished] = []

    def read() -> None:
        core.put(AddSequence(1, tuple(read_words(core, text)), True, controls, NO_LIMIT))

    def run() -> None:
        ended.extend(output for output in run_to_end(core) if isinstance(output, Finished))

    reading, running = timed(read), timed(run)
    stats = ended[0].stats
    return Spoken(
        whole=reading + running,
        read=reading.wall,
        prefill=stats.prefilled - stats.submitted,
        first_tokens=stats.decoded - stats.prefilled,
        first_sound=stats.first_frame - stats.decoded,
        audio=stats.samples / controls.sample_rate,
    )


def by_voice(core: EngineCore, sentences: Iterable[str]) -> dict[str, list[Spoken]]:
    """The voices take turns."""
    takes: dict[str, list[Spoken]] = {voice: [] for voice in core.spec.voices}
    for number, text in enumerate(sentences):
        for voice, spoken in takes.items():
            spoken.append(speak(core, text, Controls(voice, seed=number)))
    return takes
