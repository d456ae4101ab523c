"""The engine on paper: the real core, scheduler and admission, a model that takes time instead of making speech.

    python benchmarks/simulation.py [--load 8 16 32 48 64 96] [--seconds 120]
    python benchmarks/simulation.py --real 16 32 48 120     # beside a real server, the same listeners coming to both

A discrete-event simulation.  Its clock is a number that only steps move on, by the line of `engine.costs` that this
machine's calibration gives (or `--line`), and arrivals wait for it.  Everything that decides is the server's own code.
Players are those of `listener.py`: they play from the first packet on, with a cushion, and an underrun is sound that
comes later than it should be playing.

Three arms at each load: admission by calibration, as the server has it; a plain fixed cap of as many streams as that
calibration found; and the same two when the machine is twice as slow from half-time on, which only one of them sees.
Does not know the front's own time but for FRONT_S, nor the text frontend's but for READING_S, nor sockets.
"""

import argparse
import heapq
import random
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from listener import OPENING as LIVE_OPENING
from listener import SPEECH_WPM, Visit
from report import conclude, percentile, table
from torch import Tensor

from stream_server.engine.admission import Admission
from stream_server.engine.core import EngineCore
from stream_server.engine.costs import PARTS, Costs
from stream_server.engine.messages import (
    AbortSequence,
    AddSequence,
    Controls,
    ExtendSequence,
    Finished,
    Frame,
    ModelSpec,
)
from stream_server.errors import Overloaded
from stream_server.models.interface import Sound, Step
from stream_server.models.plan import ChunkPlan
from stream_server.text.word import Word

if TYPE_CHECKING:
    from server import Server

TOKEN_S, SAMPLES = 0.04, 960
TOKENS_PER_WORD = 8  # 0.32 s
WORD_EVERY_S = 0.25  # faster than it is spoken, so that text is never what is waited for
WORDS = (6, 40)  # of one context
OPENING = 2  # words known at once
LOOKAHEAD = 1
FRONT_S = 0.006  # from the listener to the engine and from a step's end to the listener, together
READING_S = 0.003  # of a sentence, when it is begun
CUSHION_S = 0.06
LEAD_S, FREE = 2.0, 1 << 60
LINE = (0.00135, 0.00019, 0.0031, 0.00022)  # s: an AVX-512 Xeon's, 2.1 GHz
TTFA_GOAL_S = 0.2


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Row:
    words: int
    final: bool
    made: int = 0

    @property
    def known(self) -> int:
        return self.words * TOKENS_PER_WORD - (0 if self.final else 2)

    @property
    def starved(self) -> bool:
        return not self.final and self.made >= self.known


class PaperVocoder:
    def __init__(self, model: "PaperModel") -> None:
        self.model = model

    def allocate(self, num_slots: int) -> dict[int, int]:
        return {}

    def reset(self, slot: int, controls: Controls, state: dict[int, int]) -> None:
        state[slot] = -LOOKAHEAD

    def set_speed(self, slot: int, speed: float, state: dict[int, int]) -> None: ...

    def chunk(self, index: int) -> ChunkPlan:
        return ChunkPlan(1, 8, LOOKAHEAD)

    def decode(self, slots: list[int], tokens: list[Tensor], final: list[bool], state: dict[int, int]) -> list[Sound]:
        self.model.spend(0, sum(len(new) for new in tokens if new.numel()))
        sounds = []
        for slot, new, end in zip(slots, tokens, final):
            held = state[slot] + (len(new) if new.numel() else 0) + (LOOKAHEAD if end else 0)
            state[slot] = min(0, held)
            sounds.append(Sound(np.zeros(max(0, held) * SAMPLES, np.float32), []))
        return sounds


class PaperModel:
    """Every word is TOKENS_PER_WORD tokens; a step costs what `costs` says, times `slowness`."""

    spec = ModelSpec("paper", ("one",), (24_000,), 1 / TOKEN_S, 100_000, True)

    def __init__(self, clock: Clock, costs: Costs) -> None:
        self.clock, self.costs, self.slowness = clock, costs, 1.0
        self.vocoder = PaperVocoder(self)

    def spend(self, rows: int, vocoded: int) -> None:
        self.clock.now += self.slowness * self.costs.predict(rows, vocoded)

    def prompt(self, words: Any, final: bool) -> tuple[int, bool]:
        return len(words), final

    def after(self, prompt: Any, past: Any) -> Any:
        raise NotImplementedError("nothing is remembered on paper")

    def reading(self, words: Any) -> str:
        return ""

    def allocate(self, num_slots: int) -> dict[int, Row]:
        return {}

    def prefill(self, slots: list[int], prompts: list[Any], controls: Any, state: dict[int, Row]) -> Step:
        self.clock.now += self.slowness * READING_S * len(slots)
        for slot, (words, final) in zip(slots, prompts):
            state[slot] = Row(words, final)
        B = len(slots)
        starved = [state[slot].starved for slot in slots]
        return Step(torch.zeros(B, 1, dtype=torch.int64), [False] * B, [False] * B, starved, [-1] * B, [False] * B)

    def extend(self, slot: int, prompt: Any, state: dict[int, Row]) -> bool:
        state[slot].words += prompt[0]
        state[slot].final |= prompt[1]
        return state[slot].starved

    def decode_step(self, slots: list[int], state: dict[int, Row]) -> Step:
        self.spend(len(slots), 0)
        rows = [state[slot] for slot in slots]
        for row in rows:
            row.made += 1
        B = len(rows)
        ended = [row.final and row.made >= row.known for row in rows]
        tokens = torch.zeros(B, 1, dtype=torch.int64)
        return Step(tokens, [True] * B, ended, [row.starved for row in rows], [0] * B, [False] * B)


