"""A decode step of the language model beside the bare products it consists of, for 1 to 32 rows.

    python benchmarks/step_vs_floor.py [--quick] [--rounds 12]

The *floor* is `torch.mm` over the very weights of a step, as many rows, outputs made beforehand.  A step as far as the
logits adds attention, norms and the starting of operations; a whole step adds sampling, the pointers and Python.  Real
rows at one position, in neighbouring slots, taking turns with the floor in one process, on one thread.  The vocoder
stands beside it: a call of four tokens, by the token.
"""

import argparse
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from company import TOKENS, Company
from lap import Lap, middle, timed, use_one_thread
from report import conclude, table

from stream_server.models.lark.model import load
from stream_server.nn.decode_step import DecodeStep

POSITION = 128  # in the sequence: 5 s of speech
ROWS = (1, 4, 16, 32)
CALLS = 20  # averaged in one round
MEASURES = ("logits_over_floor", "step_over_floor")
FLOORS = {f"{measure}_{rows}": bound for measure in MEASURES for rows, bound in ((1, 1.6), (16, 2.0))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12, help="8 or more for a figure that counts")
    parser.add_argument("--quick", action="store_true", help="1 and 4 rows, two rounds, nothing kept")
    options = parser.parse_args()
    rows, rounds = (ROWS[:2], 2) if options.quick else (ROWS, options.rounds)
    use_one_thread()
    model = load()
    contests = {count: contest(Company(model, count, POSITION), Products(model.step, count)) for count in rows}
    laps: dict[int, list[dict[str, Lap]]] = {count: [] for count in rows}
    for _ in range(rounds):
        for count, run in contests.items():
            laps[count].append(run())
    found = {count: compared(count, taken) for count, taken in laps.items()}
    names = found[rows[0]]
    table(
        f"a decode step at position {POSITION}, medians of {rounds} rounds",
        ["rows", *map(str, rows)],
        [[name, *(found[count][name] for count in rows)] for name in names],
    )
    ratios = {f"{measure}_{count}": found[count][measure] for measure in MEASURES for count in rows}
    figures = {"model": "lark", "position": POSITION, "rounds": rounds, **ratios, "rows": found}
    conclude("step_vs_floor", figures, FLOORS, keep=not options.quick)


class Products:
    """Every product of a decode step: x [rows, K] by weights [K, N] into outputs made once."""

    def __init__(self, step: DecodeStep, rows: int) -> None:
        weights = [w for layer in step.layers for w in (layer.qkv, layer.out, layer.gate_up, layer.down)]
        self.products = [
            (torch.randn(rows, weight.shape[0]), weight, torch.empty(rows, weight.shape[1]))
            for weight in (*weights, step.head)
        ]

    def __call__(self) -> None:
        for x, weight, out in self.products:
            torch.mm(x, weight, out=out)


def contest(company: Company, floor: Products) -> Callable[[], dict[str, Lap]]:
    """One round: each in its turn, CALLS times; the rows of whole steps are copied before the clock runs."""

    @torch.inference_mode()
    def run() -> dict[str, Lap]:
        fresh = [company.rows() for _ in range(CALLS)]
        return {
            "floor": timed(floor, CALLS),
            "logits": timed(company.logits, CALLS),
            "step": timed(lambda: company.step(fresh.pop()), CALLS),
            "vocoder": timed(company.vocode, CALLS),
        }

    return run


def compared(rows: int, laps: list[dict[str, Lap]]) -> dict[str, Any]:
    times = {f"{name}_ms": middle(lap[name] for lap in laps).wall * 1000 for name in laps[0]}
    return times | {
        "logits_over_floor": median(lap["logits"].wall / lap["floor"].wall for lap in laps),
        "step_over_floor": median(lap["step"].wall / lap["floor"].wall for lap in laps),
        "step_over_floor_cpu": median(lap["step"].cpu / lap["floor"].cpu for lap in laps),
        "step_ms_a_row": times["step_ms"] / rows,
        "vocoder_ms_a_token": times["vocoder_ms"] / rows / TOKENS,
    }


if __name__ == "__main__":
    main()
