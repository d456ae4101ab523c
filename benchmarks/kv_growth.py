"""What a decode step costs as speech grows longer, with the KV cache and without.

    python benchmarks/kv_growth.py [--quick] [--rounds 12]

The shipped model attends to a window of 192 positions; the same weights with the window opened stand beside it, since
most models attend to everything.  Without the cache every step recomputes all positions under a mask, as a plain
`forward` does.  All variants and lengths take turns in one process, on one thread.  The vocoder is no part of it.
"""

import argparse
import importlib.util
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from lap import Lap, middle, timed, use_one_thread
from report import DOCS, conclude, table
from utterance import Utterance

from stream_server.models.lark.model import MAX_TOKENS, Lark, load

LENGTHS = (0, 100, 200, 400, 800, 1600)  # positions before the one that is computed
RACE = 400  # tokens really produced both ways: 16 s of speech
BLOCK = 25  # tokens in a row before the other one's turn
CACHED_STEPS = 10  # averaged in one round: one alone is short
FLOORS = {"ratio_1600_100": 1.35, "sum_400_gain": 8}
Laps = dict[bool, dict[int, list[Lap]]]  # with the cache or not → length → one a round


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12, help="8 or more for a figure that counts")
    parser.add_argument("--quick", action="store_true", help="short lengths, two rounds, nothing kept")
    options = parser.parse_args()
    lengths, race, rounds = ((0, 20, 40), 20, 2) if options.quick else (LENGTHS, RACE, options.rounds)
    use_one_thread()
    with torch.inference_mode():
        windows = measure(lengths, race, rounds)
    for name, found in windows.items():
        show(name, found)
    shipped = next(iter(windows.values()))
    ratio, gain = f"ratio_{lengths[-1]}_{lengths[1]}", f"sum_{race}_gain"
    figures = {"model": "lark", "rounds": rounds, ratio: shipped[ratio], gain: shipped[gain], "windows": windows}
    if not options.quick:
        draw(windows)
    conclude("kv_growth", figures, FLOORS, keep=not options.quick)


def measure(lengths: tuple[int, ...], race: int, rounds: int) -> dict[str, dict[str, Any]]:
    shipped, opened = load(), opened_window(load())
    models = {f"window {shipped.lm.config.window} (shipped)": shipped, "full attention": opened}
    stopped = {name: walked(model, lengths) for name, model in models.items()}
    laps: dict[str, Laps] = {name: {flag: {n: [] for n in lengths} for flag in (True, False)} for name in models}
    for _ in range(rounds):
        for length in lengths:
            for name, utterance in stopped.items():
                utterance.step_from(length, True)  # its weights come back into the processor's caches
                for flag, times in ((True, CACHED_STEPS), (False, 1)):
                    laps[name][flag][length].append(timed(lambda: utterance.step_from(length, flag), times))  # noqa: B023
    return {
        name: {
            **summary(laps[name], lengths),
            **raced(model, race),
            "difference": max(map(stopped[name].difference, lengths)),
        }
        for name, model in models.items()
    }


def opened_window(model: Lark) -> Lark:
    """The same weights, attending to everything: for its cost; it was not trained to speak so."""
    for block in model.lm.transformer.blocks:
        block.attention.window = MAX_TOKENS
    return Lark(model.lm, model.vocoder.decoder, model.voices, model.spec.voices[0], model.lexicon)


def walked(model: Lark, lengths: tuple[int, ...]) -> Utterance:
    utterance = Utterance(model)
    utterance.walk(lengths)
    return utterance


def raced(model: Lark, tokens: int) -> dict[str, float]:
    """Both ways from the first token to the last, in turns of a second of speech."""
    utterance = Utterance(model)
    taken = {0: Lap(0.0, 0.0), 1: Lap(0.0, 0.0)}
    for begin in range(0, tokens, BLOCK):
        for slot in taken:
            for _ in range(min(BLOCK, tokens - begin)):
                taken[slot] += timed(lambda: utterance.advance(slot))  # noqa: B023
    cached, recomputed = taken[0], taken[1]
    return {
        f"sum_{tokens}_gain": recomputed.wall / cached.wall,
        f"sum_{tokens}_gain_cpu": recomputed.cpu / cached.cpu,
        f"sum_{tokens}_cached_s": cached.wall,
        f"sum_{tokens}_recomputed_s": recomputed.wall,
    }


def summary(laps: Laps, lengths: tuple[int, ...]) -> dict[str, Any]:
    first, last = lengths[1], lengths[-1]
    rounds = list(zip(laps[True][last], laps[True][first]))
    found: dict[str, Any] = {
        f"ratio_{last}_{first}": median(long.wall / short.wall for long, short in rounds),
        f"ratio_{last}_{first}_cpu": median(long.cpu / short.cpu for long, short in rounds),
        "lengths": list(lengths),
    }
    for flag, way in ((True, "cached"), (False, "recomputed")):
        laps_at = [middle(laps[flag][length]) for length in lengths]
        found[f"{way}_ms"] = [lap.wall * 1000 for lap in laps_at]
        found[f"{way}_cpu_ms"] = [lap.cpu * 1000 for lap in laps_at]
        found[f"{way}_sum_s"] = running_sum(lengths, [lap.wall for lap in laps_at])
    return found


def running_sum(lengths: tuple[int, ...], seconds: list[float]) -> list[float]:
    """Seconds to produce each number of tokens, by the trapezoid rule between the lengths measured."""
    sums = [0.0]
    for (a, b), (s, t) in zip(pairwise(lengths), pairwise(seconds)):
        sums.append(sums[-1] + (b - a) * (s + t) / 2)
    return sums


def show(name: str, found: dict[str, Any]) -> None:
    columns = ("lengths", "cached_ms", "cached_cpu_ms", "recomputed_ms", "recomputed_cpu_ms")
    sums = zip(found["cached_sum_s"], found["recomputed_sum_s"])
    rows = [
        [length, cached, cached_cpu, plain, plain_cpu, plain / cached, a, b, b / a if a else "-"]
        for length, cached, cached_cpu, plain, plain_cpu, (a, b) in zip(*(found[column] for column in columns), sums)
    ]
    head = ["position", "cached ms", "(CPU)", "recomputed ms", "(CPU)", "times", "cached s", "recomputed s", "gain"]
    table(f"{name}: one step at a position, and the seconds of all steps before it", head, rows)
    for figure, value in found.items():
        if not isinstance(value, list):
            print(f"{figure}: {value:.3g}")


def draw(windows: dict[str, dict[str, Any]]) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        print("\nmatplotlib is not installed: no picture")
        return
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for (name, found), colour in zip(windows.items(), ("tab:blue", "tab:orange")):
        axes.plot(found["lengths"], found["cached_ms"], "o-", color=colour, label=f"KV cache, {name}")
        axes.plot(found["lengths"], found["recomputed_ms"], "s--", color=colour, label=f"recomputed, {name}")
    axes.axhline(40, color="grey", linewidth=0.8)
    axes.annotate("40 ms: a token's worth of speech", (1600, 40), ha="right", va="bottom", color="grey", fontsize=8)
    axes.set(yscale="log", xlabel="position in the sequence (25 = 1 s of speech)", ylabel="ms a decode step")
    axes.set_title("A decode step of Lark, one thread")
    axes.grid(True, which="major", alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(DOCS / "kv_growth.png", dpi=120)
    print(f"\nthe curve: {(DOCS / 'kv_growth.png').relative_to(DOCS.parent)}")


if __name__ == "__main__":
    main()
