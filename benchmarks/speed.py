"""How fast one stream is, without a server: RTF and engine TTFA over sentences of twelve words, on one thread.

    python benchmarks/speed.py [--quick] [--rounds 12]

Engine TTFA runs from a sentence's words being submitted to its first frame; RTF is all the time from the text to the
last frame over the duration of the speech.  The voices take turns.  A yardstick runs in the same process: the bare
matrix products of one LM step, without attention, norms, sampling or Python around them.
"""

import argparse
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from lap import Lap, clocked, middle, timed, use_one_thread
from report import conclude, percentile, table
from texts import SENTENCES
from torch import Tensor
from utterance import Utterance

from stream_server.engine.core import EngineCore
from stream_server.engine.messages import AddSequence, Controls, Finished
from stream_server.models.lark.lm import PointerLM
from stream_server.models.lark.model import Lark, load
from stream_server.offline import NO_LIMIT, read_words, run_to_end

YARDSTICK_AT = 128  # position in the sequence, about the middle of what these sentences reach
YARDSTICK_CALLS = 20  # averaged in one round
FLOORS = {"rtf_p50": 0.30, "ttfa_p50_ms": 60}  # of the slower voice


@dataclass(frozen=True)
class Spoken:
    """One sentence; seconds."""

    whole: Lap  # text to last frame
    ttfa: float
    read: float  # text → words, before the engine sees it and no part of its TTFA
    prefill: float  # words → symbols → encodings
    first_tokens: float  # the decode steps the first vocoder call waits for
    first_sound: float  # that call
    audio: float

    @property
    def rtf(self) -> float:
        return self.whole.wall / self.audio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12, help="of the yardstick; 8 or more for a figure that counts")
    parser.add_argument("--quick", action="store_true", help="two sentences, two rounds, nothing kept")
    options = parser.parse_args()
    sentences, rounds = (SENTENCES[:2], 2) if options.quick else (SENTENCES, options.rounds)
    use_one_thread()
    core = EngineCore(load(), num_slots=1)
    speak(core, "Ready.", Controls(core.spec.voices[0]))  # first calls cost more, and a server has made them
    steps, calls = clocked(core.runner.model, "decode_step"), clocked(core.runner.model.vocoder, "decode")
    spoken = speak_all(core, sentences)
    voices = {voice: voice_figures(takes) for voice, takes in spoken.items()}
    figures = {
        "model": "lark",
        "sentences": len(sentences),
        "rtf_p50": max(found["rtf_p50"] for found in voices.values()),
        "ttfa_p50_ms": max(found["ttfa_p50_ms"] for found in voices.values()),
        "voices": voices,
        "work": work_figures(steps, calls, sum(take.audio for takes in spoken.values() for take in takes)),
        "yardstick": yardstick(rounds),
    }
    names = next(iter(voices.values()))
    table("by voice", ["", *voices], [[name, *(found[name] for found in voices.values())] for name in names])
    table("a call's work", ["", "value"], list(figures["work"].items()))
    table(f"one LM step beside its bare products, {rounds} rounds", ["", "value"], list(figures["yardstick"].items()))
    conclude("speed", figures, FLOORS, keep=not options.quick)


def speak_all(core: EngineCore, sentences: tuple[str, ...]) -> dict[str, list[Spoken]]:
    spoken: dict[str, list[Spoken]] = {voice: [] for voice in core.spec.voices}
    for number, text in enumerate(sentences):
        for voice, takes in spoken.items():
            takes.append(speak(core, text, Controls(voice, seed=number)))
    return spoken


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
        ttfa=stats.first_frame - stats.submitted,
        read=reading.wall,
        prefill=stats.prefilled - stats.submitted,
        first_tokens=stats.decoded - stats.prefilled,
        first_sound=stats.first_frame - stats.decoded,
        audio=stats.samples / controls.sample_rate,
    )


def voice_figures(takes: list[Spoken]) -> dict[str, float]:
    found = {"audio_s": sum(take.audio for take in takes), "rtf_cpu_p50": median(t.whole.cpu / t.audio for t in takes)}
    for share in (50, 95):
        found[f"rtf_p{share}"] = percentile([take.rtf for take in takes], share / 100)
        found[f"ttfa_p{share}_ms"] = percentile([take.ttfa for take in takes], share / 100) * 1000
    for part in ("read", "prefill", "first_tokens", "first_sound"):
        found[f"{part}_p50_ms"] = median(getattr(take, part) for take in takes) * 1000
    return found


def work_figures(steps: list[Lap], calls: list[Lap], audio_s: float) -> dict[str, float]:
    """Calls of all sentences together; what is left of the RTF is the engine and the reading of text."""
    return {
        "lm_step_p50_ms": middle(steps).wall * 1000,
        "lm_step_p95_ms": percentile([lap.wall for lap in steps], 0.95) * 1000,
        "lm_step_p50_cpu_ms": middle(steps).cpu * 1000,
        "vocoder_call_p50_ms": middle(calls).wall * 1000,
        "vocoder_call_p95_ms": percentile([lap.wall for lap in calls], 0.95) * 1000,
        "vocoder_call_p50_cpu_ms": middle(calls).cpu * 1000,
        "rtf_lm": sum(lap.wall for lap in steps) / audio_s,
        "rtf_vocoder": sum(lap.wall for lap in calls) / audio_s,
    }


@torch.inference_mode()
def yardstick(rounds: int) -> dict[str, Any]:
    """A real step at one position and its bare products, in turns."""
    model = load()
    utterance = Utterance(model)
    utterance.walk([YARDSTICK_AT])
    floor = BareProducts(model)
    laps = []
    for _ in range(rounds):
        step = timed(lambda: utterance.step_from(YARDSTICK_AT, True), YARDSTICK_CALLS)
        laps.append((step, timed(floor, YARDSTICK_CALLS)))
    return {
        "step_ms": middle(step for step, _ in laps).wall * 1000,
        "products_ms": middle(bare for _, bare in laps).wall * 1000,
        "step_over_products": median(step.wall / bare.wall for step, bare in laps),
        "step_over_products_cpu": median(step.cpu / bare.cpu for step, bare in laps),
        "products": len(floor.products),
        "weights_mb": sum(weight.nbytes for _, weight, _ in floor.products) / 1e6,
    }


class BareProducts:
    """Every product of a vector and a matrix in one LM step: x [1, K], weights [K, N] contiguous, `out` made once."""

    def __init__(self, model: Lark) -> None:
        self.products = [
            (torch.randn(1, len(weight)), weight, torch.empty(1, weight.shape[1]))
            for weight in (used.detach().T.contiguous() for used in weights(model.lm, model.codes))
        ]

    def __call__(self) -> None:
        for x, weight, out in self.products:
            torch.mm(x, weight, out=out)


def weights(lm: PointerLM, codes: Tensor) -> list[Tensor]:
    """[N, K] each, in the order of their use."""
    found = []
    for block in lm.transformer.blocks:
        layer, wide = block.attention, block.feed_forward
        found += [layer.qkv.weight, layer.out.weight, wide.gate_up.weight, wide.down.weight]
    return [*found, codes[:-1], lm.advance.weight]


if __name__ == "__main__":
    main()
