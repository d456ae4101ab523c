"""What a second of speech costs: the engine alone by the wall, the server by its processes' CPU time.

    python benchmarks/rtf.py [--quick] [--load 16] [--seconds 60]

RTF is all the time from a sentence's text to its last frame over the duration of the speech, in this process, on one
thread, the voices in turns.  Through a server it would say nothing: speech is sent as it is played, however fast it was
made.  There the measure is CPU seconds of the front and of the engine a second of speech, with one listener at a time
and at half of `--load` (by default the last capacity measured), where listeners share the engine's steps.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from lap import Lap, clocked, middle, use_one_thread
from load import MIXED, Load, offer, warn
from report import conclude, last_figure, percentile, table
from server import Server, server
from spoken import Spoken, by_voice, warm_engine
from texts import SENTENCES

ONE = 0.5  # Erlang: hardly ever two at once
FLOORS = {"rtf_p50": 0.30}  # of the slower voice


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--load", type=float, default=last_figure("capacity", "capacity_mixed") or 16.0, help="Erlang")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each load")
    parser.add_argument("--quick", action="store_true", help="two sentences, a few seconds, nothing kept")
    options = parser.parse_args()
    sentences, seconds = (SENTENCES[:2], 4.0) if options.quick else (SENTENCES, options.seconds)
    use_one_thread()
    figures = {"model": "lark", "sentences": len(sentences)} | engine_alone(sentences)
    with server() as served:
        loads = {"one_listener": Load(ONE, seconds, 0.0), "half_load": Load(options.load / 2, seconds, 0.0, MIXED)}
        figures |= {name: cost(served, load) for name, load in loads.items()}
    voices = figures["voices"]
    names = next(iter(voices.values()))
    table("the engine alone, by voice", ["", *voices], [[name, *(voices[v][name] for v in voices)] for name in names])
    table("a call's work", ["", "value"], list(figures["work"].items()))
    costs = [figures[name] for name in loads]
    table("the server", ["", *loads], [[name, *(cost[name] for cost in costs)] for name in costs[0]])
    conclude("rtf", figures, FLOORS, keep=not options.quick)


def engine_alone(sentences: tuple[str, ...]) -> dict[str, Any]:
    core = warm_engine()
    steps, calls = clocked(core.runner.model, "decode_step"), clocked(core.runner.model.vocoder, "decode")
    takes = by_voice(core, sentences)
    voices = {voice: voice_figures(spoken) for voice, spoken in takes.items()}
    return {
        "rtf_p50": max(found["rtf_p50"] for found in voices.values()),
        "voices": voices,
        "work": work_figures(steps, calls, sum(found["audio_s"] for found in voices.values())),
    }


def voice_figures(takes: list[Spoken]) -> dict[str, float]:
    found = {"audio_s": sum(take.audio for take in takes), "rtf_cpu_p50": median(t.whole.cpu / t.audio for t in takes)}
    return found | {f"rtf_p{share}": percentile([take.rtf for take in takes], share / 100) for share in (50, 95)}


def work_figures(steps: list[Lap], calls: list[Lap], audio_s: float) -> dict[str, float]:
    """Calls of all sentences together; what is left of the RTF is the engine and the reading of text."""
    found: dict[str, float] = {}
    for name, laps in (("lm_step", steps), ("vocoder_call", calls)):
        found[f"{name}_p50_ms"] = middle(laps).wall * 1000
        found[f"{name}_p50_cpu_ms"] = middle(laps).cpu * 1000
        found[f"{name}_p95_ms"] = percentile([lap.wall for lap in laps], 0.95) * 1000
    return found | {
        f"rtf_{part}": sum(lap.wall for lap in laps) / audio_s for part, laps in (("lm", steps), ("vocoder", calls))
    }


def cost(served: Server, load: Load) -> dict[str, float]:
    with cpu_times(served) as used:
        point = offer(served.url, load)
    warn(point)
    found = {"load": load.erlang, "speaking_mean": point["speaking_mean"], "audio_s": point["audio_s"]}
    return found | {f"{name}_cpu_s_per_s": seconds / point["audio_s"] for name, seconds in used.items()}


@contextmanager
def cpu_times(served: Server) -> Iterator[dict[str, float]]:
    """Seconds of both processes within the block, known at its end."""
    processes = {"front": served.front, "engine": served.engine}
    used = {name: -process.cpu_s() for name, process in processes.items()}
    yield used
    for name, process in processes.items():
        used[name] += process.cpu_s()


if __name__ == "__main__":
    main()