@dataclass
class Player:
    """A listener: when it came, when it heard first, when its player would run dry."""

    came: float
    leaves_after: float | None = None  # s of speech, interrupting
    began: float | None = None
    dry_at: float = 0.0
    underruns: int = 0

    def hear(self, at: float, seconds: float) -> None:
        if self.began is None:
            self.began, self.dry_at = at, at + CUSHION_S
        elif at > self.dry_at:
            self.underruns += 1
            self.dry_at = at
        self.dry_at += seconds


@dataclass
class World:
    """One server and those who come to it."""

    costs: Costs
    cap: int | None = None
    slots: int = 128
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.model = PaperModel(self.clock, self.costs)
        self.core = EngineCore(self.model, self.slots, clock=self.clock)
        self.core.costs = Costs(self.costs.line.copy())
        self.admission = Admission(self.cap)
        self.players: dict[int, Player] = {}
        self.refused = 0
        self.events: list[tuple[float, int, Any]] = []
        self.order = count()

    def at(self, when: float, what: Any) -> None:
        heapq.heappush(self.events, (when, next(self.order), what))

    def come(self, id: int, arrival: "Arrival") -> None:
        """A listener's first words; the others follow as they are written."""
        try:
            self.admission.enter(self.core.load.capacity)
        except Overloaded:
            self.refused += 1
            return
        now = self.clock.now
        self.players[id] = Player(now, arrival.leaves_after)
        opening = min(arrival.opening, arrival.words)
        final = opening == arrival.words
        self.core.put(AddSequence(id, (WORD,) * opening, final, Controls("one"), FREE, LEAD_S))
        for index in range(opening, arrival.words):
            final = index == arrival.words - 1
            due = now + (index + 1 - opening) * WORD_EVERY_S
            self.at(due, lambda final=final: self.core.put(ExtendSequence(id, (WORD,), final)))

    def run(self) -> None:
        while True:
            while self.events and self.events[0][0] <= self.clock.now:
                heapq.heappop(self.events)[2]()
            tick = self.core.step()
            for output in (*tick.frames, *tick.finished) if tick else ():
                self.hear(output)
            if tick is None and not self.skip():
                return

    def hear(self, output: Frame | Finished) -> None:
        if isinstance(output, Frame):
            player, now = self.players[output.sequence_id], self.clock.now + FRONT_S
            if player.began is None and player.leaves_after is not None:
                self.at(now + player.leaves_after, lambda: self.core.put(AbortSequence(output.sequence_id)))
            player.hear(now, len(output.pcm) / SAMPLES * TOKEN_S)
        else:
            self.admission.leave(self.clock.now - self.players[output.sequence_id].came)

    def skip(self) -> bool:
        """On to the next thing that happens; False where nothing will."""
        times = [when for when, _, _ in self.events[:1]]
        wakes_at = self.core.scheduler.wakes_at(self.clock.now)
        times += [wakes_at + 1e-6] if wakes_at is not None else []
        self.clock.now = max(self.clock.now, min(times, default=0.0))
        return bool(times)


WORD = Word("w", 0, 1, "w", "")


@dataclass(frozen=True)
class Arrival:
    at: float  # s
    words: int
    opening: int = OPENING  # known at once
    leaves_after: float | None = None


def poisson(load: float, seconds: float, seed: int = 1) -> list[Arrival]:
    """`load` in Erlang."""
    rng = random.Random(seed)
    mean_s = sum(WORDS) / 2 * TOKENS_PER_WORD * TOKEN_S
    arrivals, when = [], 0.0
    while (when := when + rng.expovariate(load / mean_s)) < seconds:
        arrivals.append(Arrival(when, rng.randint(*WORDS)))
    return arrivals


