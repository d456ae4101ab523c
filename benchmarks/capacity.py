"""How many can be spoken to at once: the largest load that a server carries, and how it behaves beyond.

    python benchmarks/capacity.py [--quick] [--goal-ms 200] [--seconds 60] [--overload 3]

A load is *carried* when over its whole time p95 TTFA is within the goal, nobody with a cushion of 60 ms has an
underrun, at most one in a hundred is refused (open arrivals have peaks: a telephone exchange's usual grade), nothing
fails, and the generator itself kept its time.  The largest is found by doubling and halving, confirmed over five
minutes with other listeners, and then exceeded by a step to see what gives.

Three arms, each on a server of its own:

* `mixed`: live texts, every fifth listener interrupting.  This is the capacity we state.
* `whole`: the same server, whole texts.
* `one at a time`: whole texts on the server of `one_at_a_time.py`, which is ours with a lock around the model.  Live
  texts would be unfair to it: the lock would be held while somebody types.

`--overload N` then puts N times the capacity on the server: those let in should not notice.
Knows nothing of how a load is made (`load.py`) and looks at servers only from outside.
"""

import argparse
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from load import MIXED, Load, offer, warn
from report import DOCS, conclude, last_figure, latest, table
from server import SERVE, server

GOAL_MS = 200.0
REFUSED = 0.01  # of those who came
FEWEST_STREAMS = 30  # of a load tried
SPEECH_S = 8.0  # that a listener hears, about
CLOSE_ENOUGH = 1.08  # between the largest load that was carried and the smallest that was not
CONFIRM_S = 300.0
CONFIRM_TRIES = 4
BACK = 0.85  # where a load was not confirmed
BEYOND = 1.15  # one step past what was confirmed
OTHER_SEED = 2
QUICK_S = 4.0
COLUMNS = {  # of a point: its name in the figures and in the table
    "load": "load",
    "offered": "offered",
    "speaking_mean": "speaking",
    "speaking_peak": "peak",
    "seconds": "s",
    "streams": "streams",
    "ttfa_p50_ms": "TTFA p50 ms",
    "ttfa_p95_ms": "p95",
    "ttfa_p99_ms": "p99",
    "underruns": "underruns",
    "streams_with_underruns": "of streams",
    "stall_s": "stalled s",
    "largest_stall_s": "longest s",
    "starved": "starved",
    "refusals": "refused",
    "failures": "failed",
    "lag_p99_ms": "own lag ms",
    "generator_cpu": "own CPU",
    "carried": "carried",
}
FLOORS = {"capacity_mixed": 16, "times_one_at_a_time": 6, "overload_underruns": 0}


@dataclass(frozen=True)
class Arm:
    name: str
    mix: dict[str, float]
    start: float  # Erlang
    program: Sequence[str] = SERVE


WHOLE = {"whole": 1.0}
BASELINE = (str(Path(__file__).with_name("one_at_a_time.py")),)
ARMS = (
    Arm("mixed", MIXED, 16.0),
    Arm("whole", WHOLE, 16.0),
    Arm("one at a time", WHOLE, 4.0, BASELINE),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--goal-ms", type=float, default=GOAL_MS, help="of p95 TTFA")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each load tried, or more where few come")
    parser.add_argument("--arms", nargs="+", choices=[arm.name for arm in ARMS], help="these alone; all by default")
    parser.add_argument("--overload", type=float, default=3.0, help="times the capacity; 0 leaves it out")
    parser.add_argument("--report-played", action="store_true", help="clients tell the server what was played")
    parser.add_argument("--quick", action="store_true", help="a few seconds of one load, nothing kept")
    options = parser.parse_args()
    seconds = QUICK_S if options.quick else options.seconds
    load = Load(1.0, seconds, seconds / 6, report_played=options.report_played)
    chosen = [arm for arm in ARMS if arm.name in (options.arms or arm.name)]
    for arm in chosen:  # each is kept when it ends: whoever is short of time loses only the next
        measured = measure(arm, load, options)
        figures = {"model": "lark", "goal_ms": options.goal_ms, **capacity(arm, measured), "arms": {arm.name: measured}}
        if options.overload and arm is chosen[0]:
            figures |= overloaded(arm, replace(load, erlang=options.overload * max(1.0, measured["capacity"])))
        conclude("capacity", figures, FLOORS, keep=not options.quick)
    if not options.quick:
        draw(latest("capacity", "arms"), options.goal_ms)


# One arm.


def measure(arm: Arm, load: Load, options: argparse.Namespace) -> dict[str, Any]:
    points: list[dict[str, Any]] = []

    def carries(tried: Load) -> bool:
        point = offer(served.url, tried)
        point["carried"] = carried(point, options.goal_ms)
        points.append(point)
        print(f"{arm.name}, {tried.erlang:.2f} Erlang for {tried.seconds:g} s: {described(point)}", flush=True)
        warn(point)
        return point["carried"]

    with server(arm.program) as served:
        load = replace(load, mix=arm.mix)
        if options.quick:
            found = float(carries(load))
        else:
            found = search(lambda erlang: carries(lasting(load, erlang)), arm.start)
            longer = replace(load, seconds=CONFIRM_S, seed=OTHER_SEED)
            found = confirmed(lambda erlang: carries(lasting(longer, erlang)), found)
            carries(lasting(load, (found or arm.start) * BEYOND))
    points.sort(key=lambda point: point["load"])
    rows = [[point.get(name, "-") for name in COLUMNS] for point in points]
    table(arm.name, list(COLUMNS.values()), rows)
    kept = [{name: point[name] for name in COLUMNS if name in point} for point in points]
    return {"capacity": found, "points": kept}


