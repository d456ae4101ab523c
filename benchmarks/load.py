"""The load generator: listeners who come at random, whatever the server does, and what they heard.

    python benchmarks/load.py [--url ws://HOST:PORT/v1/stream] [--load 4] [--seconds 60] [--mix live=0.8,barge=0.2]

Open loop: arrivals are Poisson, drawn beforehand from the seed, and nobody waits for anybody; so queueing shows.
The *load* is in Erlang, streams at real time: arrivals a second times the mean seconds of speech heard.  Each
listener (see `listener.py`) has a socket, opened before its clock starts, and speaks one to three sentences' worth.

TTFA is from the first text sent to the first packet received, of those who came after the warm-up; everything else
counts from the beginning.  The generator runs in one process of its own, and says what it took of the machine and how
late it did what was due: more than 20 ms (p99), and the result is void, for then it measured itself.

Without `--url` a server is started for it.  Does not know what load is too much: `capacity.py` looks for that.
"""

import argparse
import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import accumulate
from multiprocessing import get_context
from statistics import fmean, median
from typing import Any

from listener import KINDS, Listener, Outcome, Visit
from report import conclude, percentile, table
from server import server
from texts import SENTENCES

MIXED = {"live": 0.8, "barge": 0.2}
CUSHION_S = 0.060
LAG_LIMIT_S = 0.020
DRAIN_S = 90.0  # for those who came last to be served
MOST_SENTENCES = 3  # of twelve words
SLOW_SENTENCES = 8
BARGE_SHARES = (0.1, 0.7)  # of the speech, between which a listener interrupts
QUICK = (12.0, 10.0, dict.fromkeys(KINDS, 0.25))  # Erlang, seconds, shares
FLOORS = {"underruns": 0, "failures": 0, "after_cancel": 0, "lag_p99_ms": LAG_LIMIT_S * 1000}


@dataclass(frozen=True)
class Load:
    erlang: float
    seconds: float = 60.0  # in which listeners come
    warm_up: float = 10.0  # of these
    mix: dict[str, float] = field(default_factory=lambda: MIXED)
    seed: int = 1
    cushion_s: float = CUSHION_S
    report_played: bool = False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="of a server that runs already")
    parser.add_argument("--load", type=float, default=4.0, help="Erlang")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--mix", type=read_mix, default=MIXED, help=f"shares of {', '.join(KINDS)}")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cushion-ms", type=float, default=CUSHION_S * 1000)
    parser.add_argument("--report-played", action="store_true", help="tell the server what was played, every 200 ms")
    parser.add_argument("--quick", action="store_true", help="every kind for ten seconds, nothing kept")
    options = parser.parse_args()
    if options.quick:
        options.load, options.seconds, options.mix = QUICK
    load = Load(
        erlang=options.load,
        seconds=options.seconds,
        warm_up=options.seconds / 6,
        mix=options.mix,
        seed=options.seed,
        cushion_s=options.cushion_ms / 1000,
        report_played=options.report_played,
    )
    with nullcontext() if options.url else server() as started:
        figures = offer(options.url or started.url, load)
    show(figures)
    conclude("load", figures, FLOORS, keep=not options.quick)


def read_mix(text: str) -> dict[str, float]:
    """`live=0.8,barge=0.2` → shares, made to add up to one."""
    shares = {kind: float(share) for kind, share in (part.split("=") for part in text.split(","))}
    if not shares.keys() <= set(KINDS):
        raise argparse.ArgumentTypeError(f"kinds are {', '.join(KINDS)}")
    return {kind: share / sum(shares.values()) for kind, share in shares.items()}


# Before: who will come.


def visits(load: Load) -> list[Visit]:
    """Drawn from the seed alone.

    A Poisson process whose count is given is so many moments drawn evenly: bursts are as they come, and the load is
    the one that was asked for.
    """
    draw = random.Random(load.seed)
    mean_s = fmean(visit(draw, load.mix, 0.0).expected_s for _ in range(1000))
    count = max(1, round(load.erlang * load.seconds / mean_s))
    return [visit(draw, load.mix, at) for at in sorted(draw.uniform(0, load.seconds) for _ in range(count))]


def visit(draw: random.Random, mix: dict[str, float], at: float) -> Visit:
    """Who interrupts was being told something long; who reads slowly even more, or no buffer would ever be full."""
    [kind] = draw.choices(list(mix), list(mix.values()))
    sentences = {"barge": MOST_SENTENCES, "slow": SLOW_SENTENCES}.get(kind) or draw.randint(1, MOST_SENTENCES)
    share = draw.uniform(*BARGE_SHARES) if kind == "barge" else 1.0
    return Visit(at, kind, " ".join(draw.sample(SENTENCES, sentences)), draw.getrandbits(31), share)


# During: one process, one loop.


def offer(url: str, load: Load) -> dict[str, Any]:
    """Put the load on a server; → the figures."""
    with offering(url, load) as figures:
        return figures.result()