def simulate(
    arrivals: list[Arrival],
    costs: Costs,
    cap: int | None = None,
    slow_from: float | None = None,
    slowness: float = 1.0,
) -> dict[str, float]:
    """`cap`: a fixed number of streams, not the calibrated one; twice as slow from `slow_from`.

    slowness: what steps take, over what `costs` says.
    """
    world = World(costs, cap)
    world.model.slowness = slowness
    for id, arrival in enumerate(arrivals):
        world.at(arrival.at, partial(world.come, id, arrival))
    if slow_from is not None:
        world.at(slow_from, lambda: setattr(world.model, "slowness", 2.0))
    world.run()
    ttfa = [player.began - player.came for player in world.players.values() if player.began is not None]
    return {
        "streams": len(world.players),
        "ttfa_p50_ms": 1000 * median(ttfa),
        "ttfa_p95_ms": 1000 * percentile(ttfa, 0.95),
        "underrun_share": sum(player.underruns > 0 for player in world.players.values()) / len(world.players),
        "refused_share": world.refused / (world.refused + len(world.players)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--load", type=float, nargs="+", default=[8, 16, 32, 48, 64, 96, 192])
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--line", type=float, nargs=4, default=LINE, metavar="S", help="a, b, c, d of engine.costs")
    parser.add_argument("--real", type=float, nargs="+", metavar="ERLANG", help="beside a real server, at these loads")
    parser.add_argument("--quick", action="store_true", help="one load, twenty seconds, nothing kept")
    options = parser.parse_args()
    if options.real:
        return beside_the_real([4.0] if options.quick else options.real, 6.0 if options.quick else 60.0, options.quick)
    loads, seconds = ([16.0], 20.0) if options.quick else (options.load, options.seconds)
    costs = Costs(np.array(options.line))
    room = costs.capacity(TOKEN_S)
    arms = {
        "calibrated": {},
        "fixed cap": {"cap": room},
        "calibrated, slowed": {"slow_from": seconds / 2},
        "fixed cap, slowed": {"cap": room, "slow_from": seconds / 2},
    }
    found = {arm: {load: simulate(poisson(load, seconds), costs, **how) for load in loads} for arm, how in arms.items()}
    for arm, by_load in found.items():
        head = ["load", *next(iter(by_load.values()))]
        table(f"{arm}, room for {room}", head, [[load, *row.values()] for load, row in by_load.items()])
    steady = found["calibrated"]
    carried = [load for load in loads if steady[load]["ttfa_p95_ms"] <= 1000 * TTFA_GOAL_S]
    figures = {
        "line": list(options.line),
        "room": room,
        "underrun_share": max(row["underrun_share"] for row in steady.values()),
        "largest_load_in_time": max(carried, default=0.0),
        "arms": {arm: {str(load): row for load, row in by_load.items()} for arm, by_load in found.items()},
    }
    conclude("simulation", figures, {"underrun_share": 0.0}, keep=not options.quick)


def beside_the_real(loads: list[float], seconds: float, quick: bool) -> None:
    """The listeners of `load.py` come to a server, to one with a plain fixed cap, and to the paper one.

    What steps cost is what the first server's calibration found, slower by what its engine measured meanwhile: how much
    a busy front and its listeners take from the engine is the machine's affair, and no simulation of ours knows it.
    """
    from load import Load, offer, offering, visits
    from server import server

    rows, figures = [], {}
    with server() as served:
        room = int(served.metrics()["contexts_room"])
        costs = Costs(step_costs(served))
        with server(STREAM_SERVER_LIMITS__STREAMS=str(room)) as capped:
            for erlang in loads:
                load = Load(erlang, seconds, 0.0, seed=3)
                with offering(served.url, load) as running:
                    slowness = slowness_of(served, running, costs)
                    real = running.result()
                paper = simulate([arrival(visit) for visit in visits(load)], costs, slowness=slowness)
                found = {"paper": paper, "real": as_simulated(real), "fixed cap": as_simulated(offer(capped.url, load))}
                figures[str(erlang)] = {"slowness": slowness, **found}
                names = found["real"]
                told = [" / ".join(f"{arm[name]:.3g}" for arm in found.values()) for name in names]
                rows.append([erlang, slowness, *told])
    table(f"paper / real / real with a fixed cap of {room}", ["load", "slowness", *names], rows)
    conclude("simulation_real", {"line": costs.line.tolist(), "room": room, "loads": figures}, {}, keep=not quick)


def step_costs(served: "Server") -> np.ndarray:
    """float64 [4]: seconds of the parts of a step, as a server tells them now."""
    found = served.metrics()
    return np.array([found[f'step_cost_seconds{{part="{part}"}}'] for part in PARTS])


def slowness_of(served: "Server", running: "Future[Any]", costs: Costs) -> float:
    """What a server's steps take over `costs`: the mean while it is loaded, asked once a second."""
    found = []
    while not running.done():
        found.append(float((step_costs(served) / costs.line)[costs.line > 0].mean()))
        wait([running], timeout=1.0)
    return sum(found) / len(found)


def arrival(visit: Visit) -> Arrival:
    words = max(1, round(len(visit.text.split()) * 60 / SPEECH_WPM / (TOKENS_PER_WORD * TOKEN_S)))
    leaves_after = visit.expected_s if visit.kind == "barge" else None
    return Arrival(visit.at, words, LIVE_OPENING, leaves_after)


def as_simulated(real: dict[str, Any]) -> dict[str, float]:
    came = real["streams"] - real["refusals"]
    return {
        "ttfa_p50_ms": real["ttfa_p50_ms"],
        "ttfa_p95_ms": real["ttfa_p95_ms"],
        "underrun_share": real["streams_with_underruns"] / came,
        "refused_share": real["refusals"] / real["streams"],
    }


if __name__ == "__main__":
    main()
