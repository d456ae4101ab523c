"""How long until the first sound: on an idle server, at half its capacity, and beside the bare work.

    python benchmarks/ttfa.py [--quick] [--load 16] [--seconds 60]

TTFA is the client's, from the first text sent to the first packet received.  *Direct* is the least it could be: the
prefill, the decode steps and the vocoder call that the first sound needs, done in this process, taking turns with the
idle server over the same sentences and voices.  The server's own split of its TTFA comes with `done`.

At half of `--load` (by default the last capacity measured) listeners are those of `load.py`, most of them typing live.
"""

import argparse
import asyncio
import time
from statistics import median
from typing import Any

from lap import use_one_thread
from listener import Listener, Outcome, Visit
from load import CUSHION_S, Load, offer, spread, timing, warn
from report import conclude, last_figure, table
from server import server
from spoken import Spoken, speak, warm_engine
from texts import SENTENCES

from stream_server.engine.messages import Controls

DIRECT_PARTS = ("read", "prefill", "first_tokens", "first_sound", "ttfa")
FLOORS = {"direct_p50_ms": 60, "idle_over_direct": 1.25, "half_load_p95_over_idle_p50": 2.5}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--load", type=float, default=last_figure("capacity", "capacity_mixed") or 16.0, help="Erlang")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the half load")
    parser.add_argument("--quick", action="store_true", help="two sentences, a few seconds, nothing kept")
    options = parser.parse_args()
    sentences, seconds = (SENTENCES[:2], 4.0) if options.quick else (SENTENCES, options.seconds)
    use_one_thread()
    with server() as served:
        spoken, outcomes = in_turns(served.url, sentences)
        half = offer(served.url, Load(options.load / 2, seconds, seconds / 6))
    warn(half)
    figures = compared(spoken, outcomes) | {
        "half_load": {k: v for k, v in half.items() if k.startswith(("ttfa", "timing"))}
    }
    figures |= {
        "load": options.load,
        "half_load_p95_over_idle_p50": half["ttfa_p95_ms"] / figures["idle"]["ttfa_p50_ms"],
    }
    show(figures)
    conclude("ttfa", {"model": "lark", "sentences": len(sentences)} | figures, FLOORS, keep=not options.quick)


def in_turns(url: str, sentences: tuple[str, ...]) -> tuple[list[Spoken], list[Outcome]]:
    core = warm_engine()
    spoken, outcomes = [], []
    for number in range(len(sentences) * len(core.spec.voices)):
        text = sentences[number // len(core.spec.voices)]
        spoken.append(speak(core, text, Controls(core.spec.voices[number % len(core.spec.voices)], seed=number)))
        visit = Visit(0.0, "whole", text, seed=number)  # a listener's seed chooses the voice in the same way
        outcomes.append(asyncio.run(Listener(url, visit, CUSHION_S, False).visit_server(time.monotonic())))
    return spoken, outcomes


def compared(spoken: list[Spoken], outcomes: list[Outcome]) -> dict[str, Any]:
    waits = [outcome.ttfa for outcome in outcomes if outcome.ttfa is not None]
    assert len(waits) == len(outcomes), "an idle server refuses nobody"
    return {
        "direct_p50_ms": median(take.ttfa for take in spoken) * 1000,
        "idle_over_direct": median(wait / take.ttfa for wait, take in zip(waits, spoken)),
        "direct": {f"{part}_p50_ms": median(getattr(take, part) for take in spoken) * 1000 for part in DIRECT_PARTS},
        "idle": spread("ttfa", waits) | {f"timing_p{share}_ms": timing(outcomes, share / 100) for share in (50, 95)},
    }


def show(figures: dict[str, Any]) -> None:
    places = ("idle", "half_load")
    waits = [name for name in figures["idle"] if name.startswith("ttfa")]
    table("client TTFA, ms", ["", *places], [[name, *(figures[place][name] for place in places)] for name in waits])
    heads = [(place, share) for place in places for share in ("timing_p50_ms", "timing_p95_ms")]
    parts = figures["idle"]["timing_p50_ms"]
    rows = [[part, *(figures[place][share].get(part, "-") for place, share in heads)] for part in parts]
    table("the server's own split, ms", ["", "idle p50", "p95", "half load p50", "p95"], rows)
    table("direct, ms", ["", "value"], list(figures["direct"].items()))


if __name__ == "__main__":
    main()