@contextmanager
def offering(url: str, load: Load) -> Iterator[Future[dict[str, Any]]]:
    """The same in the background; in any case the load comes from a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield pool.submit(run, url, load)


def run(url: str, load: Load) -> dict[str, Any]:
    import uvloop

    cpu, began = time.process_time(), time.monotonic()
    outcomes = uvloop.run(receive_all(url, load))
    share = (time.process_time() - cpu) / (time.monotonic() - began)
    return summary(load, outcomes) | {"generator_cpu": share}


async def receive_all(url: str, load: Load) -> list[Outcome]:
    """Who has not been served when the time is up is an outcome too."""
    began = time.monotonic()
    listeners = [Listener(url, visit, load.cushion_s, load.report_played) for visit in visits(load)]
    tasks = [asyncio.create_task(listener.visit_server(began)) for listener in listeners]
    _, late = await asyncio.wait(tasks, timeout=load.seconds + DRAIN_S)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    for task in set(tasks) - late:
        task.result()  # a fault of ours must not pass for the server's
    for listener in listeners:
        listener.end("unserved")
    return [listener.outcome for listener in listeners]


# After: what it comes to.


def summary(load: Load, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    counted = [outcome for outcome in outcomes if outcome.visit.at >= load.warm_up]
    refused = [outcome for outcome in outcomes if outcome.refused]
    stalls = [stall for outcome in outcomes for stall in outcome.stalls]
    lags = [lag for outcome in outcomes for lag in outcome.lags]
    cancels = [outcome.cancel_s for outcome in outcomes if outcome.cancel_s is not None]
    heard = [outcome for outcome in outcomes if outcome.first_audio_at is not None]
    return {
        "load": load.erlang,
        "seconds": load.seconds,
        "mix": load.mix,
        "seed": load.seed,
        "cushion_ms": load.cushion_s * 1000,
        "report_played": load.report_played,
        "streams": len(outcomes),
        "ends": dict(Counter(outcome.end for outcome in outcomes)),
        "audio_s": sum(outcome.audio_s for outcome in outcomes),
        "offered": offered(load, heard),
        **speaking(load, heard),
        **spread("ttfa", [outcome.ttfa for outcome in counted if outcome.ttfa is not None]),
        **spread("connect", [outcome.connect_s for outcome in counted]),
        "underruns": len(stalls),
        "streams_with_underruns": sum(bool(outcome.stalls) for outcome in outcomes),
        "stall_s": sum(stalls),
        "largest_stall_s": max(stalls, default=0.0),
        "starved": sum(outcome.starved for outcome in outcomes),
        "largest_gap_s": max((outcome.largest_gap_s for outcome in outcomes), default=0.0),
        "holes": sum(outcome.holes for outcome in outcomes),
        "refusals": len(refused),
        **spread("refusal", [outcome.error_s for outcome in refused if outcome.error_s is not None]),
        "retry_after_s": median([o.retry_after for o in refused if o.retry_after is not None] or [0.0]),
        "failures": sum(outcome.failed for outcome in outcomes),
        **spread("cancel", cancels),
        "after_cancel": sum(outcome.after_cancel for outcome in outcomes),
        "queue_max_ms": max((o.timing.get("queue", 0.0) for o in outcomes), default=0.0) * 1000,
        "timing_p50_ms": timing(counted, 0.50),
        "timing_p95_ms": timing(counted, 0.95),
        **spread("lag", lags),
        "valid": percentile(lags, 0.99) <= LAG_LIMIT_S,
    }


def spread(name: str, seconds: list[float]) -> dict[str, float]:
    """Seconds → percentiles in milliseconds; nothing where there is nothing."""
    if not seconds:
        return {}
    shares = {f"{name}_p{share}_ms": percentile(seconds, share / 100) * 1000 for share in (50, 95, 99)}
    return shares | {f"{name}_max_ms": max(seconds) * 1000}


def offered(load: Load, heard: Sequence[Outcome]) -> float:
    """Erlang by what the listeners who heard something really heard."""
    return len(heard) / load.seconds * fmean(outcome.played_s for outcome in heard) if heard else 0.0


def speaking(load: Load, heard: Sequence[Outcome]) -> dict[str, float]:
    """Players playing at once: the mean between the warm-up and the last arrival, and the peak ever."""
    began = min((outcome.text_at - outcome.visit.at for outcome in heard), default=0.0)
    window = (began + load.warm_up, began + load.seconds)
    inside = sum(max(0.0, min(o.ended_at, window[1]) - max(o.began_at, window[0])) for o in heard)
    changes = sorted([(o.began_at, 1) for o in heard] + [(o.ended_at, -1) for o in heard])
    return {
        "speaking_mean": inside / (window[1] - window[0]),
        "speaking_peak": max(accumulate(change for _, change in changes), default=0),
    }


def timing(outcomes: Sequence[Outcome], share: float) -> dict[str, float]:
    """The server's own split of its TTFA, each part's percentile by itself."""
    told = [outcome.timing for outcome in outcomes if outcome.timing]
    return {part: percentile([one[part] for one in told], share) * 1000 for part in (told[0] if told else ())}


def show(figures: dict[str, Any]) -> None:
    rows = [[name, value] for name, value in figures.items() if not isinstance(value, dict)]
    rows += [[f"{name}: {part}", value] for name in ("ends", "timing_p50_ms") for part, value in figures[name].items()]
    table(f"a load of {figures['load']:g} Erlang for {figures['seconds']:g} s", ["", "value"], rows)
    warn(figures)


def warn(figures: dict[str, Any]) -> None:
    if not figures["valid"]:
        late, limit = figures.get("lag_p99_ms", float("nan")), LAG_LIMIT_S * 1000
        print(f"\n*** VOID: the generator was {late:.0f} ms late (p99, bound {limit:g}): the machine is too busy ***")


if __name__ == "__main__":
    main()
