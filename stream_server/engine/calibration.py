"""Calibration: a moment of work at start that tells what steps cost on this machine.

Speaks to nobody: a few batches of one sentence are begun, their steps timed, and dropped.
"""

from stream_server.engine.core import EngineCore
from stream_server.engine.costs import Costs
from stream_server.engine.messages import AbortSequence, AddSequence, Controls
from stream_server.text.word import Word

BATCHES = (1, 4, 16, 32)
STEPS = 12  # timed in each batch, after as many that warm the caches
FREE = 1 << 62  # samples of credit
ENOUGH_S = 10.0  # of steps, beyond which larger batches are not tried


def calibrate(core: EngineCore, words: tuple[Word, ...]) -> None:
    """Time steps on `core`, which must be idle, with `words` of a few seconds' speech; sets its costs."""
    samples: list[tuple[int, int, float]] = []
    core.costs, core.longest_s = None, 0.0  # first calls do not count
    for batch in BATCHES:
        if batch <= core.scheduler.num_slots and sum(seconds for _, _, seconds in samples) < ENOUGH_S:
            samples += time_steps(core, words, batch)
    core.costs = Costs.fit(samples)


def time_steps(core: EngineCore, words: tuple[Word, ...], batch: int) -> list[tuple[int, int, float]]:
    """(rows decoded, tokens vocoded, seconds) of STEPS steps in which `batch` sequences speak."""
    for id in range(batch):
        core.put(AddSequence(id, words, True, Controls(core.spec.voices[0], seed=id), FREE))
    found: list[tuple[int, int, float]] = []
    core.timings = found
    while len(found) < 2 * STEPS and core.step() is not None:
        pass
    core.timings = None
    for id in range(batch):
        core.put(AbortSequence(id))
    core.step()
    return found[STEPS:]