def lasting(load: Load, erlang: float) -> Load:
    """Where few listeners come, long enough for a percentile of theirs to mean something."""
    seconds = max(load.seconds, FEWEST_STREAMS * SPEECH_S / erlang)
    return replace(load, erlang=erlang, seconds=seconds, warm_up=seconds / 6)


def carried(point: dict[str, Any], goal_ms: float) -> bool:
    clean = not any(point[count] for count in ("underruns", "failures", "after_cancel", "holes"))
    let_in = point["refusals"] <= REFUSED * point["streams"]
    return clean and let_in and point["valid"] and point.get("ttfa_p95_ms", float("inf")) <= goal_ms


def search(carries: Callable[[float], bool], start: float) -> float:
    """The largest load carried, within CLOSE_ENOUGH; 0 where even a sixteenth of the start is too much."""
    low, high = 0.0, start
    while carries(high):
        low, high = high, high * 2
    while low == 0.0 and high > start / 16:
        high /= 2
        if carries(high):
            low, high = high, high * 2
    while low and high / low > CLOSE_ENOUGH:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if carries(middle) else (low, middle)
    return low


def confirmed(carries: Callable[[float], bool], found: float) -> float:
    """A little less until a long trial holds; 0 where none did."""
    for attempt in range(CONFIRM_TRIES):
        if found and carries(found * BACK**attempt):
            return found * BACK**attempt
    return 0.0


# Beyond.


def overloaded(arm: Arm, load: Load) -> dict[str, Any]:
    """Far too many: are those let in served as if they were alone, and the others told quickly?"""
    with server(arm.program) as served:
        point = offer(served.url, replace(load, mix=arm.mix))
    warn(point)
    names = ("load", "streams", "refusals", "refusal_p50_ms", "refusal_max_ms", "retry_after_s", "ttfa_p95_ms")
    names += ("queue_max_ms", "underruns", "streams_with_underruns", "stall_s", "failures", "speaking_mean")
    found = {name: point[name] for name in names if name in point}
    table("overloaded; those who were let in", ["", "value"], list(found.items()))
    return {"overload": found, "overload_underruns": point["underruns"]}


# Telling.


def capacity(arm: Arm, measured: dict[str, Any]) -> dict[str, float]:
    """By its name; behind that of the baseline how often it goes into the last of `whole`."""
    found = {("capacity_" + arm.name).replace(" ", "_"): measured["capacity"]}
    whole = last_figure("capacity", "capacity_whole")
    if arm.program is BASELINE and whole and measured["capacity"]:
        found["times_one_at_a_time"] = whole / measured["capacity"]
    return found


def described(point: dict[str, Any]) -> str:
    ttfa = f"p95 TTFA {point['ttfa_p95_ms']:.0f} ms" if "ttfa_p95_ms" in point else "no sound"
    counts = ", ".join(f"{point[count]} {count}" for count in ("underruns", "refusals", "failures"))
    return f"{ttfa}, {counts}: {'carried' if point['carried'] else 'too much'}"


def draw(arms: dict[str, dict[str, Any]], goal_ms: float) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        print("\nmatplotlib is not installed: no picture")
        return
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (upper, lower) = plt.subplots(2, 1, figsize=(7, 5.6), sharex=True, layout="constrained")
    for (name, arm), colour in zip(arms.items(), ("tab:blue", "tab:green", "tab:orange")):
        points = [point for point in arm["points"] if "ttfa_p95_ms" in point]
        loads = [point["load"] for point in points]
        upper.plot(loads, [point["ttfa_p95_ms"] for point in points], "o-", color=colour, label=name)
        for count, style in (("refusals", "o-"), ("streams_with_underruns", "x--")):
            lower.plot(loads, [100 * point[count] / point["streams"] for point in points], style, color=colour)
        upper.axvline(arm["capacity"], color=colour, linewidth=0.8, linestyle=":")
    upper.axhline(goal_ms, color="grey", linewidth=0.8)
    upper.set(yscale="log", ylabel="p95 TTFA, ms")
    upper.set_title("Load and what the listeners notice; dotted: capacity")
    upper.legend(fontsize=8)
    lower.set(xlabel="load, Erlang (streams at real time)", ylabel="% refused (dots),\nwith an underrun (crosses)")
    lower.set_ylim(bottom=0, top=max(5.0, lower.get_ylim()[1]))
    lower.set_xscale("log", base=2)
    lower.xaxis.set_major_formatter("{x:g}")
    for axes in (upper, lower):
        axes.grid(True, which="major", alpha=0.3)
    figure.savefig(DOCS / "capacity.png", dpi=120)
    print(f"\nthe curve: {(DOCS / 'capacity.png').relative_to(DOCS.parent)}")


if __name__ == "__main__":
    main()
