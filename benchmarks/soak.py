"""Half an hour of listeners: does the server still speak as well, and is it as large as before?

    python benchmarks/soak.py --load 8 [--minutes 30] [--quick]

The mixed load of `load.py`, and beside it, every ten seconds, what Linux says of the two processes.  Memory is PSS; its
slope is a least-squares line through what was seen after the warm-up, in which caches fill and buffers reach their
size.  When the last listener has gone, no slot, place in the queue, socket or file may be held that was free before.
"""

import argparse
import time
from statistics import linear_regression
from typing import Any

from load import Load, offering, warn
from report import conclude, table
from server import Server, server

EVERY_S = 10.0
SETTLE_S = 5.0  # for sockets to close once the last listener has gone
WARM_UP = 0.2  # of the time
GAUGES = ("sequences_running", "sequences_waiting", "connections")
FLOORS = {"underruns": 0, "failures": 0, "leaked": 0, "front_kib_per_min": 100, "engine_kib_per_min": 100}
Sample = tuple[float, int, int]  # minutes since the beginning, KiB of the front, KiB of the engine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--load", type=float, default=8.0, help="Erlang")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--report-played", action="store_true", help="clients tell the server what was played")
    parser.add_argument("--quick", action="store_true", help="ten seconds, nothing kept")
    options = parser.parse_args()
    seconds, every = (10.0, 1.0) if options.quick else (options.minutes * 60, EVERY_S)
    with server() as served:
        before = held(served)
        load = Load(options.load, seconds, seconds * WARM_UP, report_played=options.report_played)
        figures, samples = soak(served, load, every)
        after = held(served)
    figures |= {"minutes": seconds / 60, "leaked": sum(max(0, after[name] - before[name]) for name in after)}
    figures |= slopes(samples, seconds * WARM_UP / 60)
    table("held, before and after", ["", "before", "after"], [[name, before[name], after[name]] for name in after])
    table("memory", ["minute", "front KiB", "engine KiB"], samples[:: max(1, len(samples) // 20)])
    shown = ("streams", "speaking_mean", "ttfa_p95_ms", "underruns", "starved", "refusals", "failures")
    table("what the listeners had", ["", "value"], [[name, figures[name]] for name in shown])
    warn(figures)
    conclude("soak", figures, FLOORS, keep=not options.quick)


def soak(served: Server, load: Load, every: float) -> tuple[dict[str, Any], list[Sample]]:
    front, engine = served.front, served.engine
    began = time.monotonic()
    samples: list[Sample] = []
    with offering(served.url, load) as figures:
        while not figures.done():
            samples.append(((time.monotonic() - began) / 60, front.memory_kib(), engine.memory_kib()))
            time.sleep(every)
        return figures.result(), [sample for sample in samples if sample[0] * 60 <= load.seconds]


def held(served: Server) -> dict[str, int]:
    """What is given back when nobody listens; the files first, for asking for metrics opens one."""
    time.sleep(SETTLE_S)
    files = {"front files": served.front.open_files(), "engine files": served.engine.open_files()}
    metrics = served.metrics()
    return files | {name: int(metrics[name]) for name in GAUGES}


def slopes(samples: list[Sample], warm_up: float) -> dict[str, float]:
    """KiB a minute, of the samples after so many minutes."""
    minutes, front, engine = zip(*[sample for sample in samples if sample[0] >= warm_up])
    return {
        "front_kib": float(front[-1]),
        "engine_kib": float(engine[-1]),
        "front_kib_per_min": linear_regression(minutes, front).slope,
        "engine_kib_per_min": linear_regression(minutes, engine).slope,
    }


if __name__ == "__main__":
    main()
